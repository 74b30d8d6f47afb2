"""Which part of a repository a check reads next, so that all of it is read within four weeks. Pure.

Shapes  a part is `n` of `t`, restic's own `--read-data-subset=n/t`: the packs whose first byte, modulo t, is n - 1.
Units   t is at most 256, because that byte has no more values.
Errors  `UsageError` for what somebody typed and restic would not take.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from daybreak import schedule
from daybreak.errors import UsageError
from daybreak.model import Schedule

WITHIN: Final = timedelta(days=28)
_MOST: Final = 256
#: Without a schedule: as if somebody looked once a week.
_BY_HAND: Final = 4
_NAMED: Final = re.compile(r"(\d{1,3})/(\d{1,3})", re.ASCII)
_SHARE: Final = re.compile(r"(\d+(?:\.\d+)?)%", re.ASCII)
#: A number alone is no size to restic, and it counts the bytes in 63 bits.
_SIZE: Final = re.compile(r"(\d{1,6})[KMGT]", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """The n-th of t parts of the data."""

    n: int
    t: int

    def __str__(self) -> str:
        return f"{self.n}/{self.t}"


@dataclass(frozen=True, slots=True)
class Reading:
    """A part that a check read."""

    part: Part
    sound: bool
    planned: bool = True  # by the rotation, not because a person named the part


def require_part(text: str) -> None:
    """Raise UsageError where restic would not take what somebody wants to have read: `2/4`, `5%`, `500M`."""
    named, share, size = _NAMED.fullmatch(text), _SHARE.fullmatch(text), _SIZE.fullmatch(text)
    good = (
        (named is not None and 1 <= int(named[1]) <= int(named[2]) <= _MOST)
        or (share is not None and 0 < float(share[1]) <= 100)  # noqa: PLR2004 -- all of it
        or (size is not None and int(size[1]) > 0)
    )
    if not good:
        raise UsageError(
            f"{text!r} is no part of a repository",
            hint=f"write 1/7 (of at most {_MOST}), 5%, 500M (or K, G, T) or 100%",
        )


def parts_within(plan: Schedule | None, at: datetime) -> int:
    """Into how many parts the data is cut: as many as there are checks in the 28 days after an instant."""
    if plan is None:
        return _BY_HAND
    count, last, until = 0, at, at + WITHIN
    while count < _MOST and (last := schedule.next_after(plan, last)) <= until:
        count += 1
    return max(1, count)


def next_parts(readings: Iterable[Reading], parts: int) -> list[Part]:
    """What to read now: each part that was last found damaged, and the one after the last that was read.

    `readings` come newest first. A rotation that has begun ends with its own number of parts; a sound reading of
    everything settles all that was found before.
    """
    known = list(readings)
    newest: dict[Part, bool] = {}
    for reading in known:
        newest.setdefault(reading.part, reading.sound)
        if reading.part.t == 1 and reading.sound:
            break
    again = sorted(part for part, sound in newest.items() if not sound)
    rotating = next((one.part for one in known if one.planned), None)
    after = Part(1, parts)
    if rotating is not None and rotating.n < rotating.t and parts > 1:
        after = Part(rotating.n + 1, rotating.t)
    return [*(part for part in again if part != after), after]
