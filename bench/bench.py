"""Today's shell scripts and Daybreak in turn, on the same servers and data; writes docs/benchmarks.md.

A production that another FILE.sql fills has a report of its own, docs/benchmarks-FILE.md.

    just bench [--scale 3] [--rounds 3] [--major 18] [--sql FILE] [--no-fsync] [--memory-scales 1,3,6] [--no-write]

Nothing is asserted: figures are printed beside the goals, with yes or no.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ground import DAYBREAK, HERE, Ground, Measured, machine, prepare

DOCS: Final = HERE.parent / "docs"
OWN: Final = HERE / "production.sql"
GOAL_BACKUP: Final = 0.3
GOAL_REFRESH: Final = 0.5
GOAL_MEMORY: Final = 150 * 2**20
GOAL_HELP_S: Final = 0.1
#: "Flat": the largest scale needs at most so much more than the smallest.
FLAT: Final = 1.15
_MB: Final = 1e6
_HELPS: Final = 20


@dataclass(frozen=True, slots=True)
class Figure:
    """One program's rounds."""

    name: str
    rounds: list[Measured] = field(default_factory=list[Measured])
    dump_bytes: list[int] = field(default_factory=list[int])
    outage_s: list[float] = field(default_factory=list[float])
    steps: list[dict[str, float]] = field(default_factory=list[dict[str, float]])

    def median(self, what: str) -> float:
        """The median of one attribute of `Measured`."""
        return statistics.median(float(getattr(one, what)) for one in self.rounds)

    def row(self) -> list[str]:
        """A row of the table."""
        walls = [one.wall_s for one in self.rounds]
        own = f"{self.median('peak_bytes') / _MB:.0f} MB" if self.steps else "-"
        away = "-"
        if self.outage_s:
            middle = statistics.median(self.outage_s)
            away = f"{middle:.1f} s" if middle > 1 else f"{middle * 1000:.0f} ms"
        return [
            self.name,
            f"{self.median('wall_s'):.2f} s",
            f"{min(walls):.2f} to {max(walls):.2f}",
            f"{self.median('client_cpu_s'):.2f} s",
            f"{self.median('server_cpu_s'):.2f} s",
            own,
            f"{statistics.median(self.dump_bytes) / _MB:.1f} MB",
            away,
        ]


def main() -> None:
    """Measure, print, write."""
    options = _options()
    settings = {"shared_buffers": "128MB", "fsync": "off" if options.no_fsync else "on"}
    began = datetime.now(UTC)
    with prepare("bench", options.major, settings) as ground:
        helps = _help_s(ground)
        size = _fill(ground, "genji", options.sql, options.scale)
        figures = _rounds(ground, options.rounds)
        memory = [(options.scale, size, max(int(one.peak_bytes) for one in figures[1].rounds))]
        memory += [_memory(ground, options.sql, scale) for scale in options.memory_scales if scale != options.scale]
    text = _report(options, began=began, size=size, figures=figures, memory=sorted(memory), helps=helps)
    print("\n" + text)
    if not options.no_write:
        report = DOCS / ("benchmarks.md" if _is_own(options) else f"benchmarks-{options.sql.stem}.md")
        report.write_text(text)
        print(f"written to {report.relative_to(HERE.parent)}")


def _options() -> argparse.Namespace:
    def scales(text: str) -> list[int]:
        return [int(one) for one in text.split(",") if one]

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scale", type=int, default=3, help="how much of 370 MB (3)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each program runs (3)")
    parser.add_argument("--major", type=int, default=18, help="the servers' major version (18)")
    parser.add_argument("--sql", type=Path, default=OWN, help="psql -v scale=N -f FILE fills production")
    parser.add_argument(
        "--memory-scales", type=scales, default=[1, 3, 6], help="scales for the memory of a backup (1,3,6)"
    )
    parser.add_argument("--no-fsync", action="store_true", help="servers that do not wait for the disk")
    parser.add_argument("--no-write", action="store_true", help="print only")
    return parser.parse_args()


def _is_own(options: argparse.Namespace) -> bool:
    return bool(options.sql.resolve() == OWN.resolve())


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _help_s(ground: Ground) -> list[float]:
    ground.measure([str(DAYBREAK), "--help"])  # the first one writes bytecode
    return sorted(ground.measure([str(DAYBREAK), "--help"]).wall_s for _ in range(_HELPS))


def _fill(ground: Ground, name: str, sql: Path, scale: int) -> int:
    """Make a production database; its size in bytes."""
    began = time.monotonic()
    ground.psql(ground.prod, "postgres", "-c", f'CREATE DATABASE "{name}"')
    ground.psql(ground.prod, name, "-v", f"scale={scale}", "-f", str(sql))
    # As one that has stood for a while: hint bits set, nothing left to be written.
    ground.psql(ground.prod, name, "-c", "VACUUM (ANALYZE)")
    size = int(ground.psql(ground.prod, name, "-c", "SELECT pg_database_size(current_database())"))
    _say(f"{name}: scale {scale}, {size / _MB:.0f} MB, filled in {time.monotonic() - began:.0f} s")
    return size


