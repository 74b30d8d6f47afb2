"""`drill` and `open`: an archive in a server of its own."""

from __future__ import annotations

import os
import select
import shlex
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from daybreak.cli import progress
from daybreak.cli.output import Door, run_document, say
from daybreak.cli.shared import at_site, quirks_said, verb
from daybreak.units import parse_instant, show_count, show_duration, show_instant

if TYPE_CHECKING:
    from daybreak.jobs.open_archive import Opened
    from daybreak.model import Run
    from daybreak.replacement import Quirks

_LOOK_S: Final = 0.2
#: A program that a signal ended: what a shell says of it.
_SIGNALLED: Final = 128


@click.command()
@click.argument("backup", required=False)
@click.option("--from", "source", metavar="local|REPOSITORY", default="local", help="Where the archive is taken from.")
@click.option("--image", metavar="IMAGE", help="In a container of this image, whatever is installed here.")
@click.option("--on", metavar="DATABASE", help="In a database beside this one, on its server.")
@quirks_said
@verb
def drill(door: Door, backup: str | None, *, source: str, image: str | None, on: str | None, quirks: Quirks) -> None:
    """Prove an archive on purpose: restore it in a throw-away server, compare every table, time it."""
    with at_site(door, progress.choose()) as site:
        run = site.drill(backup, source=source, image=image, on=on, quirks=quirks)
    say(door, run_document(run), drill_text(run))


def drill_text(run: Run) -> str:
    """What a drill found, in words."""
    result: Any = run.result
    archive, proof = result["archive"], result["proof"]
    found = f"{proof['equal']} equal, {proof['reordered']} equal in another order, {proof['different']} different"
    took = "" if result["fetch_s"] is None else f"fetched in {show_duration(result['fetch_s'])}, "
    took += f"restored in {show_duration(result['restore_s'])}, compared in {show_duration(result['proof_s'])}"
    taken = show_instant(parse_instant(archive["taken_at"]))
    lines = [
        f"archive {archive['id']}, taken {taken}, is proven (from {result['source']})",
        f"{took}, in {result['server']}",
        f"proof: {proof['compared']} of {show_count(proof['tables'], 'table')} compared, {found}",
    ]
    lines += [f"left out: {one}" for one in result["left_out"]]
    lines += [f"not compared: {one['name']} ({one['why']})" for one in proof["details"] if one["result"] == "skipped"]
    return "\n".join(lines)


@click.command("open")
@click.argument("archive", required=False)
@click.option("--command", metavar="COMMAND", help="Run this instead of psql; DATABASE_URL and PG* lead it there.")
@click.option("--url", "only_url", is_flag=True, help="Print where it is and wait, also on a terminal.")
@click.option("--image", metavar="IMAGE", help="In a container of this image, whatever is installed here.")
@quirks_said
@verb
def open_(
    door: Door, archive: str | None, *, command: str | None, only_url: bool, image: str | None, quirks: Quirks
) -> int:
    """Look into an archive: a server of its own with psql and a URL, gone when you leave."""
    if command is not None and (door.json or only_url):
        raise click.UsageError("--command goes without --json and --url")
    words = [] if command is None else _words(command)
    if words:
        from daybreak.programs import find_program  # noqa: PLC0415 -- keeps --help fast

        find_program(words[0], os.environ.get("PATH"))  # before the restore, which may take an hour
    listener = progress.choose()
    status = 0

    def use(opened: Opened) -> None:
        nonlocal status
        if isinstance(listener, progress.Drawn):
            listener.stop()
        if words:
            status = opened.runner.interact(words, env=opened.environment)
        elif door.json or only_url or not sys.stdin.isatty() or not sys.stdout.isatty():
            say(door, _document(opened), f"{_text(opened)}\nit is gone when standard input ends")
            sys.stdout.flush()
            _wait(door)
        else:
            click.echo(_text(opened), err=True)
            opened.runner.interact(opened.psql, env={})

    with at_site(door, listener) as site:
        site.open(archive, image=image, use=use, quirks=quirks)
    return status if status >= 0 else _SIGNALLED - status


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise click.UsageError(f"--command cannot be split into words: {error}") from None
    if not words or not words[0]:
        raise click.UsageError("--command names no program")
    return words


def _document(opened: Opened) -> dict[str, object]:
    return {
        "archive": opened.archive,
        "taken_at": opened.taken_at,
        "database": opened.database,
        "server": opened.server,
        "url": opened.url,
        "tcp_url": opened.tcp_url,
        "proof": opened.proof,
    }


def _text(opened: Opened) -> str:
    taken = show_instant(parse_instant(opened.taken_at))
    lines = [
        f"archive {opened.archive}, taken {taken}, is open in {opened.server}; production is not touched",
        opened.url,
    ]
    return "\n".join([*lines, *([opened.tcp_url] if opened.tcp_url else [])])


def _wait(door: Door) -> None:
    """Until standard input ends, or somebody wants the end."""
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] -- so it is where the caller closed it
        return
    handle = sys.stdin.fileno()
    while not door.cancel.is_set():
        ready, _, _ = select.select([handle], [], [], _LOOK_S)
        if ready and not os.read(handle, 4096):
            return
