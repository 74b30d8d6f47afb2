"""What retention keeps: golden cases, calendars, and promises that hold for every list of nights."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daybreak.errors import Refused
from daybreak.model import Keep
from daybreak.retention import UNCHECKED_GRACE, Decision, decide

CHICAGO = ZoneInfo("America/Chicago")
START = datetime(2026, 1, 1, 8, 0, tzinfo=UTC)
NOW = START + timedelta(days=1000)


@dataclass(frozen=True, slots=True)
class Night:
    """One archive of a made-up history."""

    id: str
    taken_at: datetime
    checked: bool = True
    proven: bool = False
    read_back: bool = True


def nights(count: int) -> list[Night]:
    return [Night(f"n{day:03}", START + timedelta(days=day)) for day in range(count)]


def kept(decisions: list[Decision[Night]]) -> list[str]:
    return [decision.item.id for decision in decisions if decision.keep]


def random_nights() -> st.SearchStrategy[list[Night]]:
    night = st.tuples(st.integers(0, 800 * 24), st.booleans(), st.booleans())
    return st.lists(night, max_size=40).map(
        lambda drawn: [
            Night(f"n{number:02}", START + timedelta(hours=hours), checked, proven)
            for number, (hours, checked, proven) in enumerate(drawn)
        ]
    )


counts = st.builds(
    Keep,
    last=st.integers(0, 5),
    daily=st.integers(0, 9),
    weekly=st.integers(0, 5),
    monthly=st.integers(0, 13),
    yearly=st.integers(0, 3),
).filter(lambda keep: keep != Keep())


def test_seven_days_four_weeks_twelve_months() -> None:
    decisions = decide(nights(100), Keep(daily=7, weekly=4, monthly=12), CHICAGO, NOW)

    # nights 0 to 99 are 1 January (a Thursday) to 10 April (a Friday), 02:00 or 03:00 in Chicago
    days = [f"n{day:03}" for day in range(99, 92, -1)]
    sundays = ["n094", "n087", "n080"]  # 5 April, 29 and 22 March; the week of 10 April is kept by its newest
    ends_of_months = ["n089", "n058", "n030"]  # 31 March, 28 February, 31 January
    assert kept(decisions) == sorted({*days, *sundays, *ends_of_months}, reverse=True)
    assert decisions[0].reasons == (
        "the newest checked one",
        "the newest of the day 2026-04-10",
        "the newest of the week 2026-W15",
        "the newest of the month 2026-04",
    )


def test_last_counts_items_even_of_one_instant() -> None:
    twins = [Night("a", START), Night("b", START), Night("c", START)]

    assert kept(decide(twins, Keep(last=2), UTC, NOW)) == ["c", "b"]


def test_a_day_is_a_day_of_the_zone() -> None:
    evening = Night("evening", datetime(2026, 7, 2, 4, 30, tzinfo=UTC))  # 23:30 on 1 July in Chicago
    morning = Night("morning", datetime(2026, 7, 2, 5, 30, tzinfo=UTC))  # 00:30 on 2 July in Chicago

    assert kept(decide([evening, morning], Keep(daily=2), CHICAGO, NOW)) == ["morning", "evening"]
    assert kept(decide([evening, morning], Keep(daily=2), UTC, NOW)) == ["morning"]


def test_the_two_one_o_clocks_of_an_autumn_night_are_one_day() -> None:
    first = Night("first", datetime(2026, 11, 1, 6, 30, tzinfo=UTC))  # 01:30 CDT
    second = Night("second", datetime(2026, 11, 1, 7, 30, tzinfo=UTC))  # 01:30 CST

    assert kept(decide([first, second], Keep(daily=5), CHICAGO, NOW)) == ["second"]


def test_weeks_are_iso_weeks_across_the_year() -> None:
    tuesday = Night("tuesday", datetime(2025, 12, 30, 12, tzinfo=UTC))  # 2026-W01
    friday = Night("friday", datetime(2026, 1, 2, 12, tzinfo=UTC))  # 2026-W01

    assert kept(decide([tuesday, friday], Keep(weekly=4), UTC, NOW)) == ["friday"]


def test_an_unchecked_night_does_not_use_up_a_count_nor_keep_a_bucket() -> None:
    history = nights(60)
    bad = [replace(night, checked=False) if night.id in {"n057", "n058", "n010"} else night for night in history]

    decisions = decide(bad, Keep(daily=3), UTC, NOW)

    assert kept(decisions) == ["n059", "n058", "n057", "n056", "n055"]
    assert decisions[1].reasons == ("not checked, kept 30 days for a person to look at",)


def test_everything_after_the_newest_checked_night_stays() -> None:
    history = [replace(night, checked=night.id < "n003") for night in nights(90)]

    decisions = decide(history, Keep(last=1), UTC, NOW)

    assert kept(decisions) == [f"n{day:03}" for day in range(89, 1, -1)]
    assert decisions[0].reasons == ("nothing newer is checked",)


def test_nothing_checked_means_nothing_is_deleted() -> None:
    history = [replace(night, checked=False) for night in nights(90)]

    assert len(kept(decide(history, Keep(last=1), UTC, NOW))) == 90


def test_the_newest_proven_night_stays_however_old() -> None:
    history = [replace(night, proven=night.id in {"n001", "n004"}) for night in nights(300)]

    decisions = decide(history, Keep(last=1), UTC, NOW)

    assert kept(decisions) == ["n299", "n004"]
    assert decisions[-5].reasons == ("the newest proven one",)


def test_what_is_dated_later_than_now_stays_and_takes_no_place() -> None:
    ahead = [Night(f"x{day}", START + timedelta(days=3650 + day), proven=True) for day in range(3)]
    history = [replace(night, proven=night.id == "n001") for night in nights(10)]
    at = START + timedelta(days=9)

    decisions = decide([*ahead, *history], Keep(last=2, daily=3), UTC, at)

    assert kept(decisions) == ["x2", "x1", "x0", "n009", "n008", "n007", "n001"]
    assert decisions[0].reasons == ("dated later than now: a clock was ahead",)
    assert decisions[3].reasons[0] == "the newest checked one"
    assert kept(decide(history, Keep(last=1), UTC, at - timedelta(minutes=5))) == ["n009", "n001"]  # clocks differ
    assert kept(decide(history, Keep(last=1), UTC, at - timedelta(minutes=6))) == ["n009", "n008", "n001"]


def test_one_that_was_never_read_back_stands_beside_a_good_one_not_in_its_place() -> None:
    history = nights(9)
    history[7] = replace(history[7], taken_at=history[6].taken_at + timedelta(hours=1), read_back=False)

    decisions = decide(history, Keep(daily=3), UTC, NOW)

    assert kept(decisions) == ["n008", "n007", "n006", "n005"]
    twin = replace(history[2], id="x002", proven=True, read_back=False)
    history[2] = replace(history[2], proven=True)
    assert kept(decide([*history, twin], Keep(last=1), UTC, NOW)) == ["n008", "x002", "n002"]
    assert decisions[1].reasons == decisions[2].reasons == ("the newest of the day 2026-01-07",)


def test_where_nothing_is_known_of_what_is_there_the_rules_hold_as_ever() -> None:
    history = [replace(night, read_back=night.id > "n058") for night in nights(60)]  # the catalog was lost then

    assert kept(decide(history, Keep(daily=3), UTC, NOW)) == ["n059", "n058", "n057"]


def test_what_was_just_sent_stays_whatever_is_newer() -> None:
    decisions = decide(nights(9), Keep(last=1), UTC, NOW, sent={"n003"})

    assert kept(decisions) == ["n008", "n003"]
    assert decisions[5].reasons == ("sent just now",)


def test_an_empty_history_is_no_fault() -> None:
    assert decide(list[Night](), Keep(daily=1), UTC, NOW) == []


def test_a_policy_without_a_rule_is_refused() -> None:
    with pytest.raises(Refused, match="delete everything") as refused:
        decide(nights(3), Keep(), UTC, NOW)
    assert "keep = " in refused.value.hint


def test_a_negative_count_and_a_naive_instant_are_bugs() -> None:
    with pytest.raises(ValueError, match="negative"):
        decide(nights(3), Keep(last=-1), UTC, NOW)
    with pytest.raises(ValueError, match="zone"):
        decide([Night("a", datetime(2026, 1, 1))], Keep(last=1), UTC, NOW)  # noqa: DTZ001 -- the fault under test


@settings(max_examples=300)
@given(random_nights(), counts, st.sampled_from(["last", "daily", "weekly", "monthly", "yearly"]), st.integers(1, 9))
def test_raising_a_count_never_deletes_more(history: list[Night], keep: Keep, rule: str, more: int) -> None:
    raised = replace(keep, **{rule: getattr(keep, rule) + more})

    assert set(kept(decide(history, keep, CHICAGO, NOW))) <= set(kept(decide(history, raised, CHICAGO, NOW)))


@settings(max_examples=300)
@given(random_nights(), counts)
def test_what_no_policy_may_delete_always_stays(history: list[Night], keep: Keep) -> None:
    stays = set(kept(decide(history, keep, CHICAGO, NOW)))
    newest_first = sorted(history, key=lambda night: (night.taken_at, night.id), reverse=True)
    newest_checked = next((night for night in newest_first if night.checked), None)
    newest_proven = next((night for night in newest_first if night.proven), None)

    if newest_first:
        assert newest_first[0].id in stays
    if newest_proven:
        assert newest_proven.id in stays
    if newest_checked:
        assert {night.id for night in newest_first[: newest_first.index(newest_checked) + 1]} <= stays
        young = {
            night.id
            for night in history
            if not night.checked and newest_checked.taken_at - night.taken_at <= UNCHECKED_GRACE
        }
        assert young <= stays
    else:
        assert stays == {night.id for night in history}


@settings(max_examples=200)
@given(random_nights(), random_nights(), counts)
def test_a_clock_that_was_ahead_deletes_nothing(history: list[Night], ahead: list[Night], keep: Keep) -> None:
    later = [replace(night, id=f"x{night.id}", taken_at=night.taken_at + timedelta(days=1001)) for night in ahead]

    stays = kept(decide([*history, *later], keep, CHICAGO, NOW))

    assert set(stays) == {*kept(decide(history, keep, CHICAGO, NOW)), *(night.id for night in later)}


@settings(max_examples=200)
@given(random_nights(), counts, st.sets(st.integers(0, 40)))
def test_whatever_is_not_known_of_some_never_deletes_more(history: list[Night], keep: Keep, unknown: set[int]) -> None:
    known = [replace(night, read_back=number not in unknown) for number, night in enumerate(history)]
    good = [night for night in known if night.read_back]

    stays = set(kept(decide(known, keep, CHICAGO, NOW)))

    assert stays >= set(kept(decide(history, keep, CHICAGO, NOW)))
    assert stays >= set(kept(decide(good, keep, CHICAGO, NOW)))


@settings(max_examples=200)
@given(random_nights(), counts, st.integers())
def test_the_order_of_the_list_does_not_matter(history: list[Night], keep: Keep, seed: int) -> None:
    shuffled = list(history)
    random.Random(seed).shuffle(shuffled)  # noqa: S311 -- an order, not a key

    assert decide(history, keep, CHICAGO, NOW) == decide(shuffled, keep, CHICAGO, NOW)


@settings(max_examples=200)
@given(random_nights(), counts)
def test_deciding_again_over_what_was_kept_deletes_nothing(history: list[Night], keep: Keep) -> None:
    stays = [decision.item for decision in decide(history, keep, CHICAGO, NOW) if decision.keep]

    assert len(kept(decide(stays, keep, CHICAGO, NOW))) == len(stays)
