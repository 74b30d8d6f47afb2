"""What follows a run: pings of a dead-man's switch, alerts, the metrics file. Bounded, and never the run's fault.

A run inside another one (the backup of a refresh) pings for its plan; alerts wait for the end of the outer one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from daybreak.catalog import Catalog
from daybreak.catalog.records import Delivery
from daybreak.errors import DaybreakError
from daybreak.jobs.alerts import Alerts
from daybreak.jobs.conditions import COMPUTED, condition_of, find_conditions
from daybreak.jobs.measure import measure
from daybreak.jobs.run import now
from daybreak.jobs.status import status_of
from daybreak.metrics import write_file
from daybreak.model import AlertEvent, BackupPlan, Ping, RefreshPlan, Run, RunState
from daybreak.notify import ping
from daybreak.process import Runner
from daybreak.units import show_bytes, show_duration

_INNER: Final = "run "
_HOW: Final = ("start", "success", "fail")
#: Calls an address: (switch, suffix) -> why there was no answer, "".
Pinger = Callable[[Ping, str], str]


def call(switch: Ping, suffix: str) -> str:
    """The pinger of everyday."""
    return ping(switch.url, suffix, Runner())


@dataclass(frozen=True, kw_only=True)
class World:
    """Implements `run.Aftermath` for one configuration."""

    catalog: Catalog
    backups: Sequence[BackupPlan]
    refreshes: Sequence[RefreshPlan]
    alerts: Alerts
    repositories: Sequence[str] = ()  # those that no backup sends to as well
    metrics_file: Path | None = None
    recorded: bool = True  # what it looks at is kept
    pinger: Pinger = call
    _starting: dict[str, threading.Thread] = field(default_factory=dict[str, threading.Thread])

    def begun(self, run: Run) -> None:
        """Ping `start`, without keeping the run waiting."""
        switch = self._switch(run)
        if switch is not None and "start" in switch.send:
            thread = threading.Thread(target=self._ping, args=(run, switch, "start"), daemon=True)
            thread.start()
            self._starting[run.id] = thread

    def ended(self, run: Run) -> list[str]:
        """Ping how it ended, tell who wants to know, and write the metrics. Return what did not arrive."""
        said: list[str] = []
        try:
            if (starting := self._starting.pop(run.id, None)) is not None:
                starting.join()  # bounded; a start that came after the end would look like a run that hangs
            switch = self._switch(run)
            if switch is not None and (how := self._how(run)) in switch.send:
                said += self._ping(run, switch, how)
            if not run.trigger.startswith(_INNER):
                said += self._look_or_shout(run)
        except DaybreakError as error:
            said.append(f"nobody could be told: {error.message} ({error.hint})")
        except Exception as error:  # noqa: BLE001 -- a bug in here must not turn a good backup into a bad one
            said.append(f"nobody could be told, by a bug of Daybreak: {type(error).__name__}: {error}")
        return said

    def _look_or_shout(self, run: Run) -> list[str]:
        try:
            if run.state is not RunState.FAILED or self._knows_the_end_of(run):
                return self.look(now())
        except DaybreakError:  # the catalog cannot be written
            if run.state is not RunState.FAILED:
                raise
        return self.alerts.shout(condition_of(run, AlertEvent.FAILED))

    def _knows_the_end_of(self, run: Run) -> bool:
        """Whether the catalog has it: else it would have nothing to tell, and not even a fault where it only reads."""
        row = self.catalog.runs.get(run.id)
        return row is not None and row.ended_at is not None

    def look(self, at: datetime) -> list[str]:
        """Tell what is new and what is over, whoever made it so; write the metrics. Return what did not arrive."""
        switched = [plan for plan in (*self.backups, *self.refreshes) if plan.ping is not None]
        self.catalog.alerts.keep(self.alerts.names, [_named(how, plan.name) for plan in switched for how in _HOW])
        conditions = find_conditions(self.catalog, self.backups, self.refreshes, at, repositories=self.repositories)
        if not self.recorded:
            conditions = [replace(one, run="") for one in conditions]
        said = self.alerts.look(conditions, at, events=COMPUTED)
        said += self.alerts.weekly(at, lambda: self._all_is_well(at))
        return said + self.write_metrics(at)

    def write_metrics(self, at: datetime) -> list[str]:
        """Write the file of metrics, if one is configured. Return why not."""
        if self.metrics_file is None:
            return []
        try:
            write_file(self.metrics_file, measure(self.catalog, self.backups, self.refreshes, at, ageing=False))
        except DaybreakError as error:
            return [f"{error.message} ({error.hint})"]
        return []

    def _switch(self, run: Run) -> Ping | None:
        plans: Sequence[BackupPlan | RefreshPlan] = self.backups if run.kind == "backup" else self.refreshes
        if run.kind not in {"backup", "refresh"}:
            return None
        return next((plan.ping for plan in plans if plan.name == run.plan), None)

    def _how(self, run: Run) -> str:
        """What a run is called at its end; "" for one that was skipped where the last run that was not has no success.

        That one goes on and calls itself, or it was no success: a later caller for its slot must not make it one.
        """
        if run.state is RunState.SUCCEEDED:
            return "success"
        if run.state is not RunState.SKIPPED:
            return "fail"
        others = [state for state in RunState if state is not RunState.SKIPPED]
        last = self.catalog.runs.list(plan=run.plan, kind=run.kind, state=others, limit=1, at=now())
        return "success" if not last or last[0].state is RunState.SUCCEEDED else ""

    def _ping(self, run: Run, switch: Ping, how: str) -> list[str]:
        suffix = {"start": switch.start, "success": switch.success, "fail": switch.fail}[how]
        fault = self.pinger(switch, suffix)
        name = _named(how, run.plan)
        try:
            self.catalog.alerts.delivered(Delivery(destination=name, at=now(), what=str(run.state), fault=fault))
            if not fault and how != "start":
                # The switch hears us again. The next `/fail` may be months away, and would be told as lost until then.
                others = {_named(other, run.plan) for other in _HOW}
                for one in self.catalog.alerts.deliveries():
                    if one.fault and one.destination in others:
                        self.catalog.alerts.delivered(replace(one, fault=""))
        except DaybreakError as error:
            return [f"{name}: {error.message}"]
        return [f"{name} did not arrive: {fault}"] if fault else []

    def _all_is_well(self, at: datetime) -> list[str]:
        lines: list[str] = []
        for one in status_of(self.catalog, self.backups, self.refreshes, at):
            age = "never" if one.age_s is None else f"{show_duration(one.age_s)} ago"
            size = f", {show_bytes(one.archive.archive.size_bytes)}" if one.archive else ""
            there = [f"{ship.repository} {ship.taken_at:%Y-%m-%d}" for ship in one.shipments]
            lines.append(f"{one.kind} {one.plan}: {age}{size}{'; off-site: ' + ', '.join(there) if there else ''}")
        return lines


def _named(how: str, plan: str) -> str:
    """What a ping is called among the deliveries."""
    return f"ping {how} of {plan}"
