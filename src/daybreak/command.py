"""A program to start, as a value, and what it left behind; `process.py` starts it. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from daybreak.secret import Secret, mask

#: A program's standard input is what is said to it, as `-` means elsewhere.
SPOKEN: Final = Path("-")
#: After what PostgreSQL quotes a row or a value of one: the place in what COPY reads, which any line of a context may
#: name, a key's columns, a whole row, and what is no value of its type.
_ROW: Final = re.compile(
    r"(?:(?:^|CONTEXT:\s+)(?:COPY .*?, line \d+(?:, column .*?)?|JSON data, line \d+): "
    r"|DETAIL:\s+Key \(.*?\)=|DETAIL:\s+(?:Failing row|Partition key of the failing row) contains "
    r'|DETAIL:\s+(?:Token |Escape sequence |Expected [^"]*)(?=")'
    r'|ERROR:\s+(?:invalid input |malformed |(?=[^"]*out of range)|value (?=".*out of range))[^"]*(?="))'
)
#: With what a quote is over, which may have many lines: the next part of a message, or the next message.
_SAID: Final = re.compile(
    r"(?:pg_\w+|psql|vacuumdb|ssh|docker|podman)\b\S*: |Command was: "
    r"|(?:\d{4}-\d\d-\d\d .*?)?"
    r"(?:ERROR|FATAL|PANIC|WARNING|NOTICE|INFO|LOG|DETAIL|HINT|QUERY|CONTEXT|LOCATION|STATEMENT):  "
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Far:
    """How a command gets to another host: by a client that passes our end of the lifeline on."""

    argv: tuple[str, ...]  # what is started here: ssh or docker exec, with environment, watchdog and command
    where: str  # that host, for people
    lines: tuple[Secret, ...] = ()  # what the watchdog reads first


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program to start: a value that tests can compare and logs can show."""

    argv: tuple[str, ...]
    deadline: timedelta  # no default: the caller says how long is too long
    idle: timedelta | None = None  # no byte on stdout for so long counts as hung
    env: Mapping[str, str | Secret] = field(default_factory=dict[str, str | Secret])
    ok: frozenset[int] = frozenset({0})
    far: Far | None = None  # None: it runs here
    feed: Path | None = None  # standard input is this file, or SPOKEN: its end, or ours, is the end of the program
    folder: Path | None = None  # where it starts; None: where Daybreak did

    @property
    def program(self) -> str:
        """The program's name, for people."""
        return Path(self.argv[0]).name

    def shown(self) -> str:
        """The command as a person could type it, without a secret."""
        words = [
            f"{name}=***" if isinstance(value, Secret) else f"{name}={shlex.quote(value)}"
            for name, value in self.env.items()
        ]
        there = [f"[{self.far.where}]"] if self.far else [f"[{self.folder}]"] if self.folder else []
        return mask(" ".join([*there, *words, shlex.join(self.argv)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """What a program left behind."""

    status: int
    stdout: bytes
    stderr: tuple[str, ...]  # the last lines, masked
    seconds: float


class WithoutRows:
    """The lines that a program says, for a log that more people read than may read the data."""

    def __init__(self) -> None:
        self._quoting = False

    def __call__(self, line: str) -> list[str]:
        """The next line without what PostgreSQL quotes of rows in it; nothing where it is nothing else."""
        if self._quoting and not _SAID.match(line):
            return []
        quote = _ROW.search(line)
        self._quoting = quote is not None
        return [line if quote is None else f"{line[: quote.end()]}…"]
