"""Seven nights off-site, five ways, on the same data; writes docs/benchmarks-offsite.md.

    just bench-offsite [--scales 1,3] [--nights 7] [--sql FILE] [--day FILE] [--restic PROGRAM] [--no-write]

A way makes a dump and gives it to restic, each with a repository in a folder of its own. Today's is the scripts' dump
and a plain `restic backup`; Daybreak's is `daybreak backup`, with all its checks and the read-back of the snapshot.
Nothing is asserted: figures are printed beside the goals, with yes or no.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from daybreak.embedded.binaries import find_restic
from ground import DAYBREAK, HERE, Ground, Measured, machine, prepare

REPORT: Final = HERE.parent / "docs" / "benchmarks-offsite.md"
GOAL_GROWTH: Final = 0.1
GOAL_FIRST: Final = 1.15
GOAL_SHIP: Final = 0.5
GOAL_NIGHT: Final = 0.45
_MB: Final = 1e6
_PASSWORD: Final = "of a repository that lives an hour"  # noqa: S105 -- guards made-up data
_PIECE: Final = "64K"


@dataclass
class Night:
    """What one night cost."""

    dump_s: float
    ship_s: float
    grown_bytes: int
    peak_bytes: int  # of the largest of the programs


@dataclass(eq=False)
class Way:
    """One way off-site and its nights."""

    name: str
    repository: Path
    kept: Path  # what stays here between nights
    nights: list[Night] = field(default_factory=list[Night])

    def later(self, what: Callable[[Night], float]) -> float:
        """The median from the second night on."""
        return statistics.median(what(night) for night in self.nights[1:])


def main() -> None:
    """Measure, print, write."""
    options = _options()
    began = datetime.now(UTC)
    tables: list[str] = []
    for scale in options.scales:
        with prepare("offsite", options.major, {"shared_buffers": "128MB"}) as ground:
            tables.append(_measure(ground, options, scale))
    text = _report(options, began, tables)
    print("\n" + text)
    if not options.no_write:
        REPORT.write_text(text)
        print(f"written to {REPORT.relative_to(HERE.parent)}")


def _options() -> argparse.Namespace:
    def scales(text: str) -> list[int]:
        return [int(one) for one in text.split(",") if one]

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scales", type=scales, default=[1, 3], help="how much of 370 MB, one after the other (1,3)")
    parser.add_argument("--nights", type=int, default=7, help="how many, the first included (7)")
    parser.add_argument("--major", type=int, default=18, help="the server's major version (18)")
    parser.add_argument("--sql", type=Path, default=HERE / "production.sql", help="psql -v scale=N -f FILE fills it")
    parser.add_argument("--day", type=Path, default=HERE / "day.sql", help="psql -v scale=N -v day=N -f FILE is a day")
    parser.add_argument("--restic", type=Path, default=find_restic(), help="the program")
    parser.add_argument("--no-write", action="store_true", help="print only")
    return parser.parse_args()


def _measure(ground: Ground, options: argparse.Namespace, scale: int) -> str:
    ground.psql(ground.prod, "postgres", "-c", "CREATE DATABASE shop")
    ground.psql(ground.prod, "shop", "-v", f"scale={scale}", "-f", str(options.sql))
    size = int(ground.psql(ground.prod, "shop", "-c", "SELECT pg_database_size('shop')"))
    ways: dict[Way, Callable[[Way], Night]] = {}
    bench = _Bench(ground, options.restic)
    for name, night in (
        ("today: compressed, custom format", bench.today),
        ("not compressed, custom format", bench.plain),
        (f"not compressed, in pieces of {_PIECE}", bench.pieces),
        ("directory format", bench.directory),
        ("Daybreak: shards", bench.daybreak),
    ):
        ways[bench.way(name)] = night
    for day in range(options.nights):
        if day:
            ground.psql(ground.prod, "shop", "-v", f"scale={scale}", "-v", f"day={day}", "-f", str(options.day))
        for way, night in ways.items():
            way.nights.append(night(way))
            last = way.nights[-1]
            told = f"dump {last.dump_s:.2f} s, ship {last.ship_s:.2f} s, grown {last.grown_bytes / _MB:.2f} MB"
            print(f"scale {scale}, night {day + 1}, {way.name}: {told}", file=sys.stderr, flush=True)
    return _table(scale, size, list(ways))


class _Bench:
    """The ways."""

    def __init__(self, ground: Ground, restic: Path) -> None:
        self._ground = ground
        self._restic = str(restic)
        self._pg_dump = [str(ground.prod.bin / "pg_dump"), "-d", ground.prod.conninfo("shop")]
        self._config = Path()

    def way(self, name: str) -> Way:
        """A way with a repository of its own."""
        folder = self._ground.folder / f"way-{len(list(self._ground.folder.glob('way-*')))}"
        (folder / "here").mkdir(parents=True)
        way = Way(name, folder / "repository", folder / "here")
        self._run(way, "init")
        return way

    def today(self, way: Way) -> Night:
        """The scripts' dump, and a plain backup of it."""
        return self._night(way, self._dump(way, "-Fc"))

    def plain(self, way: Way) -> Night:
        """An archive that is not compressed."""
        return self._night(way, self._dump(way, "-Fc", "-Z0"))

    def pieces(self, way: Way) -> Night:
        """The same, cut into files of equal size."""
        made = self._dump(way, "-Fc", "-Z0")
        cut = self._ground.measure(
            [
                "sh",
                "-c",
                f'rm -rf "$1.d"; mkdir "$1.d"; split -a6 -b{_PIECE} "$1" "$1.d/"; rm "$1"',
                "sh",
                str(way.kept / "dump"),
            ]
        )
        return self._night(way, made, cut)

    def directory(self, way: Way) -> Night:
        """pg_dump's directory format, two workers."""
        shutil.rmtree(way.kept / "dump", ignore_errors=True)
        return self._night(way, self._dump(way, "-Fd", "-j2"))

    def daybreak(self, way: Way) -> Night:
        """`daybreak backup`: dump, checks, publish, shards, snapshot, read back."""
        if not self._config.name:
            self._config = self._ground.config("offsite", source="shop", target="none", archive=way.kept / "shop.dump")
            secret = way.kept / "password"
            secret.touch(mode=0o600)
            secret.write_text(_PASSWORD)
            text = self._config.read_text().replace("[backups.nightly]", '[backups.nightly]\nrepositories = ["disk"]')
            self._config.write_text(
                f"{text}\n[repositories.disk]\nurl = {json.dumps(str(way.repository))}\n"
                f"password_file = {json.dumps(str(secret))}\nrestic = {json.dumps(self._restic)}\n"
                f"env = {{ RESTIC_CACHE_DIR = {json.dumps(str(self._ground.folder / 'cache'))} }}\n"
            )
        before = _size(way.repository)
        done = self._ground.measure([str(DAYBREAK), "--config", str(self._config), "--json", "backup"])
        if done.status:
            raise SystemExit(f"daybreak backup: {done.stdout} {done.stderr}")
        run = self._ground.daybreak(self._config, "run", "show", str(done.json()["run"]))[1]
        ship_s = next(_seconds(step) for step in run["steps"] if step["name"] == "off-site")
        return Night(done.wall_s - ship_s, ship_s, _size(way.repository) - before, done.peak_bytes)

    def _dump(self, way: Way, *words: str) -> Measured:
        return self._ground.measure([*self._pg_dump, *words, "-f", str(way.kept / "dump")])

    def _night(self, way: Way, *made: Measured) -> Night:
        before = _size(way.repository)
        sent = self._run(way, "backup", "-q", str(way.kept))
        return Night(
            sum(one.wall_s for one in made),
            sent.wall_s,
            _size(way.repository) - before,
            max(one.peak_bytes for one in (*made, sent)),
        )

    def _run(self, way: Way, *words: str) -> Measured:
        env = {"RESTIC_PASSWORD": _PASSWORD, "RESTIC_CACHE_DIR": str(self._ground.folder / "cache")}
        done = self._ground.measure([self._restic, "--repo", str(way.repository), *words], **env)
        if done.status:
            raise SystemExit(f"restic {' '.join(words)}: {done.stderr}")
        return done


