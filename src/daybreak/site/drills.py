"""The verbs that restore an archive in a server of its own: drill and open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from daybreak.config.fields import IMAGE
from daybreak.errors import UsageError
from daybreak.jobs import drill as drilling
from daybreak.jobs import open_archive as opening
from daybreak.jobs.choice import LATEST, choose
from daybreak.jobs.guard import refuse_protected
from daybreak.jobs.run import RunContext
from daybreak.jobs.throwaway import Wish
from daybreak.model import BackupPlan, Place, Run
from daybreak.replacement import Quirks, Replacement
from daybreak.site.base import Base, pick, plan_of, with_quirks


class Drills(Base):
    """Drill and open; where their servers may run."""

    def drill(self, name: str | None, *, source: str, image: str | None, on: str | None, quirks: Quirks) -> Run:
        """`daybreak drill`."""
        plan = self.backup_plan(name)
        restic = None if source == drilling.LOCAL else self._restic(self.repository(source))
        _require_image(image)
        wish = self._wish(plan, image, on)
        how = with_quirks(self._drill_how(plan), quirks)
        return self._execute(
            plan.name, "drill", lambda run: drilling.drill(run, plan, restic=restic, wish=wish, how=how)
        )

    def open(
        self,
        reference: str | None,
        *,
        image: str | None,
        use: Callable[[opening.Opened], None],
        quirks: Quirks,
    ) -> Run:
        """`daybreak open`: `use` is called while the server runs."""
        plans = list(self.settings.backups.values())
        _require_image(image)

        def job(run: RunContext) -> None:
            choice = choose(run, reference or LATEST, plans)
            plan = plan_of(choice, plans)
            wish = replace(self._wish(plan, image, None), on=None)
            how = with_quirks(Replacement() if plan is None else self._drill_how(plan), quirks)
            opening.open_archive(run, choice, wish=wish, how=how, use=use)

        named = reference if reference in self.settings.backups else None
        name = named or (plans[0].name if len(plans) == 1 else reference or LATEST)
        return self._execute(name, "open", job)

    def drill_if_due(self, run: RunContext, plan: BackupPlan) -> None:
        """What a backup does about its proof when it is published."""
        wish, how = self._wish(plan, None, None), self._drill_how(plan)
        drilling.drill_if_due(run, plan, job=lambda inner: drilling.drill(inner, plan, restic=None, wish=wish, how=how))

    def _wish(self, plan: BackupPlan | None, image: str | None, on: str | None) -> Wish:
        """Where the server may run: as the command line says, else as the backup's table does."""
        tools: list[Path] = [
            one.bin for one in self.settings.databases.values() if one.bin is not None and one.place == Place()
        ]
        named = image is not None or on is not None
        if named:
            target = None if on is None else pick(self.settings.databases, on, "database")
            if target is not None:  # said before there is a run that would count as a drill
                refuse_protected(target, self.protected)
            return Wish(tools=tuple(tools), image=image, on=target, protected=self.protected, installed=False)
        return Wish(
            tools=tuple(tools),
            image=None if plan is None else plan.drill_image,
            on=None if plan is None else plan.drill_on,
            protected=self.protected,
        )

    def _drill_how(self, plan: BackupPlan) -> Replacement:
        """What is restored, as the refresh of this backup has it; everything else of a refresh is the target's."""
        for one in self.settings.refreshes.values():
            if one.backup.name == plan.name:
                how = one.how
                return Replacement(
                    quirks=plan.quirks,
                    jobs=how.jobs,
                    foreign=how.foreign,
                    event_triggers=how.event_triggers,
                    older_extensions=how.older_extensions,
                    deadline=how.deadline,
                )
        return Replacement(quirks=plan.quirks)


def _require_image(image: str | None) -> None:
    """Raise UsageError for what docker and podman would take for an option, or for nothing."""
    if image is not None and IMAGE.fullmatch(image) is None:
        raise UsageError(f"{image!r} is no container image", hint="name one like postgres:17")
