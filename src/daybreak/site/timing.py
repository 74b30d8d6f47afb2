"""What has to do with schedules: the plans that have one, their slots, what the scheduler is to begin."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from daybreak.catalog import is_full
from daybreak.config import Settings
from daybreak.errors import DaybreakError, UsageError
from daybreak.jobs import slots
from daybreak.jobs.run import RunContext, now
from daybreak.model import Schedule, Timed
from daybreak.site.base import Base

#: The doctor's look at the coming night, as a kind of run and a plan.
DOCTOR: Final = "doctor"
TONIGHT: Final = "tonight"


class Timing(Base):
    """Slots of plans of every kind."""

    def timed(self) -> list[Timed]:
        """Every plan that has a schedule, in the order of the file."""
        return timed_plans(self.settings)

    def waits_for(self, timed: Timed) -> str:
        """The person without whom the scheduler does not begin a plan, in words; "" where it needs none."""
        if timed.kind != "refresh":
            return ""
        target = self.settings.refreshes[timed.plan].target.name
        if self.catalog.databases.was_refreshed(target):
            return ""
        return f"waiting for a person: {target} was never refreshed by Daybreak (daybreak {timed} --first)"

    def watch_only(self) -> None:
        """Forget since when slots count for plans that are not in the configuration any more."""
        self.catalog.slots.watch_only(self.timed())

    def look(self, timed: Timed, at: datetime) -> slots.Turn | None:
        """The slot that the scheduler is to begin now, if any."""
        return slots.look(self.catalog, self.engine.is_alive, timed, at, waits_for=self.waits_for(timed))

    def schedule(self, at: datetime) -> list[slots.Outlook]:
        """`daybreak schedule`: the last and the next slots of every plan around an instant."""
        slots.require_near(at)
        self.engine.mark_lost()
        return [slots.outlook(self.catalog, one, at, seen_at=now()) for one in self.timed()]


def timed_plans(settings: Settings) -> list[Timed]:
    """Every plan of a configuration that has a schedule, in the order of the file."""
    plans: list[tuple[str, str, Schedule | None, tuple[str, ...]]] = [
        *(("backup", one.name, one.schedule, ()) for one in settings.backups.values()),
        *(("refresh", one.name, one.schedule, ()) for one in settings.refreshes.values()),
        *(
            (one.kind.value, one.name, one.schedule, ("repository", one.kind.value, one.repository.name))
            for one in settings.upkeep.values()
        ),
        (DOCTOR, TONIGHT, settings.doctor, ("doctor", "--tonight", "--alert")),
    ]
    return [
        Timed(kind=kind, plan=name, schedule=when, verb=verb) for kind, name, when, verb in plans if when is not None
    ]


def in_slot(
    kind: str, plan: str, schedule: Schedule | None, slot: str | None, job: Callable[[RunContext], None]
) -> Callable[[RunContext], None]:
    """The job as it is done for a slot: taken first, else the run ends as skipped. Raise UsageError for no slot."""
    if slot is None:
        return job
    if schedule is None:
        raise UsageError(f"{kind} {plan} has no schedule, so there is no slot", hint="leave out --slot, or give it one")
    timed = Timed(kind=kind, plan=plan, schedule=schedule)
    slots.asked_slot(timed, slot, now())

    def taken(run: RunContext) -> None:
        try:
            slots.take(run, timed, slot)
        except DaybreakError as error:
            # A full disk of state and logs is no reason to go without a backup.
            if kind != "backup" or not is_full(error):
                raise
            run.warn(f"{error.message}; the backup is made without taking its slot ({error.hint})")
        job(run)

    return taken
