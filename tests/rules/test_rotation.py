"""Which part is read next: everything within 28 days, and nothing that was damaged is forgotten."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daybreak.errors import UsageError
from daybreak.model import Schedule
from daybreak.rotation import Part, Reading, next_parts, parts_within, require_part

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("Sun 05:00", 4),
        ("05:00", 28),
        ("Mon,Thu 05:00", 8),
        ("0 5 1 * *", 1),
        ("0 5 1 1 *", 1),  # once a year: then at least all of it
        ("*/10 * * * *", 256),  # restic knows no smaller part
        (None, 4),
    ],
)
def test_all_of_it_is_read_within_four_weeks(spec: str | None, parts: int) -> None:
    assert parts_within(None if spec is None else Schedule(spec=spec, timezone="America/Chicago"), NOW) == parts


@given(st.integers(1, 256))
def test_a_sound_rotation_reads_every_part_once(parts: int) -> None:
    readings: list[Reading] = []
    read: list[Part] = []
    for _ in range(parts):
        [part] = next_parts(readings, parts)
        read.append(part)
        readings.insert(0, Reading(part, sound=True))
    assert sorted(read) == [Part(n, parts) for n in range(1, parts + 1)]
    assert next_parts(readings, parts) == [Part(1, parts)]


def test_what_is_damaged_is_read_again_until_it_is_sound() -> None:
    readings = [Reading(Part(2, 4), sound=False), Reading(Part(1, 4), sound=True)]
    assert next_parts(readings, 4) == [Part(2, 4), Part(3, 4)]
    readings = [Reading(Part(3, 4), sound=True), Reading(Part(2, 4), sound=False), *readings]
    assert next_parts(readings, 4) == [Part(2, 4), Part(4, 4)]
    readings = [Reading(Part(4, 4), sound=True), Reading(Part(2, 4), sound=True), *readings]
    assert next_parts(readings, 4) == [Part(1, 4)]


def test_everything_sound_settles_what_was_found_before() -> None:
    damaged = [Reading(Part(2, 4), sound=False), Reading(Part(1, 4), sound=True)]
    whole = Reading(Part(1, 1), sound=True, planned=False)
    assert next_parts([whole, *damaged], 4) == [Part(3, 4)]
    assert next_parts([Reading(Part(1, 1), sound=False, planned=False), *damaged], 4)[:-1] == [Part(1, 1), Part(2, 4)]


def test_a_part_that_a_person_named_does_not_move_the_rotation() -> None:
    readings = [Reading(Part(4, 4), sound=True, planned=False), Reading(Part(1, 4), sound=True)]
    assert next_parts(readings, 4) == [Part(2, 4)]


def test_a_rotation_ends_as_it_began_and_the_next_one_has_the_new_parts() -> None:
    assert next_parts([Reading(Part(3, 4), sound=True)], 28) == [Part(4, 4)]
    assert next_parts([Reading(Part(4, 4), sound=True)], 28) == [Part(1, 28)]
    assert next_parts([Reading(Part(1, 1), sound=True)], 1) == [Part(1, 1)]


@pytest.mark.parametrize("text", ["1/1", "7/7", "256/256", "100%", "0.5%", "5%", "1K", "500M", "20G", "3T"])
def test_what_restic_takes_is_a_part(text: str) -> None:
    require_part(text)


@pytest.mark.parametrize(
    "text",
    [
        "3/2",
        "0/2",
        "1/0",
        "1/257",
        "1/1000000",
        "9",
        "0%",
        "0.0%",
        "101%",
        "-5%",
        "0M",
        "5MB",
        "5m",
        "half",
        "--all",
        "",
        " 5%",
        "5%\n",
        "٣/٤",
    ],
)
def test_what_restic_would_refuse_is_refused_before(text: str) -> None:
    with pytest.raises(UsageError, match="is no part of a repository") as caught:
        require_part(text)
    assert "write 1/7" in caught.value.hint
