"""Slots at work: whoever comes first takes one, and each ends in a row with its reason.

    take    a caller that said `--slot` takes its slot, or hears what became of it
    look    what the scheduler does about the slots of a plan now: the one to begin, if any
    outlook the last and the next slots, with what became of them

Shapes  nothing here waits or starts anything, and the clock is the caller's: `at` is now.
Errors  `Skip` for a slot that is done or settled, `SlotFailed` for one whose run failed, `UsageError` for no slot.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from daybreak.catalog import Catalog
from daybreak.catalog.records import SlotRecord, Watched
from daybreak.catalog.slots import SCHEDULER, is_open
from daybreak.errors import DaybreakError, SlotFailed, UsageError
from daybreak.jobs.run import RunContext, Skip
from daybreak.model import RunState, Slot, SlotState, Timed
from daybreak.schedule import (
    EARLY,
    Decision,
    decide,
    next_slot,
    parse_zone,
    slot_at,
    slot_for,
    slot_named,
    slots_between,
)
from daybreak.units import show_duration

#: How many missed slots get a row of their own at once; a clock that was ten years ahead has thousands.
MOST: Final = 100
#: A clock that is set back over a slot must not have it run again. One that is further back was wrong before.
_SET_BACK: Final = timedelta(hours=26)
#: Before this there was no Daybreak: a clock that says so was never set.
_FIRST_DAY: Final = datetime(2025, 1, 1, tzinfo=UTC)
_SAY_SLOT: Final = 'say now, "2026-11-22 02:00" (in the zone of the plan), or an instant with its offset'
_NOW: Final = "now"
_YEARS: Final = range(1970, 2101)
_COUNTED: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A slot that the scheduler is to begin now."""

    timed: Timed
    slot: Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """The slots of a plan around an instant."""

    timed: Timed
    watched: Watched | None
    last: tuple[SlotRecord, ...]  # oldest first; of a slot without a row the reason says why
    next: tuple[Slot, ...]
    not_come: tuple[int, int]  # of the last slots that somebody from outside was expected for


def require_clock(at: datetime) -> None:
    """Raise DaybreakError where the clock was never set: what it says is due is not."""
    if at < _FIRST_DAY:
        raise DaybreakError(
            f"the clock of this host says {at:%Y-%m-%d %H:%M} UTC, which is before Daybreak was made",
            hint="set the clock; without --slot a backup runs all the same",
        )


def require_near(at: datetime) -> None:
    """Raise UsageError for an instant near an end of the calendar, where there is no counting of days any more."""
    if at.year not in _YEARS:
        raise UsageError(f"{at.year} is out of reach", hint=f"any instant from {_YEARS[0]} to {_YEARS[-1]} is good")


def asked_slot(timed: Timed, text: str, at: datetime) -> Slot | None:
    """The slot that `--slot TEXT` means; None for `now` where none is due. Raise UsageError."""
    schedule = timed.schedule
    require_clock(at)
    if text == _NOW:
        return slot_for(schedule, at)
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no slot: {error}", hint=_SAY_SLOT) from None
    require_near(instant)
    found = slot_at(schedule, instant) if instant.tzinfo is not None else slot_named(schedule, text)
    if found is None:
        raise UsageError(
            f"{timed} has no slot {text} (schedule {schedule.spec!r}, {schedule.timezone})",
            hint="daybreak schedule lists them",
        )
    if found.due_at - at > EARLY:
        raise UsageError(f"the slot {found.key} of {timed} is not due yet", hint="daybreak schedule lists them")
    return found


def take(run: RunContext, timed: Timed, text: str) -> None:
    """Take the slot that a caller came for; end the run as skipped where there is nothing left to do."""
    at = run.requested_at
    slot = asked_slot(timed, text, at)
    late = _too_late(run.catalog, timed, slot, at)
    if slot is None or late:
        waiting = open_slots(run.catalog, timed, at, since=at)
        _settle_all(run.catalog, timed, decide(timed.schedule, waiting, at), at)
        raise Skip(f"{late}; the next one is {next_slot(timed.schedule, at).key}")
    run.result["slot"] = slot.key
    warning = claim(run.catalog, run.engine.is_alive, timed, slot, run=run.id, trigger=run.trigger, at=at)
    if warning:
        run.warn(warning)
    run.log.write(f"took the slot {slot.key} of {timed}, due at {slot.due_at:%Y-%m-%d %H:%M} UTC")


