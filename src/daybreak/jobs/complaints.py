"""What pg_restore complained about, and what a person does about it.

Shapes  `Complaints` hears the lines that it prints, as they come; `explain` makes a `RefreshError` of the first one.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from daybreak.archive import Entry
from daybreak.archive.toc import BEHIND_ROWS, TABLE_DATA
from daybreak.errors import Cancelled, CommandError, RefreshError
from daybreak.hosts import explain as explain_host
from daybreak.postgres.client import Postgres
from daybreak.postgres.faults import hint_of

#: What every hint begins with; where there is no target it says nothing.
AS_IT_WAS: Final = "the target is as it was"
_PLACE: Final = "from TOC entry "
#: What a newer pg_restore sets, and an older server does not know; it says nothing about the data.
_EXPECTED_OF_OLDER: Final = re.compile(r'unrecognized configuration parameter "(transaction_timeout)"')
#: What a server says of a function that names something without its schema: a restore searches none but pg_catalog.
_UNQUALIFIED: Final = re.compile(
    r'ERROR:  (?:(?:function|relation|type) "?[^\s".(]+(?:\(.*\))?"?|operator) does not exist'
)
#: What an older server says of what only a newer one knows.
_UNKNOWN: Final = re.compile(r"ERROR:  (?:syntax error|unrecognized|invalid|.* does not exist$|.* not supported)")
#: What stands at the end of a message is the system's; what is quoted in it, as the value of a row, is not.
_FULL: Final = re.compile(r"ERROR:  .*: (?:No space left on device|Disk quota exceeded)$")
_SHORT: Final = re.compile(r"ERROR:  out of memory$")
_ENDED: Final = re.compile(
    r": (?:FATAL:  terminating connection .*|server closed the connection unexpectedly|no connection to the server)$"
    r"|^pg_restore: error: connection to server "
)
#: Two tables that are loaded at once, each with a check that reads the other one, may also wait for each other.
_ASKED: Final = re.compile("violates check constraint|ERROR:  deadlock detected$")
_QUALIFY: Final = (
    "a function of production names that without its schema, and pg_restore searches none. Find the function in the "
    "log; in production, ALTER FUNCTION … SET search_path = …, then a new backup. For the archives that there are, "
    "where a check or a generated column calls it: search_path in the backup's table of the configuration, or "
    "--search-path SCHEMA"
)
_ASKS_OTHERS: Final = (
    "production has these rows, so the check asks for more than its row: another table, whose rows may come later. In "
    "production, drop it and add it again as NOT VALID: then a dump has it behind the rows; or make a trigger of it"
)
_NO_PARTITION: Final = (
    "rows that go by the hash of an enum find other partitions in each database, and the one that this row finds is "
    "not restored, since it leads to another server. In production, detach it, or partition by a column that is no "
    "enum; then a new backup"
)
_READS_OTHERS: Final = (
    "a function that the tables need reads it, and the archive does not tell: restore a table that it names as well "
    "(--table), or all of the archive beside: --new NAME"
)


@dataclass(slots=True)
class Complaints:
    """What went wrong, in the order in which it was said."""

    faults: list[str] = field(default_factory=list[str])
    places: list[str] = field(default_factory=list[str])  # the entries of the archive, the first before all others

    def hear(self, line: str) -> bool:
        """Take note of a line; whether it is a fault that counts."""
        if _PLACE in line:
            self.places.append(line.partition(_PLACE)[2])
        elif "error: " in line and _EXPECTED_OF_OLDER.search(line):
            del self.places[-1:]  # each worker says it again, of the entry that was last before it began
        elif "error: " in line:
            self.faults.append(line)
            return True
        return False


def explain(
    error: CommandError | Cancelled,
    server: Postgres,
    said: Complaints,
    entries: Sequence[Entry],
    *,
    whole: bool,
    older: str,
) -> RefreshError:
    """The first complaint, where, and what helps. `whole`: all tables are restored; `older`: of a target that is."""
    if isinstance(error, CommandError) and (away := explain_host(error, server.host, server.runner)):
        return RefreshError(f"pg_restore was ended: {away.message}", hint=away.hint)
    fault = next(iter(said.faults), error.message)
    place = next(iter(said.places), "")
    entry = next((one for one in entries if place.startswith(f"{one.id};")), None)
    hints = [AS_IT_WAS]
    if of_the_server := _of_the_server(fault):
        hints.append(of_the_server)
        entry = None  # it has nothing to do with it, and can be had
    if older and _UNKNOWN.search(fault):
        hints.append(older)
    if _UNQUALIFIED.search(fault):
        hints.append(_QUALIFY)
    elif _ASKED.search(fault) and entry is not None and entry.kind == TABLE_DATA:
        hints.append(_ASKS_OTHERS)
    elif entry is not None and entry.root and "no partition of relation" in fault:
        hints.append(_NO_PARTITION)
    elif not whole and " does not exist" in fault:
        hints.append(_READS_OTHERS)
    if entry is not None and entry.section == BEHIND_ROWS:
        hints.append(
            f"to have everything else: leave_out = [{_toml(entry.label)}] in the backup's table, or --leave-out "
            f"{shlex.quote(entry.label)} with restore, open and drill"
        )
    if not hints[1:]:
        hints.append("`daybreak run show` names the log with its last lines")
    return RefreshError(
        f"pg_restore failed{f' at {place}' if place else ''}: {fault.removeprefix('pg_restore: error: ')}",
        hint="; ".join(hints),
    )


def _of_the_server(fault: str) -> str:
    """What to do where the server could not, whatever it was asked for; empty where the object is to blame."""
    if _FULL.search(fault):
        return hint_of("53100", fault.partition("ERROR:  ")[2])
    if _SHORT.search(fault):
        return hint_of("53200", "")
    return "the server ended the session: its log says why" if _ENDED.search(fault) else ""


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a basic string of TOML is written as one of JSON
