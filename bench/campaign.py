"""Blows against Daybreak on real servers; writes docs/campaign.md. Any violation makes the exit code 1.

    just campaign [--quick] [--seed N] [--kills 50] [--overlaps 20] [--flips 60] [--cuts 40] [--swaps 50] [--row 100]
                  [--megabytes 5000] [--write]

Kills at random instants, overlaps of nightly and weekly, damaged archives, gigabytes through the cutter of shards,
clients that reconnect while names are swapped, refreshes in a row. The full campaign takes about half an hour and
writes; `--quick` is for the build machine and only prints.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import blows
import crowd
from blows import Field, Outcome
from ground import HERE, machine, prepare
from volume import volume

REPORT: Final = HERE.parent / "docs" / "campaign.md"
FULL: Final = {"kills": 50, "overlaps": 20, "flips": 60, "cuts": 40, "swaps": 50, "row": 100, "megabytes": 5000}
QUICK: Final = {"kills": 3, "overlaps": 2, "flips": 12, "cuts": 8, "swaps": 5, "row": 2, "megabytes": 250}
_SAMPLE: Final = {True: 2, False: 12}  # damages that also go through the command line: quick, full


def main() -> int:
    """Run all parts; the exit code."""
    options = _options()
    began_at, began = datetime.now(UTC), time.monotonic()
    print(f"seed {options.seed}", file=sys.stderr, flush=True)
    settings = {"shared_buffers": "32MB", "fsync": "off" if options.quick else "on"}
    outcomes: dict[str, Outcome] = {}
    with prepare("campaign", options.major, settings) as ground:
        archive = ground.archives / "genji.dump"
        config = ground.config("campaign", source=blows.SOURCE, target=blows.TARGET, archive=archive, max_age="5s")
        patient = ground.config("patient", source=blows.SOURCE, target=blows.TARGET, archive=archive)
        chance = random.Random(options.seed)  # noqa: S311 -- a campaign is repeated by its seed, and guards nothing
        field = Field(ground=ground, config=config, archive=archive, chance=chance)

        def damaged() -> Outcome:
            field.config = patient  # takes the archive that is there
            try:
                return blows.damage(field, options.flips, options.cuts, through_cli=_SAMPLE[options.quick])
            finally:
                field.config = config

        parts: dict[str, Callable[[], Outcome]] = {
            "In peace": lambda: blows.begin(field),
            "Kills": lambda: blows.kills(field, options.kills),
            "Overlaps": lambda: blows.overlaps(field, options.overlaps),
            "Damage": damaged,
            "Volume": lambda: volume(options.megabytes * 10**6),
            "Clients": lambda: crowd.clients(field, options.swaps, options.pause_ms / 1000),
            "In a row": lambda: crowd.clients(field, options.row, options.pause_ms / 1000, in_a_row=True),
        }
        for name, part in parts.items():
            outcomes[name] = part()
    text = _report(options, began_at, time.monotonic() - began, outcomes)
    print(text)
    if options.write or not options.quick:
        REPORT.write_text(text)
    violations = [one for outcome in outcomes.values() for one in outcome.violations]
    for one in violations:
        print(f"VIOLATION: {one}", file=sys.stderr)
    return 1 if violations else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small fixed numbers")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="repeat this campaign")
    for name, count in FULL.items():
        parser.add_argument(f"--{name}", type=int, help=f"how many ({count}; quick: {QUICK[name]})")
    parser.add_argument("--pause-ms", type=float, default=0.0, help="what a client waits before it begins anew (0)")
    parser.add_argument("--major", type=int, default=18, help="the servers' major version (18)")
    parser.add_argument("--write", action="store_true", help="write the report after a quick campaign too")
    options = parser.parse_args()
    for name, count in (QUICK if options.quick else FULL).items():
        if getattr(options, name) is None:
            setattr(options, name, count)
    return options


def _report(options: argparse.Namespace, at: datetime, taken_s: float, outcomes: dict[str, Outcome]) -> str:
    found = [one for outcome in outcomes.values() for one in outcome.violations]
    quick = " --quick" if options.quick else ""
    lines = [
        "# Measured: blows against Daybreak",
        "",
        f"Written by `just campaign{quick} --seed {options.seed}` on {at:%Y-%m-%d}, in",
        f"{taken_s / 60:.0f} minutes; do not edit. After every blow the published archive is read to its end and",
        "compared with its manifest, the target must answer within 5 s with the whole data of before or after, nothing",
        "of a dead run may live after 15 s, and the next run must be green and leave nothing behind.",
        "",
        f"**Violations: {len(found) or 'none'}.**",
        *[f"- {one}" for one in found],
        "",
    ]
    for name, outcome in outcomes.items():
        lines += [f"## {name}", "", "|  |  |", "| --- | --- |"]
        lines += [f"| {what} | {value} |" for what, value in outcome.figures.items()]
        lines.append("")
    facts = [("PostgreSQL", str(options.major)), ("fsync", "off" if options.quick else "on"), *machine()]
    lines += ["## Machine", "", "|  |  |", "| --- | --- |", *(f"| {what} | {value} |" for what, value in facts), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