def _seconds(step: dict[str, str]) -> float:
    return (datetime.fromisoformat(step["ended_at"]) - datetime.fromisoformat(step["started_at"])).total_seconds()


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _files(folder: Path) -> int:
    return sum(1 for path in folder.rglob("*") if path.is_file())


def _table(scale: int, size: int, ways: Sequence[Way]) -> str:
    today, ours = ways[0], ways[-1]
    night: Callable[[Night], float] = lambda one: one.dump_s + one.ship_s  # noqa: E731 -- a short word for it
    grown = ours.later(lambda one: one.grown_bytes) / today.later(lambda one: one.grown_bytes)
    rows = [
        [
            way.name,
            f"{way.nights[0].grown_bytes / _MB:.1f} MB",
            f"{way.later(lambda one: one.grown_bytes) / _MB:.2f} MB",
            f"{way.later(lambda one: one.grown_bytes) / today.later(lambda one: one.grown_bytes):.3f}",
            f"{way.later(lambda one: one.dump_s):.2f} s",
            f"{way.later(lambda one: one.ship_s):.2f} s",
            f"{way.later(night) / today.later(night):.2f}",
            f"{_size(way.kept) / _MB:.0f} MB",
            str(_files(way.kept)),
            f"{max(one.peak_bytes for one in way.nights) / _MB:.0f} MB",
        ]
        for way in ways
    ]
    goals = [
        ("growth a night against today's", grown, GOAL_GROWTH),
        ("first night against today's", ours.nights[0].grown_bytes / today.nights[0].grown_bytes, GOAL_FIRST),
        ("ship against today's dump and restic", ours.later(lambda one: one.ship_s) / today.later(night), GOAL_SHIP),
        ("dump and ship against today's", ours.later(night) / today.later(night), GOAL_NIGHT),
    ]
    each = [
        [f"{number}", *(f"{way.nights[number - 1].grown_bytes / _MB:.2f}" for way in ways)]
        for number in range(1, len(ways[0].nights) + 1)
    ]
    return "\n".join(
        [
            f"## Scale {scale}: a database of {size / _MB:.0f} MB",
            "",
            *_lines(
                ["", "measured", "goal", ""],
                [[what, f"{is_:.3f}", f"≤ {goal}", "yes" if is_ <= goal else "**no**"] for what, is_, goal in goals],
            ),
            "",
            "Medians from the second night on:",
            "",
            *_lines(
                [
                    "",
                    "first night",
                    "a night",
                    "of today's",
                    "dump",
                    "ship",
                    "both, of today's",
                    "kept here",
                    "files",
                    "memory",
                ],
                rows,
            ),
            "",
            "Growth of the repository each night, in MB:",
            "",
            *_lines(["night", *(way.name for way in ways)], each),
            "",
        ]
    )


def _lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _report(options: argparse.Namespace, at: datetime, tables: Sequence[str]) -> str:
    own = options.sql.parent == HERE
    words = f"--scales {','.join(map(str, options.scales))} --nights {options.nights}"
    said = subprocess.run([options.restic, "version"], capture_output=True, text=True, check=True).stdout
    version = said.removeprefix("restic ").split(" compiled")[0]
    return "\n".join(
        [
            "# Measured: nights off-site",
            "",
            f"Written by `just bench-offsite {words}` on {at:%Y-%m-%d}; do not edit. Each way dumps the same",
            "database after the same day of work, about 1 % of change, and gives the result to restic with a",
            "repository of its own in a folder. Daybreak's dump holds its checks, its ship the cutting, the snapshot",
            "and its read-back; its memory is that of its own process, of the others the largest program's. *Kept",
            "here* is what stands on the server between nights; for Daybreak that is the archive and the shards.",
            *([] if own else ["The data is not our own database but another one of the same kind."]),
            "",
            *tables,
            "## Machine",
            "",
            *_lines(["", ""], [["restic", version], ["PostgreSQL", str(options.major)], *map(list, machine())]),
            "",
        ]
    )


if __name__ == "__main__":
    main()
