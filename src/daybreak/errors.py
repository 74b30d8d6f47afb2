"""Every fault that Daybreak foresees, with its exit code and what to do next.

    DaybreakError                 1   a fault we foresaw, with no better class
    ├── UsageError                2   the command line
    ├── ConfigError               3   the configuration file, the state folder, a setting
    ├── Refused                   4   a safety guard: production, an unknown database, the last good copy
    ├── Busy                      5   another run holds the lock
    ├── SourceError              10   a database cannot be reached, is too new, or a right is missing
    │   └── DumpError            11   pg_dump began and did not end well
    ├── ArchiveError             12   not an archive, cut, damaged, suspicious, not equal to its manifest
    │   └── UnreadableError      12   the disk does not give it, which says nothing about what is on it
    ├── PublishError             13   no room, read-only, rename failed
    ├── OffsiteError             14   published here, not off-site (`reason` tells the cases apart)
    ├── RefreshError             15   refresh failed, the target is as it was
    │   ├── RolledBack           16   failed after the swap, the old database is back
    │   ├── TargetNeedsPerson    17   the target needs a person
    │   └── Unfinished           19   refreshed, but what was to follow the swap failed
    ├── ProofError               18   restored, but the tables differ
    ├── TimedOut                 30   a deadline or an idle limit passed
    ├── Cancelled               130   somebody asked for the end of the run
    ├── SlotFailed                1   the run that took this slot did not succeed
    └── CommandError              1   a child process failed and no adapter knew better

The class name is the stable `code` in JSON. The text is for people: the message says what happened
and where, the hint says what to do next. A code that is not in this list counts as a failure.
Source  the exit codes are a promise to scripts; `docs/exit-codes.md` has them for users.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar


class DaybreakError(Exception):
    """A foreseen fault: `message` says what happened, `hint` what to do next."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.run = ""  # the run that ended with it; set by the engine

    @property
    def code(self) -> str:
        """The stable name of this class of fault, as it stands in JSON."""
        return type(self).__name__


class UsageError(DaybreakError):
    """The command line cannot be understood."""

    exit_code = 2


class ConfigError(DaybreakError):
    """A fault of the configuration; `problems` has every one, each with its dotted path."""

    exit_code = 3

    def __init__(self, message: str, *, hint: str = "", problems: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)


class Refused(DaybreakError):  # noqa: N818 -- the word that users read: a guard refused, nothing broke
    """A safety guard said no; nothing was touched."""

    exit_code = 4


class Busy(DaybreakError):  # noqa: N818 -- a state, not an error of anybody's
    """Another run holds the lock; `holder` says which, as far as it is known."""

    exit_code = 5

    def __init__(self, message: str, *, hint: str = "", holder: str = "") -> None:
        super().__init__(message, hint=hint)
        self.holder = holder


class SourceError(DaybreakError):
    """A database cannot be reached, is too new for the tools, or refuses a right."""

    exit_code = 10


class DumpError(SourceError):
    """pg_dump began and did not end well; nothing was published."""

    exit_code = 11


class ArchiveError(DaybreakError):
    """An archive is foreign, cut, damaged, suspicious, or not what its manifest says."""

    exit_code = 12


class UnreadableError(ArchiveError):
    """The disk did not give an archive, or its manifest: that says nothing about what is on it."""


class PublishError(DaybreakError):
    """The archive could not be written or made visible; the previous one still stands."""

    exit_code = 13


class OffsiteError(DaybreakError):
    """The archive is published here but not off-site.

    `reason` is one of: `missing` (no repository), `absent` (no such snapshot), `locked`, `password`, `denied`
    (keys or rights), `expired` (keys), `clock` (too far from the storage's), `format` (newer than restic),
    `throttled`, `trouble` (of the storage's own), `unreachable`, `partial` (snapshot does not hold what was sent),
    `damaged` (a check found it), `retained` (append-only: not deleted), `tool` (restic absent or too old),
    `timeout`, `failed`.
    """

    exit_code = 14

    def __init__(self, message: str, *, hint: str = "", reason: str = "failed") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class RefreshError(DaybreakError):
    """The refresh failed; the target is exactly as it was."""

    exit_code = 15


class RolledBack(RefreshError):  # noqa: N818 -- it says what happened
    """The refresh failed after the swap and the old database was put back."""

    exit_code = 16


class TargetNeedsPerson(RefreshError):  # noqa: N818 -- it says what is needed
    """The target is in a state that Daybreak will not mend by itself."""

    exit_code = 17


class Unfinished(RefreshError):  # noqa: N818 -- it says what happened
    """The target has the new data, but what was to follow the swap failed."""

    exit_code = 19


class ProofError(DaybreakError):
    """The archive was restored and at least one table differs from the manifest."""

    exit_code = 18


class TimedOut(DaybreakError):  # noqa: N818 -- it says what happened
    """A deadline passed, or a tool was silent for too long; it was ended."""

    exit_code = 30


class Cancelled(DaybreakError):  # noqa: N818 -- a person's wish, not an error
    """The run was asked to stop, and did."""

    exit_code = 130


class SlotFailed(DaybreakError):  # noqa: N818 -- it says what happened
    """Somebody asks for a slot that another run took without success; a slot is taken once."""


class CommandError(DaybreakError):
    """A child process failed and nobody could say better why.

    `program` is its name, `shown` the command without secrets, `status` its exit status (negative: the signal),
    `tail` the last lines of its stderr, masked.
    """

    def __init__(self, shown: str, status: int, tail: Sequence[str], *, program: str) -> None:
        # What follows an error is its detail, hint and context.
        errors = [line for line in tail if re.search(r"error: |ERROR: |FATAL: ", line)]
        last = (errors or tail or ["it said nothing"])[-1]
        how = f"ended by signal {-status}" if status < 0 else f"exit status {status}"
        super().__init__(f"{program} failed ({how}): {last}")
        self.shown = shown
        self.status = status
        self.tail = tuple(tail)
