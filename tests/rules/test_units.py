"""Sizes, durations and instants, as people write and read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daybreak.units import (
    parse_duration,
    parse_instant,
    parse_size,
    rfc3339,
    show_bytes,
    show_count,
    show_duration,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("1h", 3600),
        ("1h 30m", 5400),
        ("1h30m", 5400),
        ("2d", 172800),
        ("0s", 0),
        ("1.5h", 5400),
        ("250ms", 0.25),
        ("1W", 604800),
        (" 5 min ", 300),
    ],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", " ", "1", "h", "1x", "1h later", "-1h", "1 h,", "1e3s", "٣h٣", "1h\0"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="for example 90s"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("500MB", 500_000_000), ("1.5GiB", 1_610_612_736), ("4096B", 4096), ("1 kB", 1000), ("2tib", 2 * 2**40)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "500", "MB", "-1MB", "1MBit", "1MB 2MB"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="for example 500MB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_234_567, "1.2 MB"),
        (10**9, "1.0 GB"),
        (10**13, "10.0 TB"),
        (10**17, "100000.0 TB"),
        (999_999, "1.0 MB"),
        (999_949, "999.9 kB"),
        (999_999_999, "1.0 GB"),
    ],
)
def test_sizes_are_shown(size: int, text: str) -> None:
    assert show_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (9.99, "10 s"),
        (12.4, "12 s"),
        (59.6, "1 m 00 s"),
        (185, "3 m 05 s"),
        (3599.7, "1 h 00 m"),
        (7800, "2 h 10 m"),
        (86399.9, "1 d 0 h"),
        (273600, "3 d 4 h"),
    ],
)
def test_durations_are_shown(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text


def test_counts_are_shown() -> None:
    assert show_count(1234567) == "1,234,567"
    assert [show_count(number, "row") for number in (0, 1, 1234567)] == ["0 rows", "1 row", "1,234,567 rows"]


@given(st.integers(1, 10**7))
def test_what_is_shown_of_whole_seconds_can_be_read_again(seconds: int) -> None:
    again = parse_duration(show_duration(seconds)).total_seconds()
    assert again <= seconds + 1
    assert seconds - again < max(1, seconds / 10)


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-6)), timezone(timedelta(hours=5.5))])))
def test_instants_come_back(at: datetime) -> None:
    there = rfc3339(at)
    assert there[-6] in "+-"
    if datetime(2, 1, 1, tzinfo=UTC) < at < datetime(9999, 12, 30, tzinfo=UTC):
        assert abs(parse_instant(there) - at) < timedelta(milliseconds=1)


def test_instants_without_an_offset_are_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        rfc3339(datetime(2026, 1, 1))  # noqa: DTZ001 -- the point
    with pytest.raises(ValueError, match="has no offset"):
        parse_instant("2026-01-01T00:00:00")
