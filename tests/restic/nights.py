"""A host that has a night after the other, with everything of Daybreak's but the dump: archives are made up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from offsite_samples import FIRST_NIGHT, NAME, made_up_manifest

from daybreak.catalog import Catalog
from daybreak.catalog.records import ArchiveRecord
from daybreak.errors import DaybreakError
from daybreak.jobs import backlog, offsite, upkeep
from daybreak.jobs.adoption import adopt
from daybreak.jobs.run import Engine, RunContext
from daybreak.jobs.shelf import Shelf
from daybreak.model import Archive, ArchiveState, BackupPlan, Database, Repository, Run, Schedule, ShipForm
from daybreak.process import Runner
from daybreak.restic import Restic
from daybreak.upkeep import RepositoryPlan, Upkeep
from silent import Silent

ROLES = b"CREATE ROLE genji;\n"
SOON = timedelta(seconds=6)


@dataclass(kw_only=True)
class Host:
    """One machine: an archive's folder, a state folder, a plan that sends to repositories."""

    folder: Path
    repositories: tuple[Repository, ...]
    backlog: int = 7
    name: str = "nightly"
    schedule: Schedule | None = None
    quick: timedelta = timedelta(seconds=60)
    lock_wait: timedelta = timedelta(minutes=5)
    cancel: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        (self.folder / "archives").mkdir(parents=True, exist_ok=True)
        self.catalog = Catalog.open(self.folder / "state")
        self.engine = Engine(self.catalog, self.folder / "state", Silent())

    @property
    def plan(self) -> BackupPlan:
        return BackupPlan(
            ship=ShipForm.FILE,  # what these nights send is no real archive
            name=self.name,
            database=Database(name="prod", conninfo={}),
            archive=self.folder / "archives" / NAME,
            repositories=self.repositories,
            backlog=self.backlog,
            schedule=self.schedule,
        )

    @property
    def shelf(self) -> Shelf:
        return Shelf(self.plan.archive)

    def connect(self, repository: Repository, runner: Runner) -> Restic:
        return Restic(repository, runner, quick=self.quick, lock_wait=self.lock_wait)

    def run(self, kind: str, job: Callable[[RunContext], None], *, plan: str = "") -> Run:
        return self.engine.execute(plan=plan or self.name, kind=kind, trigger="test", job=job, cancel=self.cancel)

    def night(self, number: int, content: bytes = b"", *, quarantined: bool = False) -> Run:
        """Publish an archive as `backup` does, and send it. Raise what the sending raises."""
        return self.run("backup", lambda run: self._night(run, number, content or b"night %d" % number, quarantined))

    def try_night(self, number: int, content: bytes = b"") -> DaybreakError | None:
        """The fault of a night."""
        try:
            self.night(number, content)
        except DaybreakError as error:
            return error
        return None

    def _night(self, run: RunContext, number: int, content: bytes, quarantined: bool) -> None:  # noqa: FBT001 -- handed through
        shelf, plan = self.shelf, self.plan
        shelf.prepare()
        run.begin()
        backlog.keep_unsent(run, plan, shelf, adopt(run, plan, shelf))
        manifest = made_up_manifest(number, content, ROLES, plan=self.name)
        staged = shelf.staged(run.id)
        staged.write_bytes(content)
        shelf.store_manifest(manifest, ROLES)
        path = plan.archive
        if quarantined:
            path = shelf.quarantine(staged, manifest)
        else:
            shelf.publish(staged, manifest, keep_as=None)
        state = ArchiveState.QUARANTINED if quarantined else ArchiveState.PUBLISHED
        archive = Archive(
            id=manifest.id,
            plan=self.name,
            run=run.id,
            path=path,
            taken_at=manifest.taken_at,
            size_bytes=len(content),
            sha256=sha256(content).hexdigest(),
            tables=0,
            rows=0,
            server_version="18.6",
            state=state,
        )
        self.catalog.archives.add(ArchiveRecord(archive=archive, dump_s=1.0, quarantine_reason="odd" * quarantined))
        run.result["snapshots"] = []
        offsite.send(run, plan, archive, connect=self.connect)

    def ship(self) -> Run:
        """`daybreak ship`."""
        return self.run("ship", lambda run: offsite.ship(run, self.plan, connect=self.connect))

    def upkeep(self, kind: Upkeep, repository: Repository | None = None, *, wait: timedelta = SOON) -> RepositoryPlan:
        chosen = repository or self.repositories[0]
        sunday = Schedule(spec="Sun 05:00", timezone="UTC")
        return RepositoryPlan(name=kind.plan_of(chosen.name), kind=kind, repository=chosen, schedule=sunday, wait=wait)

    def check(self, repository: Repository | None = None, *, read: str = "", wait: timedelta = SOON) -> Run:
        """`daybreak repository check`."""
        plan = self.upkeep(Upkeep.CHECK, repository, wait=wait)
        zones = {self.name: self.plan.zone}

        def job(run: RunContext) -> None:
            upkeep.check_repository(run, plan, senders={self.name}, zones=zones, connect=self.connect, read=read)

        return self.run("check", job, plan=plan.name)

    def prune(self, repository: Repository | None = None, *, wait: timedelta = SOON) -> Run:
        """`daybreak repository prune`."""
        plan = self.upkeep(Upkeep.PRUNE, repository, wait=wait)
        return self.run(
            "prune",
            lambda run: upkeep.prune_repository(run, plan, senders={self.name}, connect=self.connect),
            plan=plan.name,
        )

    def waiting(self) -> list[str]:
        """The archives that wait, oldest first."""
        return [one.archive for one in backlog.waiting(self.catalog, self.plan)]

    def prove(self, number: int) -> None:
        """Record that the archive of a night was proven."""
        self.catalog.archives.set_proven(f"a{number:03}", at=datetime.now(UTC), proof={})


def night_at(number: int) -> datetime:
    """When the archive of a night was taken."""
    return FIRST_NIGHT + timedelta(days=number)
