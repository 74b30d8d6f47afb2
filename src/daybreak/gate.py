"""Is a complete archive too small to be believed? Pure.

Shapes  `doubts` compares a new archive with the last published ones, newest first; no doubts, no words.
Units   sizes in bytes; half is half of the median of at most seven.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from daybreak.units import show_bytes, show_count

COMPARED: Final = 7
_NAMED: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """What the gate looks at in one archive."""

    size_bytes: int
    rows: int
    table_rows: Mapping[str, int]  # schema.table -> rows
    accepted: bool = False  # a person said that this one is right, whatever came before


def doubts(new: Weight, published: Sequence[Weight]) -> list[str]:
    """Why `new` should wait for a person, in words; empty when it may be published.

    `published` is newest first. What a person accepted is the new measure: nothing before it counts.
    """
    compared: list[Weight] = []
    for one in published[:COMPARED]:
        compared.append(one)
        if one.accepted:
            break
    if not compared:
        return []
    found: list[str] = []
    usual_bytes = median(one.size_bytes for one in compared)
    if new.size_bytes * 2 < usual_bytes:
        found.append(f"{show_bytes(new.size_bytes)} is less than half of the usual {show_bytes(usual_bytes)}")
    usual_rows = median(one.rows for one in compared)
    if new.rows * 2 < usual_rows:
        rows = f"{show_count(new.rows, 'row')} {'is' if new.rows == 1 else 'are'}"
        found.append(f"{rows} less than half of the usual {show_count(round(usual_rows))}")
    gone = sorted(name for name, rows in compared[0].table_rows.items() if rows and name not in new.table_rows)
    if gone:
        more = f" and {len(gone) - _NAMED} more" if len(gone) > _NAMED else ""
        found.append(f"tables that held rows are gone: {', '.join(gone[:_NAMED])}{more}")
    return found
