"""A server on which a database is restored beside what there is: locked, guarded, cleaned of what dead runs left.

Shapes  `hold_ground` gives a `Ground`; a database of the configuration that exists and is no production is held as a
        refresh holds it. Of production's server nothing that exists is touched: no session is ended, nothing opened.
Errors  `Busy`, `Refused`, `RefreshError`: nothing was changed but what dead runs had left.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable
from dataclasses import replace
from datetime import timedelta

from daybreak import files
from daybreak.jobs import guard
from daybreak.jobs.connect import connect
from daybreak.jobs.run import RunContext
from daybreak.jobs.target import Ground, advisory_lock, drop_leftovers, faults_of_target, hold_target, mend
from daybreak.model import Database
from daybreak.postgres import shadow
from daybreak.postgres.client import Postgres


@contextlib.contextmanager
def hold_ground(
    run: RunContext, database: Database, protected: Iterable[Database], wait: timedelta
) -> Generator[Ground]:
    """Lock and guard the server of `database`, which may be production or not there. Raise Busy, Refused."""
    if _is_replaceable(run, database, protected):
        with hold_target(run, database, protected, wait) as held:
            yield held
        return
    lock = run.engine.lock_path(f"target-{database.name}")
    with (
        files.lock(lock, wait=wait, cancel=run.cancel, holder=f"run {run.id}"),
        connect(database, run) as server,
    ):
        with run.step("check") as facts, faults_of_target():
            facts["server"] = server.version
            _ = server.own_tools  # the restore needs exactly these; better to know now
            name = _guarded(run, server, protected)
        with advisory_lock(run, server, name, wait):
            with run.step("mend") as facts, faults_of_target():
                facts["mended"] = drop_leftovers(run, server, name)
                found = server.find(name)
                facts["database"] = f"there is no {name}" if found is None else str(found)
                ground = Ground(
                    server=server,
                    name=name,
                    exists=found is not None,
                    system_identifier=server.system_identifier(),
                    facts=_plain_facts(server),
                )
            yield ground


def mend_ground(run: RunContext, server: Postgres, protected: Iterable[Database]) -> list[str]:
    """Drop what dead restores left beside a database, production or not, there or not. Raise Busy, Refused."""
    if not _is_protected(server.database, protected) and server.find(_name(server)) is not None:
        return mend(run, server, protected)
    name = _guarded(run, server, protected)
    with advisory_lock(run, server, name, timedelta(seconds=5)):
        return drop_leftovers(run, server, name)


def _is_protected(database: Database, protected: Iterable[Database]) -> bool:
    return database.name in {one.name for one in protected}


def _is_replaceable(run: RunContext, database: Database, protected: Iterable[Database]) -> bool:
    """Whether it is one that a refresh may replace: no production, and there."""
    if _is_protected(database, protected):
        return False
    guard.refuse_protected(database, protected)
    with faults_of_target(), connect(database, run) as server:
        return server.find(_name(server)) is not None


def _name(server: Postgres) -> str:
    """What the database is called, there or not."""
    return server.database.conninfo.get("dbname") or server.identity().database


def _guarded(run: RunContext, server: Postgres, protected: Iterable[Database]) -> str:
    """The database's own name, after production's server was refused to all but production. Raise Refused."""
    name = _name(server)
    if not _is_protected(server.database, protected):
        guard.refuse_production_server(run, server, name, protected)
    return name


def _plain_facts(server: Postgres) -> shadow.TargetFacts:
    """What a new database has when nothing says otherwise: our role owns it, as on the day of its creation."""
    return replace(
        shadow.facts_of(server, server.maintenance_db),
        owner=str(server.query("SELECT current_user AS name", dbname=server.maintenance_db)[0]["name"]),
        tablespace=shadow.DEFAULT_TABLESPACE,
        connection_limit=-1,
        acl=None,
        comment=None,
        settings=(),
    )
