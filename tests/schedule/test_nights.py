"""Every night when a clock moved: each local date that exists has its one slot, none is missed and none comes twice.

The other side is worked out apart from `schedule.py`, from the zone files: between two transitions local time runs
straight, and a nominal time is due in the first stretch that reaches it on its date. CI takes the nights of the last
and the coming years of every zone and a sample of the others; `DAYBREAK_ALL_NIGHTS=1` (`just campaign`) takes all.
"""

from __future__ import annotations

import importlib.resources
import os
import random
import re
import struct
import subprocess
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo, available_timezones

import pytest

from daybreak.model import Schedule
from daybreak.schedule import next_slot, slots_between

ALL = bool(os.environ.get("DAYBREAK_ALL_NIGHTS"))
SEED = int(os.environ.get("DAYBREAK_SEED", "20261122"))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DOCUMENT = Path(__file__).parents[2] / "docs" / "schedule.md"
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
#: A stretch of time with one offset: when it begins, and the offset in seconds.
Stretch = tuple[datetime, timedelta]


def zone_file(name: str) -> bytes:
    for folder in TZPATH:
        path = Path(folder) / name
        if path.is_file():
            return path.read_bytes()
    return importlib.resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()


def transitions(name: str) -> list[datetime]:
    """Every transition since 1900 that the zone file lists; after that its rule, found by looking."""
    data = zone_file(name)
    assert data[:4] == b"TZif"
    counts = struct.unpack(">6l", data[20:44])
    isutc, isstd, leaps, times, types, chars = counts
    second = 44 + times * 5 + types * 6 + chars + leaps * 8 + isstd + isutc
    times = struct.unpack(">6l", data[second + 20 : second + 44])[3]
    listed = struct.unpack(f">{times}q", data[second + 44 : second + 44 + times * 8])
    found = [EPOCH + timedelta(seconds=at) for at in listed if at > -2_200_000_000]
    begin = max([*found, datetime(2026, 1, 1, tzinfo=UTC)]) + timedelta(seconds=1)
    return [*found, *looked_up(ZoneInfo(name), begin, datetime(2050, 1, 1, tzinfo=UTC))]


def looked_up(zone: ZoneInfo, begin: datetime, end: datetime) -> Iterator[datetime]:
    at, step = begin, timedelta(days=5)
    while at < end:
        low, high = at, at + step
        if low.astimezone(zone).utcoffset() != high.astimezone(zone).utcoffset():
            while high - low > timedelta(seconds=1):
                middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2)
                same = middle.astimezone(zone).utcoffset() == low.astimezone(zone).utcoffset()
                low, high = (middle, high) if same else (low, middle)
            yield high.replace(microsecond=0)
        at += step


@cache
def stretches(name: str) -> tuple[list[datetime], list[timedelta]]:
    zone = ZoneInfo(name)
    begins = [datetime(1900, 1, 1, tzinfo=UTC), *transitions(name)]
    offsets = [at.astimezone(zone).utcoffset() or timedelta(0) for at in begins]
    return begins, offsets


def expected(name: str, day: date, clock: time) -> datetime | None:
    """When `clock` is due on `day`, None where no stretch reaches it on that date."""
    begins, offsets = stretches(name)
    nominal = datetime.combine(day, clock, tzinfo=UTC)
    first = max(0, bisect_right(begins, nominal - timedelta(days=3)) - 1)
    for number in range(first, len(begins)):
        begin, offset = begins[number], offsets[number]
        if begin > nominal + timedelta(days=3):
            return None
        due = max(begin, nominal - offset)
        ends = begins[number + 1] if number + 1 < len(begins) else None
        if (ends is None or due < ends) and (due + offset).date() == day:
            return due
    return None


