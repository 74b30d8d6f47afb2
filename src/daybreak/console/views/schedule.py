"""The schedule: a week back and a week ahead of every plan, in its own zone, and who came for each slot."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from daybreak.catalog.records import SlotRecord
from daybreak.catalog.slots import SCHEDULER
from daybreak.console.views.words import TONES, Tone, plain
from daybreak.console.world import Look
from daybreak.jobs.slots import Outlook, outlook
from daybreak.model import RunState, SlotState, Timed
from daybreak.site.timing import timed_plans
from daybreak.units import show_duration

_WEEK: Final = timedelta(days=7)
_MOST: Final = 14
_TONES: Final = {SlotState.DUE: Tone.NONE, SlotState.MISSED: Tone.BAD, SlotState.SKIPPED: Tone.NONE}


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotTold:
    """One slot."""

    key: str  # in the zone of its plan
    due_at: datetime
    word: str
    tone: Tone
    run: str
    trigger: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """One plan."""

    kind: str
    plan: str
    spec: str
    timezone: str
    catch_up: str
    trigger: str  # who is expected to come; "" for the scheduler itself
    grace: str
    note: str
    not_come: int  # so many of the last slots the expected one did not come for
    counted: int
    last: tuple[SlotTold, ...]  # newest first
    next: tuple[SlotTold, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Week:
    """Every plan, and those that nothing begins."""

    plans: tuple[Timetable, ...]
    unplanned: tuple[str, ...]


def week(look: Look) -> Week:
    """Every plan of the configuration."""
    timed = timed_plans(look.settings)
    known = {(one.kind, one.plan) for one in timed}
    every = [("backup", name) for name in look.settings.backups]
    every += [("refresh", name) for name in look.settings.refreshes]
    every += [(one.kind.value, name) for name, one in look.settings.upkeep.items()]
    return Week(
        plans=tuple(_timetable(look, one) for one in timed),
        unplanned=tuple(f"{kind} {name}" for kind, name in every if (kind, name) not in known),
    )


def _timetable(look: Look, timed: Timed) -> Timetable:
    found: Outlook = outlook(look.catalog, timed, look.at, seen_at=look.at, count=_MOST)
    when = timed.schedule
    last = [one for one in reversed(found.last) if look.at - one.slot.due_at <= _WEEK] or list(found.last[-1:])
    coming = [one for one in found.next if one.due_at - look.at <= _WEEK] or list(found.next[:1])
    return Timetable(
        kind=timed.kind,
        plan=timed.plan,
        spec=when.spec,
        timezone=when.timezone,
        catch_up=show_duration(when.catch_up.total_seconds()),
        trigger=when.trigger or "",
        grace=show_duration(when.grace.total_seconds()),
        note=plain(found.watched.note) if found.watched else "",
        not_come=found.not_come[0],
        counted=found.not_come[1],
        last=tuple(_told(one) for one in last),
        next=tuple(
            SlotTold(
                key=one.key,
                due_at=one.due_at,
                word="to come",
                tone=Tone.NONE,
                run="",
                trigger=when.trigger or "Daybreak",
                reason="",
            )
            for one in coming
        ),
    )


def _told(one: SlotRecord) -> SlotTold:
    word, tone, reason = one.state.value, _TONES.get(one.state, Tone.NONE), one.reason
    if one.state is SlotState.CLAIMED:
        state = one.run_state
        word, tone = (state.value, TONES[state]) if state is not None else ("taken", Tone.NONE)
        if state is not RunState.SUCCEEDED:
            reason = one.reason or ("" if state is RunState.FAILED else one.run_reason)
    elif one.state is SlotState.DUE and not one.run:
        word = "open"
    return SlotTold(
        key=one.slot.key,
        due_at=one.slot.due_at,
        word=word,
        tone=tone,
        run=one.run or "",
        trigger="Daybreak" if one.trigger == SCHEDULER else plain(one.trigger),
        reason=plain(reason),
    )
