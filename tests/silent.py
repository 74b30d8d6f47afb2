"""A listener to runs that nobody needs."""

from __future__ import annotations

from collections.abc import Mapping

from daybreak.catalog.records import Progress


class Silent:
    """Nobody listens."""

    def started(self, run: str, plan: str, kind: str) -> None: ...
    def step(self, name: str) -> None: ...
    def step_done(self, name: str, facts: Mapping[str, object], seconds: float, *, failed: bool) -> None: ...
    def progress(self, now: Progress) -> None: ...
    def warning(self, text: str) -> None: ...