def _too_late(catalog: Catalog, timed: Timed, slot: Slot | None, at: datetime) -> str:
    """Why a slot that nobody took is not taken any more, in words; "" where it is, or where its row tells its end.

    Before anybody watched a plan there are no slots, but for who comes within `grace`: that is the first to watch.
    """
    catch_up = show_duration(timed.schedule.catch_up.total_seconds())
    if slot is None:
        return f"no slot of {timed} was due within {catch_up} (catch_up)"
    known, ago = catalog.slots.get(timed, slot.key), at - slot.due_at
    if known is not None and not is_open(known):
        return ""
    if ago > max(timed.schedule.grace, EARLY) and catalog.slots.watched(timed) is None:
        return f"the slots of {timed} count from now on"
    if ago > timed.schedule.catch_up:
        return f"the slot {slot.key} of {timed} was due more than {catch_up} ago (catch_up)"
    return ""


def claim(
    catalog: Catalog,
    is_alive: Callable[[str], bool],
    timed: Timed,
    slot: Slot,
    *,
    run: str,
    trigger: str,
    at: datetime,
) -> str:
    """Take a slot for a run; a warning in words where somebody else was expected. Raise Skip, SlotFailed.

    Older slots that nobody came for are missed: this one makes up for them.
    """
    # Where nobody watched this plan before, its slots begin with this one.
    for older in open_slots(catalog, timed, at, since=min(at, slot.due_at - timedelta(seconds=1))):
        if (older.due_at, older.key) < (slot.due_at, slot.key):
            reason = f"nobody came for it; the slot {slot.key} makes up for it"
            catalog.slots.settle(timed, older, SlotState.MISSED, reason, at=at)
    _leave_out_behind(catalog, is_alive, timed, slot, at)
    not_come = ""
    expected, known = timed.schedule.trigger, catalog.slots.get(timed, slot.key)
    if trigger == SCHEDULER and expected is not None and (known is None or known.run is None):
        missing, of = catalog.slots.not_come(timed, limit=_COUNTED - 1)
        grace = show_duration(timed.schedule.grace.total_seconds())
        not_come = (
            f"{expected} did not come for the slot {slot.key} within {grace} (grace), "
            f"nor for {missing} of the {of} before it; the scheduler began it"
        )
    won, record = catalog.slots.claim(timed, slot, run=run, trigger=trigger, reason=not_come, at=at)
    if won:
        return not_come
    _answer(timed, record)
    return ""


def _answer(timed: Timed, record: SlotRecord) -> None:
    """What a later caller hears. Raise Skip, SlotFailed."""
    key, state = record.slot.key, record.run_state
    if record.state is not SlotState.CLAIMED:
        raise Skip(f"the slot {key} is {record.state}: {record.reason}")
    if state is None or not state.ended:
        raise Skip(f"run {record.run} is doing the slot {key}")
    if state is RunState.SUCCEEDED:
        raise Skip(f"already done for slot {key}, by run {record.run}")
    if state in {RunState.SKIPPED, RunState.CANCELLED}:
        raise Skip(f"run {record.run} took the slot {key} and was {state}: {record.run_reason}")
    raise SlotFailed(
        f"run {record.run} took the slot {key} of {timed} and {'was' if state is RunState.LOST else 'has'} {state}: "
        f"{record.run_reason}",
        hint=f"daybreak run show {record.run}; `daybreak {timed}` makes up for it",
    )


def look(
    catalog: Catalog, is_alive: Callable[[str], bool], timed: Timed, at: datetime, *, waits_for: str
) -> Turn | None:
    """Settle what is to be settled now, and say which slot the scheduler is to begin, if any.

    `waits_for`, where it says something, is the person without whom this plan is not begun.
    """
    require_clock(at)
    waiting = open_slots(catalog, timed, at, since=at)
    decision = decide(timed.schedule, waiting, at)
    _settle_all(catalog, timed, decision, at)
    slot = decision.run
    if slot is None:
        return None
    if waits_for:
        catalog.slots.settle(timed, slot, SlotState.SKIPPED, waits_for, at=at)
        return None
    if busy := _run_before(catalog, is_alive, timed, slot):
        catalog.slots.settle(timed, slot, SlotState.SKIPPED, busy, at=at)
        return None
    if timed.schedule.trigger is not None:
        catalog.slots.settle(timed, slot, SlotState.DUE, f"{timed.schedule.trigger} did not come for it", at=at)
    return Turn(timed=timed, slot=slot)


