"""The doctor's verb."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from daybreak.jobs.conditions import Condition
from daybreak.jobs.doctor.exam import Patient, examine
from daybreak.jobs.doctor.finding import Finding, Severity, is_ill
from daybreak.jobs.run import RunContext, now
from daybreak.model import AlertEvent, Run
from daybreak.restic import Restic
from daybreak.site.base import Base
from daybreak.site.timing import DOCTOR, TONIGHT, in_slot


class Doctoring(Base):
    """Doctor."""

    def patient(self) -> Patient:
        """Everything of this configuration."""
        settings = self.settings
        return Patient(
            file=self.file,
            databases=tuple(settings.databases.values()),
            backups=tuple(settings.backups.values()),
            refreshes=tuple(settings.refreshes.values()),
            repositories=tuple(settings.repositories.values()),
            alerts=tuple(settings.alerts.values()),
            protected=self.protected,
            unusable=self.unusable,
            remembers=self.remembers,
        )

    def doctor(self, *, tonight: bool, on_finding: Callable[[Finding], None] = lambda _one: None) -> list[Finding]:
        """`daybreak doctor`: every finding; nothing is changed."""
        found: list[Finding] = []
        for one in self.examine(tonight=tonight):
            on_finding(one)
            found.append(one)
        return found

    def examine(self, *, tonight: bool) -> Iterator[Finding]:
        """The same, each finding as it is made."""
        self.engine.mark_lost()
        with self._unrecorded() as run:
            yield from examine(run, self.patient(), now(), connect=Restic, tonight=tonight)

    def doctor_tonight(self, *, slot: str | None = None) -> Run:
        """`daybreak doctor --tonight --alert`: a run of its own, whose result has the findings.

        It succeeds when it has looked and told whoever wants to know, whatever it found.
        """

        def job(run: RunContext) -> None:
            run.begin()
            with run.step("examine"):
                found = list(examine(run, self.patient(), now(), connect=Restic, tonight=True))
            untold = self._tell_tonight(found, now())
            run.result |= {
                "findings": [one.as_json() for one in found],
                "well": not is_ill(found),
                "not_told": untold,
            }
            for fault in untold:
                run.warn(fault)

        return self._execute(TONIGHT, DOCTOR, in_slot(DOCTOR, TONIGHT, self.settings.doctor, slot, job))

    def _tell_tonight(self, findings: list[Finding], at: datetime) -> list[str]:
        """Alert of what was found, once, and when it is over. What did not arrive, in words."""
        errors = [one for one in findings if one.severity is Severity.ERROR]
        conditions = [
            Condition(
                plan=self._whole,
                event=AlertEvent.TONIGHT_WILL_FAIL,
                since=at,
                text="\n".join(f"{one.id} {one.subject}: {one.text}" for one in errors),
                hint=first.fix,
            )
            for first in errors[:1]
        ]
        return self.alerts.look(conditions, at, events=[AlertEvent.TONIGHT_WILL_FAIL])

    @property
    def _whole(self) -> str:
        plans = [*self.settings.backups, *self.settings.refreshes]
        return plans[0] if len(plans) == 1 else "one of " + ", ".join(plans)
