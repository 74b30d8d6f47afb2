"""Schedules: nominal local times, whatever the clocks do."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daybreak.model import Schedule
from daybreak.schedule import last_slot, next_after, parse, parse_spec, parse_zone

CHICAGO = "America/Chicago"
ZONES = sorted(name for name in available_timezones() if "/" in name)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def nightly(spec: str = "02:00", zone: str = CHICAGO) -> Schedule:
    return Schedule(spec=spec, timezone=zone)


def previous_before(schedule: Schedule, instant: datetime) -> datetime:
    slot = last_slot(schedule, instant - timedelta(seconds=1))
    assert slot is not None
    return slot.due_at


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("2026-01-10T07:59:59Z", "2026-01-10T08:00:00Z"),  # winter
        ("2026-01-10T08:00:00Z", "2026-01-11T08:00:00Z"),  # strictly after
        ("2026-07-10T00:00:00Z", "2026-07-10T07:00:00Z"),  # summer
        ("2026-03-07T12:00:00Z", "2026-03-08T08:00:00Z"),  # 02:00 does not exist; 03:00 CDT is the first that does
        ("2026-03-08T08:00:00Z", "2026-03-09T07:00:00Z"),
        ("2026-11-01T00:00:00-05:00", "2026-11-01T08:00:00Z"),  # 02:00 comes once that night
    ],
)
def test_every_night_at_two_in_chicago(after: str, expected: str) -> None:
    assert next_after(nightly(), at(after)) == at(expected)


def test_a_time_in_the_gap_runs_at_its_end() -> None:
    assert next_after(nightly("02:30"), at("2026-03-08T00:00:00-06:00")) == at("2026-03-08T08:00:00Z")


def test_a_doubled_time_runs_once_the_first_time() -> None:
    schedule = nightly("01:30")
    first = next_after(schedule, at("2026-11-01T00:00:00-05:00"))
    assert first == at("2026-11-01T06:30:00Z")
    assert next_after(schedule, first) == at("2026-11-02T07:30:00Z")
    assert previous_before(schedule, at("2026-11-02T00:00:00-06:00")) == first


def test_sundays_skip_no_sunday() -> None:
    schedule = nightly("Sun 02:00")
    assert next_after(schedule, at("2026-03-02T00:00:00Z")) == at("2026-03-08T08:00:00Z")
    assert next_after(schedule, at("2026-03-08T08:00:00Z")) == at("2026-03-15T07:00:00Z")


def test_a_date_that_a_zone_left_out_has_no_slot() -> None:
    schedule = nightly("02:00", "Pacific/Apia")  # went from 29 to 31 December 2011
    first = next_after(schedule, at("2011-12-29T00:00:00-10:00"))
    assert first == at("2011-12-29T02:00:00-10:00")
    assert next_after(schedule, first) == at("2011-12-31T02:00:00+14:00")


def test_slots_in_one_gap_are_one_instant() -> None:
    schedule = nightly("*/15 * * * *")
    assert next_after(schedule, at("2026-03-08T07:45:00Z")) == at("2026-03-08T08:00:00Z")
    assert next_after(schedule, at("2026-03-08T08:00:00Z")) == at("2026-03-08T08:15:00Z")


@given(
    zone=st.sampled_from(ZONES),
    minute=st.integers(0, 24 * 60 - 1),
    start=st.dates(date(1990, 1, 1), date(2037, 1, 1)),
)
@example(zone="Pacific/Apia", minute=120, start=date(2011, 12, 20))
@example(zone="Pacific/Kwajalein", minute=0, start=date(1993, 8, 15))
@example(zone="Australia/Lord_Howe", minute=135, start=date(2026, 9, 28))
@example(zone="America/Sao_Paulo", minute=0, start=date(2017, 10, 10))
@example(zone="Africa/Casablanca", minute=150, start=date(2026, 2, 10))
def test_a_daily_plan_has_one_slot_on_every_local_date_that_exists(zone: str, minute: int, start: date) -> None:
    schedule = nightly(f"{minute // 60:02}:{minute % 60:02}", zone)
    there = ZoneInfo(zone)
    instant = datetime(start.year, start.month, start.day, tzinfo=there) - timedelta(seconds=1)
    end = instant + timedelta(days=20)
    due: list[datetime] = []
    while (instant := next_after(schedule, instant)) < end:
        due.append(instant)
    assert due == sorted(set(due))
    dates = [one.astimezone(there).date() for one in due]
    hours = int((end - due[0]).total_seconds()) // 3600
    exist = {(due[0] + timedelta(hours=hour)).astimezone(there).date() for hour in range(hours)}
    last = end.astimezone(there).date()
    assert [day for day in dates if day < last] == sorted(day for day in exist if day < last)
    for before, after in pairwise(due):
        assert previous_before(schedule, after) == before


@pytest.mark.parametrize(
    ("spec", "cron"),
    [
        ("02:00", "0 2 * * *"),
        ("2:05", "5 2 * * *"),
        ("23:59", "59 23 * * *"),
        ("Sun 02:00", "0 2 * * 0"),
        ("sunday  02:00", "0 2 * * 0"),
        ("Mon,Wed 02:00", "0 2 * * 1,3"),
        ("Mon-Fri 02:00", "0 2 * * 1,2,3,4,5"),
        ("Sat-Sun 02:00", "0 2 * * 0,6"),
        ("0 8 * * *", "0 8 * * *"),
        ("*/10  1-5 1,15 jan-mar MON", "*/10 1-5 1,15 jan-mar MON"),
        ("0 0 29 2 *", "0 0 29 2 *"),
    ],
)
def test_what_a_text_means(spec: str, cron: str) -> None:
    assert parse_spec(spec) == cron


@pytest.mark.parametrize(
    "spec",
    ["", "24:00", "2", "02:60", "Sun", "Foo 02:00", "Mon- 02:00", "@daily", "0 2 * *", "0 0 2 * * *", "61 2 * * *",
     "0 2 * * FOO", "0 0 30 2 *", "0 0 31 2,4 *", "02:00 Sun", "* * * * * * *"],
)  # fmt: skip
def test_what_is_no_schedule_is_refused_in_words(spec: str) -> None:
    with pytest.raises(ValueError, match=r"is not a schedule|never comes"):
        parse_spec(spec)


@pytest.mark.parametrize("name", ["", "Chicago", "America", "../etc/passwd", "/etc/passwd", "America/chicago\0"])
def test_what_is_no_zone_is_refused_in_words(name: str) -> None:
    with pytest.raises(ValueError, match="is not a time zone"):
        parse_zone(name)


def test_an_instant_needs_a_zone() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        next_after(nightly(), datetime(2026, 1, 1))  # noqa: DTZ001 -- that is the point
    assert next_after(nightly(zone="UTC"), datetime(2026, 1, 1, tzinfo=UTC)).tzinfo is UTC
    assert parse(nightly()).zone.key == CHICAGO
