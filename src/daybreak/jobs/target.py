"""A target for the time of a job: locked, guarded, and cleaned of what dead runs left there.

Shapes  `hold_target` gives a `Held`; inside the block nobody else of ours touches the target.
Errors  `Busy`, `Refused`, `RefreshError`: nothing was changed but what dead runs had left.
Source  the design: a database is ours to drop when the catalog knows server and oid and its COMMENT names the run.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from daybreak import files
from daybreak.catalog.ids import RUN_ID
from daybreak.catalog.records import Creation, Role
from daybreak.errors import (
    Busy,
    Cancelled,
    CommandError,
    ConfigError,
    DaybreakError,
    RefreshError,
    Refused,
    SourceError,
)
from daybreak.jobs import guard
from daybreak.jobs.connect import connect
from daybreak.jobs.run import RunContext, now
from daybreak.model import Database, Identity
from daybreak.postgres import cron, shadow
from daybreak.postgres.client import Postgres
from daybreak.postgres.faults import SqlError
from daybreak.postgres.sql import derived_name, identifier, literal
from daybreak.postgres.swap import SWAP, drop_statement
from daybreak.units import show_count

#: A swap is bounded by its own deadline; nothing waits longer for one that a dead run began.
_SWAP_BOUND_S: Final = 90.0
_PREVIOUS: Final = "previous"
_BRIEFLY: Final = timedelta(seconds=5)
_DROP_DEADLINE: Final = timedelta(minutes=10)
#: What our databases are called behind the target's name; the plain `previous` is never dropped.
_GIVEN: Final = re.compile(rf"_((?:shadow|previous|rejected)_{RUN_ID.pattern})$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Where a database is built: a server that is ours for now, beside a database of the configuration."""

    server: Postgres
    name: str  # the configured database's own name
    exists: bool  # whether there is such a database
    system_identifier: str
    facts: shadow.TargetFacts  # what a new database is made with


@dataclass(frozen=True, slots=True, kw_only=True)
class Held(Ground):
    """A target that is ours for now."""

    identity: Identity

    @property
    def previous(self) -> str:
        """The name of the database that a swap leaves for undo."""
        return derived_name(self.name, _PREVIOUS)


@contextlib.contextmanager
def hold_target(run: RunContext, target: Database, protected: Iterable[Database], wait: timedelta) -> Generator[Held]:
    """Lock, guard and mend `target`. Raise Busy, Refused, RefreshError."""
    lock = run.engine.lock_path(f"target-{target.name}")
    with (
        files.lock(lock, wait=wait, cancel=run.cancel, holder=f"run {run.id}"),
        connect(target, run) as server,
    ):
        with run.step("check") as facts, faults_of_target():
            guard.refuse_protected(target, protected)
            facts["server"] = server.version
            _ = server.own_tools  # the restore needs exactly these; better to know now
            name = guard.refuse_production(run, server, protected).database
            _require_said(server, name)
            ended = _end_dead_sessions(run, server)
        with advisory_lock(run, server, name, wait):
            with run.step("mend") as facts, faults_of_target():
                facts["mended"] = [*ended, *_mend(run, server, name)]
                identity = guard.check_target(run, server, protected)
                facts["database"] = str(identity)
                held = Held(
                    server=server,
                    name=identity.database,
                    exists=True,
                    system_identifier=identity.system_identifier,
                    identity=identity,
                    facts=shadow.facts_of(server, name),
                )
            yield held


def _require_said(server: Postgres, name: str) -> None:
    """See that we rename the target from another database, which is chosen by what the configuration says."""
    if name == server.maintenance_db:
        raise ConfigError(
            f"{server.where()}: only its service says that it is the database {name}, from which others are renamed",
            hint=f"add dbname={name} to databases.{server.database.name}.url",
        )


@contextlib.contextmanager
def faults_of_target() -> Generator[None]:
    """A target that cannot be reached or asked is a refresh that failed, not a source that did."""
    try:
        yield
    except (SourceError, SqlError, CommandError) as error:
        raise RefreshError(error.message, hint=error.hint) from error


@contextlib.contextmanager
def advisory_lock(run: RunContext, server: Postgres, dbname: str, wait: timedelta) -> Generator[None]:
    """The lock on the target's own server: another host may have the same target."""
    key = int.from_bytes(hashlib.sha256(f"daybreak:{dbname}".encode()).digest()[:8], signed=True)
    until = time.monotonic() + wait.total_seconds()
    while True:
        with server.advisory_lock(key, deadline=timedelta(days=7)) as got:
            if got:
                yield
                return
        if run.cancel.is_set():
            raise Cancelled("the run was cancelled while it waited for the target")
        if time.monotonic() > until:
            raise Busy(
                f"another Daybreak works on {dbname} (advisory lock {key} on its server)",
                hint="on another host? wait for it, or see pg_locks on the server for the session that holds it",
            )
        time.sleep(1.0)


