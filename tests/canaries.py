"""Canary secrets through the whole suite: every secret of a test has the word `canary` in it, and nothing else has.

At the end of the session no log, catalog, output, report, manifest or metrics file of any installation may hold the
word, and no program that Daybreak starts may ever have it in its arguments.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from fcntl import LOCK_EX, LOCK_NB, flock  # as it is before a test takes another in its place
from pathlib import Path
from typing import Any, Final

import pytest

from daybreak import process

CANARY: Final = "canary"
#: What Daybreak leaves behind, wherever a test has put it. Where a secret is kept on purpose is none of these.
LEFT: Final = (
    "logs/*.log",
    "catalog.sqlite3*",
    "out-*",
    "err-*",
    "*.prom",
    "*.dump.json",
    ".daybreak/manifests/*.json",
    "*.globals.sql",
    "runs/*.lock",
    "locks/*.lock",
)
#: How every program that Daybreak starts is started, here and elsewhere.
_WATCHED: Final = b"daybreak-watchdog"
_SAMPLE_S: Final = 0.3


def leaks(*roots: Path) -> list[str]:
    """Every file below `roots` that Daybreak left and that holds a canary."""
    found: list[str] = []
    for root in roots:
        for pattern in LEFT:
            for path in root.glob(f"**/{pattern}"):
                with contextlib.suppress(OSError):
                    if path.is_file() and CANARY.encode() in path.read_bytes():
                        found.append(str(path))
    return sorted(set(found))


def in_arguments(proc: Path = Path("/proc")) -> list[str]:
    """Programs under our watchdog that have a canary in their arguments just now."""
    found: list[str] = []
    for one in proc.iterdir():  # glob() minds a process that is gone by now
        if not one.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            line = (one / "cmdline").read_bytes()
            if _WATCHED in line and CANARY.encode() in line:
                found.append(line.replace(b"\0", b" ").decode("utf-8", "replace"))
    return found


@contextlib.contextmanager
def watched_arguments(word: str = CANARY) -> Iterator[list[str]]:
    """Notice every canary in the arguments of a program that is started while the block lasts.

    What programs of ours start is looked for on the whole machine, for all workers by one of them at a time.
    """
    seen: list[str] = []
    stop = threading.Event()
    real = process._Child.__init__

    def started(child: Any, command: process.Command, *rest: Any) -> None:
        argv = (*command.argv, *(command.far.argv if command.far else ()))
        if any(word in one for one in argv):
            seen.append(" ".join(argv))
        real(child, command, *rest)

    def sample() -> None:
        with Path(__file__).open("rb") as turn:
            while not stop.wait(_SAMPLE_S):
                with contextlib.suppress(BlockingIOError):  # another worker looks; when that one ends, we do
                    flock(turn, LOCK_EX | LOCK_NB)
                    seen.extend(in_arguments())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process._Child, "__init__", started)
        sampler = threading.Thread(target=sample, name="canaries", daemon=True)
        sampler.start()
        try:
            yield seen
        finally:
            stop.set()
            sampler.join()
