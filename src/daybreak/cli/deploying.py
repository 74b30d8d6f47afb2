"""`server setup` and `github install`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from daybreak.cli.output import Door, say
from daybreak.cli.shared import verb
from daybreak.errors import ConfigError

_MARKS: Final = {"there": "✓", "made": "+", "differs": "≠", "by hand": "!", "failed": "✗"}


@click.group()
def server() -> None:
    """This host, as the configuration describes it."""


@server.command("setup")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@click.option("--check", is_flag=True, help="Change nothing; exit 3 where anything is other than it should be.")
@verb
def setup_server(door: Door, *, dry_run: bool, check: bool) -> int:
    """Make group, user, folders, scripts, keys and service as the configuration says; twice changes nothing."""
    from daybreak.site import load  # noqa: PLC0415 -- keeps --help fast
    from daybreak.site.deploying import setup  # noqa: PLC0415 -- keeps --help fast

    found = setup(load(Path(door.config) if door.config else None), make=not (dry_run or check))
    lines: list[str] = []
    for one in found:
        lines.append(f"{_MARKS[one.outcome]} {one.what}" + (f": {one.found}" if one.found else ""))
        if one.hint:
            lines.append(f"    → {one.hint}")
    parts = [{"part": one.what, "state": one.outcome.value, "found": one.found, "hint": one.hint} for one in found]
    left = sum(one.outcome.value not in {"there", "made"} for one in found)
    say(door, {"parts": parts, "left": left}, "\n".join([*lines, _sum(left, len(found), dry_run=dry_run)]))
    return ConfigError.exit_code if left and not dry_run else 0


def _sum(left: int, parts: int, *, dry_run: bool) -> str:
    if not left:
        return f"all {parts} parts are as they should be"
    return f"{left} of {parts} parts {'would be made' if dry_run else 'are not as they should be'}"


@click.group()
def github() -> None:
    """GitHub's scheduler as an outside trigger."""


@github.command("install")
@click.option(
    "--to",
    "to",
    metavar="FOLDER",
    default=".github/workflows",
    show_default=True,
    type=click.Path(path_type=Path, readable=False),
    help="Where the workflows go.",
)
@click.option(
    "--minutes", default=45, show_default=True, type=click.IntRange(5, 360), help="How long a job may wait for its run."
)
@verb
def install_workflows(door: Door, *, to: Path, minutes: int) -> None:
    """Write a workflow for each plan that GitHub is expected for: it asks for the plan over ssh."""
    from daybreak.site import load  # noqa: PLC0415 -- keeps --help fast
    from daybreak.site.deploying import install_workflows  # noqa: PLC0415 -- keeps --help fast

    changed = install_workflows(load(Path(door.config) if door.config else None), to, minutes=minutes)
    lines = [f"{'written' if new else 'unchanged'}: {path}" for path, new in changed.items()]
    say(door, {"files": [{"path": str(path), "changed": new} for path, new in changed.items()]}, "\n".join(lines))