def mend(run: RunContext, server: Postgres, protected: Iterable[Database]) -> list[str]:
    """Put right what dead runs left on a target's server; say what was done. Raise Busy when it is in use.

    Waits for a swap that still runs, takes note of one that completed, opens the target if a dead run
    left it closed, ends sessions of dead runs, and drops shadows and outdated previous databases of ours.
    """
    name = guard.refuse_production(run, server, protected).database
    ended = _end_dead_sessions(run, server)
    with advisory_lock(run, server, name, _BRIEFLY):
        return [*ended, *_mend(run, server, name)]


def _end_dead_sessions(run: RunContext, server: Postgres) -> list[str]:
    ended = guard.end_dead_backends(run, server, everything=True)
    return [f"ended {show_count(ended, 'session')} of dead runs"] if ended else []


def _mend(run: RunContext, server: Postgres, name: str) -> list[str]:
    done = [*settle(run, server, name), *drop_leftovers(run, server, name), *_finish_cron(run, server, name)]
    for one in done:
        run.log.write(f"mended: {one}")
    return done


def _finish_cron(run: RunContext, server: Postgres, name: str) -> list[str]:
    """Bring back the jobs of pg_cron that a run which ended behind its swap has left aside; without them goes, too."""
    try:
        if not cron.has_aside(server, name):
            return []
    except (SqlError, SourceError, CommandError):  # gone, or closed by somebody: whoever needs it says so
        return []
    try:
        cron.make(server, name)
    except (SqlError, SourceError, CommandError) as error:
        run.warn(
            f"pg_cron and its jobs are missing in {name}, and could not be brought back: {error.message} "
            "(they wait there; mend it, then `daybreak repair`)"
        )
        return []
    return [f"brought pg_cron and its jobs back into {name}, which a run had left without them"]


def settle(run: RunContext, server: Postgres, name: str) -> list[str]:
    """See that no swap is going on, that the catalog knows how the last one ended, and that the target is open.

    What was announced is withdrawn only after the target was opened: whoever dies between leaves no closed target
    that nobody knows of. Raise RefreshError, Refused.
    """
    _wait_for_swap(server)
    found = next((one for one in shadow.databases(server) if one.name == name), None)
    if found is None:
        raise RefreshError(
            f"{server.where()}: there is no database {name}",
            hint=f"create it once (CREATE DATABASE {identifier(name)}), with the owner it should have",
        )
    known = run.catalog.databases.enrolled(server.database.name)
    announcer = None if known is None else known.next_run
    done: list[str] = []
    if not found.open:
        if announcer is None:
            raise Refused(
                f"{name} is closed to connections, and not by Daybreak",
                hint=f"if nobody wants it closed: ALTER DATABASE {identifier(name)} ALLOW_CONNECTIONS true",
            )
        server.execute(f"ALTER DATABASE {identifier(name)} ALLOW_CONNECTIONS true", dbname=server.maintenance_db)
        done.append(f"opened {name}, which run {announcer} had left closed")
    if known is None or announcer is None:
        return done
    if known.next_oid == found.oid:
        run.catalog.databases.accept_next(server.database.name, previous=derived_name(name, _PREVIOUS), at=now())
        done.append(f"took note that the swap of run {announcer} had completed: {name} has its data")
    else:
        run.catalog.databases.withdraw_next(server.database.name, announcer)
    return done


def _wait_for_swap(server: Postgres) -> None:
    until = time.monotonic() + _SWAP_BOUND_S
    like = literal(f"daybreak:%{SWAP}")
    sql = f"SELECT pid, application_name AS name FROM pg_stat_activity WHERE application_name LIKE {like}"
    while rows := server.query(sql, dbname=server.maintenance_db):
        if time.monotonic() > until:
            raise RefreshError(
                f"a swap that began earlier still runs on the server ({rows[0]['name']}, pid {rows[0]['pid']})",
                hint="look at that session in pg_stat_activity; it should have ended by itself",
            )
        time.sleep(0.05)


