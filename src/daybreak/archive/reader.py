"""Reads an archive once, from a pipe or a file, and remembers what is in it.

Shapes  `scan` is the pass that runs while pg_dump writes; `read_archive` the same for a file, with its sha256;
        `copy_data`, `table_data` and `large_objects` read one entry by its offset.
Units   positions in bytes from the start of the archive; progress at most every PROGRESS_S seconds.
Errors  `ArchiveError` for whatever is wrong with the archive; faults of the caller's `read` and `write` pass through.
Source  the design: one pass gives rows, bytes and digests per table, and completeness.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final

from daybreak.archive.blocks import contents, read_block_header, rows_of, walk
from daybreak.archive.digest import Digest, LargeObjects, TableDigest
from daybreak.archive.primitives import OffsetState, Source, damaged, shown
from daybreak.archive.toc import BLOBS, TABLE_DATA, Entry, Header, encoding_of, pack_toc, read_header, read_toc
from daybreak.errors import ArchiveError, UnreadableError

PROGRESS_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a pass has come."""

    label: str  # the table, as schema.name, or the large objects
    rows: int  # of the present table
    size_bytes: int  # of the present table's data, or of the large objects' so far
    total_rows: int
    total_bytes: int
    done: int  # blocks that are complete
    blocks: int  # that there will be
    read_bytes: int  # of the archive


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The data of one entry: where it stands, and for a table what is in it."""

    offset: int
    end: int
    digest: Digest | None  # None: large objects


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """An archive that was read from its first to its last byte and is complete."""

    header: Header
    entries: tuple[Entry, ...]
    blocks: Mapping[int, Block]  # by the id of the entry
    large_objects: LargeObjects
    toc_bytes: int  # header and table of contents; the body begins here
    size_bytes: int
    body_digest: str  # xxh3_128 of all behind the table of contents; filling in offsets does not change it
    sha256: str | None = None  # of the whole file; None where it was read from a pipe

    @property
    def tables(self) -> Iterator[tuple[Entry, Digest]]:
        """Every entry of table data with its digest, in the order of the table of contents."""
        for entry in self.entries:
            block = self.blocks.get(entry.id)
            if block is not None and block.digest is not None:
                yield entry, block.digest

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(digest.rows for _, digest in self.tables)

    @property
    def data_bytes(self) -> int:
        """Bytes of all tables' COPY data and all large objects, decompressed."""
        return sum(digest.size_bytes for _, digest in self.tables) + self.large_objects.size_bytes

    @property
    def encoding(self) -> str:
        """The client encoding of the dump, as PostgreSQL spells it; all data and names are in it."""
        return encoding_of(self.entries)


class _Digester:
    """The sink that remembers."""

    def __init__(self, source: Source, blocks: int, on_progress: Callable[[Progress], None] | None) -> None:
        self.blocks: dict[int, Block] = {}
        self.records = bytearray()
        self._source = source
        self._count = blocks
        self._on_progress = on_progress
        self._next_s = 0.0
        self._rows = 0
        self._bytes = 0
        self._object_bytes = 0
        self._label = ""
        self._offset = 0
        self._table: TableDigest | None = None
        self._oid = 0
        self._content = sha256()
        self._content_bytes = 0

    def begin(self, entry: Entry, offset: int) -> None:
        self._label, self._offset = entry.label, offset
        # Only partitions that are loaded through their root come back in another order than they were dumped in.
        self._table = TableDigest(unordered=entry.root is not None) if entry.kind == TABLE_DATA else None

    def rows(self, data: bytes) -> None:
        if self._table is not None:
            self._table.update(data)
        self._bytes += len(data)
        self._tell()

    def begin_object(self, oid: int) -> None:
        self._oid, self._content, self._content_bytes = oid, sha256(), 0

    def content(self, data: bytes) -> None:
        self._content.update(data)
        self._content_bytes += len(data)
        self._object_bytes += len(data)
        self._bytes += len(data)
        self._tell()

    def end_object(self) -> None:
        self.records += LargeObjects.pack(self._oid, self._content_bytes, self._content.digest())

    def end(self, entry: Entry) -> None:
        digest = self._table.result() if self._table is not None else None
        self._table = None
        self._rows += digest.rows if digest else 0
        self.blocks[entry.id] = Block(offset=self._offset, end=self._source.position, digest=digest)
        if len(self.blocks) == self._count:
            self._next_s = 0.0  # the last word is always said
        self._tell(digest)

    def _tell(self, ended: Digest | None = None) -> None:
        if self._on_progress is None:
            return
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + PROGRESS_S
        rows = ended.rows if ended else self._table.rows if self._table else 0
        size = ended.size_bytes if ended else self._table.size_bytes if self._table else self._object_bytes
        self._on_progress(
            Progress(
                label=self._label,
                rows=rows,
                size_bytes=size,
                total_rows=self._rows + (0 if ended else rows),
                total_bytes=self._bytes,
                done=len(self.blocks),
                blocks=self._count,
                read_bytes=self._source.position,
            )
        )


