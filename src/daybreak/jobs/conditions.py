"""What is wrong at one instant, by what the catalog and the schedules say: one condition a plan and event.

Whoever looks, and however often, finds the same; so an alert depends on nobody having been there when it happened.

Shapes  a text for people says what is so and never holds a value of the database: what a server said is cut.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from daybreak import schedule
from daybreak.catalog import Catalog
from daybreak.jobs.status import is_slip, waiting_archive
from daybreak.model import AlertEvent, ArchiveState, BackupPlan, Failure, RefreshPlan, Run, RunState
from daybreak.units import show_instant
from daybreak.upkeep import Upkeep

#: The events that are found here; others are opened and closed by whoever finds out (doctor, the scheduler).
COMPUTED: Final = frozenset(
    {AlertEvent.FAILED, AlertEvent.REFUSED, AlertEvent.QUARANTINED, AlertEvent.LATE, AlertEvent.CHECK_FAILED}
)
#: A slot that nobody came for is late after this; a trigger from outside may be an hour late on a bad day.
GRACE: Final = timedelta(hours=2)
_EARLY: Final = timedelta(minutes=10)
_CHECKS: Final = ("check", "drill")
_TURNED_OUT: Final = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.LOST})
#: What a server or a tool quotes from here on may be a row.
_QUOTED: Final = re.compile(
    r"\s*(?:\b(?:ERROR|DETAIL|CONTEXT|HINT|QUERY|STATEMENT)\b:|\bKey \(|\bCOPY \S+, line).*", re.DOTALL
)
#: Behind a database's name, where it is and who comes: `dev (postgres@10.0.0.5:5432/shop in container db)`.
_WHERE: Final = re.compile(r" \([^()\s]*(?:@|:\d+/)[^()]*\)")
_SERVERS: Final = frozenset({"SqlError", "CommandError"})
_LONGEST: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something that a person should know, until it is over."""

    plan: str
    event: AlertEvent
    since: datetime
    text: str  # what is so, in one sentence
    hint: str  # what to do next
    run: str = ""
    exit_code: int | None = None


def find_conditions(
    catalog: Catalog,
    backups: Collection[BackupPlan],
    refreshes: Iterable[RefreshPlan],
    at: datetime,
    *,
    repositories: Iterable[str] = (),
) -> list[Condition]:
    """Everything of `COMPUTED` that is so at an instant; of repositories those of the backups, and those named."""
    found: list[Condition] = []
    for plan in backups:
        waiting = waiting_archive(catalog, plan)
        if waiting is not None:
            archive = waiting.archive
            found.append(
                Condition(
                    plan=plan.name,
                    event=AlertEvent.QUARANTINED,
                    since=archive.taken_at,
                    text=f"archive {archive.id} is suspicious and was not published: {waiting.quarantine_reason}",
                    hint=f"look at it; if it is right: daybreak accept {archive.id}",
                    run=archive.run,
                    exit_code=12,
                )
            )
        found += _of_plan(catalog, plan, "backup", at, quarantined=waiting is not None)
    for plan in refreshes:
        found += _of_plan(catalog, plan, "refresh", at)
    kept = {one.name for plan in backups for one in plan.repositories}.union(repositories)
    known = {plan.name for plan in backups} | {Upkeep.CHECK.plan_of(name) for name in kept}
    return found + _checks(catalog, known)


def discreet(failure: Failure) -> str:
    """Why a run failed, without anything that a server quoted, and without the address of one."""
    if failure.code in _SERVERS:
        return "the server or a tool refused a statement; its words are in the run"
    text = _QUOTED.sub(" …", _WHERE.sub("", " ".join(failure.message.split())))
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _of_plan(
    catalog: Catalog, plan: BackupPlan | RefreshPlan, kind: str, at: datetime, *, quarantined: bool = False
) -> list[Condition]:
    runs = catalog.runs.list(plan=plan.name, kind=kind, limit=20)
    found: list[Condition] = []
    last = next((run for run in runs if run.state in _TURNED_OUT and not is_slip(run)), None)
    if last is not None and last.state is not RunState.SUCCEEDED and not _made_good(catalog, plan, last):
        told = quarantined and last.failure is not None and last.failure.code == "ArchiveError"
        found += [] if told else [condition_of(last, _event_of(last, AlertEvent.FAILED))]
    due = None if plan.schedule is None else schedule.last_slot(plan.schedule, at)
    if due is not None and runs:
        late = _late(runs, plan.name, kind, due.due_at, at)
        found += [] if late is None else [late]
    return found


def _made_good(catalog: Catalog, plan: BackupPlan | RefreshPlan, run: Run) -> bool:
    """Whether something later did what a backup could not: a person accepted its archive, a ship sent it."""
    if run.failure is None or not isinstance(plan, BackupPlan):
        return False
    if run.failure.code == "ArchiveError":
        its = catalog.archives.get(run.id)
        return its is not None and its.archive.state in {ArchiveState.PUBLISHED, ArchiveState.REPLACED}
    if run.failure.code != "OffsiteError":
        return False
    archive = catalog.archives.newest(plan.name)
    if archive is None:
        return False
    there = {one.repository for one in catalog.snapshots.list(plan=plan.name, archive=archive.archive.id)}
    return {one.name for one in plan.repositories} <= there


def condition_of(run: Run, event: AlertEvent) -> Condition:
    """What a run that did not succeed is to be told as."""
    failure = run.failure
    return Condition(
        plan=run.plan,
        event=event,
        since=run.ended_at or run.requested_at,
        text=discreet(failure) if failure else "its process died before the end",
        hint=failure.hint if failure else "the next run puts right what it left",
        run=run.id,
        exit_code=failure.exit_code if failure else None,
    )


def _event_of(run: Run, otherwise: AlertEvent) -> AlertEvent:
    """What a run that did not succeed is: a guard's no is no failure of what it guards."""
    return AlertEvent.REFUSED if run.failure is not None and run.failure.code == "Refused" else otherwise


def _late(runs: Sequence[Run], plan: str, kind: str, slot: datetime, at: datetime) -> Condition | None:
    """A slot that passed and that no run came for. Before the first run of a plan nobody expects one."""
    if at < slot + GRACE:
        return None
    known_before = any(run.requested_at < slot for run in runs)
    if not known_before or any(run.requested_at >= slot - _EARLY for run in runs):
        return None
    return Condition(
        plan=plan,
        event=AlertEvent.LATE,
        since=slot,
        text=f"it was due at {show_instant(slot)}, and nothing has started it",
        hint=f"look at what starts it (a timer, a workflow, daybreak serve), or run daybreak {kind} {plan} now",
    )


def _checks(catalog: Catalog, known: Collection[str]) -> list[Condition]:
    """Of what is configured: nothing could ever mend what was taken out since."""
    found: list[Condition] = []
    for kind in _CHECKS:
        seen: set[str] = set()
        for brief in catalog.history.briefs(kinds=(kind,), limit=50):
            if brief.state not in _TURNED_OUT or brief.plan in seen or brief.plan not in known:
                continue
            run = None if brief.state is RunState.SUCCEEDED else catalog.runs.get(brief.id)
            if run is not None and is_slip(run):
                continue
            seen.add(brief.plan)
            if run is not None:
                found.append(condition_of(run, _event_of(run, AlertEvent.CHECK_FAILED)))
    return found
