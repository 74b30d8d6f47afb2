"""The verb that restores: an archive into a new database, or tables into a schema of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from daybreak.jobs import rescue as rescuing
from daybreak.jobs import restore as restoring
from daybreak.jobs.choice import Choice, choose
from daybreak.jobs.run import RunContext
from daybreak.model import BackupPlan, Database, Run
from daybreak.replacement import Quirks, Replacement
from daybreak.site.base import Base, pick, plan_of, with_quirks


class Restoring(Base):
    """Restore."""

    def restore(
        self,
        archive: str,
        to: str,
        *,
        backup: str | None,
        new: str | None,
        confirm: Callable[[str], str | None],
        quirks: Quirks,
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
                how=lambda choice: self._restore_how(target, choice, plans, quirks),
                confirm=confirm,
            )

        return self._execute(target.name, "restore", job)

    def rescue(
        self,
        archive: str,
        to: str,
        *,
        backup: str | None,
        tables: Sequence[str],
        schema: str | None,
        quirks: Quirks,
    ) -> Run:
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
                how=lambda choice: self._restore_how(target, choice, plans, quirks),
            )

        return self._execute(target.name, "restore", job)

    def _restore_how(self, target: Database, choice: Choice, plans: Sequence[BackupPlan], said: Quirks) -> Replacement:
        """How a refresh of `target` restores, by the quirks of the archive that was chosen."""
        plan = plan_of(choice, plans) or (plans[0] if len(plans) == 1 else None)
        how = self._how(target)
        return with_quirks(how if plan is None else replace(how, quirks=plan.quirks), said)

    def _plans(self, backup: str | None, target: Database) -> Sequence[BackupPlan]:
        """The backups whose archives may be meant: the one that is named; for production its own."""
        if backup is not None:
            return [self.backup_plan(backup)]
        plans = list(self.settings.backups.values())
        return [plan for plan in plans if plan.database.name == target.name] or plans
