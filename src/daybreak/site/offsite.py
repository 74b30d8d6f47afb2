"""The verbs of what is off-site."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from daybreak.errors import UsageError
from daybreak.jobs import fetch as fetching
from daybreak.jobs import offsite, recovery
from daybreak.jobs.run import RunContext, now
from daybreak.model import Run
from daybreak.restic import Restic
from daybreak.site.base import Base


class OffSite(Base):
    """Ship and fetch."""

    def ship(self, name: str | None) -> Run:
        """`daybreak ship`."""
        plan = self.backup_plan(name)
        if not plan.repositories:
            raise UsageError(
                f"backup {plan.name} has no repository", hint=f'set backups.{plan.name}.repositories = ["…"]'
            )
        return self._execute(plan.name, "ship", lambda run: offsite.ship(run, plan, connect=Restic))

    def fetch(self, snapshot: str, to: Path, *, name: str | None, on_file: Callable[[str], None]) -> fetching.Fetched:
        """`daybreak fetch`."""
        chosen = self.repository(name)
        return fetching.fetch(
            self._restic(chosen), to=to, snapshot=snapshot, plan=self._only_plan(chosen), on_file=on_file
        )

    def fetch_here(self, snapshot: str, *, name: str | None) -> Run:
        """`daybreak fetch` without --to: a run that leaves the archive in a folder of its own in the state folder."""
        chosen = self.repository(name)
        plan, folder = self._only_plan(chosen), self.catalog.folder / fetching.FETCHED

        def job(run: RunContext) -> None:
            fetching.fetch_here(run, Restic(chosen, run.runner), folder, snapshot=snapshot, plan=plan)

        return self._execute(f"{chosen.name}-fetch", "fetch", job)

    def recovery_kit(self, to: Path) -> recovery.Kit:
        """`daybreak recovery-kit`."""
        plans = [plan for plan in self.settings.backups.values() if plan.repositories]
        if not plans:
            raise UsageError("no backup has a repository", hint='set backups.NAME.repositories = ["…"]')
        return recovery.write_kit(plans, to, connect=self._restic, host=offsite.host_name(), at=now())
