"""What all verbs share: the two options that stand before or behind them, and the way to a `Site`."""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
import re
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from daybreak.cli import progress
from daybreak.cli.output import Door, run_document, say
from daybreak.errors import DaybreakError
from daybreak.runner.variables import RUN_ID, TRIGGER

if TYPE_CHECKING:
    from daybreak.model import Run
    from daybreak.site import Site

_LONGEST: Final = 100
_Body = TypeVar("_Body", bound=Callable[..., Any])


def away_text(outage_ms: float | None) -> str:
    """How long a swap kept everybody out; the server's report of it may be lost with the connection."""
    return "away for a time that nobody told" if outage_ms is None else f"away for {outage_ms} ms"


def verb(body: _Body) -> _Body:
    """Give a verb `--config` and `--json` behind it too, and the `Door` as first argument."""

    @click.option(
        "--config", "config_file", metavar="FILE", help="The configuration file.", type=click.Path(readable=False)
    )
    @click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, and nothing else.")
    @click.pass_obj
    @functools.wraps(body)
    def inner(door: Door, *args: Any, config_file: str | None, as_json: bool, **options: Any) -> object:  # noqa: ANN401 -- whatever click hands over
        door.config = config_file or door.config
        door.json = door.json or as_json
        return body(door, *args, **options)

    return inner  # pyright: ignore[reportReturnType] -- click's decorators lose the signature


def slotted(body: _Body) -> _Body:
    """Give a verb `--slot` and `--trigger`: it is called by something that has a schedule."""

    @click.option(
        "--slot",
        metavar="SLOT",
        help='Only if nobody took this slot of its schedule: now, "2026-11-22 02:00", or an instant.',
    )
    @click.option("--trigger", metavar="WHO", callback=_word, help="Who calls, for the record; else cli.")
    @functools.wraps(body)
    def inner(*args: Any, trigger: str | None, **options: Any) -> object:  # noqa: ANN401 -- whatever click hands over
        door = args[0]
        door.trigger = trigger or door.trigger
        return body(*args, **options)

    return inner  # pyright: ignore[reportReturnType] -- click's decorators lose the signature


def quirks_said(body: _Body) -> _Body:
    """Give a verb `--leave-out` and `--search-path`, as `quirks`: for an archive that cannot be restored as it is."""

    @click.option(
        "--leave-out", multiple=True, metavar="OBJECT", help="Not this one, as a failed restore named it; never rows."
    )
    @click.option(
        "--search-path",
        multiple=True,
        metavar="SCHEMA",
        callback=_schemas,
        help="Search this schema: for functions that name tables without one.",
    )
    @functools.wraps(body)
    def inner(*args: Any, leave_out: tuple[str, ...], search_path: tuple[str, ...], **options: Any) -> object:  # noqa: ANN401 -- whatever click hands over
        from daybreak.replacement import Quirks  # noqa: PLC0415 -- keeps --help fast

        said = Quirks(search_path=search_path, leave_out=leave_out)
        return body(*args, quirks=said, **options)

    return inner  # pyright: ignore[reportReturnType] -- click's decorators lose the signature


def _schemas(_context: click.Context, _option: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    if not all(value):
        raise click.BadParameter("must be the name of a schema")
    return value


def _word(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    if value is not None and re.fullmatch(r"[a-z][a-z0-9-]{0,31}", value) is None:
        raise click.BadParameter("must be a word of small letters, digits and -")
    return value


@contextlib.contextmanager
def at_site(
    door: Door, listener: progress.Silent | None = None, *, alarm: str = "", record: str = "must"
) -> Generator[Site]:
    """The site of this call, as `open_site` says; a run that ended badly is kept for the answer."""
    from daybreak.site import Record, open_site  # noqa: PLC0415 -- keeps --help fast

    heard = listener or (progress.Silent() if record == "must" else progress.Plain())
    # From whoever starts us for somebody else; what we start does not inherit them.
    asked = {"trigger": os.environ.get(TRIGGER, "")[:_LONGEST] or door.trigger, "first_id": os.environ.get(RUN_ID, "")}
    try:
        explicit = Path(door.config) if door.config else None
        with open_site(explicit, heard, cancel=door.cancel, alarm=alarm, record=Record(record), **asked) as site:
            try:
                yield site
            except DaybreakError as error:
                if error.run:
                    door.last_run = site.catalog.runs.get(error.run)
                if site.engine.alone:  # nothing shows this run afterwards
                    error.run = ""
                raise
    finally:
        if isinstance(heard, progress.Drawn):
            heard.stop()


def site_loader(door: Door) -> Callable[[], contextlib.AbstractContextManager[Site]]:
    """What opens a silent site of this call's configuration, anew each time."""
    from daybreak.site import open_site  # noqa: PLC0415 -- keeps --help fast

    return lambda: open_site(Path(door.config) if door.config else None, progress.Silent())


def work(
    door: Door,
    act: Callable[[Site], Run],
    text: Callable[[Run], str],
    heard: progress.Silent | None = None,
    *,
    alarm: str = "",
    record: str = "must",
) -> None:
    """Carry out a run, show how it goes, and answer with what it left."""
    with at_site(door, heard or progress.choose(), alarm=alarm, record=record) as site:
        run = act(site)
    say(door, run_document(run), text(run))


def who() -> str:
    """The person or account that asks, for the record."""
    with contextlib.suppress(KeyError, OSError):
        return getpass.getuser()
    return "somebody"