def _settle(ground: Ground) -> None:
    """Leave nothing to be done for the next one.

    Autovacuum comes within a minute to whatever was loaded. It would go over the tables of one program, for seconds,
    while the next one is measured; a database that was loaded a week ago has that behind it.
    """
    names = "SELECT string_agg(datname, ' ') FROM pg_database WHERE datallowconn"
    for server in (ground.prod, ground.dev):
        for name in ground.psql(server, "postgres", "-c", names).split():
            ground.psql(server, name, "-c", "VACUUM (ANALYZE)")
        ground.psql(server, "postgres", "-c", "CHECKPOINT")
    os.sync()  # a script's dump as well, which nobody flushed


def _rounds(ground: Ground, rounds: int) -> list[Figure]:
    for name in ("dev", "dev_by_script"):
        ground.psql(ground.dev, "postgres", "-c", f'CREATE DATABASE "{name}"')
    archive = ground.archives / "genji.dump"
    config = ground.config("bench", source="genji", target="dev", archive=archive)
    by_script = ground.archives / "by-script.dump"
    moments = ground.folder / "moments"
    environment = {
        "PG_BIN": str(ground.prod.bin),
        "SOURCE": ground.prod.conninfo("genji"),
        "ARCHIVE": str(by_script),
        "TARGET_SERVER": f"host={ground.dev.host} port={ground.dev.port} user={ground.dev.user}",
        "TARGET": "dev_by_script",
        "MOMENTS": str(moments),
    }
    daybreak = [str(DAYBREAK), "--config", str(config), "--json"]
    ground.daybreak(config, "status")  # makes the catalog, and bytecode of what a first call imports
    figures = [
        Figure("backup: script"),
        Figure("backup: Daybreak"),
        Figure("refresh: script"),
        Figure("refresh: Daybreak"),
    ]
    for number in range(1, rounds + 1):
        for figure, argv in zip(
            figures,
            (
                [str(HERE / "script_backup.sh")],
                [*daybreak, "backup", "--fresh"],
                [str(HERE / "script_refresh.sh")],
                [*daybreak, "refresh", "--fresh", "--first"],
            ),
            strict=True,
        ):
            _settle(ground)
            done = ground.measure(argv, **environment)
            if done.status:
                raise SystemExit(f"{figure.name} ended with {done.status}: {done.stderr[-2000:]}{done.stdout[-2000:]}")
            figure.rounds.append(done)
            ours = argv[0] == str(DAYBREAK)
            figure.dump_bytes.append((archive if ours else by_script).stat().st_size)
            if ours:
                figure.steps.append(_steps(ground, config, done.json()["run"]))
            if "outage_ms" in done.stdout:
                figure.outage_s.append(done.json()["outage_ms"] / 1000)
            elif figure.name == "refresh: script":
                away, back = moments.read_text().split()
                figure.outage_s.append(float(back) - float(away))
            _say(f"round {number}: {figure.name} {done.wall_s:.2f} s")
    return figures


def _steps(ground: Ground, config: Path, run: str) -> dict[str, float]:
    """The seconds of each step of a run, those of a backup inside a refresh under its own name."""
    _, shown = ground.daybreak(config, "run", "show", run)
    found: dict[str, float] = {}
    for step in shown["steps"]:
        seconds = _seconds(step["started_at"], step["ended_at"])
        found[step["name"]] = seconds
        if inner := (step.get("facts") or {}).get("backup"):
            found |= {f"archive: {name}": taken for name, taken in _steps(ground, config, str(inner)).items()}
    found["whole run"] = _seconds(shown["requested_at"], shown["ended_at"])
    return found


def _seconds(began: str, ended: str) -> float:
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()


def _memory(ground: Ground, sql: Path, scale: int) -> tuple[int, int, int]:
    """The peak memory of one backup at another scale."""
    name = f"genji_{scale}"
    size = _fill(ground, name, sql, scale)
    archive = ground.archives / f"{name}.dump"
    config = ground.config(name, source=name, target="dev", archive=archive)
    config.write_text(config.read_text().replace(f'state = "{ground.state}"', f'state = "{ground.state}-{scale}"'))
    done = ground.measure([str(DAYBREAK), "--config", str(config), "--json", "backup", "--fresh"])
    if done.status:
        raise SystemExit(f"backup at scale {scale} ended with {done.status}: {done.stdout[-2000:]}")
    ground.psql(ground.prod, "postgres", "-c", f'DROP DATABASE "{name}"')
    archive.unlink()
    _say(f"memory at scale {scale}: {done.peak_bytes / _MB:.0f} MB")
    return scale, size, done.peak_bytes


