"""One psql that answers one question after another: a program for each costs 10 ms here, ten times that in a container.

Shapes  a question is a SELECT that changes nothing: where there is no answer, it is asked again in another way.
Errors  none of the question's own: psql ends at the first error, and whoever asks again hears of it.
        TimedOut and Cancelled, as of any program.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from daybreak.command import Command
from daybreak.errors import CommandError, DaybreakError
from daybreak.process import Runner, Running

#: How long psql may take to leave; what it has been asked, it has answered.
_LEAVES_WITHIN: Final = timedelta(seconds=5)


class Session:
    """Begins with the first question, and ends when it is closed, when psql ends, or with us."""

    def __init__(self, runner: Runner, command: Callable[[], Command]) -> None:
        self._runner = runner
        self._command = command  # whose `feed` is SPOKEN
        self._one_by_one = threading.Lock()
        self._ways = contextlib.ExitStack()
        self._psql: Running | None = None

    def ask(self, question: str, *, deadline: timedelta) -> str | None:
        """What psql printed; None where it has no answer: it is busy, gone, or failed."""
        if not self._one_by_one.acquire(blocking=False):
            return None
        try:
            return self._answer(question, deadline)
        except CommandError:
            return None
        except BaseException as error:
            ways = self._left()
            ways.__exit__(type(error), error, error.__traceback__)
            raise
        finally:
            self._one_by_one.release()

    def close(self) -> None:
        """Let psql go. The next question begins another."""
        with self._one_by_one, contextlib.suppress(DaybreakError):
            if self._psql is not None:
                self._psql.ask(b"\\q\n", deadline=_LEAVES_WITHIN)
            self._left().close()

    def _answer(self, question: str, deadline: timedelta) -> str | None:
        if self._psql is None:
            self._psql = self._ways.enter_context(self._runner.stream(self._command()))
        self._runner.log(f"ask psql {question}")
        end = f"daybreak {secrets.token_hex(8)}\n".encode()  # no row is like it: rows are JSON
        self._psql.ask(f"{question}\n;\n\\echo {end.decode()}".encode(), deadline=deadline)
        said = b""
        while not said.endswith(end):
            if not (chunk := self._psql.read()):
                self._left().close()  # raises what it ended with
                return None
            said += chunk
        return said.removesuffix(end).decode("utf-8", "replace")

    def _left(self) -> contextlib.ExitStack:
        """What is to be closed of a psql that is asked nothing more."""
        ways, self._ways, self._psql = self._ways, contextlib.ExitStack(), None
        return ways
