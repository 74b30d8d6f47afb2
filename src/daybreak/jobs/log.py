"""The log file of one run: one masked line an event, as text or as JSON.

A log that cannot be written (a full disk) is given up quietly: it must never end a backup.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from daybreak.secret import mask


class RunLog:
    """Append-only lines. Thread-safe: each line is one write."""

    def __init__(self, path: Path, *, run: str, plan: str, json: bool = False) -> None:
        self._file = None
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
            self._file = os.fdopen(descriptor, "a", buffering=1, encoding="utf-8")
        self.step = ""  # the one that goes on
        self._emit = _json_lines(self._line, lambda: self.step, run=run, plan=plan) if json else self._text

    def write(self, line: str) -> None:
        """Add one event."""
        self._emit(line)

    def _text(self, event: str) -> None:
        self._line(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {event}")

    def _line(self, line: str) -> None:
        if self._file is None:
            return
        try:
            self._file.write(mask(line) + "\n")
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_up()


class _Sink:
    """Where structlog hands over a rendered line."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.info = write


def _json_lines(write: Callable[[str], None], step: Callable[[], str], *, run: str, plan: str) -> Callable[[str], None]:
    """What turns an event into one JSON object with the run, the plan and the step in it."""
    import structlog  # noqa: PLC0415 -- slow to import, and most logs are text

    def add_step(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if now := step():
            event["step"] = now
        return event

    log = structlog.wrap_logger(
        _Sink(write),
        processors=[
            add_step,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.BoundLogger,
    ).bind(run=run, plan=plan)
    return log.info
