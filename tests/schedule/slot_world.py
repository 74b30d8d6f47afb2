"""A site with schedules whose clock is the test's, and jobs that only pretend."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from daybreak import files
from daybreak.errors import DaybreakError
from daybreak.jobs import slots
from daybreak.jobs.run import Skip
from daybreak.model import Run, RunState, Slot, Timed
from daybreak.site import Site


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@dataclass(kw_only=True)
class World:
    """An open site, and runs that are begun and ended by hand."""

    site: Site
    file: Path
    _held: dict[str, contextlib.ExitStack] = field(default_factory=dict[str, contextlib.ExitStack])
    _number: int = 0

    def timed(self, kind: str = "backup") -> Timed:
        return next(one for one in self.site.timed() if one.kind == kind)

    def begin(self, timed: Timed, slot: Slot | str, when: datetime, *, trigger: str = "timer") -> str:
        """A run that takes a slot, as the job would; raise what it hears. Its process lives until `end` or `kill`."""
        self._number += 1
        run = f"{when:%Y%m%d-%H%M%S}-{self._number:04x}"
        runs = self.site.catalog.runs
        runs.insert(
            Run(id=run, plan=timed.plan, kind=timed.kind, state=RunState.WAITING, trigger=trigger, requested_at=when)
        )
        stack = contextlib.ExitStack()
        stack.enter_context(files.lock(self.site.engine._lock_path(run), wait=when - when))
        self._held[run] = stack
        try:
            named = slots.asked_slot(timed, slot, when) if isinstance(slot, str) else slot
            assert named is not None
            alive = self.site.engine.is_alive
            slots.claim(self.site.catalog, alive, timed, named, run=run, trigger=trigger, at=when)
        except (Skip, DaybreakError) as heard:
            skipped = isinstance(heard, Skip)
            self.end(run, when, RunState.SKIPPED if skipped else RunState.FAILED, reason=str(heard))
            raise
        runs.set_state(run, RunState.RUNNING, at=when)
        return run

    def end(self, run: str, when: datetime, state: RunState = RunState.SUCCEEDED, *, reason: str = "") -> None:
        self.site.catalog.runs.set_state(run, state, at=when, reason=reason)
        self.kill(run)

    def kill(self, run: str) -> None:
        self._held.pop(run).close()

    def rows(self, timed: Timed | None = None, until: str = "2099-01-01T00:00Z") -> list[str]:
        """Each slot with a row and what became of it, oldest first."""
        found = self.site.catalog.slots.list(timed or self.timed(), until=at(until), limit=10_000)
        return [f"{one.slot.key} {one.state}" for one in reversed(found)]

    def reasons(self, timed: Timed | None = None) -> dict[str, str]:
        found = self.site.catalog.slots.list(timed or self.timed(), until=at("2099-01-01T00:00Z"), limit=10_000)
        return {one.slot.key: one.reason for one in found}

    def close(self) -> None:
        for stack in self._held.values():
            stack.close()


def configuration(folder: Path, **plan: str) -> str:
    """One backup; its schedule is 02:00 in Chicago unless said otherwise."""
    keys = {"schedule": "02:00", "timezone": "America/Chicago", **plan}
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
    return (
        f'state = "{folder}/state"\n[databases.prod]\nurl = "dbname=prod"\n[databases.dev]\nurl = "dbname=dev"\n'
        f'[backups.nightly]\ndatabase = "prod"\narchive = "{folder}/archives/prod.dump"\n{lines}'
    )


WEEKLY = (
    '[refreshes.weekly]\nbackup = "nightly"\ntarget = "dev"\nschedule = "Sun 02:00"\ntimezone = "America/Chicago"\n'
)
