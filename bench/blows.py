"""Kills, overlaps and damage: parts of the campaign. Each gives figures and the violations it saw."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ground import DAYBREAK, HERE, Ground, end_all
from invariants import (
    archive_faults,
    damage_is_found,
    fingerprint,
    leftovers,
    orphans,
    pin_is_refused,
    target_faults,
)

SOURCE: Final = "genji"
TARGET: Final = "genji_dev"
CLIENTS: Final = 8
_EXIT_ARCHIVE: Final = 12
#: Steps after which an aimed kill comes; what lies around the renames of archive and target comes more often.
_BACKUP: Final = ("check", "dump", "globals", "read back", "read back", "publish")
_AIMS: Final = {
    "backup": _BACKUP,
    "refresh": (*_BACKUP, "archive", "shadow", "restore", "proof", "carry over", *["analyze"] * 4, "swap", "swap"),
}
#: How long after the step an aimed kill comes at the latest.
_AIM_S: Final = 0.2
_PERCENT: Final = 0.99


@dataclass
class Outcome:
    """Figures of one part, in the order in which they are told, and what went wrong."""

    figures: dict[str, str] = field(default_factory=dict[str, str])
    violations: list[str] = field(default_factory=list[str])


@dataclass
class Field:
    """The ground with a versioned production, and what is known of its versions."""

    ground: Ground
    config: Path
    archive: Path
    chance: random.Random
    known: dict[int, str] = field(default_factory=dict[int, str])  # version -> checksum of the whole data
    there: int = 0  # the version that the target has
    typical_s: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def dev(self) -> str:
        """How clients reach the target."""
        return self.ground.dev.conninfo(TARGET)

    @property
    def newest(self) -> int:
        """The version that production has."""
        return max(self.known)

    def bump(self) -> int:
        """Give production the next version, all rows in one transaction."""
        if self.known:
            self.ground.psql(self.ground.prod, SOURCE, "-c", f"CALL app.bump({self.newest + 1})")
        version, checksum = fingerprint(self.ground.prod.conninfo(SOURCE))
        self.known[version] = checksum
        return version

    def run(self, *words: str) -> tuple[int, dict[str, Any]]:
        """One verb of Daybreak, to its end."""
        return self.ground.daybreak(self.config, *words)

    def after_green(self, where: str, code: int, said: dict[str, Any], *, refreshed: bool) -> list[str]:
        """What is wrong after a run that should have been green."""
        if code:
            return [f"{where}: the next run ended with {code}: {said.get('message')}"]
        faults = [f"{where}: after the next run: {one}" for one in leftovers(self.ground, self.archive, SOURCE, TARGET)]
        self.there, wrong = target_faults(self.dev, self.known, {self.newest if refreshed else self.there})
        read, report = self.run("archive", "read", str(self.archive))
        if read:
            wrong.append(f"archive read ended with {read}: {report.get('message')}")
        open_runs = [one for one in self.run("runs")[1].get("runs", []) if one["state"] in {"running", "waiting"}]
        wrong += [f"run {one['run']} is still {one['state']}" for one in open_runs]
        return faults + [f"{where}: after the next run: {one}" for one in wrong]


def begin(field_: Field) -> Outcome:
    """Make both databases and the first archive, refresh once, and learn how long the verbs take."""
    ground = field_.ground
    for server, name in ((ground.prod, SOURCE), (ground.dev, TARGET)):
        ground.psql(server, "postgres", "-c", f'CREATE DATABASE "{name}"')
    ground.psql(ground.prod, SOURCE, "-f", str(HERE / "small.sql"))
    field_.there = field_.bump()
    outcome = Outcome()
    for words in (("refresh", "--fresh", "--first"), ("backup",), ("refresh", "--fresh")):
        began = time.monotonic()
        code, said = field_.run(*words)
        field_.typical_s[words[0]] = time.monotonic() - began
        outcome.violations += field_.after_green(f"in peace, {words[0]}", code, said, refreshed=True)
    outcome.figures = {f"{verb}, undisturbed": f"{taken:.1f} s" for verb, taken in field_.typical_s.items()}
    size = ground.psql(ground.prod, SOURCE, "-c", "SELECT pg_size_pretty(pg_database_size(current_database()))")
    outcome.figures["production database"] = size
    return outcome


# -- kills ----------------------------------------------------------------------------------------


def kills(field_: Field, each: int) -> Outcome:
    """SIGKILL at random instants: Daybreak with all that it started, and Daybreak alone; `each` times both."""
    outcome = Outcome()
    steps: Counter[str] = Counter()
    quiet: list[float] = []
    mended = completed = too_late = 0
    for number in range(2 * each):
        whole = number % 2 == 0
        verb = ("backup", "refresh")[number // 2 % 2]
        field_.bump()
        at, late = _kill_once(field_, verb, whole=whole, aimed=number // 4 % 2 == 1)
        too_late += late
        steps[f"{verb}: {at}"] += 1
        where = f"kill {number + 1} ({verb}, {'all processes' if whole else 'Daybreak alone'}, {at})"
        allowed = {field_.there, field_.newest} if verb == "refresh" else {field_.there}
        version, faults = target_faults(field_.dev, field_.known, allowed)
        completed += version != field_.there
        field_.there = version
        waits, found = archive_faults(field_.archive)
        mended += waits
        taken, alive = orphans(field_.ground)
        quiet.append(taken)
        outcome.violations += [f"{where}: {one}" for one in (*faults, *found, *alive)]
        # The swap may complete on the server after its client died.
        field_.there, faults = target_faults(field_.dev, field_.known, allowed)
        outcome.violations += [f"{where}: {one}" for one in faults]
        code, said = field_.run(verb, "--fresh")
        outcome.violations += field_.after_green(where, code, said, refreshed=verb == "refresh")
        tell(f"{where}: {'whole' if not outcome.violations else outcome.violations[-1]}")
    outcome.figures = {
        "kills of Daybreak and all that it started": str(each),
        "kills of Daybreak alone": str(each),
        "of them at": ", ".join(f"{step} ({count})" for step, count in sorted(steps.items())),
        "runs that had ended before the kill": str(too_late),
        "target had the new data already": str(completed),
        "manifest waited for its name, mended by the next run": str(mended),
        "until no process and no session was left": _seconds(quiet),
    }
    return outcome


def _kill_once(field_: Field, verb: str, *, whole: bool, aimed: bool) -> tuple[str, bool]:
    """Start `verb` and kill it: at any instant, or (aimed) soon after one of its steps.

    Give back after which step that was, and whether the run had ended already.
    """
    chance, ground = field_.chance, field_.ground
    instant = chance.uniform(0.0, field_.typical_s[verb])
    aim, delay = chance.choice(_AIMS[verb]), chance.uniform(0.0, _AIM_S)
    heard: list[str] = []
    process = ground.begin([str(DAYBREAK), "--config", str(field_.config), verb, "--fresh"])
    assert process.stderr is not None
    if aimed:
        while aim not in _steps(heard) and (line := process.stderr.readline()):
            heard.append(line)
        time.sleep(delay)
    else:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(instant)
    late = process.poll() is not None
    if whole:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGSTOP)  # it starts nothing more
        end_all(ground)
    process.kill()
    _, rest = process.communicate()
    done = _steps([*heard, *rest.splitlines()])
    return f"after {done[-1] if done else 'its start'}", late


def _steps(lines: Sequence[str]) -> list[str]:
    """The names of the steps that were told as done."""
    return [line.partition("✓ ")[2][:10].strip() for line in lines if "✓ " in line]


# -- overlaps -------------------------------------------------------------------------------------


def overlaps(field_: Field, count: int) -> Outcome:
    """Nightly and weekly at once, the second at a random offset after the first."""
    outcome = Outcome()
    states: Counter[str] = Counter()
    for number in range(count):
        field_.bump()
        order = ["backup", "refresh"]
        field_.chance.shuffle(order)
        offset = field_.chance.uniform(0.0, field_.typical_s[order[0]] * 0.9)
        fresh = field_.chance.random() < 0.5  # noqa: PLR2004 -- a coin
        started = []
        for verb in order:
            words = [verb, *(["--fresh"] if fresh and verb == "refresh" else [])]
            started.append(field_.ground.begin([str(DAYBREAK), "--config", str(field_.config), "--json", *words]))
            time.sleep(offset if verb == order[0] else 0)
        where = f"overlap {number + 1} ({order[1]} {offset:.2f} s after {order[0]})"
        for verb, process in zip(order, started, strict=True):
            said, heard = process.communicate(timeout=300)
            if process.returncode:
                outcome.violations.append(
                    f"{where}: {verb} ended with {process.returncode}: {said[-400:]}{heard[-400:]}"
                )
            states[f"{verb} {'skipped: another archive served it' if 'skipped' in said[:200] else 'worked'}"] += 1
        waits, faults = archive_faults(field_.archive)
        if waits:
            faults.append("the archive's manifest has not its name")
        # Also what was published in between: an archive of a few seconds ago is young enough.
        between = set(range(field_.there, field_.newest + 1))
        version, wrong = target_faults(field_.dev, field_.known, between)
        field_.there = version
        wrong += leftovers(field_.ground, field_.archive, SOURCE, TARGET)
        outcome.violations += [f"{where}: {one}" for one in (*faults, *wrong)]
        tell(f"{where}: {'whole' if not outcome.violations else outcome.violations[-1]}")
    outcome.figures = {
        "overlaps of nightly and weekly": str(count),
        "what became of the runs": ", ".join(f"{what} ({times})" for what, times in sorted(states.items())),
    }
    return outcome


# -- damage ---------------------------------------------------------------------------------------


def damage(field_: Field, flips: int, cuts: int, *, through_cli: int) -> Outcome:
    """Flipped bits and cuts of a published archive: reading finds each, a refresh refuses each."""
    outcome = Outcome()
    good = field_.archive.read_bytes()
    before = field_.there
    manifest = field_.archive.with_name(f"{field_.archive.name}.json")
    chance = field_.chance
    blows = ["flip"] * flips + ["cut"] * cuts
    sample = set(chance.sample(range(len(blows)), min(through_cli, len(blows))))
    work = field_.ground.folder / "damage"
    work.mkdir(exist_ok=True)
    kept = shutil.copyfile(field_.archive, work / "good.dump")
    found = refused = by_verb = 0
    try:
        for number, blow in enumerate(blows):
            at = chance.randrange(len(good))
            bad = bytearray(good)
            if blow == "flip":
                bad[at] ^= 1 << chance.randrange(8)
            else:
                del bad[at:]
            where = f"{blow} at byte {at} of {len(good)}"
            _replace(field_.archive, bytes(bad))
            seen = damage_is_found(field_.archive, manifest), pin_is_refused(field_.archive)
            found, refused = found + seen[0], refused + seen[1]
            if not all(seen):
                outcome.violations.append(f"{where}: found {seen[0]}, refused {seen[1]}")
            if number in sample:
                by_verb += 1
                for words in (("archive", "read", str(field_.archive)), ("refresh",)):
                    code, said = field_.run(*words)
                    if code != _EXIT_ARCHIVE:
                        outcome.violations.append(f"{where}: {words[0]} ended with {code}: {said.get('message')}")
                _, wrong = target_faults(field_.dev, field_.known, {before})
                wrong += leftovers(field_.ground, field_.archive, SOURCE, TARGET)
                outcome.violations += [f"{where}: {one}" for one in wrong]
    finally:
        _replace(field_.archive, kept.read_bytes())
    outcome.violations += archive_faults(field_.archive)[1]
    outcome.figures = {
        "flipped bits": str(flips),
        "cuts": str(cuts),
        "found by reading the archive": f"{found} of {len(blows)}",
        "refused by what a restore works from": f"{refused} of {len(blows)}",
        "of them also through `archive read` and `refresh`, both exit 12": str(by_verb),
    }
    tell(f"damage: {found} of {len(blows)} found, {refused} refused")
    return outcome


def _replace(archive: Path, content: bytes) -> None:
    """Put other bytes under the archive's name; the links that others hold stay as they are."""
    beside = archive.with_name("beside.tmp")
    beside.write_bytes(content)
    beside.replace(archive)


def _seconds(taken: Sequence[float]) -> str:
    return f"median {statistics.median(taken):.2f} s, longest {max(taken):.2f} s"


def tell(text: str) -> None:
    """One line of how it goes."""
    print(text, file=sys.stderr, flush=True)
