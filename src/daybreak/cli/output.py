"""What a person or a script sees: tables and sentences, or one JSON object.

Shapes  `documents.py` has what a run and a fault look like. With `--json` stdout holds one object and nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import json
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import click

from daybreak.documents import fault_document, run_document
from daybreak.errors import DaybreakError, PublishError
from daybreak.secret import mask
from daybreak.units import show_instant

if TYPE_CHECKING:
    from datetime import datetime

    from daybreak.model import Run

_EXIT_BUG: Final = 70


@dataclass(slots=True)
class Door:
    """How this call wants to be answered."""

    config: str | None = None
    json: bool = False
    trigger: str = "cli"  # who calls, for the record
    cancel: threading.Event = field(default_factory=threading.Event)
    last_run: Run | None = None  # a run that ended badly, to be shown with its fault


def say(door: Door, document: Mapping[str, Any], text: str) -> None:
    """Answer: the object for a script, or the text for a person. Raise PublishError where it cannot be written."""
    answer = _as_json(document) if door.json else mask(text)
    if not answer:
        return
    try:
        click.echo(answer)
    except OSError as error:
        if error.errno == errno.EPIPE:  # a reader that went away; click knows what to do
            raise
        raise unwritten(error) from error


def unwritten(error: OSError) -> PublishError:
    """The fault of an answer that cannot be written."""
    return PublishError(
        f"the answer cannot be written: {error.strerror}",
        hint="what was asked for is done; if it was a run, `daybreak runs` has it; make room where the output goes",
    )


def fail(door: Door, error: DaybreakError) -> int:
    """Tell a foreseen fault; return its exit code."""
    if door.json:
        run = run_document(door.last_run) if door.last_run is not None else {}
        _tell(door, _as_json({**run, **fault_document(error)}))
    else:
        lines = [f"daybreak: {error.message}"]
        if error.hint:
            lines.append(f"  → {error.hint}")
        if error.run:
            lines.append(f"  run {error.run}: daybreak run show {error.run}")
        _tell(door, mask("\n".join(lines)))
    return error.exit_code


def bug(door: Door, error: Exception) -> int:
    """Tell a fault that nobody foresaw: the trace goes to a file, not to the terminal."""
    import tempfile  # noqa: PLC0415 -- keeps --help fast
    import traceback  # noqa: PLC0415 -- keeps --help fast

    trace = mask("".join(traceback.format_exception(error)))
    try:
        how: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace", "delete": False}
        with tempfile.NamedTemporaryFile("w", prefix="daybreak-bug-", suffix=".txt", **how) as file:
            file.write(trace)
        where = f"the trace is in {file.name}"
    except OSError:
        sys.stderr.write(trace)
        where = "the trace is above"
    fault = DaybreakError(f"a bug of Daybreak: {type(error).__name__}: {error}", hint=f"please report it; {where}")
    document = {**fault_document(fault), "code": "Bug", "exit_code": _EXIT_BUG}
    if door.json:
        run = run_document(door.last_run) if door.last_run is not None else {}
        _tell(door, _as_json({**run, **document}))
    else:
        _tell(door, f"daybreak: {document['message']}\n  → {fault.hint}")
    return _EXIT_BUG


def _as_json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, default=str)


def _tell(door: Door, fault: str) -> None:
    """Where it belongs; if that cannot be written, where it does not. The exit code says it in any case."""
    for to_stderr in (not door.json, door.json):
        with contextlib.suppress(OSError):
            click.echo(fault, err=to_stderr)
            return


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell; numbers (cells that begin with a digit) to the right."""
    widths = [max(len(row[at]) for row in [headers, *rows]) for at in range(len(headers))]
    lines: list[str] = []
    for row in [headers, *rows]:
        cells = [
            cell.rjust(width)
            if row is not headers and cell[:1].isdigit() and cell[-1:] in "0123456789B"
            else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def when(at: datetime | None) -> str:
    """An instant for a person, as messages have it: a table that is sent to somebody elsewhere says its zone."""
    return show_instant(at) if at else "—"
