"""What is published was read from the disk: past the page cache where that can be, and as carefully elsewhere."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from archive_samples import build, scan_bytes

from daybreak.archive import Compression, Scan, fill_offsets, readback
from daybreak.archive.readback import read_back, sha256_from_disk
from daybreak.errors import ArchiveError

WAYS = ["past the cache", "no such flag", "a flag that nothing honours", "by and by"]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the file system takes O_DIRECT; the last one gives less than it is asked for."""
    control, read = fcntl.fcntl, os.preadv

    def refuses(fd: int, command: int, value: int = 0) -> int:
        if command == fcntl.F_SETFL and value & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return control(fd, command, value)

    def cannot(fd: int, buffers: list[memoryview], at: int) -> int:
        if control(fd, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return read(fd, buffers, at)

    def slowly(fd: int, buffers: list[memoryview], at: int) -> int:
        return cannot(fd, [buffers[0][:1000]], at)

    if request.param == WAYS[1]:
        monkeypatch.setattr(fcntl, "fcntl", refuses)
    if request.param == WAYS[2]:
        monkeypatch.setattr(os, "preadv", cannot)
    if request.param == WAYS[3]:
        monkeypatch.setattr(os, "preadv", slowly)
    return str(request.param)


@pytest.fixture
def archive(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, Scan, bytes]]:
    """A finished archive of many blocks, the last of which is no whole page; its contents are longer than one."""
    assert way in WAYS
    monkeypatch.setattr(readback, "_BLOCK", mmap.PAGESIZE)
    tables = {f"table_{number:04}": [b"%d\trow\n" % row for row in range(200)] for number in range(60)}
    raw = build(tables=tables, compression=Compression.NONE)
    path = tmp_path / "a.dump"
    path.write_bytes(raw)
    filled = fill_offsets(path, scan_bytes(raw))
    assert filled.toc_bytes > mmap.PAGESIZE
    assert len(raw) % mmap.PAGESIZE
    fd = os.open(path, os.O_RDWR)
    os.fsync(fd)
    yield fd, filled, path.read_bytes()
    os.close(fd)


def overwrite(fd: int, content: bytes) -> None:
    """As a bad disk does it, whatever way the file is read."""
    with Path(f"/proc/self/fd/{fd}").open("r+b") as file:
        file.truncate()
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def takes_direct(fd: int) -> bool:
    """Whether the file system of a file has O_DIRECT at all; old ones in memory do not."""
    with contextlib.suppress(OSError):
        os.close(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_DIRECT))
        return True
    return False


def test_the_size_and_the_sha256_of_what_stands_there(archive: tuple[int, Scan, bytes], way: str) -> None:
    fd, filled, content = archive
    assert read_back(fd, filled) == (len(content), sha256(content).hexdigest())
    assert bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT) == (way == WAYS[0] and takes_direct(fd))
    assert read_back(fd, filled) == (len(content), sha256(content).hexdigest())


def test_a_file_that_is_read_once_has_the_same_sha256(archive: tuple[int, Scan, bytes]) -> None:
    fd, _, content = archive
    path = Path(f"/proc/self/fd/{fd}")
    assert sha256_from_disk(path) == sha256(content).hexdigest()
    for changed in (b"", content[:-1], content[: mmap.PAGESIZE]):
        overwrite(fd, changed)
        assert sha256_from_disk(path) == sha256(changed).hexdigest()


def test_whatever_else_stands_there_is_seen(archive: tuple[int, Scan, bytes]) -> None:
    fd, filled, content = archive
    size, page = len(content), mmap.PAGESIZE
    for at in (0, page - 1, page, filled.toc_bytes - 1, filled.toc_bytes, size // 2, size - 1):
        overwrite(fd, content[:at] + bytes((content[at] ^ 1,)) + content[at + 1 :])
        with pytest.raises(ArchiveError, match="is not what pg_dump wrote"):
            read_back(fd, filled)
    for changed in (b"", content[:-1], content[: page * 3], content + b"\0", content + bytes(page)):
        overwrite(fd, changed)
        with pytest.raises(ArchiveError, match="is not what pg_dump wrote"):
            read_back(fd, filled)
    overwrite(fd, content)
    assert read_back(fd, filled)[0] == size


def test_a_disk_that_gives_nothing_is_told_as_that(
    archive: tuple[int, Scan, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    fd, filled, _ = archive
    read = os.preadv

    def broken(fd: int, buffers: list[mmap.mmap], at: int) -> int:
        if at >= 3 * mmap.PAGESIZE:
            raise OSError(errno.EIO, "Input/output error")
        return read(fd, buffers, at)

    monkeypatch.setattr(os, "preadv", broken)
    with pytest.raises(OSError, match="Input/output error"):
        read_back(fd, filled)
