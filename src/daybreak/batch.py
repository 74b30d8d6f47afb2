"""Work that lets others go first: where processors are short, servers run before what only carries their bytes.

Shapes  `as_batch` is a block. What it starts inherits from it: threads, and programs on this host.
Errors  none: where the kernel refuses, nothing changes.
Source  sched(7): SCHED_BATCH has the same share of a processor, but being woken takes it from nobody.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator


@contextlib.contextmanager
def as_batch() -> Generator[None]:
    """This thread, and what it starts, as batch work; one that was started as something else stays that."""
    changed = _change(os.SCHED_OTHER, os.SCHED_BATCH)
    try:
        yield
    finally:
        if changed:
            _change(os.SCHED_BATCH, os.SCHED_OTHER)


def _change(before: int, after: int) -> bool:
    try:
        if os.sched_getscheduler(0) != before:
            return False
        os.sched_setscheduler(0, after, os.sched_param(0))
    except OSError:  # a sandbox that does not let anybody ask
        return False
    return True
