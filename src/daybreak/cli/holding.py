"""`hold` and `release`, and how a hold reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from daybreak.cli.output import Door, say
from daybreak.cli.shared import at_site, verb, who
from daybreak.units import rfc3339

if TYPE_CHECKING:
    from daybreak.catalog.records import Hold


@click.command()
@click.argument("database")
@click.option("--until", metavar="INSTANT", help="A date, an instant with its zone, or a duration; else until release.")
@click.option("--why", metavar="TEXT", required=True, help="The reason, for everybody who wonders.")
@verb
def hold(door: Door, database: str, *, until: str | None, why: str) -> None:
    """Let no refresh and no pull replace a database for now."""
    with at_site(door) as site:
        made = site.hold(database, until=until, why=why, by=who())
    say(door, hold_document(made), hold_line(made))


@click.command()
@click.argument("database")
@verb
def release(door: Door, database: str) -> None:
    """Let a database that was held be replaced again."""
    with at_site(door) as site:
        found = site.release(database)
    text = f"{database} was not held" if found is None else f"{database} is not held any more"
    say(door, {"database": database, "released": None if found is None else hold_document(found)}, text)


def hold_document(one: Hold) -> dict[str, object]:
    """A hold as it stands in `--json`."""
    return {
        "database": one.database,
        "until": None if one.until is None else rfc3339(one.until),
        "why": one.why,
        "by": one.by,
        "at": rfc3339(one.at),
    }


def hold_line(one: Hold) -> str:
    """A hold for people, with the way out of it."""
    from daybreak.jobs.hold import hold_text  # noqa: PLC0415 -- keeps --help fast

    return f"{one.database} is {hold_text(one)} (daybreak release {one.database})"
