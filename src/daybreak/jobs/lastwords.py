"""How a run ended that the catalog cannot take: kept in a small file whose room was taken when the run began.

A disk that fills up during a run refuses the row of its end. Bytes that are written over others need no room, so the
end gets into the file all the same, and whoever would record the run as lost finds it there.

Errors  none: without the file, such a run is recorded as lost.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from daybreak.model import Failure, Run, RunState
from daybreak.secret import masked

#: Enough for what a backup or a refresh tells; what a larger end has found out is left out.
_ROOM_BYTES: Final = 16384


def reserve(file: Path) -> None:
    """Take the room; where there is none, leave no file."""
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o660)
    except OSError:
        return
    try:
        with contextlib.suppress(PermissionError):
            os.fchmod(handle, 0o660)  # whoever of the group comes next reads it
        os.posix_fallocate(handle, 0, _ROOM_BYTES)
    except OSError:  # half of it would be of no use, and the catalog needs it
        file.unlink(missing_ok=True)
    finally:
        os.close(handle)


def keep(file: Path, ended: Run) -> bool:
    """Write an end into the room that was reserved for it; False where there is none."""
    raw = _encode(ended)
    if len(raw) > _ROOM_BYTES:
        raw = _encode(replace(ended, result={}))
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.pwrite(handle, raw[:_ROOM_BYTES].ljust(_ROOM_BYTES), 0)
        os.fsync(handle)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def read(file: Path, run: Run) -> Run | None:
    """`run` with the end that was kept for it; None where none was, or nobody can read it."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        kept: dict[str, Any] = json.loads(file.read_bytes())
        return replace(
            run,
            state=RunState(kept["state"]),
            ended_at=datetime.fromisoformat(kept["ended_at"]),
            reason=kept["reason"],
            failure=None if kept["failure"] is None else Failure(**kept["failure"]),
            result=dict(kept["result"]),
        )
    return None


def _encode(ended: Run) -> bytes:
    document = {
        "state": ended.state.value,
        "ended_at": None if ended.ended_at is None else ended.ended_at.isoformat(),
        "reason": ended.reason,
        "failure": None if ended.failure is None else asdict(ended.failure),
        "result": dict(ended.result),
    }
    return json.dumps(masked(document)).encode()
