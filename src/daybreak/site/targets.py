"""The verbs that change a target, or say which database it is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import PurePosixPath

from daybreak.catalog.records import Hold
from daybreak.jobs import guard
from daybreak.jobs import hold as holding
from daybreak.jobs import pull as pulling
from daybreak.jobs import refresh as refreshing
from daybreak.jobs import repair as repairing
from daybreak.jobs import undo as undoing
from daybreak.jobs.connect import connect
from daybreak.jobs.plan import RefreshOutlook, look_ahead
from daybreak.jobs.run import RunContext, now
from daybreak.model import Database, Identity, Run
from daybreak.site.base import Base, pick, send_offsite
from daybreak.site.timing import in_slot

_UNDO_WAIT = timedelta(minutes=10)


class Targets(Base):
    """Refresh, pull, undo, hold, repair, enrol."""

    def refresh(
        self, name: str | None, *, fresh: bool, confirm_first: Callable[[str], bool], slot: str | None = None
    ) -> Run:
        """`daybreak refresh`; with a slot only where nobody took that one."""
        plan = self.refresh_plan(name)

        def job(run: RunContext) -> None:
            refreshing.refresh(
                run, plan, protected=self.protected, ship=send_offsite, confirm_first=confirm_first, fresh=fresh
            )

        return self._execute(plan.name, "refresh", in_slot("refresh", plan.name, plan.schedule, slot, job))

    def look_ahead(self, name: str | None) -> RefreshOutlook:
        """`daybreak refresh --plan`: what a refresh would do; changes nothing."""
        plan = self.refresh_plan(name)
        with self._unrecorded() as run:
            return look_ahead(run, plan, protected=self.protected)

    def undo(self, name: str | None, *, confirm: Callable[[str], bool]) -> Run:
        """`daybreak undo`."""
        target = self.undo_target(name)

        def job(run: RunContext) -> None:
            how = self._how(target)
            undoing.undo(run, target, protected=self.protected, wait=_UNDO_WAIT, how=how, confirm=confirm)

        return self._execute(target.name, "undo", job)

    def undo_target(self, name: str | None) -> Database:
        """A database that a refresh or a pull replaces, by name; without one, the only one."""
        refreshed = [plan.target.name for plan in self.settings.refreshes.values()]
        # Also what was pulled: it has a previous database as well.
        pulled = [one for one in self.settings.databases if self.catalog.databases.was_refreshed(one)]
        targets = {one: self.settings.databases[one] for one in dict.fromkeys([*refreshed, *pulled])}
        return pick(targets, name, "target database")

    def pull(
        self,
        backup: str | None,
        to: str,
        *,
        host: str | None,
        path: PurePosixPath | None,
        repository: str | None,
        confirm_first: Callable[[str], bool],
    ) -> Run:
        """`daybreak pull`: from a repository where one is named, else from a host."""
        target = pick(self.settings.databases, to, "database")
        if repository is not None:
            restic = self._restic(self.repository(repository))
            bring = pulling.from_repository(restic, backup or self._only_plan(restic.repository))
        else:
            ssh = pick(self.settings.hosts, host, "host")
            bring = pulling.from_host(ssh, backup, path, deadline=self._how(target).deadline)

        def job(run: RunContext) -> None:
            pulling.pull(
                run,
                target,
                bring=bring,
                protected=self.protected,
                confirm_first=confirm_first,
                how=self._how(target),
            )

        return self._execute(target.name, "pull", job)

    def repair(self) -> Run:
        """`daybreak repair`."""

        def job(run: RunContext) -> None:
            repairing.repair(
                run,
                backups=self.settings.backups.values(),
                refreshes=self.settings.refreshes.values(),
                databases=self.settings.databases.values(),
                protected=self.protected,
            )

        return self._execute("all", "repair", job)

    def enrol(self, name: str) -> tuple[Identity | None, Identity]:
        """`daybreak enrol`: take note of what a database really is; what was known before, and now."""
        database = pick(self.settings.databases, name, "database")
        before = self.catalog.databases.enrolled(name)
        identity = self.identify(database)
        self.catalog.databases.enrol(name, identity, at=now())
        return (before.identity if before else None), identity

    def enrol_new(self, name: str) -> Identity:
        """See that a database is the one that is known, or take note of it the first time. Raise Refused."""
        database = pick(self.settings.databases, name, "database")
        with self._unrecorded() as run, connect(database, run) as server:
            return guard.check_source(run, server)

    def hold(self, name: str, *, until: str | None, why: str, by: str) -> Hold:
        """`daybreak hold`; a date is meant in the zone in which the database is refreshed."""
        database = pick(self.settings.databases, name, "database")
        zone = holding.zone_of(self.settings.refreshes.values(), database.name, self.settings.timezone)
        return holding.hold(self.catalog, database, self.protected, until=until, zone=zone, why=why, by=by)

    def release(self, name: str) -> Hold | None:
        """`daybreak release`: the hold that there was."""
        return holding.release(self.catalog, pick(self.settings.databases, name, "database"))

    def identify(self, database: Database) -> Identity:
        """Which database really answers under a name."""
        with self._unrecorded() as run, connect(database, run) as server:
            return server.identity()