def drop_leftovers(run: RunContext, server: Postgres, name: str, *, mine: str | None = None) -> list[str]:
    """Drop databases of ours that nobody needs: shadows of ended runs, and all previous ones but the newest.

    `mine` is a live run that gives up its own shadow. Three things must agree before one is dropped: the catalog
    (server and oid), its comment (the run), and its name (one that only we give): who renames it, keeps it.
    """
    target = server.database.name
    cluster = server.system_identifier()
    known = run.catalog.databases.enrolled(target)
    open_creations = [one for one in run.catalog.databases.open_creations(target) if one.system_identifier == cluster]
    by_oid = {one.oid: one for one in open_creations if one.oid is not None}
    unfinished = {one.database: one for one in open_creations if one.oid is None}
    present = shadow.databases(server)
    done: list[str] = []
    for found in present:
        creation = by_oid.get(found.oid) or unfinished.get(found.name)
        if creation is None or not _named_by_us(found.name, name):
            continue
        announced = None if known is None else known.next_oid
        if announced is not None and (found.oid == announced or creation.role is Role.PREVIOUS):
            continue  # how that swap ended is not known yet; whoever takes it back wants the one that stepped aside
        if creation.role is Role.SHADOW and creation.run != mine and run.engine.is_alive(creation.run):
            continue
        if not _is_ours(server, creation, found):
            run.log.write(f"{found.name} is left alone: its comment is {found.comment!r}, not run {creation.run}'s")
            continue
        try:
            server.execute(drop_statement(found.name), dbname=server.maintenance_db, deadline=_DROP_DEADLINE)
        except SqlError as error:
            run.warn(f"{found.name}, which nobody needs any more, could not be dropped: {error.message}")
            continue
        run.catalog.databases.mark_dropped(creation.id, at=now())
        done.append(f"dropped {found.name}, left by run {creation.run}")
    names, oids = {one.name for one in present}, {one.oid for one in present}
    for creation in open_creations:
        gone = creation.database not in names if creation.oid is None else creation.oid not in oids
        if gone and not run.engine.is_alive(creation.run):
            run.catalog.databases.mark_dropped(creation.id, at=now())
    return done


def _named_by_us(name: str, target: str) -> bool:
    """Whether this is a name that a run gives beside `target`, and that is not wanted any more."""
    given = _GIVEN.search(name)
    return given is not None and name == derived_name(target, given[1])


def _is_ours(server: Postgres, creation: Creation, found: shadow.Found) -> bool:
    if found.comment is not None:
        return f"run={creation.run} " in found.comment and found.comment.startswith("daybreak ")
    # Killed between CREATE DATABASE and its COMMENT: the name holds the run's id, and nothing is in it yet.
    if creation.oid is not None or creation.run not in found.name or not found.open:
        return False
    rows = server.query(
        "SELECT count(*) AS count FROM pg_class WHERE relnamespace NOT IN "
        "(SELECT oid FROM pg_namespace WHERE nspname IN ('pg_catalog', 'information_schema', 'pg_toast'))",
        dbname=found.name,
    )
    return rows[0]["count"] == 0


def clean_up(run: RunContext, held: Ground) -> None:
    """Drop the previous database before this one's, and the shadow of a refresh that failed.

    Also of one that was cancelled. What cannot be dropped now, the next run drops.
    """
    with run.step("clean up") as facts:
        try:
            facts["dropped"] = drop_leftovers(run, held.server.steadfast, held.name, mine=run.id)
        except DaybreakError as error:
            run.warn(f"what is not needed any more could not be dropped, the next run will: {error.message}")


def require_own_previous(run: RunContext, server: Postgres, identity: Identity) -> shadow.Found | None:
    """The target's previous database, when it is there and ours. Raise Refused for somebody else's of that name."""
    name = derived_name(identity.database, _PREVIOUS)
    found = next((one for one in shadow.databases(server) if one.name == name), None)
    if found is None:
        return None
    creation = run.catalog.databases.find_creation(identity.system_identifier, found.oid)
    ours = creation is not None and creation.target == server.database.name
    marked = (found.comment or "").startswith(shadow.PREVIOUS_MARK)
    if ours and marked:
        return found
    rename = f"ALTER DATABASE {identifier(name)} RENAME TO {identifier(derived_name(identity.database, 'before'))};"
    if marked and creation is None:  # whose it is, only the catalog that made it could tell
        raise Refused(
            f"a database {name} is there that a Daybreak kept, and this catalog does not know it ({found.comment})",
            hint=f"was its catalog moved away, or is it another host's? Rename it: {rename} or drop it, if nobody wants"
            f" it back: DROP DATABASE {identifier(name)};",
        )
    raise Refused(
        f"a database {name} is there, and it is not one that Daybreak keeps for {server.database.name}",
        hint=f"rename it: {rename}" + (f" (its comment: {found.comment})" if found.comment else ""),
    )
