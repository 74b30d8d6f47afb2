"""A backup while many look: 200 streams and wrk on the pages of a real `daybreak serve`; into docs/console-speed.md.

The demo's servers are behind it. Backups without anybody and with everybody take turns, and their medians are compared.
What was answered is counted by its status: 429 says that too many ask, 5xx would be a fault.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import httpx

from pages import beside, machine, write_part
from screenshots import BASE, PASSWORD, PORT, daybreak, demo, serve

_SCRIPT: Final = Path(__file__).with_name("gathering.lua")
_GOAL: Final = 1.5
_FAULT: Final = 500
_HEAD: Final = re.compile(rb"HTTP/1\.1 (\d{3})")


class Streams:
    """Many who follow the overview; who is refused comes again after what he is told to wait."""

    def __init__(self, count: int, cookie: str) -> None:
        self.count = count
        self.statuses: Counter[int] = Counter()
        self.open = 0
        self.most = 0
        self._cookie = cookie
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()))

    def __enter__(self) -> Self:
        self._thread.start()
        time.sleep(5)  # all of them have come by then
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    async def _all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self.count):
                group.create_task(self._one())

    async def _one(self) -> None:
        while not self._stop.is_set():
            reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
            try:
                writer.write(
                    f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\nCookie: {self._cookie}\r\n\r\n".encode()
                )
                await self._follow(reader)
            finally:
                writer.close()
            for _ in range(30):
                if not self._stop.is_set():
                    await asyncio.sleep(1)

    async def _follow(self, reader: asyncio.StreamReader) -> None:
        found = _HEAD.match(await reader.readline())
        status = int(found[1]) if found else 0
        self.statuses[status] += 1
        if status != httpx.codes.OK:
            return
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            while not self._stop.is_set():
                try:
                    content = await asyncio.wait_for(reader.read(2**16), 1)
                except TimeoutError:
                    continue
                if not content:
                    return
        finally:
            self.open -= 1


@dataclass(slots=True, kw_only=True)
class Found:
    """What was measured."""

    alone: list[float] = field(default_factory=list[float])
    together: list[float] = field(default_factory=list[float])
    asked: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])  # what wrk counted
    statuses: Counter[int] = field(default_factory=Counter[int])  # of streams
    most: int = 0  # streams that were open at once


def main() -> None:
    """Measure, and write the part of the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backups", type=int, default=5, help="with and without, each so many")
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--connections", type=int, default=8, help="of wrk")
    parser.add_argument("--scale", default="1", help="how much data the demo has")
    said = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("this needs wrk: apt-get install wrk")
    with demo(said.scale) as config, serve(config):
        daybreak(config, "console", "user", "add", "ada", "--role", "admin", said=PASSWORD)
        cookie = _signed_in()
        _backup_s(config)  # the first one finds nothing in any cache
        found = Found()
        for _ in range(said.backups):
            found.alone.append(_backup_s(config))
            with Streams(said.streams, cookie) as streams, _wrk(cookie, said.connections) as told:
                found.together.append(_backup_s(config))
            found.asked.append(json.loads(told[0]))
            found.statuses += streams.statuses
            found.most = max(found.most, streams.most)
    text = _text(found, said)
    print(text)
    write_part("A backup while many look", text)


def _signed_in() -> str:
    with httpx.Client(base_url=BASE, headers={"Origin": BASE}, timeout=60) as client:
        found = re.search(r'name="csrf" value="([^"]*)"', client.get("/sign-in").text)
        assert found
        client.post("/sign-in", data={"csrf": found[1], "name": "ada", "password": PASSWORD})
        assert client.get("/").status_code == httpx.codes.OK
        return "; ".join(f"{name}={value}" for name, value in client.cookies.items())


def _backup_s(config: Path) -> float:
    began = time.monotonic()
    daybreak(config, "backup")
    return time.monotonic() - began


@contextmanager
def _wrk(cookie: str, connections: int) -> Iterator[list[str]]:
    """It asks as fast as it is answered while the block goes on; what it counted is told behind the block."""
    told: list[str] = []
    words = ["wrk", "-t1", f"-c{connections}", "-d600", "--timeout", "30", "-s", str(_SCRIPT)]
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen([*words, "-H", f"Cookie: {cookie}", BASE], stdout=out)
        try:
            yield told
        finally:
            process.send_signal(2)  # as by ^C: it ends and counts
            process.wait(60)
        out.seek(0)
        found = re.search(r"(?m)^told (.*)$", out.read())
        assert found
        told.append(found[1])


def _text(found: Found, said: argparse.Namespace) -> str:
    alone, together = statistics.median(found.alone), statistics.median(found.together)
    sums = {name: sum(one[name] for one in found.asked) for name in ("good", "many", "broken", "other", "lost", "s")}
    faults = sums["broken"] + sum(count for status, count in found.statuses.items() if status >= _FAULT)
    rate = (sums["good"] + sums["many"]) / sums["s"]
    by_status = ", ".join(f"{count} of {status}" for status, count in sorted(found.statuses.items()))
    rows = {
        "backups alone": f"median {alone:.1f} s of {_list(found.alone)}",
        "backups while all look": f"median {together:.1f} s of {_list(found.together)}",
        "**so many times as long**": f"**{together / alone:.2f}**, the goal is below {_GOAL}",
        "**answers with 5xx**": f"**{faults}**, the goal is none",
        "streams": f"{said.streams} at a time tried, {found.most} open at once; answers: {by_status}",
        f"pages, by wrk with {said.connections} connections": f"{rate:.0f} answers a second for {sums['s']:.0f} s: "
        f"{sums['good']} of 200, {sums['many']} of 429, {sums['other']} others, {sums['lost']} lost",
        "how long wrk waited": f"median {statistics.median(one['median_ms'] for one in found.asked):.0f} ms, "
        f"p99 {max(one['p99_ms'] for one in found.asked):.0f} ms",
    }
    return "\n".join(
        [
            f"{machine()}; {beside()}, those of this measurement among them.",
            f"The demo at scale {said.scale}, all on this one machine. A refused stream comes again after 30 s.",
            "",
            "| what | measured |",
            "|---|---|",
            *(f"| {what} | {measured} |" for what, measured in rows.items()),
        ]
    )


def _list(seconds: list[float]) -> str:
    return ", ".join(f"{one:.1f}" for one in seconds)


if __name__ == "__main__":
    main()
