#!/bin/sh
# Backs up prod (nightly), unless that is done already. Written by `daybreak server setup`, which writes it
# again when it was changed. It comes for the slot that is due (docs/schedule.md): where somebody took
# that one, it says so and ends with 0. Out of turn: daybreak backup nightly
#
# Ends as Daybreak ends (docs/exit-codes.md), or with 127 where there is no Daybreak. More words are
# Daybreak's: backup_prod_db.sh --fresh
set -eu

cd /      # wherever the caller stands, if that folder still exists
umask 007 # what is made here is shared by the group genji-backup
PATH=${PATH-/usr/bin:/bin}:/usr/local/bin
DAYBREAK_CONFIG=${DAYBREAK_CONFIG:-/etc/daybreak/daybreak.toml}
export PATH DAYBREAK_CONFIG

if ! command -v daybreak >/dev/null; then
    echo "${0##*/}: daybreak is not installed on $(uname -n): it is neither in /usr/local/bin nor on PATH ($PATH)" >&2
    echo "${0##*/}: install it as docs/install.md of Daybreak says; nothing was done" >&2
    exit 127
fi
exec daybreak backup nightly --slot now --trigger script "$@" </dev/null
