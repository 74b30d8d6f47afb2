"""Compare what stands on the disk with what came from pg_dump.

The finished file is read from the disk, not from memory: its table of contents must be the one that
was written, its body must have the digest that the stream had, and its sha256 is taken on the way. The
body's digest never leaves the run, so it need only be fast and see every accident: xxh3_128.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import mmap
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Final

import xxhash

from daybreak.archive.reader import Scan
from daybreak.archive.toc import pack_toc
from daybreak.errors import ArchiveError, Cancelled

_BLOCK: Final = 2 * 2**20
#: So many blocks are on their way at once: with one, the disk waits for us between two.
_AHEAD: Final = 2


def read_back(fd: int, written: Scan) -> tuple[int, str]:
    """Size and sha256 of the finished file behind `fd`, read from its start.

    `written` is the scan with its offsets filled in; the file was fsynced. Raise ArchiveError where the
    disk gives back anything else, OSError where it gives nothing.
    """
    expected = pack_toc(written.header, written.entries)
    whole, body = hashlib.sha256(), xxhash.xxh3_128()
    at, equal = 0, True
    for block in from_disk(fd):
        head = expected[at : at + len(block)]  # behind the table of contents: nothing
        equal = equal and bytes(block[: len(head)]) == head
        whole.update(block)
        body.update(block[len(head) :])
        at += len(block)
    if not equal or at != written.size_bytes or body.hexdigest() != written.body_digest:
        raise ArchiveError(
            "the archive was read back from the disk and is not what pg_dump wrote",
            hint="suspect the disk: look at the kernel log and the disk's health; nothing was published",
        )
    return at, whole.hexdigest()


def sha256_from_disk(path: Path, *, stop: Callable[[], bool] = lambda: False) -> str:
    """The sha256 of a file that is read for nothing else soon: memory is left to others. Raise OSError.

    Where `stop` says so meanwhile, reading ends: Cancelled.
    """
    digest = hashlib.sha256()
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for block in from_disk(fd):
            digest.update(block)
            if stop():
                raise Cancelled(f"the run was cancelled while {path} was read")
    finally:
        os.close(fd)
    return digest.hexdigest()


def from_disk(fd: int) -> Iterator[memoryview]:
    """The file behind `fd` from its start, in blocks; each is good until the next is asked for.

    Past the page cache where the file system can do that (O_DIRECT; `fd` is left that way): then nothing but the disk
    can answer, and no memory has to be found for what is read once, which costs more than reading. Others refuse the
    flag, or take it and read as ever (encrypted or compressed files), so what is clean in memory is dropped before.
    """
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    # Where it is read through memory after all, larger reads ahead are quicker (docs/adr/0015).
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    with contextlib.suppress(OSError):
        _set_direct(fd, True)
    # They begin with a page, as O_DIRECT wants it. One is with the caller while the others are filled.
    buffers = deque(mmap.mmap(-1, _BLOCK) for _ in range(_AHEAD + 1))
    size = os.fstat(fd).st_size
    places = iter(range(0, size, _BLOCK))
    with ThreadPoolExecutor(_AHEAD, thread_name_prefix="read back") as reader:

        def begin(at: int) -> tuple[mmap.mmap, Future[int]]:
            buffers.rotate(-1)
            return buffers[-1], reader.submit(_fill, fd, buffers[-1], at, min(_BLOCK, size - at))

        coming = deque(begin(at) for at in islice(places, _AHEAD))
        while coming:
            buffer, filled = coming.popleft()
            count = filled.result()
            coming.extend(begin(at) for at in islice(places, 1))
            yield memoryview(buffer)[:count]


def _fill(fd: int, buffer: mmap.mmap, at: int, wanted: int) -> int:
    """Read so much into a whole block, as O_DIRECT wants it, or what there is; how much that is."""
    count = 0
    while count < wanted and (more := _read(fd, memoryview(buffer)[count:], at + count)):
        count += more
    return count


def _read(fd: int, buffer: memoryview, at: int) -> int:
    try:
        return os.preadv(fd, [buffer], at)
    except OSError as fault:
        if fault.errno not in {errno.EINVAL, errno.EOPNOTSUPP}:
            raise
        _set_direct(fd, False)  # some file systems take the flag, and then cannot do it
        return os.preadv(fd, [buffer], at)


def _set_direct(fd: int, wanted: bool) -> None:  # noqa: FBT001 -- the flag is all that it is about
    """Read past the page cache or not. Raise OSError where the file system cannot."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT if wanted else flags & ~os.O_DIRECT)
