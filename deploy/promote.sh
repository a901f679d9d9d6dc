#!/bin/sh
# Safe to repeat. Waits until the version's workers poll every queue that the current one's do, then makes it current.
set -eu
attempts=120
until temporal worker deployment set-current-version --yes \
  --deployment-name holdfast --build-id "$DEPLOYMENT_VERSION"; do
  attempts=$((attempts - 1))
  [ "$attempts" -gt 0 ] || exit 1
  sleep 1
done
