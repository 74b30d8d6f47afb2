"""The verbs: what each one takes, which method of `site` it calls, and how its result reads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import click

from daybreak.cli import progress
from daybreak.cli.beginning import init
from daybreak.cli.console import console
from daybreak.cli.deploying import github, server
from daybreak.cli.doctor import doctor
from daybreak.cli.drilling import drill, open_
from daybreak.cli.gate import gate
from daybreak.cli.groups import archive, archives, config, run, runs, status
from daybreak.cli.holding import hold, release
from daybreak.cli.output import Door, say
from daybreak.cli.repositories import repository
from daybreak.cli.restoring import restore
from daybreak.cli.scheduling import schedule, serve, systemd
from daybreak.cli.shared import at_site, away_text, slotted, verb, work
from daybreak.cli.telling import metrics, notify
from daybreak.errors import RefreshError
from daybreak.units import parse_instant, show_bytes, show_count, show_instant

if TYPE_CHECKING:
    from daybreak.model import Run


def archive_text(run: Run) -> str:
    """What a backup left, in words."""
    if run.state.value == "skipped":
        return f"nothing to do: {run.reason}"
    archive: Any = run.result.get("archive", {})
    rows, tables = show_count(archive["rows"], "row"), show_count(archive["tables"], "table")
    size = f"{show_bytes(archive['size_bytes'])}, {rows} in {tables}"
    lines = [f"{archive['path']}: {size} (archive {archive['id']})"]
    snapshots: Any = run.result.get("snapshots", [])
    return "\n".join([*lines, *map(snapshot_text, snapshots)])


def snapshot_text(snapshot: Mapping[str, Any]) -> str:
    """One snapshot that was read back, in words."""
    grown = show_bytes(snapshot["added_bytes"])
    return f"off-site in {snapshot['repository']}: snapshot {snapshot['id'][:8]}, the repository grew by {grown}"


def refresh_text(run: Run) -> str:
    """What a refresh did, in words."""
    if run.state.value == "skipped":
        return f"nothing was done: {run.reason}"
    result: Any = run.result
    target, archive, proof = result["target"], result["archive"], result["proof"]
    found = f"{proof['equal']} equal, {proof['reordered']} equal in another order, {proof['different']} different"
    taken = show_instant(parse_instant(archive["taken_at"]))
    lines = [
        f"{target} has production's data of {taken} (archive {archive['id']})",
        f"proof: {proof['compared']} of {show_count(proof['tables'], 'table')} compared, {found}",
        f"{target} was {away_text(result['outage_ms'])}; the old data is in {result['previous']}: daybreak undo",
    ]
    if result["checks"]:
        lines.insert(2, f"{show_count(len(result['checks']), 'check')} held")
    lines += [f"left out: {one}" for one in result["left_out"]]
    lines += [f"not compared: {one['name']} ({one['why']})" for one in proof["details"] if one["result"] == "skipped"]
    return "\n".join(lines)


@click.command()
@click.argument("name", required=False)
@click.option("--fresh", is_flag=True, help="A new dump of its own: not even the result of a running one.")
@click.option("--no-record", is_flag=True, help="Without the state folder: when that cannot be written.")
@verb
@slotted
def backup(door: Door, name: str | None, *, fresh: bool, no_record: bool, slot: str | None) -> None:
    """Dump a database, publish the archive, send it off-site."""
    if no_record and slot is not None:
        raise click.UsageError("--no-record goes without --slot: who takes a slot writes that down")
    alarm = f"backup {name or ''}".strip()
    record = "not" if no_record else "if there is room"
    work(door, lambda site: site.backup(name, fresh=fresh, slot=slot), archive_text, alarm=alarm, record=record)


@click.command()
@click.argument("name", required=False)
@click.option("--fresh", is_flag=True, help="Take a new dump, whatever max_age says.")
@click.option("--first", is_flag=True, help="This target was never refreshed by Daybreak: I mean it.")
@click.option("--plan", "only_plan", is_flag=True, help="Say what would be done, and change nothing.")
@verb
@slotted
def refresh(door: Door, name: str | None, *, fresh: bool, first: bool, only_plan: bool, slot: str | None) -> None:
    """Replace a development database by production's data."""
    if only_plan:
        with at_site(door) as site:
            outlook = site.look_ahead(name)
        steps = [f"{number}. {step}" for number, step in enumerate(outlook.steps, 1)]
        lines = [
            *steps,
            *(f"- left out: {one}" for one in outlook.left_out),
            *(f"! {note}" for note in outlook.notes),
            *(f"✗ {one}" for one in outlook.obstacles),
        ]
        say(door, outlook.as_json(), "\n".join(lines))
        if outlook.obstacles:
            raise click.exceptions.Exit(RefreshError.exit_code)
        return

    heard = progress.choose()
    confirm = _confirm(door, heard, first=first)
    work(
        door,
        lambda site: site.refresh(name, fresh=fresh, confirm_first=confirm, slot=slot),
        refresh_text,
        heard,
        alarm=f"refresh {name or ''}".strip(),
    )


@click.command()
@click.argument("backup", required=False)
@click.option("--to", "to", required=True, metavar="DATABASE", help="The database that is replaced, on this side.")
@click.option("--host", metavar="HOST", help="The host that has the archive; may be left out where there is one.")
@click.option("--path", metavar="FILE", help="Where the archive stands there; else the Daybreak there is asked.")
@click.option("--from", "repository", metavar="REPOSITORY", help="From this repository instead of a host.")
@click.option("--first", is_flag=True, help="This database was never refreshed by Daybreak: I mean it.")
@verb
def pull(
    door: Door,
    backup: str | None,
    *,
    to: str,
    host: str | None,
    path: str | None,
    repository: str | None,
    first: bool,
) -> None:
    """Replace a database of your own by the newest archive of a server."""
    if repository is not None and (host is not None or path is not None):
        raise click.UsageError("--from goes without --host and --path")
    heard = progress.choose()
    work(
        door,
        lambda site: site.pull(
            backup,
            to,
            host=host,
            path=PurePosixPath(path) if path else None,
            repository=repository,
            confirm_first=_confirm(door, heard, first=first),
        ),
        refresh_text,
        heard,
    )


