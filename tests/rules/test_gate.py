"""The gate: what a complete archive must look like to be believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daybreak.gate import COMPARED, Weight, doubts


def weight(size_bytes: int = 1000, rows: int = 100, *, accepted: bool = False, **tables: int) -> Weight:
    """An archive of this size; `tables` are names and rows."""
    return Weight(size_bytes=size_bytes, rows=rows, table_rows=tables or {"public.a": rows}, accepted=accepted)


def test_the_first_archive_is_believed() -> None:
    assert doubts(weight(1, 0), []) == []


@pytest.mark.parametrize(("size", "said"), [(500, False), (499, True), (5000, False)])
def test_half_of_the_usual_size_is_the_limit(size: int, said: bool) -> None:  # noqa: FBT001 -- a parameter
    found = doubts(weight(size), [weight()])
    assert bool(found) is said
    assert all("499 B is less than half of the usual 1.0 kB" in one for one in found)


@pytest.mark.parametrize(("rows", "said"), [(50, False), (49, True)])
def test_half_of_the_usual_rows_is_the_limit(rows: int, said: bool) -> None:  # noqa: FBT001 -- a parameter
    new = Weight(size_bytes=1000, rows=rows, table_rows={"public.a": rows})
    assert bool(doubts(new, [weight()])) is said


def test_the_median_counts_and_not_one_odd_night() -> None:
    nights = [weight(10), *[weight(1000)] * 5, weight(100_000)]
    assert doubts(weight(600), nights) == []
    assert doubts(weight(400), nights)


def test_only_so_many_nights_count() -> None:
    assert doubts(weight(100), [*[weight(100)] * COMPARED, *[weight(10**9)] * 50]) == []


def test_a_table_that_held_rows_and_is_gone_is_named() -> None:
    before = weight(rows=100, **{"public.a": 90, "shop.order": 10, "public.empty": 0})
    found = doubts(weight(rows=90, **{"public.a": 90}), [before])
    assert found == ["tables that held rows are gone: shop.order"]


def test_a_table_that_is_empty_now_is_not_gone() -> None:
    before = weight(rows=100, **{"public.a": 90, "public.b": 10})
    assert doubts(weight(rows=90, **{"public.a": 90, "public.b": 0}), [before]) == []


def test_many_tables_that_are_gone_are_counted() -> None:
    before = weight(rows=100, **{f"public.t{n}": 5 for n in range(20)})
    (found,) = doubts(weight(rows=100, **{"public.t0": 100}), [before])
    assert found.endswith("and 14 more")


def test_what_a_person_accepted_is_the_new_measure() -> None:
    nights = [weight(100, 10, accepted=True), *[weight()] * 6]
    assert doubts(weight(100, 10), nights) == []
    assert doubts(weight(40, 10), nights)


def test_what_came_after_an_accepted_one_counts_with_it() -> None:
    nights = [weight(100), weight(100, accepted=True), *[weight(10**9)] * 5]
    assert doubts(weight(60), nights) == []


_WEIGHTS = st.builds(weight, st.integers(0, 10**12), st.integers(0, 10**9), accepted=st.booleans())


@given(_WEIGHTS, st.lists(_WEIGHTS, max_size=10))
def test_the_same_again_is_never_doubted(new: Weight, nights: list[Weight]) -> None:
    assert doubts(new, [new] * 7) == []
    assert isinstance(doubts(new, nights), list)


@given(_WEIGHTS, st.lists(_WEIGHTS, min_size=1, max_size=10))
def test_more_is_never_more_suspicious(new: Weight, nights: list[Weight]) -> None:
    larger = Weight(size_bytes=new.size_bytes * 2, rows=new.rows * 2, table_rows=new.table_rows)
    assert len(doubts(larger, nights)) <= len(doubts(new, nights))
