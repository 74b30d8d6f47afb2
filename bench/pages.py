"""How long the console's pages take with years of history; writes docs/console-speed.md.

Every page is asked for by HTTP of a console in a process of its own that makes each one anew, never giving one that
was made a moment ago for somebody else: once more than a second apart, as one person looks, when processor and caches
have turned to other things meanwhile, and once one after the other. The processor's time is the console's own, in its
kernel's ticks of 10 ms, so it is told as the mean; the time until the answer is told as the median and the longest.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx
import uvicorn
from console_view_samples import person_of, sample_app, sample_settings, sample_world, write_years

import daybreak.console.world as console_world
from daybreak.catalog import Catalog
from daybreak.console.people import Role

DOCUMENT: Final = Path(__file__).parents[1] / "docs/console-speed.md"
HEAD: Final = "# How fast the console is\n\nWritten by `just pages` and `just gathering`, each its own part.\n"
_APART_S: Final = 1.05
_GOAL_MS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One page."""

    path: str
    answers_ms: tuple[float, ...]
    at_once_ms: tuple[float, ...]  # one after the other
    processor_ms: float  # the mean
    size_bytes: int


def main() -> None:
    """Measure, and write the part of the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--nights", type=int, default=1420)
    parser.add_argument("--serve", nargs=2, metavar=("FOLDER", "PORT"), help="be the console that is measured")
    parser.add_argument("--tell", action="store_true", help="print only, write nothing")
    said = parser.parse_args()
    if said.serve:
        _serve(Path(said.serve[0]), int(said.serve[1]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Catalog.open(folder) as catalog:
            years = write_years(catalog, nights=said.nights)
        with _console(folder) as (base, process):
            paths = _paths(years.archives[-1]["id"])
            timed = measure(base, process, paths, rounds=said.rounds)
    text = _table(timed, runs=len(years.runs), snapshots=len(years.snapshots), rounds=said.rounds)
    print(text)
    if not said.tell:
        write_part("Pages with years of history", text)


def _paths(archive: str) -> list[str]:
    """Every page that looks."""
    return [
        "/",
        "/runs",
        "/runs?page=100",
        f"/runs/{archive}",
        "/archives",
        f"/archives/{archive}",
        "/off-site",
        "/off-site/r2",
        "/off-site/attic",
        "/dev",
        "/schedule",
        "/doctor",
        "/settings",
        "/api",
    ]


def measure(base: str, process: int, paths: Sequence[str], *, rounds: int) -> list[Timed]:
    """Ask for each page so many times, after one time that does not count."""
    found: list[Timed] = []
    with httpx.Client(base_url=base, timeout=60) as client:
        for path in paths:
            size = len(client.get(path).raise_for_status().content)
            answers: list[float] = []
            spent = 0.0
            for _ in range(rounds):
                time.sleep(_APART_S)
                before = processor_s(process)
                answers.append(_answer_ms(client, path))
                spent += processor_s(process) - before
            one = Timed(
                path=path,
                answers_ms=tuple(answers),
                at_once_ms=tuple(_answer_ms(client, path) for _ in range(rounds)),
                processor_ms=spent * 1000 / rounds,
                size_bytes=size,
            )
            found.append(one)
    return found


def _answer_ms(client: httpx.Client, path: str) -> float:
    began = time.perf_counter()
    client.get(path).raise_for_status()
    return (time.perf_counter() - began) * 1000


def processor_s(process: int) -> float:
    """What a process has had of the processors so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def write_part(title: str, text: str) -> None:
    """Put a part into the document, in the place of the one that has its title."""
    known = DOCUMENT.read_text() if DOCUMENT.exists() else HEAD
    part = f"## {title}\n\n{text.strip()}\n"
    parts = [one for one in re.split(r"(?m)^(?=## )", known) if not one.startswith(f"## {title}\n")]
    DOCUMENT.write_text("\n".join(one.strip() + "\n" for one in [*parts, part]))


def machine() -> str:
    """When and on what, for whoever compares."""
    model = re.search(r"(?m)^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text())
    name = model[1] if model else platform.machine()
    return f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} processors ({name}), Python {platform.python_version()}"


def beside() -> str:
    """What else wanted the processors."""
    return f"{os.getloadavg()[0]:.1f} processes wanted a processor in the last minute"


def free_port() -> int:
    """A port that nobody has just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _table(timed: Sequence[Timed], *, runs: int, snapshots: int, rounds: int) -> str:
    apart = _verdict([one.answers_ms for one in timed])
    at_once = _verdict([one.at_once_ms for one in timed])
    lines = [
        f"{machine()}; {beside()}. {runs:,} runs, {snapshots:,} snapshots;",
        f"each page {rounds} times more than a second apart, and {rounds} times one after the other, always made anew.",
        f"The goal is {_GOAL_MS} ms: apart {apart} it, one after the other {at_once} it.",
        "",
        "| page | apart: median ms | longest ms | processor, mean ms | in a row: median ms | longest ms | size kB |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in timed:
        path = re.sub(r"\d{8}-\d{6}-\w{4}", "ID", one.path)
        lines.append(
            f"| `{path}` | {statistics.median(one.answers_ms):.0f} | {max(one.answers_ms):.0f} "
            f"| {one.processor_ms:.0f} | {statistics.median(one.at_once_ms):.0f} | {max(one.at_once_ms):.0f} "
            f"| {one.size_bytes / 1000:.0f} |"
        )
    return "\n".join(lines)


def _verdict(answers_ms: Sequence[Sequence[float]]) -> str:
    worst = max(map(statistics.median, answers_ms))
    return "every median is below" if worst < _GOAL_MS else f"the worst median is {worst:.0f} ms, above"


@contextmanager
def _console(folder: Path) -> Iterator[tuple[str, int]]:
    port = free_port()
    process = subprocess.Popen([sys.executable, __file__, "--serve", str(folder), str(port)])
    base = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                httpx.get(f"{base}/static/daybreak.css")
                break
            except httpx.HTTPError:
                time.sleep(0.1)
        yield base, process.pid
    finally:
        process.terminate()
        process.wait(30)


def _serve(folder: Path, port: int) -> None:
    console_world._KEPT_S = 0.0  # noqa: SLF001 -- what is measured is the making of a page
    world = sample_world(folder, settings=sample_settings(folder))
    uvicorn.run(sample_app(world, person_of(Role.ADMIN)), host="127.0.0.1", port=port, log_level="error")


if __name__ == "__main__":
    main()
