"""The nouns: frozen records that every floor above speaks of. No behaviour beyond themselves.

Units   sizes end in `_bytes`, instants in `_at` (aware, UTC), plain seconds in `_s`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from zoneinfo import ZoneInfo

from daybreak.replacement import Quirks, Replacement


class RunState(StrEnum):
    """Where a run is. `waiting -> running -> succeeded | failed | cancelled | skipped | lost`."""

    WAITING = "waiting"  # -> running, failed, skipped, cancelled, lost; succeeded, where `running` could not be written
    RUNNING = "running"  # -> succeeded, failed, cancelled, skipped, lost
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"  # nothing to do, with the reason in words
    LOST = "lost"  # the process died; written by the next run that notices

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to a run in this state."""
        return self not in {RunState.WAITING, RunState.RUNNING}


class ArchiveState(StrEnum):
    """What became of an archive."""

    PUBLISHED = "published"  # stands under a stable name, or did until a newer one replaced it
    QUARANTINED = "quarantined"  # complete but suspicious; waits for `daybreak accept`
    REPLACED = "replaced"  # no local copy any more
    REJECTED = "rejected"  # found damaged after it was published


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSource:
    """Where a secret is kept; it is read at use and never stored. At most one field is set."""

    file: Path | None = None
    env: str | None = None
    command: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SshHost:
    """Another host, reached by the OpenSSH client."""

    name: str  # the key of its table in the configuration
    destination: str  # as ssh takes it: user@host, ssh://user@host:port, or a name of ~/.ssh/config


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where programs run: here, in a container, on another host, in a container there."""

    ssh: SshHost | None = None
    container: str = ""
    runtime: str = ""  # docker or podman; "": the one that knows the container


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """One database of the configuration: how to reach it and what may be done to it."""

    name: str  # the key of its table in the configuration
    # libpq keywords, as they are meant where the database is; never a password. In a container what is
    # missing comes from its environment.
    conninfo: Mapping[str, str]
    place: Place = field(default_factory=Place)  # where its tools run
    password: SecretSource | None = None  # None: .pgpass, peer, trust, a service
    bin: Path | None = None  # folder of pg_dump and psql; None: found by itself
    protected: bool = False  # never a target
    shares_cluster_with: str | None = None  # the protected database whose cluster this target may share


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How many archives or snapshots each rule keeps; 0 switches a rule off."""

    last: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A restic repository."""

    name: str
    url: str
    password: SecretSource
    env: Mapping[str, str] = field(default_factory=dict[str, str])  # names and values that are no secret
    env_file: Path | None = None  # NAME=value lines, read at use, all of them secret
    keep: Keep | None = None  # None: nothing is ever forgotten
    append_only: bool = False  # prune = "never": nothing is forgotten or pruned from here
    limit_upload: int | None = None  # bytes a second; None: as fast as it goes
    limit_download: int | None = None
    restic: Path | None = None  # the program; None: found on PATH
    deadline: timedelta = timedelta(hours=6)  # for one backup; other calls have shorter ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a plan is due: a cron expression or `02:00` / `Sun 02:00`, and the zone it is meant in."""

    spec: str
    timezone: str
    catch_up: timedelta = timedelta(hours=12)  # how late a slot may still begin
    trigger: str | None = None  # who is expected to come for its slots; None: the scheduler itself
    grace: timedelta = timedelta(minutes=30)  # how long the scheduler waits for that one


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One planned instant of a schedule."""

    key: str  # the nominal local date and time, `2026-11-22 02:00`
    due_at: datetime  # where clocks go forward, it may fall on the next date


class SlotState(StrEnum):
    """What became of a slot. `due -> claimed | missed | skipped`."""

    DUE = "due"  # seen, and waiting for somebody
    CLAIMED = "claimed"  # a run took it; how that ended, its row tells
    MISSED = "missed"  # nobody came for it in time
    SKIPPED = "skipped"  # left out on purpose, with the reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A plan that has a schedule, whatever its kind: what slots are claimed for."""

    kind: str  # of its runs
    plan: str
    schedule: Schedule
    verb: tuple[str, ...] = ()  # the words of the command line that carry it out; (): kind and plan

    @property
    def words(self) -> tuple[str, ...]:
        """What is written behind `daybreak` to carry it out."""
        return self.verb or (self.kind, self.plan)

    def __str__(self) -> str:
        return f"{self.kind} {self.plan}"


