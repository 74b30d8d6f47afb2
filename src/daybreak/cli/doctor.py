"""`doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from daybreak.cli import progress
from daybreak.cli.output import Door, run_document, say
from daybreak.cli.shared import at_site, slotted, verb

if TYPE_CHECKING:
    from daybreak.jobs.doctor.finding import Finding

_SIGNS = {"ok": "✓", "warning": "!", "error": "✗"}


@click.command()
@click.option("--tonight", is_flag=True, help="Only what the next runs need: will they work?")
@click.option("--alert", is_flag=True, help="With --tonight: tell who wants to know, once, and when it is over.")
@verb
@slotted
def doctor(door: Door, *, tonight: bool, alert: bool, slot: str | None) -> int:
    """Look at every piece of the chain, and say what mends it. Exit 1 where something is broken."""
    from daybreak.errors import UsageError  # noqa: PLC0415 -- only wanted here

    if alert and not tonight:
        raise UsageError("--alert goes with --tonight", hint="failures are told by themselves")
    if slot is not None and not alert:
        raise UsageError("--slot goes with --tonight --alert", hint="only that has a schedule")
    from daybreak.jobs.doctor.finding import (  # noqa: PLC0415 -- keeps --help fast
        Severity,
        is_ill,
        read_finding,
        worst_first,
    )

    untold: list[str] = []
    needed = "must" if alert else "anyhow"  # a look needs no state folder; who is to be told has to be remembered
    with at_site(door, progress.Silent(), alarm="doctor tonight" if alert else "", record=needed) as site:
        if alert:
            run = site.doctor_tonight(slot=slot)
            if run.state.value == "skipped":
                say(door, run_document(run), run.reason)
                return 0
            result: Any = run.result
            found, untold = [read_finding(one) for one in result["findings"]], result["not_told"]
        else:
            found = site.doctor(tonight=tonight)
    ill = is_ill(found)
    counts = {severity: sum(one.severity is severity for one in found) for severity in Severity}
    verdict = "tonight will fail" if tonight and ill else "tonight will work" if tonight else ""
    summary = ", ".join(
        f"{count} {severity.value}{'s' if count != 1 and severity is not Severity.OK else ''}"
        for severity, count in counts.items()
    )
    lines = [line for one in worst_first(found) for line in finding_lines(one)]
    lines += [f"! {one}" for one in untold]
    document = {
        "findings": [one.as_json() for one in found],
        "well": not ill,
        "counts": {severity.value: count for severity, count in counts.items()},
        "not_told": untold,
    }
    say(door, document, "\n".join([*lines, f"{verdict}: {summary}" if verdict else summary]))
    return int(ill)


def finding_lines(one: Finding) -> list[str]:
    """A finding for people, with what mends it."""
    subject = f" {one.subject}" if one.subject else ""
    fix = [f"    → {one.fix}"] if one.fix else []
    return [f"{_SIGNS[one.severity.value]} {one.id}{subject}: {one.text}", *fix]
