"""What every part of a `Site` stands on: the names of the configuration, the engine, how a job is carried out.

Errors  `UsageError` for a name that is not in the configuration or that is ambiguous.
"""

from __future__ import annotations

import contextlib
import difflib
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from daybreak import config
from daybreak.catalog import Catalog
from daybreak.errors import DaybreakError, UsageError
from daybreak.jobs import offsite
from daybreak.jobs.aftermath import World
from daybreak.jobs.alerts import Alerts
from daybreak.jobs.choice import Choice
from daybreak.jobs.listener import Listener
from daybreak.jobs.run import Engine, RunContext
from daybreak.model import Archive, BackupPlan, Database, RefreshPlan, Repository, Run
from daybreak.process import Runner
from daybreak.replacement import Quirks, Replacement
from daybreak.restic import Restic

_Named = TypeVar("_Named")


class Base:
    """One configuration and its state folder."""

    def __init__(
        self,
        settings: config.Settings,
        catalog: Catalog,
        listener: Listener,
        *,
        cancel: threading.Event,
        trigger: str,
        first_id: str = "",
        alone: bool = False,
        tell: bool = True,
        file: Path | None = None,
        state: Path | None = None,
    ) -> None:
        self.settings = settings
        self.file = file or settings.path  # that a person writes; `daybreak serve` reads a copy that it accepted
        self.catalog = catalog
        self.unusable: DaybreakError | None = None  # why the state folder is only looked at
        self.remembers = True  # what was ever written there can be read
        self.cancel = cancel
        self.trigger = trigger
        self.alerts = Alerts(catalog, settings.alerts.values())
        self.world = World(
            catalog=catalog,
            backups=tuple(settings.backups.values()),
            refreshes=tuple(settings.refreshes.values()),
            alerts=self.alerts,
            repositories=tuple(settings.repositories),
            # Of one run in a catalog of its own there is nothing to count, nor to look up afterwards.
            metrics_file=None if alone else settings.metrics_file,
            recorded=not alone,
        )
        self.engine = Engine(
            catalog,
            state or catalog.folder,
            listener,
            json_log=settings.json_log,
            first_id=first_id,
            aftermath=self.world if tell else None,
            alone=alone,
        )

    @property
    def protected(self) -> tuple[Database, ...]:
        """The databases that are never written: marked so, or dumped from."""
        sources = {plan.database.name for plan in self.settings.backups.values()}
        return tuple(one for one in self.settings.databases.values() if one.protected or one.name in sources)

    def backup_plan(self, name: str | None) -> BackupPlan:
        """A backup by name; without one, the only one."""
        return pick(self.settings.backups, name, "backup")

    def refresh_plan(self, name: str | None) -> RefreshPlan:
        """A refresh by name; without one, the only one."""
        return pick(self.settings.refreshes, name, "refresh")

    def repository(self, name: str | None) -> Repository:
        """A repository by name; without one, the only one."""
        return pick(self.settings.repositories, name, "repository")

    def database(self, name: str) -> Database:
        """A database by name."""
        return pick(self.settings.databases, name, "database")

    def _only_plan(self, chosen: Repository) -> str:
        """The backup that goes to a repository, where there is but one; `latest` is meant of it."""
        plans = [plan.name for plan in self.settings.backups.values() if chosen in plan.repositories]
        return plans[0] if len(plans) == 1 else ""

    # -- how ----------------------------------------------------------------------------------

    def _how(self, target: Database) -> Replacement:
        """How a target is replaced: as its refresh says, also where something else replaces it."""
        plans = [plan.how for plan in self.settings.refreshes.values() if plan.target.name == target.name]
        return plans[0] if plans else Replacement()

    def _execute(self, plan: str, kind: str, job: Callable[[RunContext], None]) -> Run:
        return self.engine.execute(plan=plan, kind=kind, trigger=self.trigger, job=job, cancel=self.cancel)

    @contextlib.contextmanager
    def _unrecorded(self) -> Generator[RunContext]:
        """A context for looking only: no row is written."""
        with self.engine.peek(self.cancel) as context:
            yield context

    def _restic(self, chosen: Repository) -> Restic:
        return Restic(chosen, Runner(cancel=self.cancel))


def plan_of(choice: Choice, plans: Sequence[BackupPlan]) -> BackupPlan | None:
    """The backup that an archive is one of, as far as its place tells."""
    folder = None if choice.shelf is None else choice.shelf.folder
    return next((one for one in plans if one.archive.parent == folder), None)


def with_quirks(how: Replacement, said: Quirks) -> Replacement:
    """The same, with what a person said on the command line besides."""
    return replace(how, quirks=how.quirks.also(said))


def send_offsite(run: RunContext, plan: BackupPlan, archive: Archive) -> list[dict[str, Any]]:
    """Send an archive to the repositories of its plan: what a job is handed as its shipper."""
    return offsite.send(run, plan, archive, connect=Restic)


def pick(named: Mapping[str, _Named], name: str | None, what: str) -> _Named:
    """The one that is meant. Raise UsageError that lists the names there are."""
    if name is not None and name in named:
        return named[name]
    there = ", ".join(named) or "none"
    if name is not None:
        near = difflib.get_close_matches(name, named, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there is: {there}"
        raise UsageError(f"there is no {what} {name!r} in the configuration", hint=hint)
    if len(named) == 1:
        return next(iter(named.values()))
    if not named:
        raise UsageError(f"the configuration has no {what}", hint="daybreak config example shows one")
    raise UsageError(f"which {what}? There is: {there}", hint=f"name one of them: {there}")
