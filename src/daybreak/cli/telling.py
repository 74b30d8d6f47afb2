"""`notify` and `metrics`."""

from __future__ import annotations

from typing import Any

import click

from daybreak.cli.output import Door, say
from daybreak.cli.shared import at_site, verb


@click.group()
def notify() -> None:
    """Destinations of alerts."""


@notify.command("test")
@click.argument("name", required=False)
@verb
def test_destination(door: Door, name: str | None) -> int:
    """Send a message to every destination, or to one. Exit 1 where one did not arrive."""
    with at_site(door) as site:
        faults = site.notify_test(name)
    lines = [f"{one}: {f'did not arrive: {fault}' if fault else 'sent'}" for one, fault in faults.items()]
    document = {"destinations": [{"name": one, "sent": not fault, "fault": fault} for one, fault in faults.items()]}
    say(door, document, "\n".join(lines))
    return 1 if any(faults.values()) else 0


@click.command()
@click.option("--write", is_flag=True, help="Write them to metrics_file as well, as every run does at its end.")
@verb
def metrics(door: Door, *, write: bool) -> None:
    """Every number of every plan, as Prometheus reads them."""
    from datetime import UTC, datetime  # noqa: PLC0415 -- keeps --help fast

    from daybreak.errors import UsageError  # noqa: PLC0415 -- only wanted here
    from daybreak.metrics import render, write_file  # noqa: PLC0415 -- keeps --help fast

    at = datetime.now(UTC)
    with at_site(door, record="to look") as site:
        found = site.measures(at)
        if write:
            if site.settings.metrics_file is None:
                raise UsageError("the configuration has no metrics_file", hint='set metrics_file = "/….prom"')
            write_file(site.settings.metrics_file, site.measures(at, ageing=False))
    document: dict[str, Any] = {
        "metrics": [{"name": one.name, "labels": dict(one.labels), "value": float(one.value)} for one in found]
    }
    say(door, document, "" if door.json else render(found).decode().rstrip())
