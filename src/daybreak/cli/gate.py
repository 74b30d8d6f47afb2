"""`gate`: the forced command of a key of ssh."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from daybreak.cli import progress
from daybreak.cli.output import Door, say
from daybreak.cli.shared import away_text, site_loader, verb, who
from daybreak.units import show_bytes, show_count, show_duration

if TYPE_CHECKING:
    from daybreak.runner.acts import Reply

_ASKED: Final = "SSH_ORIGINAL_COMMAND"


@click.command()
@click.argument("may", metavar="VERB...", nargs=-1, required=True)
@verb
def gate(door: Door, may: tuple[str, ...]) -> int:
    """For a forced command of ssh: carry out one of the plans backup:NAME, refresh:NAME, and nothing else."""
    from daybreak.runner.acts import Acts  # noqa: PLC0415 -- keeps --help fast
    from daybreak.runner.gate import chosen, pass_through  # noqa: PLC0415 -- keeps --help fast
    from daybreak.site import load, state_of  # noqa: PLC0415 -- keeps --help fast

    settings = load(Path(door.config) if door.config else None)
    plans = {"backup": tuple(settings.backups), "refresh": tuple(settings.refreshes)}
    start = chosen(may, os.environ.get(_ASKED, ""), plans=plans, scripts=settings.scripts)
    acts = Acts(site_loader(door), through="the gate")
    ended: Reply = {}
    for line in _lines(pass_through(state_of(settings), acts, start, who(), door.cancel), ended):
        with contextlib.suppress(OSError):  # nobody listens any more; the run goes on, and so may we
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
    acts.close()
    say(door, {key: value for key, value in ended.items() if key != "event"}, ended_text(ended))
    return exit_code(ended)


def exit_code(ended: Reply) -> int:
    """How a run ended, as a number; one that was lost has none of its own."""
    if ended["state"] in {"succeeded", "skipped"}:
        return 0
    return int(ended["exit_code"]) or 1


def _lines(replies: Iterator[Reply], ended: Reply) -> Iterator[str]:
    """A run as it goes, a line for each event; its end goes into `ended`."""
    for reply in replies:
        if reply["event"] == "begun":
            joined = f", which is {reply['state']} already" if reply["joined"] else f", by {reply['through']}"
            yield f"{reply['kind']} {reply['plan']}: run {reply['run']}{joined}"
        elif reply["event"] == "step":
            yield progress.done_line(reply["name"], reply["facts"], reply["seconds"], failed=reply["failed"])
        elif reply["event"] == "progress":
            yield f"  … {reply['step']}: {progress.progress_text(_progress(reply))}"
        elif reply["event"] == "ended":
            ended |= reply


def _progress(reply: Reply) -> Any:  # noqa: ANN401 -- records.Progress, imported lazily
    from daybreak.catalog.records import Progress  # noqa: PLC0415 -- keeps --help fast

    names = ("step", "text", "table", "rows", "done_bytes", "bytes_per_s")
    return Progress(at=datetime.now(UTC), **{name: reply[name] for name in names})


def ended_text(ended: Reply) -> str:
    """The end of a run, for a log and for the summary of a workflow. Pure."""
    lines = [
        f"run       {ended['run']}",
        f"plan      {ended['kind']} {ended['plan']}",
        f"state     {ended['state']}",
    ]
    if ended.get("message"):
        lines += [f"why       {ended['message']}", f"next      {ended['hint']}"]
    elif ended["reason"]:
        lines.append(f"reason    {ended['reason']}")
    archive = ended["archive"]
    if archive is not None:
        rows, tables = show_count(archive["rows"], "row"), show_count(archive["tables"], "table")
        size = f"{show_bytes(archive['size_bytes'])}, {rows} in {tables}"
        lines += [
            f"archive   {archive['id']}, {'proven' if archive['proven'] else 'checked'}",
            f"age       {show_duration(archive['age_s'])}",
            f"size      {size}",
        ]
    else:
        lines.append("archive   there is none")
    for one in ended.get("snapshots", []):
        grown = show_bytes(one["added_bytes"])
        lines.append(f"off-site  {one['repository']}: snapshot {one['id'][:8]}, grew by {grown}")
    if "outage_ms" in ended:
        lines.append(f"target    {ended['target']}, {away_text(ended['outage_ms'])}")
    lines += [f"warning   {one}" for one in ended.get("warnings", [])]
    return "\n".join(lines)
