"""Compare what stands on the disk with what came from pg_dump.

The finished file is read from the disk, not from memory: its table of contents must be the one that
was written, its body must have the digest that the stream had, and its sha256 is taken on the way. The
body's digest never leaves the run, so it need only be fast and see every accident: xxh3_128.
"""

from __future__ import annotations

import hashlib
import os
from typing import Final

import xxhash

from daybreak.archive.reader import Scan
from daybreak.archive.toc import pack_toc
from daybreak.errors import ArchiveError

_BLOCK: Final = 2**20


def read_back(fd: int, written: Scan) -> tuple[int, str]:
    """Size and sha256 of the finished file behind `fd`, read from its start.

    `written` is the scan with its offsets filled in; the file was fsynced. Raise ArchiveError where the
    disk gives back anything else, OSError where it gives nothing.
    """
    # What is clean in memory is dropped, so that the disk itself has to answer.
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    # Larger reads ahead: half the time and half the processor, measured with 234 MB (docs/adr/0015).
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    expected = pack_toc(written.header, written.entries)
    head = os.pread(fd, len(expected), 0)
    whole, body = hashlib.sha256(head), xxhash.xxh3_128()
    at = len(head)
    while block := os.pread(fd, _BLOCK, at):
        whole.update(block)
        body.update(block)
        at += len(block)
    if head != expected or at != written.size_bytes or body.hexdigest() != written.body_digest:
        raise ArchiveError(
            "the archive was read back from the disk and is not what pg_dump wrote",
            hint="suspect the disk: look at the kernel log and the disk's health; nothing was published",
        )
    return at, whole.hexdigest()
