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

from daybreak import files, schedule
from daybreak.catalog import Catalog
from daybreak.catalog.folder import KEPT
from daybreak.catalog.records import SlotRecord
from daybreak.catalog.slots import is_open
from daybreak.jobs.status import is_slip, waiting_archive
from daybreak.model import (
    AlertEvent,
    ArchiveState,
    BackupPlan,
    Failure,
    RefreshPlan,
    Run,
    RunState,
    SlotState,
    Timed,
)
from daybreak.units import show_instant
from daybreak.upkeep import Upkeep

#: The events that are found here; the doctor opens and closes its own.
COMPUTED: Final = frozenset(
    {
        AlertEvent.FAILED,
        AlertEvent.REFUSED,
        AlertEvent.QUARANTINED,
        AlertEvent.LATE,
        AlertEvent.MISSED,
        AlertEvent.CHECK_FAILED,
    }
)
#: A slot that nobody came for is late after this; a trigger from outside may be an hour late on a bad day.
GRACE: Final = timedelta(hours=2)
#: Within this the scheduler begins a run that died again, after a pause, where its slot lets it.
_AT_ONCE: Final = timedelta(minutes=5)
_EARLY: Final = timedelta(minutes=10)
#: So many runs or slots back one is looked for that says something.
_LOOKED_AT: Final = 20
_TURNED_OUT: Final = (RunState.SUCCEEDED, RunState.FAILED, RunState.LOST)
#: What a server or a tool quotes from here on may be a row.
_QUOTED: Final = re.compile(
    r"\s*(?:\b(?:ERROR|DETAIL|CONTEXT|HINT|QUERY|STATEMENT)\b:|\bKey \(|\bCOPY \S+, line).*", re.DOTALL
)
#: Behind a database's name, where it is and who comes: `dev (postgres@10.0.0.5:5432/shop in container db)`.
_WHERE: Final = re.compile(r" \([^()\s]*(?:@|:\d+/)[^()]*\)")
#: libpq says it once more, and the server whom it did not let in.
_LIBPQ: Final = re.compile(r'(?:connection to server (?:at|on socket)|could not translate host name) ".*', re.DOTALL)
_NAMED: Final = re.compile(r'"[^"]*"(?: \([^()]*\))?(?:, port \d+)?')
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
    checks = [("check", Upkeep.CHECK.plan_of(name)) for name in sorted(kept)]
    checks += [("drill", plan.name) for plan in backups]
    # Only of what is configured: nothing could ever mend what was taken out since.
    for kind, name in checks:
        last = _last(catalog, name, kind, at)
        if last is not None and last.state is not RunState.SUCCEEDED:
            found.append(condition_of(last, _event_of(last, AlertEvent.CHECK_FAILED)))
    return found


def discreet(failure: Failure) -> str:
    """Why a run failed, without anything that a server quoted, and without the address of one."""
    if failure.code in _SERVERS:
        return "the server or a tool refused a statement; its words are in the run"
    text = _QUOTED.sub(" …", _WHERE.sub("", " ".join(failure.message.split())))
    text = _LIBPQ.sub(lambda said: _NAMED.sub("…", said[0]), text)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _of_plan(
    catalog: Catalog, plan: BackupPlan | RefreshPlan, kind: str, at: datetime, *, quarantined: bool = False
) -> list[Condition]:
    found: list[Condition] = []
    timed = None if plan.schedule is None else Timed(kind=kind, plan=plan.name, schedule=plan.schedule)
    slots = [] if timed is None else catalog.slots.list(timed, until=at, limit=_LOOKED_AT)
    last = _last(catalog, plan.name, kind, at)
    if last is not None and last.state is not RunState.SUCCEEDED and not _made_good(catalog, plan, last):
        told = quarantined and last.failure is not None and last.failure.code == "ArchiveError"
        told = told or _is_begun_again(catalog, last, slots, at)
        found += [] if told else [condition_of(last, _event_of(last, AlertEvent.FAILED))]
    if timed is not None:
        found += [
            one for one in (_missed(catalog, timed, slots, at), _late(catalog, timed, slots, at)) if one is not None
        ]
    return found