def scan(
    read: Callable[[int], bytes],
    *,
    write: Callable[[bytes], object] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Scan:
    """Read an archive to its end. Raise ArchiveError for anything but one complete archive.

    `read(n)` returns at most n bytes, none at the end of the stream; `write` receives the very bytes that were read.
    Memory is a few MB whatever the size of a row or table, besides the table of contents itself.
    """
    source = Source(read, write)
    header = read_header(source)
    entries = read_toc(source, header)
    toc_bytes = source.position
    source.start_body()
    sink = _Digester(source, sum(entry.had_dumper for entry in entries), on_progress)
    walk(source, header, entries, sink)
    if not source.at_end():
        _read_repeated_toc(source, header, entries, sink.blocks)
    return Scan(
        header=header,
        entries=entries,
        blocks=sink.blocks,
        large_objects=LargeObjects(bytes(sink.records)),
        toc_bytes=toc_bytes,
        size_bytes=source.position,
        body_digest=source.body_digest(),
    )


def _read_repeated_toc(source: Source, header: Header, entries: tuple[Entry, ...], blocks: Mapping[int, Block]) -> None:
    """Read the table of contents that pg_dump leaves once more at the end of `pg_dump -Fc > FILE`.

    pg_dump opens its redirected output for appending, so that the table of contents with the offsets, meant
    for the beginning, lands there; pg_restore does not look at it. Raise ArchiveError for anything else.
    """
    offset = source.position
    found: tuple[Entry, ...] = ()
    with contextlib.suppress(ArchiveError):
        found = read_toc(source, header)
    if found != _located(entries, blocks) or not source.at_end():
        raise damaged(f"bytes follow behind the end of the archive, from byte {offset}")


def open_archive(path: Path) -> int:
    """Open a file for reading. Raise UnreadableError where it cannot be, ArchiveError for a folder."""
    try:
        if path.is_dir():
            hint = "only the custom format of pg_dump (-Fc) is read; this looks like the directory format"
            raise ArchiveError(f"{path} is a folder, not a PGDMP archive", hint=hint)
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as fault:
        raise UnreadableError(
            f"{path} cannot be read: {fault.strerror}", hint="check the path and the rights"
        ) from fault


def read_archive(path: Path, *, on_progress: Callable[[Progress], None] | None = None) -> Scan:
    """Read a file to its end, with the sha256 of the whole. Raise ArchiveError as `scan` does."""
    fd = open_archive(path)
    try:
        whole = sha256()
        found = scan(partial(read_some, fd, path), write=whole.update, on_progress=on_progress)
        return replace(found, sha256=whole.hexdigest())
    finally:
        os.close(fd)


def read_contents(path: Path) -> tuple[Header, tuple[Entry, ...]]:
    """The header and the table of contents of a file, nothing behind them. Raise ArchiveError as `scan` does."""
    fd = open_archive(path)
    try:
        source = Source(partial(read_some, fd, path))
        header = read_header(source)
        return header, read_toc(source, header)
    finally:
        os.close(fd)


def read_some(fd: int, path: Path, count: int) -> bytes:
    """`os.read`, whose faults become an UnreadableError that names the file."""
    try:
        return os.read(fd, count)
    except OSError as fault:
        hint = "suspect the disk; take another copy"
        raise UnreadableError(f"{path} cannot be read: {fault.strerror}", hint=hint) from fault


def with_offsets(found: Scan) -> Scan:
    """The same archive, its table of contents knowing where each block stands."""
    return replace(found, entries=_located(found.entries, found.blocks), sha256=None)


def _located(entries: tuple[Entry, ...], blocks: Mapping[int, Block]) -> tuple[Entry, ...]:
    """The entries, each knowing where its data stands."""
    return tuple(
        replace(entry, state=OffsetState.SET, offset=blocks[entry.id].offset) if entry.had_dumper else entry
        for entry in entries
    )


def fill_offsets(file: Path | int, found: Scan) -> Scan:
    """Write the offsets that `found` saw into `file` (or an open descriptor), in place; nothing else changes.

    A piped pg_dump cannot go back to do it, and a parallel restore wants to seek. The file must still be the one
    that was read: raise ArchiveError where its size or table of contents is another. The caller flushes.
    """
    if isinstance(file, Path):
        try:
            fd = os.open(file, os.O_RDWR | os.O_CLOEXEC)
        except OSError as fault:
            raise ArchiveError(f"{file} cannot be opened: {fault.strerror}", hint="check the rights") from fault
        try:
            return fill_offsets(fd, found)
        finally:
            os.close(fd)
    fd = file
    before, filled = pack_toc(found.header, found.entries), with_offsets(found)
    after = pack_toc(filled.header, filled.entries)
    if os.fstat(fd).st_size != found.size_bytes or _pread(fd, found.toc_bytes) != before or len(after) != len(before):
        raise damaged("the archive on disk is not the one that was read from pg_dump")
    at = 0
    while at < len(after):
        at += os.pwrite(fd, after[at:], at)
    return filled


def _pread(fd: int, count: int) -> bytes:
    pieces: list[bytes] = []
    at = 0
    while at < count and (piece := os.pread(fd, count - at, at)):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)


