"""Gigabytes of simulated table data through the cutter: memory flat, time linear, the number of shards stated.

Shapes  the rows are made as they are cut, so that nothing but the cutter needs memory; no block of them comes twice.
"""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Iterator
from typing import Final

from blows import Outcome
from daybreak.archive.cutting import SHARDS, Cutting, cut_rows
from daybreak.archive.shards import Shard

_BLOCK: Final = 2**20
_HEX: Final = b"0123456789abcdef"
#: What a run through five times as much data may need more.
_FLAT: Final = 16 * 2**20
_GB: Final = 10**9


def volume(size_bytes: int) -> Outcome:
    """Cut a fifth of `size_bytes`, then all of it, as one table of a database of that size."""
    outcome = Outcome()
    figures: list[tuple[int, float, int, int]] = []
    for part in (size_bytes // 5, size_bytes):
        began = time.monotonic()
        names: set[bytes] = set()
        count = total = 0
        cutting = Cutting.for_size(size_bytes)
        for data in cut_rows(_table(part), cutting):
            names.add(bytes.fromhex(Shard.of(data).sha256))
            count, total = count + 1, total + len(data)
            if len(data) > cutting.maximum_bytes:
                outcome.violations.append(f"a shard of {len(data)} bytes")
        figures.append((count, time.monotonic() - began, _peak_bytes(), total))
        if len(names) != count:
            outcome.violations.append(f"{count - len(names)} shards came twice")
    (_, small_s, small_peak, small), (count, large_s, large_peak, large) = figures
    if large_peak - small_peak > _FLAT:
        outcome.violations.append(f"memory grew by {(large_peak - small_peak) / 2**20:.0f} MiB")
    if count > 2 * SHARDS:
        outcome.violations.append(f"{count} shards")
    speeds = f"{small / small_s / 1e6:.0f} and {large / large_s / 1e6:.0f} MB/s, the rows made too"
    outcome.figures.update(
        {
            "data cut and hashed": f"{small / _GB:.2f} GB, then {large / _GB:.2f} GB",
            "shards": f"{count}, {large / count / 1024:.0f} KiB in the mean",
            "time": f"{small_s:.1f} s, then {large_s:.1f} s ({speeds})",
            "peak memory": f"{small_peak / 2**20:.0f} MiB, then {large_peak / 2**20:.0f} MiB",
        }
    )
    return outcome


def _table(size_bytes: int) -> Iterator[bytes]:
    """Rows of some 30 to 150 bytes: one block of them again and again, its digits exchanged each time."""
    chance = random.Random(size_bytes)  # noqa: S311 -- data, not a key
    rows: list[bytes] = []
    made = 0
    while made < _BLOCK:
        row = b"%d\t%s\tf\n" % (len(rows), chance.randbytes(chance.randrange(10, 70)).hex().encode())
        rows.append(row)
        made += len(row)
    block = b"".join(rows)
    done = 0
    while done < size_bytes:
        digits = list(_HEX)
        chance.shuffle(digits)
        yield block.translate(bytes.maketrans(_HEX, bytes(digits)))
        done += len(block)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
