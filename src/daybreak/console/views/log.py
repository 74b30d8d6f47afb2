"""The end of a run's log, and what is found in it. A log is read in bounds, whatever its size.

Shapes  lines without what a terminal would obey: escapes and control characters are taken out.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from daybreak.console.views.words import plain
from daybreak.console.world import Look

TAIL_BYTES: Final = 64 * 1024
SEARCH_BYTES: Final = 8 * 1024 * 1024
_TAIL_LINES: Final = 300
_FOUND_LINES: Final = 500
_LONGEST_LINE: Final = 2000
_LONGEST_QUERY: Final = 200
_RUN_ID: Final = re.compile(r"[0-9a-z-]{1,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPart:
    """Some lines of a log."""

    lines: tuple[str, ...]
    query: str  # "" for the end of the log
    cut: bool  # whether there is more than is shown
    size_bytes: int
    next: int  # where the next line will begin


def log_part(look: Look, run: str, query: str = "") -> LogPart:
    """The end of a log, or the lines that hold `query`, whatever their case."""
    query = query.strip()[:_LONGEST_QUERY]
    path = log_path(look.folder, run)
    try:
        size = path.stat().st_size if path is not None else 0
        content, start = _read_end(path, SEARCH_BYTES if query else TAIL_BYTES) if path is not None else (b"", 0)
    except OSError:
        return LogPart(lines=(), query=query, cut=False, size_bytes=0, next=0)
    whole = content[: content.rfind(b"\n") + 1]
    lines = [clean(line) for line in whole.decode("utf-8", "replace").splitlines()]
    if start and lines:
        lines = lines[1:]  # the first one is cut
    if query:
        found = [line for line in lines if query.casefold() in line.casefold()]
        cut, lines = bool(start) or len(found) > _FOUND_LINES, found[-_FOUND_LINES:]
    else:
        cut, lines = bool(start) or len(lines) > _TAIL_LINES, lines[-_TAIL_LINES:]
    return LogPart(lines=tuple(lines), query=query, cut=cut, size_bytes=size, next=start + len(whole))


def log_since(folder: Path, run: str, offset: int) -> tuple[list[str], int]:
    """The whole lines that were written behind an offset, and where the next one will begin."""
    path = log_path(folder, run)
    try:
        if path is None or path.stat().st_size <= offset:
            return [], offset
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read(TAIL_BYTES)
    except OSError:
        return [], offset
    whole = content[: content.rfind(b"\n") + 1]
    if not whole and len(content) == TAIL_BYTES:  # one line without an end: it is shown in pieces
        whole = content
    return [clean(line) for line in whole.decode("utf-8", "replace").splitlines()], offset + len(whole)


def log_path(folder: Path, run: str) -> Path | None:
    """The log file of a run; None for what is no id of a run."""
    return folder / "logs" / f"{run}.log" if _RUN_ID.fullmatch(run) else None


def clean(line: str) -> str:
    """A line as a page may show it."""
    line = plain(line.replace("\t", "    "))
    return line if len(line) <= _LONGEST_LINE else line[:_LONGEST_LINE] + "…"


def _read_end(path: Path, most: int) -> tuple[bytes, int]:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - most)
        file.seek(start)
        return file.read(most), start
