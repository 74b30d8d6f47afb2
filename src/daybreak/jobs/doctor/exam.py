"""The whole chain, piece by piece: this host, databases, archives, repositories, refreshes, plans.

Nothing is changed and nothing is recorded. A piece that cannot be looked at is a finding, and the next one follows.

Shapes  `tonight` leaves out what the next runs do not need: ages, alerts, plans that are not due.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from daybreak.catalog import Catalog
from daybreak.errors import DaybreakError
from daybreak.hosts import container
from daybreak.jobs.backup import forecast_bytes
from daybreak.jobs.conditions import find_conditions
from daybreak.jobs.doctor import archives, floors, home, plans, repositories, servers
from daybreak.jobs.doctor.finding import Finding, Piece, Severity
from daybreak.jobs.plan import look_ahead
from daybreak.jobs.run import RunContext
from daybreak.jobs.status import status_of
from daybreak.model import BackupPlan, Database, Destination, RefreshPlan, Repository
from daybreak.postgres.client import Postgres
from daybreak.process import Runner
from daybreak.restic import Restic

#: Something to mend, and no run will fail of it: nobody is to be told that tonight's will.
_HARMS_NO_RUN: Final = frozenset({"config.mode", "archive.mode"})


#: A warning only says that nothing is known of it yet, which nobody can tell where the catalog cannot be read.
_KNOWN_BY_HEART: Final = frozenset({"database.identity", "archive.manifest"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """What is looked at: everything of one configuration."""

    file: Path
    databases: Sequence[Database]
    backups: Sequence[BackupPlan]
    refreshes: Sequence[RefreshPlan]
    repositories: Sequence[Repository]
    alerts: Sequence[Destination]
    protected: Sequence[Database]
    unusable: DaybreakError | None = None  # why its state folder cannot be written
    remembers: bool = True  # what is written there can be read
    written_down: Mapping[str, bool] | None = None  # by repository; None: this Daybreak does not record it

    def due_tonight(self, at: datetime) -> Patient:
        """The same with the plans that are due within a day and a half, and what those need."""
        due = plans.tonight([*self.backups, *self.refreshes], at)
        refreshes = [plan for plan in due if isinstance(plan, RefreshPlan)]
        backups = {plan.name: plan for plan in due if isinstance(plan, BackupPlan)}
        backups |= {plan.backup.name: plan.backup for plan in refreshes}
        needed = {one.name for plan in backups.values() for one in plan.repositories}
        used = {plan.database.name for plan in backups.values()} | {plan.target.name for plan in refreshes}
        return replace(
            self,
            databases=[one for one in self.databases if one.name in used],
            backups=list(backups.values()),
            refreshes=refreshes,
            repositories=[one for one in self.repositories if one.name in needed],
            alerts=(),
        )


def examine(
    run: RunContext,
    patient: Patient,
    at: datetime,
    *,
    connect: Callable[[Repository, Runner], Restic],
    tonight: bool = False,
) -> Iterator[Finding]:
    """Every finding, as it is made."""
    for found in _examine(run, patient, at, connect=connect, tonight=tonight):
        if found.id in _KNOWN_BY_HEART and found.severity is Severity.WARNING and not patient.remembers:
            continue
        mild = tonight and found.severity is Severity.ERROR and found.id in _HARMS_NO_RUN
        yield replace(found, severity=Severity.WARNING) if mild else found


def _examine(
    run: RunContext,
    patient: Patient,
    at: datetime,
    *,
    connect: Callable[[Repository, Runner], Restic],
    tonight: bool,
) -> Iterator[Finding]:
    who = patient.due_tonight(at) if tonight else patient
    yield from _home(run.catalog, who, at, tonight=tonight)
    for database in who.databases:
        yield from _database(run, who, database)
    for repository in who.repositories:
        if repository.env_file is not None:
            yield home.env_file(Piece("repository.env_file", repository.name), repository.env_file)
        restic = connect(repository, run.runner)
        yield from repositories.examine(restic, repository, at, written_down=who.written_down)
    if not who.remembers:
        return
    for plan in who.refreshes:
        yield from _rehearsal(run, who, plan)
    yield from plans.holds(run.catalog, at)
    if not tonight:
        yield from _plans(run.catalog, who, at)


def _home(catalog: Catalog, who: Patient, at: datetime, *, tonight: bool) -> Iterator[Finding]:
    yield home.judge_file_mode(Piece("config.mode", ""), who.file)
    newest = next(iter(catalog.runs.list(limit=1)), None)
    yield home.judge_clock(Piece("clock", ""), at, newest.requested_at if newest else None)
    schedules = [plan.schedule for plan in (*who.backups, *who.refreshes) if plan.schedule]
    yield home.zone_data(Piece("zone_data", ""), schedules, year=at.year)
    if who.unusable is not None:
        found = Piece("state.folder", "").fault(who.unusable)
        without = "" if who.remembers else "; nor read, so what is known of runs is left out here"
        yield replace(found, text=found.text + without)
    else:
        yield from home.state_folder(catalog)
    if not tonight:
        yield floors.judge_age(Piece("floors", ""), today=at.date())
        yield from home.destinations(catalog, who.alerts)
        for plan in (*who.backups, *who.refreshes):
            if plan.ping is not None:
                yield home.secret(Piece("ping.address", plan.name), plan.ping.url, what="address")


def _database(run: RunContext, who: Patient, database: Database) -> Iterator[Finding]:
    dumped = [plan for plan in who.backups if plan.database.name == database.name]
    restored = [plan for plan in who.refreshes if plan.target.name == database.name]
    forecasts: dict[str, int] = {}

    def more(server: Postgres) -> Iterator[Finding]:
        for plan in dumped:
            forecasts[plan.name] = forecast_bytes(run, plan, server)
        if server.host.place.container and server.host.place.ssh is None:
            found = container.state(server.host, run.runner)
            folders = {plan.archive.parent for plan in dumped}
            folders |= {plan.backup.archive.parent for plan in restored}
            for folder in sorted(folders):
                yield archives.judge_mounts(
                    Piece("container.mount", database.name),
                    found.mounts if found else (),
                    folder,
                    is_target=bool(restored),
                )

    yield from servers.examine(run, database, reads=bool(dumped), more=more)
    for plan in dumped:
        yield from archives.examine(run.catalog, plan, forecast_bytes=forecasts.get(plan.name))


def _rehearsal(run: RunContext, who: Patient, plan: RefreshPlan) -> Iterator[Finding]:
    piece = Piece("refresh.rehearsal", plan.name)
    try:
        outlook = look_ahead(run, plan, protected=who.protected)
    except DaybreakError as error:
        yield piece.fault(error)
        return
    for obstacle in outlook.obstacles:
        yield piece.error(f"{obstacle}", f"daybreak refresh {plan.name} --plan")
    if not outlook.obstacles:
        yield piece.ok(f"{plan.target.name} can be replaced")
    for note in outlook.notes:
        yield Piece("refresh.note", plan.name).warning(note, f"daybreak refresh {plan.name} --plan")


def _plans(catalog: Catalog, who: Patient, at: datetime) -> Iterator[Finding]:
    schedules = {("backup", plan.name): plan.schedule for plan in who.backups}
    schedules |= {("refresh", plan.name): plan.schedule for plan in who.refreshes}
    for one in status_of(catalog, who.backups, who.refreshes, at):
        when = schedules[one.kind, one.plan]
        yield plans.judge_schedule(Piece("plan.schedule", one.plan), when, at)
        yield plans.judge_success(Piece("plan.last_success", one.plan), one, when, at)
        if one.unread is not None:
            yield Piece("plan.waiting", one.plan).fault(one.unread)
    repositories = [one.name for one in who.repositories]
    yield from plans.conditions(find_conditions(catalog, who.backups, who.refreshes, at, repositories=repositories))
