"""The verb that restores: an archive into a new database, or tables into a schema of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from daybreak.jobs import rescue as rescuing
from daybreak.jobs import restore as restoring
from daybreak.jobs.choice import choose
from daybreak.jobs.run import RunContext
from daybreak.model import BackupPlan, Database, Run
from daybreak.site.base import Base, pick


class Restoring(Base):
    """Restore."""

    def restore(
        self, archive: str, to: str, *, backup: str | None, new: str | None, confirm: Callable[[str], str | None]
    ) -> Run:
        """`daybreak restore` into a new database."""
        target = pick(self.settings.databases, to, "database")
        plans = self._plans(backup, target)

        def job(run: RunContext) -> None:
            restoring.restore(
                run,
                target,
                choose=lambda run: choose(run, archive, plans),
                new=new,
                protected=self.protected,
                how=self._how(target),
                confirm=confirm,
            )

        return self._execute(target.name, "restore", job)

    def rescue(self, archive: str, to: str, *, backup: str | None, tables: Sequence[str], schema: str | None) -> Run:
        """`daybreak restore --table`: into a schema of their own."""
        target = pick(self.settings.databases, to, "database")
        plans = self._plans(backup, target)

        def job(run: RunContext) -> None:
            rescuing.rescue(
                run,
                target,
                choose=lambda run: choose(run, archive, plans),
                tables=tables,
                schema=schema,
                protected=self.protected,
                how=self._how(target),
            )

        return self._execute(target.name, "restore", job)

    def _plans(self, backup: str | None, target: Database) -> Sequence[BackupPlan]:
        """The backups whose archives may be meant: the one that is named; for production its own."""
        if backup is not None:
            return [self.backup_plan(backup)]
        plans = list(self.settings.backups.values())
        return [plan for plan in plans if plan.database.name == target.name] or plans
