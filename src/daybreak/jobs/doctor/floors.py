"""Versions against floors: below one, a published fault can be used against us. Pure but for reading the data file.

Source  `floors.json` beside this module: the numbers, where they come from, and when they were looked up.
"""

from __future__ import annotations

import json
from datetime import date
from functools import cache
from importlib import resources
from typing import Any, Final

from daybreak.jobs.doctor.finding import Finding, Piece

_STALE_DAYS: Final = 200


@cache
def known() -> dict[str, Any]:
    """The data file."""
    return json.loads(resources.files("daybreak.jobs.doctor").joinpath("floors.json").read_text("utf-8"))


def judge(piece: Piece, kind: str, version: str, *, today: date) -> Finding:
    """A PostgreSQL `version` like 17.4 against the floor of `kind`, client or server."""
    major = version.partition(".")[0]
    data = known()["postgresql"]
    floor: str | None = data[kind]["floors"].get(major)
    ends: str | None = data["end_of_life"].get(major)
    if floor is None and ends is None:
        return piece.ok(f"PostgreSQL {version}; nothing is known against it")
    if ends is not None and date.fromisoformat(ends) < today:
        return piece.warning(
            f"PostgreSQL {version}: {major} has had no security fixes since {ends}",
            f"move to a major version that is looked after (floors looked up {known()['looked_up']})",
        )
    if floor is not None and numbers(version) < numbers(floor):
        return piece.warning(
            f"PostgreSQL {version} is below {floor} ({data[kind]['why']})",
            f"install {floor} or newer, published {data[kind]['published']}",
        )
    return piece.ok(f"PostgreSQL {version}, at or above the security floor {floor}")


def judge_age(piece: Piece, *, today: date) -> Finding:
    """Whether the floors themselves are old: what was found since is not in them."""
    age = (today - date.fromisoformat(known()["looked_up"])).days
    if age > _STALE_DAYS:
        return piece.warning(
            f"the security floors of this Daybreak were looked up {age} days ago", "install a newer Daybreak"
        )
    return piece.ok(f"security floors looked up {known()['looked_up']}")


def is_below(kind: str, version: str) -> str:
    """The floor that a version is below; "" where it is not, or none is known."""
    floor: str = known()["postgresql"][kind]["floors"].get(version.partition(".")[0], "")
    return floor if floor and numbers(version) < numbers(floor) else ""


def numbers(version: str) -> tuple[int, ...]:
    """`17.4` as (17, 4)."""
    return tuple(int(part) for part in version.split(".") if part.isdigit())
