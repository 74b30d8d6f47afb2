"""How a target is replaced: the nouns of what is kept, checked, done on the way and restarted. No behaviour.

Units   deadlines are `timedelta`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final


class CronJobs(StrEnum):
    """Whose pg_cron jobs a target has after a refresh."""

    DEV = "dev"  # the target's own
    PRODUCTION = "production"  # production's, switched off
    NONE = "none"


class Conflict(StrEnum):
    """Who wins where a row that is kept is in production's data too."""

    DEV = "dev"
    PRODUCTION = "production"
    FAIL = "fail"  # the refresh ends


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRows:
    """Rows of a target that go on in the refreshed one."""

    table: str  # schema.name, quoted where it has to be
    where: str | None = None  # an SQL condition; None: all
    conflict: Conflict = Conflict.DEV


#: The words of `Replacement.restart` that mean the container of the target.
RESTART_CONTAINER: Final = ("container",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A statement whose one value has to be true before a restored database takes the target's name."""

    name: str
    sql: str  # one SELECT, without a semicolon
    deadline: timedelta = timedelta(minutes=5)


class HookTime(StrEnum):
    """When a hook runs."""

    BEFORE = "before"  # nothing was made yet
    AFTER_RESTORE = "after_restore"  # restored and proven; nothing of dev's own is in it yet
    BEFORE_SWAP = "before_swap"  # everything is ready
    AFTER_SWAP = "after_swap"  # the target has the new data

    @property
    def in_shadow(self) -> bool:
        """Whether the database that it concerns is the shadow, not the target."""
        return self in {HookTime.AFTER_RESTORE, HookTime.BEFORE_SWAP}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """Something of the user's that is done on the way. Exactly one of sql, sql_file and command is set."""

    name: str
    when: HookTime
    sql: str | None = None
    sql_file: Path | None = None
    command: tuple[str, ...] | None = None  # runs on this host, without a shell
    deadline: timedelta = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """What every restore of one database's archives does otherwise, since they could not be restored as they are."""

    search_path: tuple[str, ...] = ()  # the schemas that it searches; none: the archive names all that it means
    leave_out: tuple[str, ...] = ()  # entries that are not restored, as `Entry.label`
    insisted: tuple[str, ...] = ()  # those of `leave_out` that a person said just now: they have to be there

    def also(self, said: Quirks) -> Quirks:
        """These, and what a person said besides."""
        return Quirks(
            search_path=said.search_path or self.search_path,
            leave_out=tuple(dict.fromkeys((*self.leave_out, *said.leave_out))),
            insisted=said.leave_out,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """How a target is replaced, wherever the archive comes from."""

    jobs: int = 0  # restore workers; 0: by the processors, at least 2
    owner: str | None = None  # who owns what is restored; None: the owner of the target
    cron: CronJobs = CronJobs.DEV
    restart: tuple[str, ...] | None = None  # restarts the target's server where pg_cron needs that; None: never
    keep: tuple[KeptRows, ...] = ()
    foreign: bool = False  # foreign servers, their user mappings and tables are restored
    event_triggers: bool = True
    quirks: Quirks = field(default_factory=Quirks)
    older_extensions: tuple[str, ...] = ()  # that may be older on the target than in production
    checks: tuple[Check, ...] = ()
    hooks: tuple[Hook, ...] = ()
    swap_within: timedelta = timedelta(seconds=10)
    deadline: timedelta = timedelta(hours=12)