def _confirm(door: Door, heard: progress.Silent, *, first: bool) -> Callable[[str], bool]:
    """Whether a target that was never refreshed may be: by option, or by a person at a terminal."""

    def confirm(target: str) -> bool:
        if first:
            return True
        if door.json or not sys.stdin.isatty():
            return False
        return heard.ask(f"{target} was never refreshed by Daybreak. ALL its data will be replaced. Go on?")

    return confirm


@click.command()
@click.argument("name", required=False)
@click.option("--yes", is_flag=True, help="Do not ask, also when something was written since the refresh.")
@verb
def undo(door: Door, name: str | None, *, yes: bool) -> None:
    """Bring back the database that the last refresh replaced."""
    heard = progress.choose()

    def confirm(written: str) -> bool:
        # Nothing is lost: what is there now is kept. So only somebody who can answer is asked.
        if yes or door.json or not sys.stdin.isatty():
            return True
        return heard.ask(f"{written}. Bring the data from before back?")

    def text(run: Run) -> str:
        result: Any = run.result
        away = away_text(result["outage_ms"])
        back = f"{result['target']} has the data from before ({away}); what it had until now is in {result['previous']}"
        return f"{back}\n{result['written']}"

    work(door, lambda site: site.undo(name, confirm=confirm), text, heard)


@click.command()
@click.argument("archive_id", metavar="ID")
@verb
def accept(door: Door, archive_id: str) -> None:
    """Publish a quarantined archive: I have looked, it is right."""
    work(door, lambda site: site.accept(archive_id), archive_text)


@click.command()
@click.argument("name", required=False)
@verb
def ship(door: Door, name: str | None) -> None:
    """Send the newest archive off-site."""

    def text(run: Run) -> str:
        snapshots: Any = run.result["snapshots"]
        return "\n".join(map(snapshot_text, snapshots))

    work(door, lambda site: site.ship(name), text, alarm=f"ship {name or ''}".strip())


@click.command()
@click.argument("snapshot", default="latest")
@click.option(
    "--to",
    "to",
    metavar="FILE",
    type=click.Path(path_type=Path, readable=False),
    help="Where the archive goes; else into the state folder, as a recorded run.",
)
@click.option("--repository", "name", metavar="NAME", help="The repository; may be left out where there is one.")
@verb
def fetch(door: Door, snapshot: str, to: Path | None, name: str | None) -> None:
    """Bring an archive back from a repository."""
    if to is None:
        work(door, lambda site: site.fetch_here(snapshot, name=name), _fetched_text)
        return
    with at_site(door, record="anyhow") as site:
        fetched = site.fetch(snapshot, to, name=name, on_file=lambda file: click.echo(f"fetching {file}", err=True))
    document = {
        "repository": fetched.repository,
        "snapshot": fetched.snapshot,
        "archive": fetched.archive,
        "path": str(fetched.path),
        "size_bytes": fetched.size_bytes,
        "sha256": fetched.sha256,
    }
    say(
        door,
        document,
        f"{fetched.path}: {show_bytes(fetched.size_bytes)}, equal to its manifest (archive {fetched.archive})",
    )


def _fetched_text(run: Run) -> str:
    result: Any = run.result
    return (
        f"{result['path']}: {show_bytes(result['size_bytes'])}, equal to its manifest (archive {result['fetched']});"
        " it is kept for a week"
    )


@click.command("recovery-kit")
@click.option(
    "--to",
    "to",
    metavar="FOLDER",
    type=click.Path(path_type=Path, readable=False),
    default=Path(),
    help="Where the page is written.",
)
@verb
def recovery_kit(door: Door, to: Path) -> None:
    """Write the page that brings the database back without Daybreak: to be printed, and kept elsewhere."""
    with at_site(door, record="anyhow") as site:
        kit = site.recovery_kit(to)
    document = {"files": [str(path) for path in kit.files], "not_asked": list(kit.not_asked)}
    missing = [f"the key is not named: {why}" for why in kit.not_asked]
    text = "\n".join([*missing, *map(str, kit.files), "print it, or put it where this server's end does not reach it"])
    say(door, document, text)


@click.command()
@verb
def repair(door: Door) -> None:
    """Do now what the next run would clean up."""

    def text(run: Run) -> str:
        done: Any = run.result["done"]
        return "\n".join(done) or "there was nothing to do"

    work(door, lambda site: site.repair(), text)


@click.command()
@click.argument("name")
@verb
def enrol(door: Door, name: str) -> None:
    """Take note of which database a name means now; do it after looking."""
    with at_site(door) as site:
        before, identity = site.enrol(name)
    document = {"database": name, "before": None if before is None else str(before), "now": str(identity)}
    was = f" (was {before})" if before is not None and before != identity else ""
    say(door, document, f"{name} is {identity}{was}")


VERBS: Final = (
    init,
    backup,
    refresh,
    pull,
    restore,
    undo,
    drill,
    open_,
    hold,
    release,
    accept,
    archive,
    archives,
    ship,
    fetch,
    recovery_kit,
    repository,
    runs,
    run,
    repair,
    status,
    schedule,
    serve,
    systemd,
    doctor,
    notify,
    metrics,
    enrol,
    config,
    gate,
    github,
    server,
    console,
)
