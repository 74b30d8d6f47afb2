"""A run as it goes, on stderr: one moving line on a terminal, plain lines without one."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import click

from daybreak.secret import mask
from daybreak.units import show_bytes, show_count, show_duration

if TYPE_CHECKING:
    from daybreak.catalog.records import Progress

_PLAIN_S: Final = 10.0  # without a terminal, one line in so many seconds
_DRAWN_S: Final = 0.1


class Silent:
    """Hears nothing."""

    def started(self, run: str, plan: str, kind: str) -> None:
        """A run begins."""

    def step(self, name: str) -> None:
        """A step begins."""

    def step_done(self, name: str, facts: Mapping[str, object], seconds: float, *, failed: bool) -> None:
        """A step ended."""

    def progress(self, now: Progress) -> None:
        """Where the step is."""

    def warning(self, text: str) -> None:
        """Something a person should know."""

    def ask(self, question: str) -> bool:
        """A person's yes or no, at the terminal; no is the default."""
        return click.confirm(question, default=False, err=True)


class Plain(Silent):
    """Plain lines, for a log or a pipe. A reader that goes away, as ssh does when its line breaks, ends no run."""

    def __init__(self) -> None:
        self._said_at = 0.0
        self._lock = threading.Lock()

    def _line(self, text: str) -> None:
        with self._lock, contextlib.suppress(OSError):
            sys.stderr.write(mask(text) + "\n")
            sys.stderr.flush()

    def started(self, run: str, plan: str, kind: str) -> None:
        """Name the run."""
        self._line(f"{kind} {plan}: run {run}")

    def step(self, name: str) -> None:
        """Begin the wait for the next line anew; the step is named when it is done."""
        del name
        self._said_at = time.monotonic()

    def step_done(self, name: str, facts: Mapping[str, object], seconds: float, *, failed: bool) -> None:
        """One line for a step."""
        self._line(done_line(name, facts, seconds, failed=failed))

    def progress(self, now: Progress) -> None:
        """Now and then, where the step is."""
        if time.monotonic() - self._said_at > _PLAIN_S:
            self._said_at = time.monotonic()
            self._line(f"  … {now.step}: {progress_text(now)}")

    def warning(self, text: str) -> None:
        """At once."""
        self._line(f"  ! {text}")


class Drawn(Silent):
    """A moving line with a bar, drawn by Rich."""

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 -- slow to import, wanted on a terminal only
        from rich.live import Live  # noqa: PLC0415 -- see above
        from rich.text import Text  # noqa: PLC0415 -- see above

        self._text = Text
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, refresh_per_second=10, transient=True)
        self._drawn_at = 0.0
        self._began = time.monotonic()
        self._depth = 0

    def started(self, run: str, plan: str, kind: str) -> None:
        """Name the run; the first one starts the moving line."""
        if not self._live.is_started:
            self._live.start()
        self._console.print(self._text.assemble((f"{kind} {plan}", "bold"), f"  run {run}"))

    def step(self, name: str) -> None:
        """Show the step's name until there is more to show."""
        self._began = time.monotonic()
        self._live.update(self._text(f"  {name} …"))

    def step_done(self, name: str, facts: Mapping[str, object], seconds: float, *, failed: bool) -> None:
        """Leave one line for a step above the moving one."""
        self._console.print(self._text(done_line(name, facts, seconds, failed=failed), style="red" if failed else ""))
        self._live.update(self._text(""))

    def progress(self, now: Progress) -> None:
        """Draw, ten times a second at most, and always what is complete."""
        complete = now.total_bytes is not None and now.done_bytes is not None and now.done_bytes >= now.total_bytes
        if not complete and time.monotonic() - self._drawn_at < _DRAWN_S:
            return
        self._drawn_at = time.monotonic()
        self._live.update(
            self._text(
                f"  {now.step:10} {bar(now)}{progress_text(now, time.monotonic() - self._began)}",
                no_wrap=True,
                overflow="ellipsis",
            ),
            refresh=True,
        )

    def warning(self, text: str) -> None:
        """Above the moving line, at once."""
        self._console.print(self._text(f"  ! {mask(text)}", style="yellow"))

    def ask(self, question: str) -> bool:
        """As the others, without the moving line: it would be drawn over the question."""
        self.stop()
        try:
            return super().ask(question)
        finally:
            self._live.start()

    def stop(self) -> None:
        """Take the moving line away."""
        if self._live.is_started:
            self._live.stop()


def choose() -> Silent:
    """The listener that fits where stderr goes."""
    return Drawn() if sys.stderr.isatty() else Plain()


def bar(now: Progress, width: int = 24) -> str:
    """A bar of `width` cells, empty where the total is not known. Pure."""
    if not now.total_bytes or now.done_bytes is None:
        return ""
    share = min(1.0, now.done_bytes / now.total_bytes)
    filled = round(share * width)
    return f"{'━' * filled}{'─' * (width - filled)} {share * 100:3.0f} %  "


def progress_text(now: Progress, seconds: float | None = None) -> str:
    """Table, rows, bytes, rate and time left, as far as they are known. Pure."""
    parts: list[str] = []
    if now.text:
        parts.append(now.text)
    elif now.table:
        parts.append(now.table)
    if now.rows is not None:
        parts.append(show_count(now.rows, "row"))
    if now.done_bytes is not None:
        parts.append(show_bytes(now.done_bytes))
    if now.bytes_per_s:
        parts.append(f"{show_bytes(now.bytes_per_s)}/s")
    elif seconds and now.done_bytes:
        parts.append(f"{show_bytes(now.done_bytes / seconds)}/s")
    if seconds and now.total_bytes and now.done_bytes and now.done_bytes < now.total_bytes:
        left = seconds * (now.total_bytes - now.done_bytes) / now.done_bytes
        parts.append(f"about {show_duration(left)} left")
    return " · ".join(parts)


#: Facts of a step that count something, and what.
_COUNTED: Final = {"rows": "row", "jobs": "job", "compared": "table"}
#: The facts of a step that are worth a place on its line, in words.
_SHOWN: Final = {
    "server": "{}",
    "rows": "{}",
    "bytes": "{}",
    "added_bytes": "grew by {}",
    "age": "{} old",
    "waited": "waited {}",
    "jobs": "{}",
    "compared": "{} compared",
    "different": "{} different",
    "outage_ms": "outage {} ms",
    "state": "{}",
}


def done_line(name: str, facts: Mapping[str, object], seconds: float, *, failed: bool) -> str:
    """One line for a step that ended. Pure."""
    words = [
        template.format(_said(key, facts[key])) for key, template in _SHOWN.items() if facts.get(key) not in {None, ""}
    ]
    mark = "✗" if failed else "✓"
    return f"  {mark} {name:10} {show_duration(seconds):>8}  {' · '.join(words)}".rstrip()


def _said(name: str, value: object) -> object:
    """A fact with its unit, where it has one."""
    if name.endswith("bytes"):
        return show_bytes(float(str(value)))
    if name == "server" and str(value)[:1].isdigit():
        return f"PostgreSQL {value}"  # a version; a drill's server is a sentence of its own
    noun = _COUNTED.get(name, "")
    if isinstance(value, int):
        return show_count(value, noun)
    return f"{value} {noun}s" if noun else value  # "dev jobs", of pg_cron
