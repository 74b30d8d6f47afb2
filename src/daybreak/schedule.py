"""When a plan is due: from a text like `02:00`, `Sun 02:00` or five cron fields to slots. Pure.

Shapes  a slot is a nominal local date and time in the plan's zone, whatever the clocks do that day:
        a time that does not exist (clocks go forward) is due at the first instant after the gap, a time
        that comes twice (clocks go back) is due the first time only, and a date that the zone left out
        has no slots. Several slots in one gap are due at one instant.
Units   instants are aware; what is returned is UTC.
Errors  `ValueError` for a text that is no schedule, or a zone that is not known here.
Source  Debian's cron(8) for jobs at fixed times; the fields are cronsim's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice, takewhile
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from daybreak.model import Schedule, Slot
from daybreak.units import show_duration

_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_CLOCK: Final = re.compile(r"(?:(?P<days>[A-Za-z][A-Za-z,-]*)\s+)?(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)")
_FORMS: Final = 'write "02:00", "Sun 02:00", "Mon,Thu 02:00", "Mon-Fri 02:00" or five cron fields like "0 2 * * *"'
_CRON_FIELDS: Final = 5
#: More than any clock ever moved, a zone that changed sides of the date line included.
_MARGIN: Final = timedelta(days=2)
#: How much before its slot somebody may come for it: clocks differ.
EARLY: Final = timedelta(minutes=5)
_ANY_DAY: Final = datetime(2024, 1, 1)  # noqa: DTZ001 -- a nominal time; in a leap year, so that 29 February comes soon


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A schedule that was understood."""

    cron: str  # five fields, local
    zone: ZoneInfo


@cache
def parse(schedule: Schedule) -> Parsed:
    """Understand a schedule. Raise ValueError in words for a person."""
    return Parsed(cron=parse_spec(schedule.spec), zone=parse_zone(schedule.timezone))


def parse_spec(spec: str) -> str:
    """The five cron fields that a text means. Raise ValueError."""
    clock = _CLOCK.fullmatch(spec.strip())
    if clock is not None:
        days = "*" if clock["days"] is None else _cron_days(clock["days"], spec)
        return f"{int(clock['minute'])} {int(clock['hour'])} * * {days}"
    fields = spec.split()
    if len(fields) != _CRON_FIELDS:
        raise ValueError(f"{spec!r} is not a schedule; {_FORMS}")
    cron = " ".join(fields)
    try:
        next(CronSim(cron, _ANY_DAY))
    except CronSimError as error:
        raise ValueError(f"{spec!r} is not a schedule ({str(error).lower()}); {_FORMS}") from None
    except StopIteration:
        raise ValueError(f"{spec!r} never comes") from None
    return cron


def comes_within(spec: str, most: timedelta) -> bool:
    """Whether a schedule that can be read comes at least so often, to a day, all year long."""
    cron = parse_spec(spec)
    days = (_ANY_DAY + timedelta(days=number) for number in range(366))
    return all(next(CronSim(cron, day)) - day <= most for day in days)


def parse_zone(name: str) -> ZoneInfo:
    """The zone of an IANA name. Raise ValueError where this machine does not know it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a name that is a folder, or leads out of the database
        if not available_timezones():
            raise ValueError(f"there are no time zones on this machine; install tzdata, which knows {name}") from None
        raise ValueError(f"{name!r} is not a time zone; write for example America/Chicago or UTC") from None


def next_slot(schedule: Schedule, instant: datetime) -> Slot:
    """The first slot that is due after `instant`."""
    return next(one for one in _slots(parse(schedule), _nominal(instant, schedule) - _MARGIN) if one.due_at > instant)


def last_slot(schedule: Schedule, instant: datetime) -> Slot | None:
    """The last slot that was due at `instant` or before; None where there never was one."""
    return next(_back(schedule, instant), None)


def slots_between(schedule: Schedule, after: datetime, until: datetime, *, most: int) -> list[Slot]:
    """The slots that are due after `after` and at `until` or before, in order; the newest `most` of them."""
    return list(reversed(list(islice(takewhile(lambda one: one.due_at > after, _back(schedule, until)), most))))


def slot_named(schedule: Schedule, key: str) -> Slot | None:
    """The slot of a nominal local time, `2026-11-22 02:00`; None where the schedule has none. Raise ValueError."""
    nominal = datetime.fromisoformat(key)
    start = nominal - timedelta(minutes=1)
    found = next(_slots(parse(schedule), start, until=nominal), None)
    return found if found is not None and found.key == _key(nominal) else None


def slot_at(schedule: Schedule, instant: datetime) -> Slot | None:
    """The slot that is due at an instant; of several in one gap the last."""
    found = last_slot(schedule, instant)
    return found if found is not None and found.due_at == instant else None


def slot_for(schedule: Schedule, instant: datetime) -> Slot | None:
    """The slot that somebody who comes at `instant` comes for; None where the last one is too long ago.

    Clocks differ: who comes up to `EARLY` before a slot, and nearer to it than to the last one, means that slot.
    """
    last, coming = last_slot(schedule, instant), next_slot(schedule, instant)
    until_next = coming.due_at - instant
    if until_next <= EARLY and (last is None or until_next < instant - last.due_at):
        return coming
    return last if last is not None and instant - last.due_at <= schedule.catch_up else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is to be done about slots that nobody came for."""

    run: Slot | None = None  # begin this one now
    wait: Slot | None = None  # this one is due, and who is expected may still come for it
    wait_until: datetime | None = None  # so long
    missed: tuple[tuple[Slot, str], ...] = ()  # with the reasons


