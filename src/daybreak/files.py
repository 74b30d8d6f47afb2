"""Files that survive a power cut, and locks that die with their holder.

Shapes  a path is published by `replace` only after its bytes were fsynced; its folder is fsynced after.
Errors  `PublishError` for what a disk refuses (room, rights, read-only), `Busy` for a lock not got in time.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shlex
import shutil
import threading
import time
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path
from typing import Final

from daybreak.errors import Busy, Cancelled, DaybreakError, ProofError, PublishError
from daybreak.units import show_bytes

FILE_MODE: Final = 0o640
FOLDER_MODE: Final = 0o2770
_POLL_S: Final = 0.1
#: Everybody waits so long for a lock: who only looks whether somebody holds it has it for an instant himself.
_A_LOOK_S: Final = 0.5
_BLOCK: Final = 2**20
#: A catalog that is opened needs more than this beside itself, and makes two files.
_NOTHING_BYTES: Final = 2**16
_NOTHING_FILES: Final = 2
NO_INODES: Final = "the disk has no inodes left, however much room"
#: How long a file that was read through counts as what it was then.
_SEEN_S: Final = 3600.0
#: How far the clock that dates files, which may be a file server's, and the one of this host may be apart.
_CLOCKS_APART_S: Final = 60.0
_EARLY_BYTES: Final = 8 * 2**20

_WHY: Final = {
    errno.ENOSPC: ("the disk is full", "make room there or move the archive to a larger disk, then run again"),
    errno.EDQUOT: ("the disk quota is used up", "raise the quota or make room, then run again"),
    errno.EROFS: ("the file system is read-only", "remount it writable; look at the kernel log for why it changed"),
    errno.EACCES: ("permission denied", "give the folder to this user's group (mode 2770)"),
    errno.EPERM: ("not permitted", "give the folder to this user's group (mode 2770)"),
    errno.ENOENT: ("no such folder", "make the folder, or mend the path in the configuration"),
    errno.EIO: ("input/output error: the disk may be failing", "look at the kernel log and the disk's health first"),
}


@contextlib.contextmanager
def disk_errors(path: Path, doing: str) -> Generator[None]:
    """Turn an OSError inside the block into a PublishError that names `path` and what to do."""
    try:
        yield
    except OSError as error:
        why, hint = _why(error, path)
        room = ""
        if error.errno == errno.ENOSPC and why != NO_INODES:
            with contextlib.suppress(OSError):
                room = f" ({show_bytes(free_bytes(path))} free)"
        raise PublishError(f"{doing} {path}: {why}{room}", hint=hint) from error


@contextlib.contextmanager
def disk_told(path: Path, doing: str) -> Generator[None]:
    """A program that fails in the block since the disk of `path` is full or read-only by now, told as that."""
    try:
        yield
    except (Cancelled, PublishError, ProofError):  # which say more
        raise
    except (DaybreakError, OSError) as error:
        number = errno.EROFS if is_read_only(path) else errno.ENOSPC if is_full(path) else 0
        if not number:
            raise
        with disk_errors(path, doing):
            raise OSError(number, os.strerror(number)) from error


def told(error: DaybreakError | OSError, folder: Path) -> tuple[str, str]:
    """What happened and what to do about it; a fault of the disk that names no file is one of `folder`."""
    if isinstance(error, DaybreakError):
        return error.message, error.hint
    why, hint = _why(error, Path(error.filename or folder))
    if error.errno == errno.ENOSPC and why != NO_INODES:
        hint = "make room there, then run again"
    return f"{error.filename or folder}: {why}", hint


def _why(error: OSError, path: Path) -> tuple[str, str]:
    if error.errno == errno.ENOSPC and lacks_inodes(path):
        return NO_INODES, "remove files there that nobody needs (`df -i` counts them), then run again"
    return _WHY.get(error.errno or 0, (error.strerror or str(error), "look at the folder and the disk"))


def free_bytes(path: Path) -> int:
    """Room for an ordinary user on the file system of `path`, or of its nearest folder that exists."""
    room = _statvfs(path)
    return room.f_bavail * room.f_frsize


def lacks_inodes(path: Path) -> bool:
    """Whether an ordinary user can make next to no file on the file system of `path`, or of its nearest folder."""
    try:
        room = _statvfs(path)
    except OSError:
        return False
    return room.f_files > 0 and room.f_favail < _NOTHING_FILES  # btrfs and its like do not count: 0 of 0


def _statvfs(path: Path) -> os.statvfs_result:
    while not path.exists() and path != path.parent:
        path = path.parent
    return os.statvfs(path)


def is_full(path: Path) -> bool:
    """Whether an ordinary user can write next to nothing on the file system of `path`."""
    try:
        return free_bytes(path) < _NOTHING_BYTES or lacks_inodes(path)
    except OSError:
        return False


def is_read_only(path: Path) -> bool:
    """Whether nobody can write on the file system of `path`, whatever the rights.

    One that an error has stopped says so nowhere, by newer kernels (ext4's `emergency_ro`): a file without a name
    is tried.
    """
    try:
        if os.statvfs(path).f_flag & os.ST_RDONLY:
            return True
        os.close(os.open(path, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        return error.errno == errno.EROFS
    return False


def how_to_write(folder: Path) -> str:
    """What makes a file system that is read-only writable again; to be typed."""
    return f'mount -o remount,rw "$(stat -c %m {shlex.quote(str(folder))})"'


def discard(path: Path) -> None:
    """Remove a file that nobody needs any more; one that a disk does not let go (read-only by now) is swept later.

    For what is tidied up at the end of something: how that ended counts more.
    """
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def fsync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(path: Path, *, group_of: Path) -> None:
    """Make one folder, mode 2770 and the group of `group_of` whatever the umask, and its name durable."""
    if path.is_dir():
        return
    with contextlib.suppress(FileExistsError):
        path.mkdir()
        share(path, group_of=group_of, mode=FOLDER_MODE)
        fsync_folder(path.parent)


def share(path: Path, *, group_of: Path, mode: int) -> None:
    """Give `path` the group of a folder and a mode. A group that we may not give stays as it is."""
    with contextlib.suppress(PermissionError):
        os.chown(path, -1, group_of.stat().st_gid)
    path.chmod(mode)


def write_durable(path: Path, content: bytes, *, group_of: Path) -> None:
    """Write a small file so that it is whole or absent: beside, fsync, rename, fsync the folder."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        share(beside, group_of=group_of, mode=FILE_MODE)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    fsync_folder(path.parent)


def is_being_written(beside: Path) -> bool:
    """Whether the process that made this `.NAME.PID.partial` lives.

    A process that began well after the file's last change got a number that came back: it did not make the file.
    """
    pid = beside.name.rsplit(".", 2)[-2]
    if not pid.isdecimal() or not is_running(int(pid)):
        return False
    try:
        return _began(int(pid)) <= beside.stat().st_ctime + _CLOCKS_APART_S
    except (OSError, ValueError):  # it ended just now, or there is no /proc to ask: rather leave the file
        return True


def _began(pid: int) -> float:
    """When a process began, in seconds since the epoch: field 22 of its stat, in ticks since the start of the host.

    Source  proc_pid_stat(5); the second field is a name in parentheses, which may hold spaces itself.
    """
    ticks = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")


def is_running(pid: int) -> bool:
    """Whether there is a process of that number on this host."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def write_like(path: Path, content: bytes, *, like: Path) -> None:
    """Put a file in its place, with the owner and mode of another one, which may be the one that it replaces."""
    known = like.stat()
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    beside.unlink(missing_ok=True)
    handle = os.open(
        beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
    )  # not even for a moment for all
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            if (known.st_uid, known.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), known.st_uid, known.st_gid)
            os.fchmod(file.fileno(), known.st_mode & 0o7777)
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    fsync_folder(path.parent)


class EarlyWriter:
    """Writes a large file so that the disk begins at once, and the fsync at its end has little left to wait for.

    The pages that are on the disk leave the memory: a dump should not push production's out of it.
    """

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._written = 0
        self._begun = 0

    def write(self, data: bytes) -> None:
        """Write all of `data`."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._handle, view) :]
        self._written += len(data)
        if self._written - self._begun >= _EARLY_BYTES:
            # Clean pages are dropped, and for dirty ones the kernel begins to write; it does not wait for them.
            os.posix_fadvise(self._handle, self._begun, self._written - self._begun, os.POSIX_FADV_DONTNEED)
            self._begun = self._written


def link_over(source: Path, name: Path) -> None:
    """Make `name` another name of `source`, replacing what it named before in one step.

    The kernel lets nobody link a file that he neither owns nor may write (protected_hardlinks), and several users of
    one group share our files: then `name` becomes a copy.
    """
    beside = name.with_name(f".{name.name}.{os.getpid()}.partial")
    beside.unlink(missing_ok=True)
    try:
        try:
            os.link(source, beside)
        except PermissionError:
            shutil.copyfile(source, beside)
            share(beside, group_of=name.parent, mode=FILE_MODE)
            with beside.open("rb") as copy:
                os.fsync(copy.fileno())
        beside.replace(name)
    finally:
        # rename(2) between two names of one file does nothing and leaves both.
        beside.unlink(missing_ok=True)


def sha256_file(path: Path) -> str:
    """The sha256 of a file, read through, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


class Seen:
    """The sha256 of files that were read from the disk a moment ago, under whatever name: none is read again for it.

    One that anybody wrote to since, or that was read over an hour ago, is not known any more.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], tuple[str, float]] = {}

    def note(self, status: os.stat_result, sha256: str) -> None:
        """A file was read through, and this is what it holds."""
        self._known[_identity(status)] = sha256, time.monotonic()

    def sha256(self, path: Path) -> str | None:
        """What is known of a file; None where nothing is, or there is no such file."""
        with contextlib.suppress(OSError):
            sha256, at = self._known.get(_identity(path.stat()), (None, 0.0))
            return sha256 if time.monotonic() - at < _SEEN_S else None
        return None


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """What stays while a file gets other names, and changes with its content; ctime changes with both."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@contextlib.contextmanager
def lock(
    path: Path, *, wait: timedelta, cancel: threading.Event | None = None, holder: str = "", mode: int = 0o660
) -> Generator[None]:
    """Hold an exclusive lock on `path` inside the block; it dies with this process, children do not get it.

    The file holds the words of its holder, for people only: nothing is ever decided by them.
    Raise Busy when it is not free within `wait` (half a second at least), Cancelled when `cancel` is set meanwhile.
    """
    with disk_errors(path, "cannot lock"):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
    try:
        with contextlib.suppress(PermissionError):
            os.fchmod(handle, mode)
        until = time.monotonic() + max(wait.total_seconds(), _A_LOOK_S)
        while not _try_lock(handle):
            if cancel is not None and cancel.is_set():
                raise Cancelled("the run was cancelled while it waited for a lock")
            if time.monotonic() >= until:
                said = os.pread(handle, 200, 0).decode("utf-8", "replace").strip()
                raise Busy(
                    f"{said or 'another process'} holds {path}",
                    hint="wait for it to end (`daybreak runs`), or cancel it (`daybreak run cancel ID`)",
                    holder=said,
                )
            time.sleep(_POLL_S)
        with contextlib.suppress(OSError):  # a full disk must not stop a lock
            os.ftruncate(handle, 0)
            os.pwrite(handle, holder.encode(), 0)
        yield
    finally:
        os.close(handle)


def is_locked(path: Path) -> bool:
    """Whether somebody alive holds the lock on `path`."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two who ask do not take each other for the holder.
        return not _try_lock(handle, fcntl.LOCK_SH)
    finally:
        os.close(handle)


def _try_lock(handle: int, how: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
