"""`init`: asks little on a terminal, and nothing elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daybreak.cli import progress
from daybreak.cli.doctor import finding_lines
from daybreak.cli.output import Door, say
from daybreak.cli.shared import at_site, verb
from daybreak.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daybreak.hosts.search import Server


@click.command()
@click.option("--prod", metavar="NAME", help="Production: the container, or the database of a local server.")
@click.option("--dev", metavar="NAME", help="The development database, found the same way.")
@click.option("--no-dev", is_flag=True, help="There is none: backups only.")
@click.option("--folder", type=click.Path(path_type=Path, readable=False), help="The folder of the archives.")
@click.option("--timezone", metavar="ZONE", help="The zone of the schedules; else the one of this host.")
@click.option(
    "--sockets",
    type=click.Path(path_type=Path, readable=False),
    multiple=True,
    help="Also look for local servers here.",
)
@click.option("--yes", is_flag=True, help="Ask nothing; take what is clear.")
@verb
def init(  # noqa: PLR0917 -- click hands options over by name
    door: Door,
    prod: str | None,
    dev: str | None,
    folder: Path | None,
    timezone: str | None,
    sockets: tuple[Path, ...],
    *,
    no_dev: bool,
    yes: bool,
) -> None:
    """Find PostgreSQL on this host, write a configuration, look at it, and offer the first backup."""
    from daybreak.jobs import begin  # noqa: PLC0415 -- keeps --help fast
    from daybreak.site.beginning import look_round, new_file, write_configuration  # noqa: PLC0415 -- see above

    asks = sys.stdin.isatty() and not yes and not door.json
    if not asks and not yes:
        raise UsageError("there is no terminal to ask on", hint="daybreak init --yes, with --prod, --dev, --folder")
    path = new_file(Path(door.config) if door.config else None)
    found = look_round(sockets)
    for remark in found.remarks:
        click.echo(f"  ! {remark}", err=True)
    for one in found.servers:
        click.echo(f"  found {one.name}: {_described(one)}", err=True)
    likely, devs = begin.candidates(found.servers)
    pool = found.servers if prod else likely
    production = _ask(pool, "prod") if asks and not prod and len(pool) > 1 else begin.pick_server(pool, prod, "prod")
    if production is None:
        raise UsageError(
            "no PostgreSQL was found that could be production",
            hint="start its container, or begin with: daybreak config example > daybreak.toml",
        )
    development = None if no_dev else begin.pick_server(found.servers if dev else devs, dev, "dev")
    if development == production:
        raise UsageError(f"{production.name} cannot be both", hint="--dev names another one; --no-dev: there is none")
    folder, zone = folder or begin.propose_folder(production), timezone or begin.host_zone()
    if asks:
        folder = Path(click.prompt("archives go to", default=str(folder), err=True))
        zone = click.prompt("the schedules' time zone", default=zone, err=True)
        click.confirm(f"write {path}?", default=True, abort=True, err=True)
    choice = begin.Choice(production=production, development=development, folder=folder.absolute(), timezone=zone)
    made = write_configuration(path, choice)
    door.config = str(path)
    with at_site(door, progress.choose()) as site:
        findings = site.doctor(tonight=False)
        lines = [f"{path} is written{f', and {choice.folder} made' if made else ''}"]
        lines += [line for one in findings if one.severity.value != "ok" for line in finding_lines(one)]
        document = {
            "file": str(path),
            "production": production.name,
            "development": development.name if development else None,
            "archive_folder": str(choice.folder),
            "timezone": zone,
            "findings": [one.as_json() for one in findings],
        }
        say(door, document, "\n".join(lines))
        if asks and click.confirm("make the first backup now?", default=True, err=True):
            site.backup("nightly")
            click.echo("done; daybreak status shows it, and docs/alerts.md says how to be told when one fails")
        elif not door.json:
            click.echo("next: daybreak backup")


def _ask(servers: Sequence[Server], what: str) -> Server:
    names = [one.name for one in servers]
    chosen = click.prompt(f"which one is {what}", type=click.Choice(names), err=True)
    return next(one for one in servers if one.name == chosen)


def _described(server: Server) -> str:
    if server.place.container:
        return f"{server.place.runtime} container, database {server.dbname}, user {server.user}"
    return f"local server at {server.socket}, port {server.port}"
