#!/usr/bin/env bash
# The yardstick: a weekly refresh as shell scripts do it, own backup, DROP, CREATE, restore over the network.
# Reads what script_backup.sh reads, and TARGET_SERVER (conninfo without a database), TARGET (the database),
# MOMENTS (a file that gets the instants, in seconds, between which the target is away).
set -euo pipefail

"$(dirname "$0")/script_backup.sh"

ask() {
    "$PG_BIN/psql" -X --quiet --tuples-only -v ON_ERROR_STOP=1 -d "$TARGET_SERVER dbname=postgres" -c "$1" >/dev/null
}

date +%s.%N >"$MOMENTS"
ask "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '$TARGET' AND pid <> pg_backend_pid()"
ask "DROP DATABASE IF EXISTS \"$TARGET\""
ask "CREATE DATABASE \"$TARGET\""
"$PG_BIN/pg_restore" --no-owner --no-privileges --exit-on-error -d "$TARGET_SERVER dbname=$TARGET" <"$ARCHIVE"
date +%s.%N >>"$MOMENTS"
