"""The verbs of time: what is due, the scheduler, and the units that start it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from daybreak.cli import progress
from daybreak.cli.output import Door, say, table
from daybreak.cli.shared import at_site, verb
from daybreak.errors import UsageError
from daybreak.secret import mask
from daybreak.units import rfc3339, show_count

if TYPE_CHECKING:
    from datetime import datetime

    from daybreak.catalog.records import SlotRecord
    from daybreak.jobs.slots import Outlook
    from daybreak.model import Slot, Timed

_FOLDER: Final = "/etc/systemd/system"


@click.command()
@click.option("--at", "at_text", metavar="INSTANT", help="As seen then: a date, or an instant with its offset.")
@verb
def schedule(door: Door, *, at_text: str | None) -> None:
    """The last and the next slots of every plan, with what became of each."""
    from datetime import UTC, datetime  # noqa: PLC0415 -- keeps the head of the module light

    try:
        at = datetime.now(UTC) if at_text is None else datetime.fromisoformat(at_text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{at_text!r} is no instant: {error}", hint="write it like 2026-03-08T01:00-06:00, or a date"
        ) from None
    with at_site(door, record="to look") as site:
        found = site.schedule(at)
    rows = [row for one in found for row in _rows(one)]
    lines = [table(["plan", "", "slot", "due at", "in UTC", "what became of it"], rows)] if rows else []
    lines += [f"! {one.timed}: {one.watched.note}" for one in found if one.watched and one.watched.note]
    lines += [f"! {one.timed}: {_not_come(one)}" for one in found if one.not_come[0]]
    document = {"at": rfc3339(at), "plans": [_document(one) for one in found]}
    say(door, document, "\n".join(lines) or "no plan has a schedule")


def _not_come(one: Outlook) -> str:
    missing, of = one.not_come
    who = one.timed.schedule.trigger or "nobody from outside"
    return f"{who} did not come for {missing} of its last {show_count(of, 'slot')}"


def _rows(one: Outlook) -> list[list[str]]:
    past = [[str(one.timed), "last", *_when(one.timed, row.slot), _became(row)] for row in one.last]
    coming = [[str(one.timed), "next", *_when(one.timed, slot), ""] for slot in one.next]
    return past + coming


def _local(timed: Timed, slot: Slot) -> datetime:
    from daybreak.schedule import parse_zone  # noqa: PLC0415 -- keeps --help fast

    return slot.due_at.astimezone(parse_zone(timed.schedule.timezone))


def _when(timed: Timed, slot: Slot) -> list[str]:
    return [slot.key, f"{_local(timed, slot):%a %Y-%m-%d %H:%M %Z}", f"{slot.due_at:%Y-%m-%d %H:%MZ}"]


def _became(row: SlotRecord) -> str:
    """What became of a slot, in a few words."""
    if row.run is None:
        return f"{row.state}: {row.reason}" if row.reason else row.state.value
    ended = f"{row.run_state}" + (f": {row.run_reason[:80]}" if row.run_reason else "")
    return f"run {row.run} by {row.trigger}, {ended}" + (f" ({row.reason})" if row.reason else "")


def _document(one: Outlook) -> dict[str, Any]:
    wanted = one.timed.schedule
    return {
        "plan": one.timed.plan,
        "kind": one.timed.kind,
        "schedule": wanted.spec,
        "timezone": wanted.timezone,
        "catch_up_s": wanted.catch_up.total_seconds(),
        "trigger": wanted.trigger,
        "grace_s": wanted.grace.total_seconds(),
        "since": rfc3339(one.watched.since) if one.watched else None,
        "note": one.watched.note if one.watched else "",
        "not_come": {"slots": one.not_come[0], "of": one.not_come[1]},
        "last": [_slot(one.timed, row.slot) | _became_document(row) for row in one.last],
        "next": [_slot(one.timed, slot) for slot in one.next],
    }


def _slot(timed: Timed, slot: Slot) -> dict[str, Any]:
    return {"slot": slot.key, "due_at": rfc3339(slot.due_at), "local": rfc3339(_local(timed, slot))}


def _became_document(row: SlotRecord) -> dict[str, Any]:
    return {
        "state": row.state.value,
        "reason": row.reason,
        "run": row.run,
        "run_state": row.run_state.value if row.run_state else None,
        "trigger": row.trigger,
    }


@click.command()
@click.option(
    "--only",
    type=click.Choice(["runner", "console"]),
    help="runner: the schedule, and whoever asks through the socket; console: the pages. Without: both.",
)
@verb
def serve(door: Door, *, only: str | None) -> None:
    """Begin every job when it is due and show the console, until TERM; HUP reads the configuration again."""
    from daybreak.serving import BOTH, Part  # noqa: PLC0415 -- keeps --help fast
    from daybreak.serving import serve as run  # noqa: PLC0415 -- keeps --help fast

    def tell(text: str) -> None:
        sys.stderr.write(f"daybreak serve: {mask(text)}\n")
        sys.stderr.flush()

    parts = BOTH if only is None else frozenset({Part(only)})
    run(Path(door.config) if door.config else None, listener=progress.Silent(), say=tell, parts=parts)
    say(door, {"state": "stopped"}, "")


@click.group()
def systemd() -> None:
    """The units for systemd: show them, install them."""


@systemd.command("show")
@click.option("--timers", is_flag=True, help="A timer for every plan, instead of the scheduler's service.")
@verb
def show_units(door: Door, *, timers: bool) -> None:
    """Print the unit files for this configuration."""
    _, _, found = _units(door, timers=timers)
    text = "\n".join(f"# ==> {unit.name}\n{unit.text}" for unit in found)
    say(door, {"units": {unit.name: unit.text for unit in found}}, text.rstrip())


@systemd.command("install")
@click.option("--timers", is_flag=True, help="A timer for every plan, instead of the scheduler's service.")
@click.option(
    "--to",
    metavar="FOLDER",
    default=_FOLDER,
    show_default=True,
    type=click.Path(path_type=Path, readable=False),
    help="Where they go.",
)
@verb
def install_units(door: Door, *, timers: bool, to: Path) -> None:
    """Write the unit files; a second time changes nothing."""
    from daybreak.site.units import install, to_do_first  # noqa: PLC0415 -- keeps --help fast

    settings, state, found = _units(door, timers=timers)
    changed = install(found, to)
    lines = [f"{to / name}: {'written' if new else 'as it was'}" for name, new in changed.items()]
    names = [name for name in changed if not timers or name.endswith(".timer")]
    first = to_do_first(found, settings, state)
    lines += [f"first: {one}" for one in first]
    if any(changed.values()):
        lines.append(f"now: systemctl daemon-reload && systemctl enable --now {' '.join(names)}")
    say(door, {"folder": str(to), "changed": changed, "first": first, "enable": names}, "\n".join(lines))


def _units(door: Door, *, timers: bool) -> Any:  # noqa: ANN401 -- what they are made from, and the units; imported lazily
    from daybreak.site import load, state_of  # noqa: PLC0415 -- keeps --help fast
    from daybreak.site.units import units  # noqa: PLC0415 -- keeps --help fast

    settings = load(Path(door.config) if door.config else None)
    state = state_of(settings)
    return settings, state, units(settings, state, timers=timers)
