#!/bin/sh
# Runs once, when the volume is empty: each product owns its own databases and can read no other's.
set -eu
psql -v ON_ERROR_STOP=1 -v holdfast="$HOLDFAST_DB_PASSWORD" -v temporal="$TEMPORAL_DB_PASSWORD" --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
CREATE ROLE holdfast LOGIN PASSWORD :'holdfast';
CREATE ROLE temporal LOGIN PASSWORD :'temporal';
CREATE DATABASE holdfast OWNER holdfast;
CREATE DATABASE temporal OWNER temporal;
CREATE DATABASE temporal_visibility OWNER temporal;
REVOKE CONNECT ON DATABASE holdfast, temporal, temporal_visibility FROM PUBLIC;
SQL
