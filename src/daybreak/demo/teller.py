"""What a person sees while the demo goes on: chapters, and one line for each thing that was done.

The runs themselves are told by the command line's own listener (`cli.progress`), with bars on a
terminal and plain lines without one. Everything here goes to stderr; stdout is for the table.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Generator

from daybreak.cli import progress
from daybreak.secret import mask
from daybreak.units import show_duration


class Deed:
    """Something that is being done: `now` says where it is, `result` what came of it, `seconds` how long it took."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self.now = show
        self.result = ""
        self.seconds = 0.0


class Teller:
    """Tells the demo on stderr."""

    def __init__(self) -> None:
        self.listener = progress.choose()
        self._drawn = sys.stderr.isatty()
        self._number = 0

    def chapter(self, title: str, command: str = "") -> None:
        """A heading, with the command that does the same."""
        self.pause()
        self._number += 1
        heading, typed = f"{self._number}. {title}", f"\n   $ {command}" if command else ""
        if self._drawn:
            heading, typed = f"\x1b[1m{heading}\x1b[0m", f"\x1b[2m{typed}\x1b[0m"
        self._line(f"\n{heading}{typed}")

    @contextlib.contextmanager
    def deed(self, name: str) -> Generator[Deed]:
        """One thing that is done inside the block; one line when it is done."""
        began = time.monotonic()
        deed = Deed(lambda text: self._show(f"  {name:10} {text} …"))
        deed.now("")
        failed = True
        try:
            yield deed
            failed = False
        finally:
            deed.seconds = time.monotonic() - began
            self._show("")
            line = progress.done_line(name, {}, deed.seconds, failed=failed)
            self._line(f"{line}  {mask(deed.result)}".rstrip())

    def pause(self) -> None:
        """Take a moving line of the listener away; it comes back with the next run."""
        if isinstance(self.listener, progress.Drawn):
            self.listener.stop()

    def note(self, text: str) -> None:
        """A line as it is."""
        self.pause()
        self._line(mask(text))

    def _show(self, text: str) -> None:
        """A moving line, on a terminal only."""
        if self._drawn:
            sys.stderr.write(f"\r\x1b[2K{mask(text)}")
            sys.stderr.flush()

    @staticmethod
    def _line(text: str) -> None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def took(seconds: float | None) -> str:
    """Seconds for a cell of the table; nothing where they are not known."""
    return "" if seconds is None else show_duration(seconds)