def _open_block(fd: int, path: Path, entry: Entry, kind: str) -> tuple[Source, Header]:
    if entry.kind != kind or entry.state is not OffsetState.SET:
        raise ArchiveError(
            f"the data of {entry.label} cannot be found by its offset", hint="read the archive as a whole"
        )
    header = read_header(Source(partial(read_some, fd, path)))
    os.lseek(fd, entry.offset, os.SEEK_SET)
    source = Source(partial(read_some, fd, path))
    if read_block_header(source) != (kind, entry.id):
        raise damaged(f"at byte {entry.offset} the data of {entry.label} does not begin")
    return source, header


def copy_data(path: Path, entry: Entry) -> Iterator[bytes]:
    """The COPY data of one table, in pieces, without pg_dump's terminator; the entry must know its offset."""
    fd = open_archive(path)
    try:
        source, header = _open_block(fd, path, entry, TABLE_DATA)
        yield from rows_of(source, header.compression, entry.label)
    finally:
        os.close(fd)


def table_data(path: Path, schema: str, name: str) -> Iterator[bytes]:
    """The COPY data of the table of this name, as `copy_data` gives it. Raise ArchiveError where it has none."""
    for entry in read_contents(path)[1]:
        if (entry.kind, entry.schema or "", entry.name) == (TABLE_DATA, schema, name) and entry.had_dumper:
            return copy_data(path, entry)
    raise damaged(f"the data of {shown(f'{schema}.{name}')} is not in {path}")


def large_objects(path: Path, entry: Entry) -> Iterator[tuple[int, bytes]]:
    """The large objects of one entry as pieces (oid, bytes), one empty piece first for each object."""
    fd = open_archive(path)
    try:
        source, header = _open_block(fd, path, entry, BLOBS)
        while oid := source.take_oid("the list of large objects"):
            yield oid, b""
            for piece in contents(source, header.compression, f"large object {oid}"):
                yield oid, piece
    finally:
        os.close(fd)
