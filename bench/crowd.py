"""Clients that reconnect in a loop while names are swapped: the last part of the campaign."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from blows import Field, Outcome, tell
from ground import HERE
from invariants import target_faults

CLIENTS: Final = 8
_PERCENT: Final = 0.99


@dataclass(frozen=True, slots=True)
class Knock:
    """One try of one client."""

    client: int
    began: float
    ended: float
    version: int


def clients(field_: Field, swaps: int, pause_s: float, *, in_a_row: bool = False) -> Outcome:
    """Swaps under clients that reconnect in a loop: one refresh, then undo after undo; or refreshes in a row.

    Refreshes in a row leave nothing behind that one refresh does not.
    """
    outcome = Outcome()
    before_all = standing(field_)
    files = [field_.ground.folder / f"client{number}.txt" for number in range(CLIENTS)]
    crowd = [
        subprocess.Popen(
            [sys.executable, str(HERE / "client.py"), field_.dev, str(file), str(pause_s)], stdin=subprocess.PIPE
        )
        for file in files
    ]
    windows: list[tuple[float, float, int, int]] = []
    server_ms: list[float] = []
    try:
        time.sleep(2.0)
        for number in range(swaps):
            anew = in_a_row or number == 0
            if anew:
                field_.bump()
            before = field_.there
            began = time.monotonic()
            code, said = field_.run(*(("refresh", "--fresh") if anew else ("undo",)))
            time.sleep(0.3)
            if code:
                outcome.violations.append(f"swap {number + 1} ended with {code}: {said.get('message')}")
                continue
            server_ms.append(float(said["outage_ms"]))
            field_.there, wrong = target_faults(field_.dev, field_.known, set(field_.known))
            outcome.violations += [f"swap {number + 1}: {one}" for one in wrong]
            windows.append((began, time.monotonic(), before, field_.there))
    finally:
        for one in crowd:
            assert one.stdin is not None
            one.stdin.close()
        for one in crowd:
            one.wait(timeout=30)
    knocks = sorted(
        (knock for number, file in enumerate(files) for knock in _read(number, file)), key=lambda one: one.ended
    )
    together: list[float] = []
    each: list[float] = []
    for number, (began, ended, old, new) in enumerate(windows, 1):
        inside = [one for one in knocks if began <= one.ended <= ended]
        seen, gaps, faults = judge(inside, old, new)
        outcome.violations += [f"swap {number}: {one}" for one in faults]
        together += [] if seen is None else [seen]
        each += gaps
    if in_a_row:
        outcome.violations += [
            f"after {swaps} refreshes {what} is {now}, before them it was {before_all[what]}"
            for what, now in standing(field_).items()
            if now != before_all[what]
        ]
    refused = sum(one.version < 0 for one in knocks)
    outcome.figures = {
        "clients": f"{CLIENTS}, each connects, asks, leaves, and begins anew after {pause_s * 1000:.0f} ms",
        "refreshes in a row" if in_a_row else "swaps (a refresh, then undo after undo)": str(len(windows)),
        "of them failed": str(swaps - len(windows)),
        "tries of the clients": f"{len(knocks)}, {refused} of them refused or ended",
        "last old answer to first new one, all clients": spread(together),
        "the same for each client by itself": spread(each),
        "outage by the server's clock": spread([one / 1000 for one in server_ms]),
        "old data after new": str(sum("old data after" in one for one in outcome.violations)),
    }
    tell(f"clients: {outcome.figures['last old answer to first new one, all clients']}")
    return outcome


def standing(field_: Field) -> dict[str, object]:
    """What must not grow: databases, roles, slots, files beside the archive, locks and private files of runs."""
    ground = field_.ground
    found: dict[str, object] = {
        what: ground.psql(ground.dev, "postgres", "-c", sql)
        for what, sql in (
            ("the list of databases", "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database"),
            ("the list of roles", "SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles"),
            ("the number of slots", "SELECT count(*) FROM pg_replication_slots"),
        )
    }
    beside = [one for one in field_.archive.parent.rglob("*") if one.is_file()]
    found["the number of files beside the archive"] = len(beside)
    private = [one for name in ("private", "runs") for one in (ground.state / name).iterdir()]
    found["the number of private files"] = len(private)
    return found


def judge(knocks: Sequence[Knock], old: int, new: int) -> tuple[float | None, list[float], list[str]]:
    """The gap over all clients, the gap of each, and what is wrong. Pure. `knocks` in the order of their ends."""
    answers = [one for one in knocks if one.version >= 0]
    faults = [
        f"a client saw version {one.version}, not {old} or {new}" for one in answers if one.version not in {old, new}
    ]
    first_new = next((one.ended for one in answers if one.version == new), None)
    if first_new is None:
        return None, [], [*faults, "no client saw the new data"]
    late = [one for one in answers if one.version == old and one.began > first_new]
    faults += [f"client {one.client} got old data after new, {one.began - first_new:.3f} s later" for one in late]
    last_old = max((one.ended for one in answers if one.version == old), default=first_new)
    gaps: list[float] = []
    for client in {one.client for one in answers}:
        mine = [one for one in answers if one.client == client]
        olds, news = (
            [one.ended for one in mine if one.version == old],
            [one.ended for one in mine if one.version == new],
        )
        if olds and news:
            gaps.append(max(0.0, min(news) - max(olds)))
    return max(0.0, first_new - last_old), gaps, faults


def spread(seconds: Sequence[float]) -> str:
    """Median, 99th percentile and longest, in milliseconds. Pure."""
    if not seconds:
        return "nothing measured"
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * _PERCENT))]
    middle, longest = statistics.median(ordered), ordered[-1]
    return f"median {middle * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, longest {longest * 1000:.0f} ms"


def _read(client: int, file: Path) -> list[Knock]:
    found = [line.split() for line in file.read_text().splitlines()]
    return [Knock(client, float(one[0]), float(one[1]), int(one[2])) for one in found]
