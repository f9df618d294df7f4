#!/usr/bin/env bash
# Run once by the postgres image when its data directory is made: the roles of docs/operations.md.
set -euo pipefail
psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
  --set migrate="$FORGE_MIGRATE_PASSWORD" \
  --set app="$FORGE_APP_PASSWORD" \
  --set client="$FORGE_CLIENT_PASSWORD" \
  --set reader="$FORGE_READER_PASSWORD" <<'SQL'
CREATE ROLE forge_owner NOLOGIN;
CREATE ROLE forge_migrate LOGIN PASSWORD :'migrate' IN ROLE forge_owner;
CREATE ROLE forge_app LOGIN PASSWORD :'app';
CREATE ROLE forge_client LOGIN PASSWORD :'client';
CREATE ROLE forge_reader LOGIN PASSWORD :'reader' CONNECTION LIMIT 40;
ALTER DATABASE forge OWNER TO forge_owner;
REVOKE ALL ON DATABASE forge FROM PUBLIC;
GRANT CONNECT ON DATABASE forge TO forge_migrate, forge_app, forge_client, forge_reader;
GRANT TEMP ON DATABASE forge TO forge_app;
ALTER ROLE forge_app SET statement_timeout = '15s';
ALTER ROLE forge_app SET lock_timeout = '5s';
ALTER ROLE forge_app SET idle_in_transaction_session_timeout = '10s';
ALTER ROLE forge_client SET statement_timeout = '15s';
ALTER ROLE forge_client SET lock_timeout = '5s';
ALTER ROLE forge_client SET idle_in_transaction_session_timeout = '10s';
ALTER ROLE forge_reader SET default_transaction_read_only = on;
ALTER ROLE forge_reader SET statement_timeout = '15s';
ALTER ROLE forge_reader SET lock_timeout = '5s';
ALTER ROLE forge_reader SET idle_in_transaction_session_timeout = '10s';
SQL
