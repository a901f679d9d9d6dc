#!/bin/sh
# Safe to run at every start. The search attributes are what operators filter by in the Temporal UI.
set -eu
attempts=60
until temporal operator cluster health; do
  attempts=$((attempts - 1))
  [ "$attempts" -gt 0 ] || exit 1
  sleep 1
done

temporal operator namespace describe -n "$TEMPORAL_NAMESPACE" ||
  temporal operator namespace create -n "$TEMPORAL_NAMESPACE" --retention "$RETENTION"

# A new namespace is known to every part of the server only after a few seconds.
attempts=30
until temporal operator search-attribute create -n "$TEMPORAL_NAMESPACE" \
  --name EventId --type Keyword --name UserId --type Keyword --name ReservationStatus --type Keyword; do
  attempts=$((attempts - 1))
  [ "$attempts" -gt 0 ] || exit 1
  sleep 1
done
