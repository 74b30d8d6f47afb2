"""Writes archives: the same tables and large objects, compressed another way, offsets filled in.

Shapes  `ArchiveWriter` writes header, entries and blocks one after the other; `rewrite` pours a whole archive through
        it. The format's version stays what it was.
Errors  `ArchiveError` where the source is not one complete archive, or its format cannot have the compression.
Source  PostgreSQL, src/bin/pg_dump/pg_backup_custom.c: _CloseArchive writes the table of contents twice, the second
        time with offsets.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from daybreak.archive.blocks import BLOCK_BYTES, TERMINATOR, walk
from daybreak.archive.codecs import LEVELS, Compression, Encoder, encoder
from daybreak.archive.primitives import PIECE_BYTES, OffsetState, Source, pack_int, pack_oid
from daybreak.archive.reader import open_archive, read_some
from daybreak.archive.toc import BLOBS, TABLE_DATA, Entry, Header, pack_toc, read_header, read_toc
from daybreak.errors import ArchiveError

_END: Final = pack_int(0)
#: Formats before have a level and no algorithm: zlib or nothing.
_ALGORITHM_SINCE: Final = 15


def with_compression(header: Header, compression: Compression, level: int | None = None) -> Header:
    """The same header for data compressed another way. Raise ArchiveError where the format cannot say so."""
    if header.minor >= _ALGORITHM_SINCE:
        return replace(header, compression=compression, level=0)
    if compression in {Compression.LZ4, Compression.ZSTD}:
        raise ArchiveError(
            f"an archive of format {header.format} cannot be compressed with {compression}",
            hint="format 1.14 (pg_dump 12 to 15) knows gzip and none; pg_dump 16 and later know more",
        )
    number = 0 if compression is Compression.NONE else LEVELS[compression] if level is None else level
    return replace(header, compression=compression, level=number)


class ArchiveWriter:
    """Writes one archive into a file that can seek; call `table` and `objects` per entry with data, then `close`."""

    def __init__(self, file: BinaryIO, header: Header, entries: Iterable[Entry], *, level: int | None = None) -> None:
        self._file = file
        self._header = header
        self._level = LEVELS[header.compression] if level is None else level
        self._entries = [_without_offset(entry) for entry in entries]
        self._offsets: dict[int, int] = {}
        self._encoder: Encoder | None = None
        self._gathered = bytearray()
        file.write(pack_toc(header, tuple(self._entries)))

    def begin(self, entry: Entry, offset: int = 0) -> None:  # noqa: ARG002 -- where it stood in another archive
        """Begin the block of an entry."""
        self._offsets[entry.id] = self._file.tell()
        self._file.write(bytes((BLOCK_BYTES[entry.kind],)) + pack_int(entry.id))
        if entry.kind == TABLE_DATA:
            self._encoder = encoder(self._header.compression, self._level)

    def rows(self, data: bytes) -> None:
        """COPY data of the present table, in pieces of any size, without a terminator."""
        if self._encoder is None:
            raise ValueError("data before the beginning of its block")
        self._gathered += self._encoder.compress(data)
        if len(self._gathered) >= PIECE_BYTES:
            self._write_chunk()

    def begin_object(self, oid: int) -> None:
        """Begin a large object in the present block."""
        self._file.write(pack_oid(oid))
        self._encoder = encoder(self._header.compression, self._level)

    def content(self, data: bytes) -> None:
        """Bytes of the present large object."""
        self.rows(data)

    def end_object(self) -> None:
        """End the present large object."""
        if self._encoder is not None:
            self._gathered += self._encoder.flush()
            self._write_chunk()
        self._file.write(_END)
        self._encoder = None

    def end(self, entry: Entry) -> None:
        """End the present block."""
        if entry.kind == TABLE_DATA:
            self.rows(TERMINATOR)
            self.end_object()
        else:
            self._file.write(_END)

    def table(self, entry: Entry, pieces: Iterable[bytes]) -> None:
        """Write the data of one table."""
        self.begin(entry)
        for piece in pieces:
            self.rows(piece)
        self.end(entry)

    def objects(self, entry: Entry, objects: Iterable[tuple[int, bytes]]) -> None:
        """Write the large objects of one entry."""
        self.begin(entry)
        for oid, content in objects:
            self.begin_object(oid)
            self.content(content)
            self.end_object()
        self.end(entry)

    def close(self) -> None:
        """Write the table of contents again, with offsets, and flush. Raise ArchiveError where data is missing."""
        missing = [entry.label for entry in self._entries if entry.had_dumper and entry.id not in self._offsets]
        if missing:
            raise ArchiveError(f"the data of {missing[0]} was not written")
        entries = tuple(
            replace(entry, state=OffsetState.SET, offset=self._offsets[entry.id]) if entry.had_dumper else entry
            for entry in self._entries
        )
        end = self._file.tell()
        self._file.seek(0)
        self._file.write(pack_toc(self._header, entries))
        self._file.seek(end)
        self._file.flush()

    def _write_chunk(self) -> None:
        """One chunk; none of length 0, which would end the data."""
        if self._gathered:
            self._file.write(pack_int(len(self._gathered)))
            self._file.write(self._gathered)
            self._gathered.clear()


def _without_offset(entry: Entry) -> Entry:
    if not entry.had_dumper:
        return entry
    if entry.kind not in {TABLE_DATA, BLOBS}:
        raise ArchiveError(f"entry {entry.id} is {entry.kind!r}, whose data cannot be written")
    return replace(entry, state=OffsetState.NOT_SET, offset=0)


def rewrite(source: Path, target: Path, *, compression: Compression, level: int | None = None) -> None:
    """Write `source` again as `target`, which is replaced; whoever publishes it flushes it to the disk.

    `level` None is a fast one. Raise ArchiveError where the source is not one complete archive; what was written of
    the target until then stays and is no archive.
    """
    fd = open_archive(source)
    try:
        if target.exists() and target.samefile(source):
            raise ArchiveError(f"{source} cannot be rewritten onto itself", hint="name another target")
        stream = Source(partial(read_some, fd, source))
        header = read_header(stream)
        entries = read_toc(stream, header)
        fresh = with_compression(header, compression, level)
        with target.open("wb", buffering=2**20) as file:
            writer = ArchiveWriter(file, fresh, entries, level=level)
            walk(stream, header, entries, writer)
            writer.close()
    finally:
        os.close(fd)