def open_slots(catalog: Catalog, timed: Timed, at: datetime, *, since: datetime) -> list[Slot]:
    """The slots that are due and that nobody took, in order, the newest of them; `since` is where a new plan begins."""
    note = f"on {at:%Y-%m-%d %H:%M} UTC the clock went back: slots of a time to come had rows, which were forgotten"
    beyond = at + EARLY
    catalog.slots.mend_clock(timed, at=at, beyond=beyond, claimed_beyond=at + _SET_BACK, note=note)
    watched = catalog.slots.watch(timed, since=since, at=at)
    settled = catalog.slots.settled_until(timed, until=beyond)
    after = watched.since if settled is None else max(watched.since, settled)
    return slots_between(timed.schedule, after, at, most=MOST)


def _settle_all(catalog: Catalog, timed: Timed, decision: Decision, at: datetime) -> None:
    for number, (slot, reason) in enumerate(decision.missed):
        cut = number == 0 and len(decision.missed) >= MOST - 1
        more = "; so were those before it, which have no rows of their own" if cut else ""
        catalog.slots.settle(timed, slot, SlotState.MISSED, reason + more, at=at)
    if decision.wait is not None and decision.wait_until is not None:
        until = decision.wait_until.astimezone(parse_zone(timed.schedule.timezone))
        reason = f"waits for {timed.schedule.trigger} until {until:%H:%M %Z}"
        catalog.slots.settle(timed, decision.wait, SlotState.DUE, reason, at=at)


def _run_before(catalog: Catalog, is_alive: Callable[[str], bool], timed: Timed, slot: Slot) -> str:
    """In words that the run of an earlier slot still goes on; "" where none does."""
    before = catalog.slots.last_claimed(timed, before=slot)
    if before is None or before.run is None or before.run_state is None or before.run_state.ended:
        return ""
    return f"run {before.run} of the slot {before.slot.key} was still going on" if is_alive(before.run) else ""


def _leave_out_behind(
    catalog: Catalog, is_alive: Callable[[str], bool], timed: Timed, slot: Slot, at: datetime
) -> None:
    """A job that takes longer than its interval: the next slot is skipped, none waits behind it. Raise Skip."""
    known = catalog.slots.get(timed, slot.key)
    if known is not None and not is_open(known):
        return
    if busy := _run_before(catalog, is_alive, timed, slot):
        catalog.slots.settle(timed, slot, SlotState.SKIPPED, busy, at=at)
        raise Skip(f"the slot {slot.key} is skipped: {busy}")


def outlook(catalog: Catalog, timed: Timed, at: datetime, *, seen_at: datetime, count: int = 3) -> Outlook:
    """The last and the next slots of a plan around `at`, as it is known at `seen_at`; writes nothing."""
    watched = catalog.slots.watched(timed)
    rows = {one.slot.key: one for one in catalog.slots.list(timed, until=at, limit=count)}
    past = slots_between(timed.schedule, at - timedelta(days=3660), at, most=count)
    last = {one.key: rows.get(one.key) or _without_row(one, watched, seen_at) for one in past}
    newest = sorted((rows | last).values(), key=lambda one: (one.slot.due_at, one.slot.key))[-count:]
    coming: list[Slot] = []
    after = at
    while len(coming) < count:
        coming.append(next_slot(timed.schedule, after))
        after = coming[-1].due_at
    not_come = catalog.slots.not_come(timed, limit=_COUNTED)
    return Outlook(timed=timed, watched=watched, last=tuple(newest), next=tuple(coming), not_come=not_come)


def _without_row(slot: Slot, watched: Watched | None, seen_at: datetime) -> SlotRecord:
    state, reason = SlotState.DUE, "nobody came for it yet"
    if slot.due_at > seen_at:
        reason = "still to come"
    elif watched is None:
        state, reason = SlotState.SKIPPED, "nobody watches this plan yet: neither daybreak serve nor a call with --slot"
    elif slot.due_at <= watched.since:
        state, reason = SlotState.SKIPPED, "before anybody watched this plan"
    return SlotRecord(slot=slot, state=state, reason=reason, at=slot.due_at)