class AlertEvent(StrEnum):
    """What a destination of alerts can be told. All but the last two concern a plan and hold until they are over."""

    FAILED = "failed"
    REFUSED = "refused"  # a guard said no
    QUARANTINED = "quarantined"  # a suspicious archive waits for a person
    LATE = "late"  # a slot passed, and no run came
    MISSED = "missed"  # a slot will not be made up for
    CHECK_FAILED = "check_failed"  # a repository, or a drill
    TONIGHT_WILL_FAIL = "tonight_will_fail"  # doctor --tonight found an error
    RECOVERED = "recovered"  # one of the above is over
    WEEKLY_ALL_IS_WELL = "weekly_all_is_well"


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where alerts go."""

    name: str
    url: SecretSource  # of one Apprise URL
    events: tuple[AlertEvent, ...] = tuple(AlertEvent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """A dead-man's switch somewhere else: it misses a plan that does not call."""

    url: SecretSource  # http or https; for success, and what the others are appended to
    start: str = "/start"
    success: str = ""
    fail: str = "/fail"
    send: tuple[str, ...] = ("start", "success", "fail")


class ProofWhen(StrEnum):
    """When the archives of a backup are proven."""

    REFRESH = "refresh"  # by the refresh that they feed
    NIGHTLY = "nightly"  # each by a drill of its own
    WEEKLY = "weekly"  # by a drill, when the newest proven one is a week old


class ShipForm(StrEnum):
    """As what an archive goes off-site."""

    SHARDS = "shards"  # cut into small files, so that a night adds little
    FILE = "file"  # as it is


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupPlan:
    """Dump one database into one archive, keep some, send copies off-site."""

    name: str
    database: Database
    archive: Path  # the stable name
    repositories: tuple[Repository, ...] = ()
    keep_local: int = 1
    proof: ProofWhen = ProofWhen.REFRESH
    drill_image: str | None = None  # a container image with a server, where none that fits is installed
    drill_on: Database | None = None  # a database whose server takes the drill, where there is neither
    ship: ShipForm = ShipForm.SHARDS
    shard_kib: int | None = None  # the average; None: as the last time, at first by the size of the database
    schedule: Schedule | None = None
    quirks: Quirks = field(default_factory=Quirks)  # of its archives, for whatever restores them
    globals_passwords: bool = False  # role passwords (hashes) in the globals file
    lock_wait: timedelta = timedelta(seconds=60)  # pg_dump --lock-wait-timeout
    idle: timedelta = timedelta(minutes=15)  # no byte from pg_dump for so long ends it
    backlog: int = 7  # how many archives wait here at most for a repository that cannot be reached
    wait: timedelta = timedelta(hours=2)  # how long to wait for a running backup of this archive
    deadline: timedelta = timedelta(hours=12)
    ping: Ping | None = None

    @property
    def zone(self) -> ZoneInfo:
        """By whose calendar its days, weeks and months are counted."""
        return ZoneInfo(self.schedule.timezone if self.schedule else "UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshPlan:
    """Replace one target database by the newest archive of a backup."""

    name: str
    backup: BackupPlan
    target: Database
    max_age: timedelta = timedelta(hours=1)
    schedule: Schedule | None = None
    wait: timedelta = timedelta(hours=2)
    ping: Ping | None = None
    how: Replacement = field(default_factory=Replacement)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which database really answers: the same for every name and address that leads to it."""

    system_identifier: str  # of the cluster
    oid: int  # of the database in it
    database: str  # its present name

    def __str__(self) -> str:
        return f"{self.database} (cluster {self.system_identifier}, oid {self.oid})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One result of a dump, as the catalog knows it."""

    id: str
    plan: str
    run: str
    path: Path  # where it stands or stood
    taken_at: datetime  # just before the dump's snapshot began
    size_bytes: int
    sha256: str
    tables: int
    rows: int
    server_version: str
    state: ArchiveState
    proven_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One restic snapshot of ours."""

    id: str  # 64 hexadecimal digits
    taken_at: datetime
    host: str
    tags: tuple[str, ...]
    paths: tuple[str, ...]
    plan: str | None = None  # from the tag plan=…
    archive: str | None = None  # from the tag archive=…
    size_bytes: int | None = None  # what it holds, where restic says so (0.17+)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One named part of a run."""

    name: str
    started_at: datetime
    ended_at: datetime | None = None
    failed: bool = False
    facts: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a run did not succeed."""

    code: str
    message: str
    hint: str
    exit_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of a plan."""

    id: str
    plan: str
    kind: str  # backup, refresh, ship, undo, …
    state: RunState
    trigger: str  # cli, or the run that started this one
    requested_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    reason: str = ""  # in words, for skipped, lost, cancelled and failed
    failure: Failure | None = None
    result: Mapping[str, object] = field(default_factory=dict[str, object])  # what the job returned, as in --json
    steps: tuple[Step, ...] = ()
