"""Who takes a slot, what later callers hear, and what becomes of the slots that nobody came for. The clock is ours."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from slot_world import WEEKLY, World, at

from daybreak.errors import DaybreakError, SlotFailed, UsageError
from daybreak.jobs import slots
from daybreak.jobs.run import Skip
from daybreak.model import RunState, Schedule
from daybreak.schedule import decide, slot_for, slot_named

GITHUB = {"trigger": "github", "grace": "30m"}


def chicago(spec: str = "02:00", **keys: Any) -> Schedule:
    return Schedule(spec=spec, timezone="America/Chicago", **keys)


# -- the rules, without a catalog --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "slot"),
    [
        ("2026-11-22T08:00:00Z", "2026-11-22 02:00"),
        ("2026-11-22T07:59:58Z", "2026-11-22 02:00"),  # GitHub's clock is two seconds ahead
        ("2026-11-22T07:54:59Z", "2026-11-21 02:00"),  # too early to be meant; the last one is 24 h old
        ("2026-11-22T15:00:00Z", "2026-11-22 02:00"),  # seven hours late
        ("2026-11-22T20:00:01Z", None),
        ("2026-03-08T08:00:20Z", "2026-03-08 02:00"),  # which did not exist: 03:00 CDT
        ("2026-11-01T08:00:20Z", "2026-11-01 02:00"),
    ],
)
def test_which_slot_somebody_comes_for(when: str, slot: str | None) -> None:
    found = slot_for(chicago(catch_up=timedelta(hours=12)), at(when))
    if slot == "2026-11-21 02:00":
        assert found is None
        found = slot_for(chicago(catch_up=timedelta(hours=25)), at(when))
    assert (found.key if found else None) == slot


def test_of_two_near_slots_the_nearer_one_is_meant() -> None:
    often = chicago(spec="*/5 * * * *")
    for when, key in {"02:01:00": "02:00", "02:03:00": "02:05", "02:04:59": "02:05"}.items():
        found = slot_for(often, at(f"2026-11-22T{when}-06:00"))
        assert found is not None
        assert found.key == f"2026-11-22 {key}"


def test_one_run_makes_up_for_all_that_were_missed() -> None:
    """T6: two missed nights are one run, and none where it is too late for that."""
    schedule = chicago(catch_up=timedelta(hours=12))
    waiting = [slot_named(schedule, f"2026-11-{day} 02:00") for day in (20, 21, 22)]
    assert all(waiting)
    verdict = decide(schedule, [one for one in waiting if one], at("2026-11-22T10:00-06:00"))
    assert verdict.run == waiting[2]
    assert [slot.key for slot, _ in verdict.missed] == ["2026-11-20 02:00", "2026-11-21 02:00"]
    assert all("2026-11-22 02:00 makes up for it" in why for _, why in verdict.missed)
    late = decide(schedule, [one for one in waiting if one], at("2026-11-22T14:00:01-06:00"))
    assert (late.run, len(late.missed)) == (None, 3)
    assert "within 12 h 00 m" in late.missed[0][1]
    assert decide(schedule, [], at("2026-11-22T10:00-06:00")).run is None


def test_who_is_expected_has_grace() -> None:
    schedule = chicago(trigger="github", grace=timedelta(minutes=30))
    waiting = [slot_named(schedule, "2026-11-22 02:00")]
    assert waiting[0] is not None
    early = decide(schedule, [waiting[0]], at("2026-11-22T02:29:59-06:00"))
    assert (early.run, early.wait, early.wait_until) == (None, waiting[0], at("2026-11-22T02:30-06:00"))
    assert decide(schedule, [waiting[0]], at("2026-11-22T02:30-06:00")).run == waiting[0]


# -- callers -----------------------------------------------------------------------------------------


def test_a_slot_is_taken_once_and_later_callers_hear_the_truth(world: World) -> None:
    nightly = world.timed()
    run = world.begin(nightly, "now", at("2026-11-22T07:59:58Z"))
    with pytest.raises(Skip, match=f"run {run} is doing the slot 2026-11-22 02:00"):
        world.begin(nightly, "now", at("2026-11-22T08:00:03Z"))
    world.end(run, at("2026-11-22T08:10:00Z"))
    with pytest.raises(Skip, match=f"already done for slot 2026-11-22 02:00, by run {run}"):
        world.begin(nightly, "now", at("2026-11-22T12:00:00Z"))
    with pytest.raises(Skip, match="already done"):
        world.begin(nightly, "2026-11-22T08:00:00+00:00", at("2026-11-22T12:00:00Z"))
    assert world.rows() == ["2026-11-22 02:00 claimed"]


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.CANCELLED, RunState.SKIPPED])
def test_a_slot_that_was_taken_in_vain_is_no_success(world: World, state: RunState) -> None:
    run = world.begin(world.timed(), "now", at("2026-11-22T08:00:00Z"))
    world.end(run, at("2026-11-22T08:01:00Z"), state, reason="the reason")
    expected = SlotFailed if state is RunState.FAILED else Skip
    with pytest.raises(expected, match="the reason"):
        world.begin(world.timed(), "now", at("2026-11-22T08:30:00Z"))


def test_a_slot_whose_host_went_down_may_be_taken_again_once(world: World) -> None:
    """C5: a run that is lost did not do its slot; one that dies again and again is not begun for ever."""
    first = world.begin(world.timed(), "now", at("2026-11-22T08:00:00Z"))
    world.kill(first)
    world.site.engine.mark_lost()
    turn = world.site.look(world.timed(), at("2026-11-22T08:05:00Z"))
    assert turn is not None
    assert turn.slot.key == "2026-11-22 02:00"
    second = world.begin(world.timed(), turn.slot, at("2026-11-22T08:05:01Z"))
    world.kill(second)
    world.site.engine.mark_lost()
    assert world.site.look(world.timed(), at("2026-11-22T08:10:00Z")) is None
    with pytest.raises(SlotFailed, match="was lost"):
        world.begin(world.timed(), "now", at("2026-11-22T08:10:00Z"))


def test_a_caller_settles_what_it_makes_up_for(world: World) -> None:
    world.end(world.begin(world.timed(), "now", at("2026-11-19T08:00:10Z")), at("2026-11-19T08:01:00Z"))
    world.begin(world.timed(), "now", at("2026-11-22T08:00:10Z"))
    assert world.rows() == [
        "2026-11-19 02:00 claimed",
        "2026-11-20 02:00 missed",
        "2026-11-21 02:00 missed",
        "2026-11-22 02:00 claimed",
    ]
    assert "2026-11-22 02:00 makes up for it" in world.reasons()["2026-11-21 02:00"]


def test_a_job_that_takes_longer_than_its_interval_lets_the_next_slot_go(world: World) -> None:
    """Q3: skipped with a record, and nobody waits behind it."""
    run = world.begin(world.timed(), "now", at("2026-11-22T08:00:00Z"))
    assert world.site.look(world.timed(), at("2026-11-23T08:00:01Z")) is None
    with pytest.raises(Skip, match=f"skipped: run {run} of the slot 2026-11-22 02:00 was still going on"):
        world.begin(world.timed(), "now", at("2026-11-23T08:00:02Z"))
    world.end(run, at("2026-11-23T08:10:00Z"))
    assert world.site.look(world.timed(), at("2026-11-23T08:11:00Z")) is None
    assert world.rows() == ["2026-11-22 02:00 claimed", "2026-11-23 02:00 skipped"]
    with pytest.raises(Skip, match="still going on"):
        world.begin(world.timed(), "now", at("2026-11-23T09:00:00Z"))


def test_a_caller_that_overlaps_without_a_scheduler_lets_the_slot_go_too(world: World) -> None:
    world.begin(world.timed(), "now", at("2026-11-22T08:00:00Z"))
    with pytest.raises(Skip, match="is skipped: run"):
        world.begin(world.timed(), "now", at("2026-11-23T08:00:02Z"))
    assert world.rows()[-1] == "2026-11-23 02:00 skipped"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2026-11-22 03:00", "has no slot"),
        ("2026-11-22T08:00:01Z", "has no slot"),
        ("2026-11-23 02:00", "not due yet"),
        ("soon", "is no slot"),
        ("", "is no slot"),
        ("0001-01-01T00:00Z", "1 is out of reach"),
        ("9999-12-31T08:00Z", "9999 is out of reach"),
    ],
)
def test_what_is_no_slot_is_refused_in_words(world: World, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        slots.asked_slot(world.timed(), text, at("2026-11-22T09:00:00Z"))
    assert caught.value.hint


# -- the scheduler's look ----------------------------------------------------------------------------


def test_the_slots_of_a_plan_begin_when_somebody_first_looks(world: World) -> None:
    assert world.site.look(world.timed(), at("2026-11-22T08:00:01Z")) is None
    assert world.rows() == []
    assert world.site.look(world.timed(), at("2026-11-23T08:00:00Z")) is not None


def test_after_a_shutdown_one_run_makes_up_for_all(world: World) -> None:
    world.site.look(world.timed(), at("2026-11-19T20:00:00Z"))
    turn = world.site.look(world.timed(), at("2026-11-22T16:00:00Z"))
    assert turn is not None
    assert turn.slot.key == "2026-11-22 02:00"
    world.end(world.begin(world.timed(), turn.slot, at("2026-11-22T16:00:01Z")), at("2026-11-22T16:05:00Z"))
    assert world.site.look(world.timed(), at("2026-11-22T16:06:00Z")) is None
    assert world.rows() == ["2026-11-20 02:00 missed", "2026-11-21 02:00 missed", "2026-11-22 02:00 claimed"]


def test_what_is_too_late_is_missed_with_its_reason(world: World) -> None:
    world.site.look(world.timed(), at("2026-11-21T20:00:00Z"))
    assert world.site.look(world.timed(), at("2026-11-22T20:00:01Z")) is None
    assert world.rows() == ["2026-11-22 02:00 missed"]
    assert "within 12 h 00 m (catch_up)" in world.reasons()["2026-11-22 02:00"]


@pytest.mark.parametrize("world", [GITHUB], indirect=True)
def test_the_scheduler_waits_for_github_and_says_when_it_did_not_come(world: World) -> None:
    """Q1: CI is an extra trigger; the night happens without it, and somebody can see how often."""
    world.site.look(world.timed(), at("2026-11-20T20:00:00Z"))
    world.end(world.begin(world.timed(), "now", at("2026-11-21T08:12:00Z"), trigger="github"), at("2026-11-21T08:20Z"))
    for day in (22, 23):
        assert world.site.look(world.timed(), at(f"2026-11-{day}T08:00:05Z")) is None
        assert world.reasons()[f"2026-11-{day} 02:00"] == "waits for github until 02:30 CST"
        turn = world.site.look(world.timed(), at(f"2026-11-{day}T08:30:00Z"))
        assert turn is not None
        run = world.begin(world.timed(), turn.slot, at(f"2026-11-{day}T08:30:01Z"), trigger="scheduler")
        world.end(run, at(f"2026-11-{day}T08:40:00Z"))
    assert world.reasons()["2026-11-23 02:00"] == (
        "github did not come for the slot 2026-11-23 02:00 within 30 m 00 s (grace), nor for 1 of the 2 before it; "
        "the scheduler began it"
    )
    (outlook,) = world.site.schedule(at("2026-11-23T12:00:00Z"))
    assert outlook.not_come == (2, 3)
    with pytest.raises(Skip, match="already done"):  # seven hours late
        world.begin(world.timed(), "now", at("2026-11-23T15:00:00Z"), trigger="github")


@pytest.mark.parametrize("world", [{"more": WEEKLY}], indirect=True)
def test_a_first_refresh_waits_for_a_person(world: World) -> None:
    weekly = world.timed("refresh")
    world.site.look(weekly, at("2026-11-21T20:00:00Z"))
    assert world.site.look(weekly, at("2026-11-22T08:00:01Z")) is None
    assert world.rows(weekly) == ["2026-11-22 02:00 skipped"]
    assert "waiting for a person: dev was never refreshed" in world.reasons(weekly)["2026-11-22 02:00"]


def test_a_changed_schedule_begins_anew(world: World) -> None:
    nightly = world.timed()
    world.site.look(nightly, at("2026-11-20T20:00:00Z"))
    other = type(nightly)(kind="backup", plan="nightly", schedule=chicago(spec="01:00"))
    assert world.site.look(other, at("2026-11-22T20:00:00Z")) is None
    assert world.rows() == []  # 01:00 of the days before is no slot that anybody missed


# -- clocks ------------------------------------------------------------------------------------------


def look_all(world: World, when: datetime) -> None:
    turn = world.site.look(world.timed(), when)
    if turn is not None:
        world.end(world.begin(world.timed(), turn.slot, when), when)


def test_a_zone_further_west_does_not_take_its_first_night_away(world: World) -> None:
    """Its slot has the name of one that was done in the zone before: it was begun, and skipped, again and again."""
    nightly, alive = world.timed(), world.site.engine.is_alive
    east = replace(nightly, schedule=replace(nightly.schedule, timezone="UTC"))
    slots.look(world.site.catalog, alive, east, at("2026-11-22T00:00:00Z"), waits_for="")
    turn = slots.look(world.site.catalog, alive, east, at("2026-11-22T02:00:00Z"), waits_for="")
    assert turn is not None
    world.end(world.begin(east, turn.slot, at("2026-11-22T02:00:01Z")), at("2026-11-22T02:01:00Z"))
    assert slots.look(world.site.catalog, alive, nightly, at("2026-11-22T03:00:00Z"), waits_for="") is None
    turn = slots.look(world.site.catalog, alive, nightly, at("2026-11-22T08:00:00Z"), waits_for="")
    assert turn is not None
    world.end(world.begin(nightly, turn.slot, at("2026-11-22T08:00:01Z")), at("2026-11-22T08:01:00Z"))
    assert slots.look(world.site.catalog, alive, nightly, at("2026-11-22T08:02:00Z"), waits_for="") is None
    assert world.rows() == ["2026-11-22 02:00 claimed"]
    # Back again: that night is over there too, and nothing is done twice.
    assert slots.look(world.site.catalog, alive, east, at("2026-11-22T09:00:00Z"), waits_for="") is None
    assert world.rows() == ["2026-11-22 02:00 claimed"]


def test_a_clock_set_back_over_a_slot_does_not_double_it(world: World) -> None:
    look_all(world, at("2026-11-21T20:00:00Z"))
    look_all(world, at("2026-11-22T08:00:01Z"))
    for back in ("2026-11-22T07:30:00Z", "2026-11-21T21:00:00Z", "2026-11-22T08:00:01Z", "2026-11-22T09:00:00Z"):
        look_all(world, at(back))
    assert world.rows() == ["2026-11-22 02:00 claimed"]
    assert len(world.site.runs(100)) == 1


def test_a_clock_ten_years_ahead_floods_nothing_and_takes_no_later_night_away(world: World) -> None:
    look_all(world, at("2026-11-21T20:00:00Z"))
    look_all(world, at("2036-11-22T08:30:00Z"))
    assert len(world.rows()) == slots.MOST
    assert "so were those before it" in world.reasons()["2036-08-15 02:00"]
    assert len(world.site.runs(100)) == 1
    for day in range(22, 30):
        look_all(world, at(f"2026-11-{day}T08:00:01Z"))
    assert world.rows() == [f"2026-11-{day} 02:00 claimed" for day in range(22, 30)]
    (outlook,) = world.site.schedule(at("2026-11-29T12:00:00Z"))
    assert outlook.watched is not None
    assert "the clock went back" in outlook.watched.note


def test_a_plan_first_seen_by_a_clock_that_was_ahead_begins_when_it_is_right(world: World) -> None:
    look_all(world, at("2036-11-22T20:00:00Z"))
    look_all(world, at("2026-11-21T20:00:00Z"))
    look_all(world, at("2026-11-22T08:00:01Z"))
    assert world.rows() == ["2026-11-22 02:00 claimed"]


def test_a_clock_that_was_never_set_begins_nothing(world: World) -> None:
    look_all(world, at("2026-11-21T20:00:00Z"))
    look_all(world, at("2026-11-22T08:00:01Z"))
    with pytest.raises(DaybreakError, match="says 1970-01-01"):
        look_all(world, at("1970-01-01T00:01:00Z"))
    look_all(world, at("2026-11-22T08:05:00Z"))
    assert world.rows() == ["2026-11-22 02:00 claimed"]
    assert len(world.site.runs(100)) == 1


def test_a_plan_of_every_minute_does_not_flood_after_a_week(world: World) -> None:
    nightly = world.timed()
    every = type(nightly)(kind="backup", plan="nightly", schedule=chicago(spec="* * * * *"))
    assert world.site.look(every, at("2026-11-15T08:00:00Z")) is None
    turn = world.site.look(every, at("2026-11-22T08:00:30Z"))
    assert turn is not None
    assert turn.slot.key == "2026-11-22 02:00"
    assert len(world.rows()) == slots.MOST - 1
