#!/usr/bin/env bash
# The yardstick: a nightly backup as shell scripts do it, one pg_dump with its own compression, then a rename.
# Reads PG_BIN (folder of the tools), SOURCE (conninfo), ARCHIVE (where the dump goes).
set -euo pipefail

"$PG_BIN/pg_dump" --format=custom --dbname="$SOURCE" >"$ARCHIVE.tmp"
mv -f "$ARCHIVE.tmp" "$ARCHIVE"
test -s "$ARCHIVE"