def require_once_each(name: str, first: date, days: int, clock: time) -> int:
    """The slots of `days` dates, daily and weekly, are those that are expected; how many."""
    wanted = {
        day: due
        for day in (first + timedelta(days=number) for number in range(days))
        if (due := expected(name, day, clock)) is not None
    }
    spec, begin = f"{clock:%H:%M}", min(wanted.values()) - timedelta(seconds=1)
    # One more before the end: it has to lie on another date.
    found = slots_between(Schedule(spec=spec, timezone=name), begin, max(wanted.values()), most=days + 2)
    assert {one.key: one.due_at for one in found} == {f"{day} {clock:%H:%M}": due for day, due in wanted.items()}, name
    assert len(found) == len(wanted)
    weekday = (first + timedelta(days=days // 2)).weekday()
    weekly = Schedule(spec=f"{DAYS[weekday]} {spec}", timezone=name)
    one_a_week = slots_between(weekly, begin, max(wanted.values()), most=days)
    assert [one.due_at for one in one_a_week] == [due for day, due in wanted.items() if day.weekday() == weekday], name
    again = next_slot(Schedule(spec=spec, timezone=name), begin)
    assert again == found[0], name
    return len(found) + len(one_a_week)


def distinct() -> list[str]:
    """A name for each different zone file."""
    names = sorted(one for one in available_timezones() if one not in {"localtime", "Factory"})
    return sorted({zone_file(one): one for one in reversed(names)}.values())


ZONES = distinct()


def test_there_are_zones_to_look_at() -> None:
    assert len(ZONES) > 300


@pytest.mark.parametrize("part", range(8))
def test_around_every_transition_no_slot_is_missed_and_none_doubled(part: int) -> None:
    """T4: three days before and after each, at two in the night and at times inside of what is left out or doubled."""
    chance = random.Random(SEED + part)  # noqa: S311 -- a choice of nights, no secret
    seen = 0
    for name in ZONES[part::8]:
        moves = [at for at in transitions(name) if at >= EPOCH]
        near = [at for at in moves if 2024 <= at.year <= 2032]
        chosen = moves if ALL else [*near, *chance.sample(moves, min(2, len(moves)))]
        for at in chosen:
            local = [(at + step).astimezone(ZoneInfo(name)) for step in (-timedelta(seconds=1), timedelta(0))]
            inside = local[0] + timedelta(minutes=chance.randrange(1, 60))
            for clock in {time(2, 0), time(inside.hour, inside.minute), time(local[1].hour, local[1].minute)}:
                seen += require_once_each(name, local[0].date() - timedelta(days=3), 7, clock)
    assert seen > 1000


def test_on_random_dates_no_slot_is_missed_and_none_doubled() -> None:
    chance = random.Random(SEED)  # noqa: S311 -- see above
    for _ in range(20_000 if ALL else 400):
        day = date(1970, 1, 10) + timedelta(days=chance.randrange(29_000))
        clock = time(chance.randrange(24), chance.randrange(60))
        assert require_once_each(chance.choice(ZONES), day, 9, clock) >= 9


@pytest.mark.parametrize(
    ("zone", "day", "exists"),
    [("Pacific/Apia", date(2011, 12, 30), False), ("Pacific/Kwajalein", date(1993, 8, 21), False),
     ("Pacific/Apia", date(2011, 12, 31), True), ("America/Chicago", date(2026, 3, 8), True)],
)  # fmt: skip
def test_a_date_that_a_zone_left_out_has_no_slot_and_a_hole_in_one_does(zone: str, day: date, exists: bool) -> None:  # noqa: FBT001 -- a column of the table
    assert (expected(zone, day, time(2, 0)) is not None) is exists
    assert require_once_each(zone, day - timedelta(days=3), 7, time(2, 0))


# -- beside systemd ----------------------------------------------------------------------------------


def calendar(spec: str, zone: str, after: str, count: int) -> list[str]:
    """What `systemd-analyze calendar` says a timer does."""
    words = [f"--base-time={after}", f"--iterations={count}", f"{spec} {zone}"]
    done = subprocess.run(
        ["systemd-analyze", "calendar", *words],  # noqa: S607 -- whichever systemd this host has
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"TZ": "UTC", "PATH": os.environ["PATH"], "LC_ALL": "C"},
    )
    return re.findall(r"(?:Next elapse|Iteration #\d+|Iter\. #\d+): \w+ (\S+ \S+) UTC", done.stdout)


def test_the_nights_beside_systemd_are_as_the_document_shows_them() -> None:
    row = r"^\| `([^`|]+)` \| ([A-Z]\w+/\w+) \| (\d{4}-\d\d-\d\d) \| ([^|]*?) \| ([^|]*?) \|"
    rows = re.findall(row, DOCUMENT.read_text(), re.MULTILINE)
    assert len(rows) >= 5
    for spec, zone, day, ours, theirs in rows:
        begin = datetime.combine(date.fromisoformat(day), time(0), tzinfo=ZoneInfo(zone)).astimezone(UTC)
        begin -= timedelta(seconds=1)
        due = slots_between(Schedule(spec=spec, timezone=zone), begin, begin + timedelta(hours=20), most=9)
        assert ", ".join(f"{one.due_at:%Y-%m-%d %H:%M}" for one in due) == ours, (spec, zone, day)
        days, _, clock = spec.rpartition(" ")
        event = f"{days} *-*-* {clock}:00".strip()
        found = calendar(event, zone, f"{begin:%Y-%m-%d %H:%M:%S} UTC", 1)
        assert [one[:16] for one in found] == [theirs], (spec, zone, day)
