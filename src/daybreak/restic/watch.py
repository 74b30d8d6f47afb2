"""One call of restic, listened to: it is stopped when its complaints say that waiting is vain."""

from __future__ import annotations

import copy
import threading
from collections import deque

from daybreak.process import TAIL_LINES, Runner
from daybreak.restic import faults


class Watch:
    """Listens to one call's stderr, and stops the call when its complaints say that waiting is vain."""

    def __init__(self, runner: Runner, *, creating: bool) -> None:
        self._creating = creating
        self._said: deque[str] = deque(maxlen=TAIL_LINES)
        self._stop = _Either(runner.cancel)
        self.runner = copy.copy(runner)
        self.runner.cancel = self._stop

    @property
    def lines(self) -> tuple[str, ...]:
        """The last lines, up to the one that decided."""
        return tuple(self._said)

    def hear(self, line: str) -> None:
        """One line of stderr."""
        if self._stop.is_set():
            return  # what restic says because we end it explains nothing
        if faults.is_frame(line):
            return
        self._said.append(line)
        if faults.vain(line, creating=self._creating):
            self._stop.set()


class _Either(threading.Event):
    """Set when it is set itself, or another event is."""

    def __init__(self, other: threading.Event) -> None:
        super().__init__()
        self._other = other

    def is_set(self) -> bool:
        """Whether one of the two is set."""
        return super().is_set() or self._other.is_set()
