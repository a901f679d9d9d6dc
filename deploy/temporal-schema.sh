#!/bin/sh
# Safe to run at every start: set-up leaves an existing schema alone, and an update applies only what is missing.
set -eu
for store in temporal visibility; do
  case $store in
    temporal) database=temporal ;;
    visibility) database=temporal_visibility ;;
  esac
  temporal-sql-tool --db "$database" setup-schema -v 0.0
  temporal-sql-tool --db "$database" update-schema -d "$SCHEMA_DIR/$store/versioned"
done