def decide(schedule: Schedule, waiting: Sequence[Slot], at: datetime) -> Decision:
    """One run makes up for all: the newest slot is begun unless it is too late for it, the others are missed.

    `waiting` are the slots due by `at` that nobody came for, in order.
    """
    if not waiting:
        return Decision()
    *older, newest = waiting
    if at - newest.due_at > schedule.catch_up:
        why = f"nobody came for it within {show_duration(schedule.catch_up.total_seconds())} (catch_up)"
        return Decision(missed=tuple((one, why) for one in waiting))
    missed = tuple((one, f"nobody came for it; the slot {newest.key} makes up for it") for one in older)
    until = newest.due_at + schedule.grace
    if schedule.trigger is not None and at < until:
        return Decision(wait=newest, wait_until=until, missed=missed)
    return Decision(run=newest, missed=missed)


def next_after(schedule: Schedule, instant: datetime) -> datetime:
    """The first instant after `instant`, in UTC, at which the plan is due."""
    return next_slot(schedule, instant).due_at


def _nominal(instant: datetime, schedule: Schedule) -> datetime:
    if instant.tzinfo is None:
        raise ValueError("an instant without a zone")
    return instant.astimezone(parse(schedule).zone).replace(tzinfo=None)


def _slots(parsed: Parsed, start: datetime, *, until: datetime | None = None, reverse: bool = False) -> Iterator[Slot]:
    """The slots from the nominal `start` on, or back; not beyond the nominal `until`."""
    for nominal in CronSim(parsed.cron, start, reverse=reverse):
        if until is not None and nominal > until:
            return
        at = _instant(nominal, parsed.zone)
        if at is not None:
            yield Slot(key=_key(nominal), due_at=at)


def _back(schedule: Schedule, instant: datetime) -> Iterator[Slot]:
    """The slots that were due at `instant` or before, the newest first."""
    start = _nominal(instant, schedule) + _MARGIN
    return (one for one in _slots(parse(schedule), start, reverse=True) if one.due_at <= instant)


def _key(nominal: datetime) -> str:
    return nominal.strftime("%Y-%m-%d %H:%M")


def _instant(nominal: datetime, zone: ZoneInfo) -> datetime | None:
    """When a nominal local time is due, in UTC; None on a date that the zone left out."""
    at = nominal.replace(tzinfo=zone, fold=0).astimezone(UTC)
    local = at.astimezone(zone).replace(tzinfo=None)
    if local == nominal:
        return at
    # In a gap: with fold=0 the old offset counts, so `at` lies after the gap by as much as `nominal` lies in it.
    after = _end_of_gap(nominal, zone)
    return after if after.astimezone(zone).date() == nominal.date() else None


def _end_of_gap(nominal: datetime, zone: ZoneInfo) -> datetime:
    """The first instant whose local time is `nominal` or later. Transitions fall on whole seconds."""
    low = nominal.replace(tzinfo=UTC) - _MARGIN
    high = nominal.replace(tzinfo=UTC) + _MARGIN
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2)
        if middle.astimezone(zone).replace(tzinfo=None) >= nominal:
            high = middle
        else:
            low = middle
    return high


def _cron_days(days: str, spec: str) -> str:
    """`Mon-Wed,Sun` as cron writes it, in the order of the week."""
    chosen: set[int] = set()
    for part in days.lower().split(","):
        first, dash, last = part.partition("-")
        start, end = _day(first, spec), _day(last, spec) if dash else _day(first, spec)
        chosen.update((start + step) % 7 for step in range((end - start) % 7 + 1))
    return ",".join(str(day) for day in sorted(chosen))


def _day(name: str, spec: str) -> int:
    known = {
        "sunday": 0,
        "monday": 1,
        "tuesday": 2,
        "wednesday": 3,
        "thursday": 4,
        "friday": 5,
        "saturday": 6,
    } | {short: number for number, short in enumerate(_DAYS)}
    if name not in known:
        raise ValueError(f"{spec!r} is not a schedule: {name!r} is not a day of the week; {_FORMS}")
    return known[name]
