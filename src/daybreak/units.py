"""Sizes, durations and instants as people write and read them. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_DURATION_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZE: Final = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_KILO: Final = 1000
_EXACT_S: Final = 10
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86400
_PART: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]+)")


def parse_duration(text: str) -> timedelta:
    """Read `90s`, `1h`, `1h 30m`, `2d`. Raise ValueError for anything else."""
    total, at = 0.0, 0
    while at < len(text.rstrip()):
        part = _PART.match(text, at)
        if part is None or part[2].lower() not in _DURATION_S:
            raise ValueError(f"{text!r} is not a duration; write for example 90s, 30m, 1h or 7d")
        total += float(part[1]) * _DURATION_S[part[2].lower()]
        at = part.end()
    if at == 0:
        raise ValueError("an empty text is not a duration; write for example 90s, 30m, 1h or 7d")
    return timedelta(seconds=total)


def parse_size(text: str) -> int:
    """Read `500MB`, `1.5GiB`, `4096B` into bytes. Raise ValueError for anything else."""
    part = _PART.fullmatch(text.rstrip())
    if part is None or part[2].lower() not in _SIZE:
        raise ValueError(f"{text!r} is not a size; write for example 500MB or 2GiB")
    return int(float(part[1]) * _SIZE[part[2].lower()])


def show_bytes(size_bytes: float) -> str:
    """`1234567` as `1.2 MB` (decimal units, as disks and clouds count)."""
    if abs(size_bytes) < _KILO:
        return f"{size_bytes:.0f} B"
    for unit in ("kB", "MB", "GB"):
        size_bytes /= _KILO
        if abs(round(size_bytes, 1)) < _KILO:  # as it is shown: never "1000.0 kB"
            return f"{size_bytes:.1f} {unit}"
    return f"{size_bytes / _KILO:.1f} TB"


def show_duration(seconds: float) -> str:
    """Seconds as a person says them: `0.4 s`, `12 s`, `3 m 05 s`, `2 h 10 m`, `3 d 4 h`."""
    if round(seconds, 1) < _EXACT_S:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} m {whole % _MINUTE_S:02d} s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S:02d} m"
    return f"{whole // _DAY_S} d {whole % _DAY_S // _HOUR_S} h"


def show_count(count: int, noun: str = "") -> str:
    """`1234567` as `1,234,567`; with a noun `1 row`, `2 rows`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}" if noun else f"{count:,}"


def rfc3339(at: datetime) -> str:
    """An aware instant as RFC 3339 with offset, to the millisecond. Raise ValueError for a naive one."""
    if at.tzinfo is None:
        raise ValueError("an instant without a zone")
    return at.isoformat(timespec="milliseconds")


def show_instant(at: datetime) -> str:
    """An instant for people: `2026-12-24 18:00:00 CET`, in the zone of this machine."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def parse_instant(text: str) -> datetime:
    """Read RFC 3339 with offset. Raise ValueError where the offset is missing."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC")
    return at.astimezone(UTC)