def _last(catalog: Catalog, plan: str, kind: str, at: datetime) -> Run | None:
    """The last run that says something of a plan, however many were skipped since."""
    runs = catalog.runs.list(plan=plan, kind=kind, state=_TURNED_OUT, limit=_LOOKED_AT, at=at)
    return next((run for run in runs if not is_slip(run)), None)


def _is_begun_again(catalog: Catalog, run: Run, slots: Sequence[SlotRecord], at: datetime) -> bool:
    """Whether a run that died is made up for just now, or will be at once: what comes of that is told."""
    if run.state is not RunState.LOST or _is_told(catalog, run.plan, AlertEvent.FAILED):
        return False
    if catalog.runs.list(plan=run.plan, kind=run.kind, state=[RunState.WAITING, RunState.RUNNING], limit=1):
        return True
    at_once = run.ended_at is not None and at - run.ended_at < _AT_ONCE
    is_free = any(one.run == run.id and is_open(one) for one in slots)
    # Where timers or another host begin the runs, nobody comes for it before the next night.
    return at_once and is_free and files.is_locked(catalog.folder / KEPT)


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


def _missed(catalog: Catalog, timed: Timed, slots: Sequence[SlotRecord], at: datetime) -> Condition | None:
    """The newest slot that nothing makes up for, until a run succeeds; of a refresh that was done before."""
    found = next((one for one in slots if one.state is SlotState.MISSED and _is_given_up(timed, one)), None)
    if found is None:
        return None
    due_at = found.slot.due_at
    done = catalog.runs.list(plan=timed.plan, kind=timed.kind, state=RunState.SUCCEEDED, limit=1, at=at)
    if done[0].requested_at >= due_at if done else timed.kind == "refresh":
        return None
    return Condition(
        plan=timed.plan,
        event=AlertEvent.MISSED,
        since=due_at,
        text=f"it was due at {show_instant(due_at)}, and nothing makes up for it: {found.reason}",
        hint=f"daybreak {timed} does it now; daybreak schedule shows what became of each slot",
    )


def _is_given_up(timed: Timed, missed: SlotRecord) -> bool:
    """Whether there was no later slot, when this one was settled, whose run would make up for it."""
    newest = schedule.last_slot(timed.schedule, missed.at + schedule.EARLY)
    return newest is None or newest.due_at <= missed.slot.due_at


def _late(catalog: Catalog, timed: Timed, slots: Sequence[SlotRecord], at: datetime) -> Condition | None:
    """A slot that passed and that no run came for. Before the first run of a plan nobody expects one."""
    due = schedule.last_slot(timed.schedule, at)
    if due is None or at < due.due_at + GRACE:
        return None
    runs = catalog.runs.list(plan=timed.plan, kind=timed.kind, limit=_LOOKED_AT, at=at)
    known_before = any(run.requested_at < due.due_at for run in runs)
    if not known_before or any(run.requested_at >= due.due_at - _EARLY for run in runs):
        return None
    became = next((one.state for one in slots if one.slot == due), SlotState.DUE)
    # One that was left out on purpose needs nobody. One that was missed is told as that; who heard before that it is
    # late would take an end of that for good news.
    told = _is_told(catalog, timed.plan, AlertEvent.LATE)
    if became is SlotState.SKIPPED or (became is SlotState.MISSED and not told):
        return None
    return Condition(
        plan=timed.plan,
        event=AlertEvent.LATE,
        since=due.due_at,
        text=f"it was due at {show_instant(due.due_at)}, and nothing has started it",
        hint=f"look at what starts it (a timer, a workflow, daybreak serve), or run daybreak {timed} now",
    )


def _is_told(catalog: Catalog, plan: str, event: AlertEvent) -> bool:
    return any(one.plan == plan for one in catalog.alerts.list(events=[event.value]))
