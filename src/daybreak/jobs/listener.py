"""Who hears of a run: while it goes on, and at its beginning and end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from daybreak.catalog.records import Progress
from daybreak.model import Run


class Listener(Protocol):
    """Who wants to hear of a run while it goes on: a terminal, a test, nobody."""

    def started(self, run: str, plan: str, kind: str) -> None:
        """A run begins."""

    def step(self, name: str) -> None:
        """A step begins."""

    def step_done(self, name: str, facts: Mapping[str, object], seconds: float, *, failed: bool) -> None:
        """A step ended."""

    def progress(self, now: Progress) -> None:
        """Where the step is; called often."""

    def warning(self, text: str) -> None:
        """Something that did not stop the run and that a person should know."""


class Aftermath(Protocol):
    """Who acts on the beginning and the end of a run: pings, alerts, metrics. Nothing of it may raise or take long."""

    def begun(self, run: Run) -> None:
        """A run begins."""

    def ended(self, run: Run) -> list[str]:
        """A run has ended and is recorded; what could not be told to whom."""
        ...