def _report(
    options: argparse.Namespace,
    *,
    began: datetime,
    size: int,
    figures: Sequence[Figure],
    memory: Sequence[tuple[int, int, int]],
    helps: Sequence[float],
) -> str:
    backup_script, backup_ours, refresh_script, refresh_ours = figures
    backup = backup_ours.median("wall_s") / backup_script.median("wall_s")
    refresh = refresh_ours.median("wall_s") / refresh_script.median("wall_s")
    peaks = [one[2] for one in memory] + [int(one.peak_bytes) for one in refresh_ours.rounds]
    flat = memory[-1][2] / memory[0][2]
    help_s = statistics.median(helps)
    own = _is_own(options)
    command = f"just bench --scale {options.scale} --rounds {options.rounds} --major {options.major}"
    command += "" if own else f" --sql {options.sql.name}"
    command += " --no-fsync" if options.no_fsync else ""
    goals = [
        ("backup, wall time against the script's", f"{backup:.2f}", f"≤ {GOAL_BACKUP}", backup <= GOAL_BACKUP),
        ("refresh with its own backup and proof", f"{refresh:.2f}", f"≤ {GOAL_REFRESH}", refresh <= GOAL_REFRESH),
        ("Daybreak's own peak memory", f"{max(peaks) / 2**20:.0f} MiB", "≤ 150 MiB", max(peaks) <= GOAL_MEMORY),
        (f"… scale {memory[-1][0]} against scale {memory[0][0]}", f"{flat:.2f}", f"≤ {FLAT} (flat)", flat <= FLAT),
        (f"`daybreak --help`, median of {len(helps)}", f"{help_s * 1000:.0f} ms", "≤ 100 ms", help_s <= GOAL_HELP_S),
    ]
    head = ["", "wall", "spread", "CPU, clients", "CPU, servers", "own peak memory", "dump", "target away"]
    lines = [
        "# Measured: the scripts of today and Daybreak",
        "",
        f"Written by `{command}` on {began:%Y-%m-%d}; do not edit. The scripts are `bench/script_backup.sh`",
        "(one `pg_dump -Fc`) and `bench/script_refresh.sh` (the same, then DROP, CREATE and one `pg_restore`). Each",
        f"program ran {options.rounds} times, in turn. Medians; the spread is the smallest and the largest. Nothing",
        "proves the scripts' dumps; Daybreak's times hold its checks, the read-back from the disk and a comparison of",
        "every table. Client CPU is the program and all that it started, server CPU both PostgreSQL servers.",
        "",
        "## Goals",
        "",
        *_table(
            ["", "measured", "goal", ""],
            [[what, was, goal, "yes" if met else "**no**"] for what, was, goal, met in goals],
        ),
        "",
        f"## Production of {size / _MB:.0f} MB ({'own database' if own else options.sql.name}, scale {options.scale})",
        "",
        *_table(head, [one.row() for one in figures]),
        "",
        *_table(
            ["Daybreak against the script", "wall", "CPU, clients", "CPU, servers", "dump"],
            [
                _ratios("backup", backup_script, backup_ours),
                _ratios("refresh", refresh_script, refresh_ours),
            ],
        ),
        "",
        "## Where a refresh spends its time",
        "",
        *_step_table(refresh_ours),
        "",
        "## Memory of a backup",
        "",
        *_table(
            ["scale", "database", "own peak memory"],
            [[str(n), f"{big / _MB:.0f} MB", f"{peak / 2**20:.0f} MiB"] for n, big, peak in memory],
        ),
        "",
        "## Machine",
        "",
        *_table(
            ["", ""],
            [
                ["PostgreSQL", _version(options.major)],
                ["fsync", "off" if options.no_fsync else "on"],
                *map(list, machine()),
            ],
        ),
        "",
    ]
    return "\n".join(lines)


def _ratios(name: str, script: Figure, ours: Figure) -> list[str]:
    parts = [
        f"{ours.median(what) / max(script.median(what), 0.01):.2f}"
        for what in ("wall_s", "client_cpu_s", "server_cpu_s")
    ]
    dumps = statistics.median(ours.dump_bytes) / statistics.median(script.dump_bytes)
    return [name, *parts, f"{dumps:.2f}"]


def _step_table(figure: Figure) -> list[str]:
    whole = statistics.median(one["whole run"] for one in figure.steps)
    rows = []
    for name in figure.steps[0]:
        middle = statistics.median(one.get(name, 0.0) for one in figure.steps)
        rows.append([name, f"{middle:.2f} s", f"{middle / whole * 100:.0f} %"])
    return _table(["step", "median", "share"], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(one)} |" for one in (head, ["---"] * len(head), *rows)]


def _version(major: int) -> str:
    from daybreak.embedded.binaries import find_server  # noqa: PLC0415 -- only for one word of the report

    folder = find_server(major).parts
    named = next((part for part in folder if part.startswith("postgresql-")), "")
    return named.split("-")[1] if named else str(major)


if __name__ == "__main__":
    main()
