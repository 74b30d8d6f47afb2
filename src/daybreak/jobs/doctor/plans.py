"""Plans: when each is due, how long ago it last succeeded, what waits for a person. By the catalog alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from daybreak import schedule
from daybreak.catalog import Catalog
from daybreak.jobs.conditions import Condition
from daybreak.jobs.doctor.finding import Finding, Piece
from daybreak.jobs.status import PlanStatus
from daybreak.model import AlertEvent, BackupPlan, RefreshPlan, Schedule
from daybreak.units import show_duration, show_instant

#: A success may be so much older than the last slot: a run takes a while.
_SLACK: Final = timedelta(hours=2)
_UNPLANNED: Final = timedelta(hours=26)
_FIXES: Final = {
    AlertEvent.QUARANTINED: "daybreak accept ID, after a look",
    AlertEvent.LATE: "look at what starts it",
}


def judge_schedule(piece: Piece, when: Schedule | None, at: datetime) -> Finding:
    """When a plan is due next, in its own zone."""
    if when is None:
        return piece.warning("no schedule: nothing is missed when nothing starts it", "set schedule, if it has one")
    due = schedule.next_after(when, at)
    local = due.astimezone(schedule.parse(when).zone)
    return piece.ok(f"next {local:%a %Y-%m-%d %H:%M %Z}, {due:%Y-%m-%d %H:%M} UTC")


def judge_success(piece: Piece, one: PlanStatus, when: Schedule | None, at: datetime) -> Finding:
    """Whether the last success is as young as the schedule says."""
    verb = f"daybreak {one.kind} {one.plan}"
    if one.last_success_at is None:
        return piece.warning("has never succeeded", verb)
    age = show_duration((at - one.last_success_at).total_seconds())
    due = None if when is None else schedule.last_slot(when, at - _SLACK)
    oldest = (at - _UNPLANNED if due is None else due.due_at) - _SLACK
    if one.last_success_at < oldest and one.kind == "backup":
        return piece.error(f"last succeeded {age} ago ({show_instant(one.last_success_at)})", f"{verb}; daybreak runs")
    if one.last_success_at < oldest and when is not None:
        return piece.warning(f"last succeeded {age} ago ({show_instant(one.last_success_at)})", f"{verb} --plan")
    return piece.ok(f"last succeeded {age} ago")


def conditions(found: list[Condition]) -> Iterator[Finding]:
    """What alerts would tell of."""
    for one in found:
        yield Piece(f"plan.{one.event}", one.plan).error(one.text, one.hint or _FIXES.get(one.event, "daybreak status"))


def holds(catalog: Catalog, at: datetime) -> Iterator[Finding]:
    """Databases that nothing may replace."""
    for one in catalog.holds.list(at=at):
        until = f"until {show_instant(one.until)}" if one.until else "until somebody releases it"
        yield Piece("target.held", one.database).warning(
            f"held {until} by {one.by}: {one.why}", f"daybreak release {one.database}"
        )


def tonight(plans: list[BackupPlan | RefreshPlan], at: datetime) -> list[BackupPlan | RefreshPlan]:
    """The plans that are due within a day and a half; all of them, where none has a schedule."""
    if not any(plan.schedule for plan in plans):
        return plans
    within = at + timedelta(hours=36)
    return [plan for plan in plans if plan.schedule and schedule.next_after(plan.schedule, at) <= within]
