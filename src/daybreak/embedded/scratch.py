"""A folder for throw-away servers: reachable by their user, removed afterwards, even a day later.

PostgreSQL refuses to run as root, so root's servers run as an ordinary user, who must be able to
reach their data. A folder is locked by whoever uses it; one that nobody locks is left over from a
program that was killed, and the next `scratch_folder` of that name removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from daybreak.errors import ConfigError, PublishError
from daybreak.files import free_bytes
from daybreak.units import show_bytes

_LOCK: Final = "in-use"
#: Socket paths end at 107 bytes on Linux, and ".s.PGSQL.12345" and a folder name have to fit behind.
_LONGEST: Final = 70
_END_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerUser:
    """Who runs the servers; `drop` is what a command begins with to become that user."""

    name: str
    uid: int
    gid: int
    drop: tuple[str, ...]  # empty: we are that user already


def server_user() -> ServerUser:
    """Ourselves, or for root `postgres` where it exists, else `nobody`. Raise ConfigError without either."""
    if os.geteuid() != 0:
        return ServerUser(name=str(os.geteuid()), uid=os.geteuid(), gid=os.getegid(), drop=())
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        drop = ("setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--init-groups")
        return ServerUser(name=name, uid=entry.pw_uid, gid=entry.pw_gid, drop=drop)
    raise ConfigError(
        "PostgreSQL does not run as root, and there is neither a user postgres nor nobody to run it",
        hint="call this as an ordinary user, or make one: adduser --system postgres",
    )


def can_enter(user: ServerUser, path: Path) -> bool:
    """Whether `user` can pass through every folder down to `path` and read it, by the permission bits."""
    if user.uid == 0:
        return True
    for folder in (path, *path.parents):
        status = folder.stat()
        shift = 6 if status.st_uid == user.uid else 3 if status.st_gid == user.gid else 0
        if not status.st_mode >> shift & 0o1:
            return False
    return True


@contextlib.contextmanager
def scratch_folder(prefix: str, *, room_bytes: int = 0) -> Generator[Path]:
    """A new folder `prefix`-something for this program; leftovers of killed ones are removed first.

    Raise ConfigError where no folder for temporary files can be reached by the servers' user, PublishError where none
    of them has so much room.
    """
    bases = _bases(server_user())
    for each in bases:
        sweep(each, prefix)
    base = _with_room(bases, room_bytes)
    folder = Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=base))
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder.chmod(0o711)  # pass through, but do not look
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep_everywhere(prefix: str) -> list[Path]:
    """Remove the folders of that name of programs that are gone, wherever they may lie; give back which."""
    return [folder for base in _bases(server_user()) for folder in sweep(base, prefix)]


def sweep(base: Path, prefix: str) -> list[Path]:
    """Remove the folders of programs that are gone; give back which. A folder in use is left alone.

    Their servers are ended first. As a rule they are gone already: their watchdog sees to it.
    """
    gone: list[Path] = []
    for folder in sorted(base.glob(f"{prefix}-*")):
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # somebody else's, or not made by us
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for pid_file in folder.glob("*/data/postmaster.pid"):
                _end_server(pid_file)
            shutil.rmtree(folder, ignore_errors=True)
            gone.append(folder)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)
    return gone


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on just now; somebody may be quicker than its server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end_server(pid_file: Path) -> None:
    """End the postgres that `pid_file` names, if that process says itself that it serves this data directory."""
    until = time.monotonic() + _END_S
    with contextlib.suppress(OSError, ValueError, IndexError):
        pid = int(pid_file.read_text().splitlines()[0])
        while os.fsencode(pid_file.parent) in Path(f"/proc/{pid}/cmdline").read_bytes() and time.monotonic() < until:
            os.kill(pid, signal.SIGQUIT)  # immediate, as `pg_ctl stop -m immediate`
            time.sleep(0.1)


def _bases(user: ServerUser) -> list[Path]:
    tried = list(dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp")))  # noqa: S108 -- mkdtemp makes the folder, safely
    bases = [Path(name) for name in tried if len(name) <= _LONGEST]
    bases = [base for base in bases if base.is_dir() and os.access(base, os.W_OK) and can_enter(user, base)]
    if bases:
        return bases
    raise ConfigError(
        f"no folder for temporary files that user {user.name} can reach (looked at {', '.join(tried)})",
        hint="set TMPDIR to a short path that every user may pass through",
    )


def _with_room(bases: list[Path], room_bytes: int) -> Path:
    """The first of these folders with room. Raise PublishError that names how much each has."""
    free = {base: free_bytes(base) for base in bases}
    for base, room in free.items():
        if room >= room_bytes:
            return base
    said = ", ".join(f"{base} has {show_bytes(room)}" for base, room in free.items())
    raise PublishError(
        f"a throw-away server needs {show_bytes(room_bytes)} of room for a while, and {said}",
        hint="make room there, or set TMPDIR to a folder on a larger disk that every user may pass through",
    )
