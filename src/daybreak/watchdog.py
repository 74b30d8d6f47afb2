"""The shell texts that end a program when Daybreak dies, here and on the far side of another host.

Source  killing the client of `docker exec` or `ssh` leaves the program running there, and so does a killed parent
        here. What is started therefore reads its standard input, which ends with whoever holds the other end.
"""

from __future__ import annotations

from typing import Final

#: `sh -c HERE NAME PROGRAM…`: at one line or the end of its stdin it ends the program and all that it started
#: (0 is the process group); the program itself has no stdin.
HERE: Final = (
    "exec 3<&0; "
    '"$@" </dev/null 3<&- & child=$!; trap "" TERM; '
    "(read -r _ <&3; kill $child 0; sleep 5; kill -9 0) >/dev/null 2>&1 & watch=$!; "
    "wait $child; status=$?; "
    "kill -9 $watch 2>/dev/null; wait $watch 2>/dev/null; exit $status"
)

#: What the far side's own environment may not say about our sessions.
_UNSET: Final = (
    "unset PGHOST PGHOSTADDR PGDATABASE PGUSER PGPASSWORD PGPASSFILE PGSERVICE PGSERVICEFILE PGOPTIONS "
    "PGAPPNAME PGSSLMODE PGTZ PGDATESTYLE PGCLIENTENCODING PGREQUIREAUTH PGTARGETSESSIONATTRS; "
)
#: Takes a line for each name in SECRETS into the environment, so that they stand in no argument list, and runs PRELUDE,
#: a shell text of ours.
_TAKE: Final = (
    'names=$1; eval "$2"; shift 2; for name in $names; do IFS= read -r value || exit 1; export "$name=$value"; done; '
)

#: `sh -c THERE NAME SECRETS PRELUDE PROGRAM…` on the far side of a client that passes our end of the lifeline on.
#: It watches as above, with one difference: it wants a line every minute, since nobody tells it when the way between
#: two hosts is cut.
THERE: Final = (
    f"{_UNSET}{_TAKE}exec 3<&0; "
    '"$@" </dev/null 3<&- & child=$!; trap "" TERM; '
    "if timeout -s KILL 9 true 2>/dev/null; "
    "then beat() { timeout -s KILL 60 sh -c 'read -r _'; }; else beat() { read -r _; }; fi; "
    "(while beat <&3; do :; done; kill $child 0; sleep 5; kill -9 0) >/dev/null 2>&1 & watch=$!; "
    "wait $child; status=$?; "
    "kill -9 $watch 2>/dev/null; wait $watch 2>/dev/null; exit $status"
)

#: The same for a program that reads its standard input, and ends with that: what follows the secrets is the program's.
FED: Final = f'{_UNSET}{_TAKE}exec "$@"'
