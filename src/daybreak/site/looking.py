"""The verbs that only look, and the one that asks a run to end."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from daybreak.catalog.records import Enrolment, Hold, Progress
from daybreak.errors import UsageError
from daybreak.jobs.run import now
from daybreak.jobs.status import PlanStatus, status_of
from daybreak.model import Run
from daybreak.site.base import Base


class Looking(Base):
    """Status, runs, holds, what is known."""

    def status(self, at: datetime) -> list[PlanStatus]:
        """`daybreak status`."""
        self.engine.mark_lost()
        plans = self.settings
        return status_of(
            self.catalog, plans.backups.values(), plans.refreshes.values(), at, upkeep=plans.upkeep.values()
        )

    def holds(self, at: datetime) -> list[Hold]:
        """Every hold that counts at an instant."""
        return self.catalog.holds.list(at=at)

    def runs(self, limit: int) -> list[Run]:
        """`daybreak runs`, newest first."""
        self.engine.mark_lost()
        return self.catalog.runs.list(limit=limit)

    def run(self, beginning: str) -> Run:
        """One run by its id or the beginning of it."""
        self.engine.mark_lost()
        found = self.catalog.runs.find(beginning)
        if len(found) != 1:
            what = "more than one run begins" if found else "no run begins"
            raise UsageError(f"{what} with {beginning!r}", hint="daybreak runs lists them")
        run = self.catalog.runs.get(found[0].id)
        assert run is not None
        return run

    def progress(self, run: str) -> Progress | None:
        """Where a run is just now."""
        return self.catalog.runs.progress(run)

    def log_path(self, run: str) -> Path:
        """The log file of a run."""
        return self.engine.log_path(run)

    def cancel_run(self, beginning: str, *, by: str) -> Run:
        """`daybreak run cancel`."""
        run = self.run(beginning)
        if not self.catalog.runs.request_cancel(run.id, by=by, at=now()):
            raise UsageError(f"run {run.id} has ended already: {run.state}")
        return run

    def enrolments(self) -> list[Enrolment]:
        """Every database that is known."""
        return self.catalog.databases.list()
