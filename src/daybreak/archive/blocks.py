"""Walks through the data of an archive, block after block, and says what comes by.

Shapes  a `Sink` is told of each block, its decompressed bytes in pieces and its end; `walk` reads the whole stream and
        knows at its end that every entry with data had its block, exactly once, and that nothing follows.
Errors  `ArchiveError` for a cut, damage, a block that is missing, doubled or nobody's, and for bytes behind the end.
Source  PostgreSQL, src/bin/pg_dump/pg_backup_custom.c: _StartData, _StartLOs, _StartLO and _skipData.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from daybreak.archive.codecs import Compression, decoder
from daybreak.archive.primitives import CUT_HINT, OffsetState, Source, damaged
from daybreak.archive.toc import BLOBS, TABLE_DATA, Entry, Header
from daybreak.errors import ArchiveError

#: The first byte of a block, and the kind of entry that it belongs to.
BLOCK_TYPES: Final = {1: TABLE_DATA, 3: BLOBS}
BLOCK_BYTES: Final = {kind: number for number, kind in BLOCK_TYPES.items()}

#: What pg_dump puts behind the rows of each table; `COPY … TO STDOUT` does not print it.
TERMINATOR: Final = b"\\.\n\n\n"


class Sink(Protocol):
    """Who wants to know what is in an archive's data."""

    def begin(self, entry: Entry, offset: int) -> None:
        """A block begins at `offset`; it is this entry's."""
        ...

    def rows(self, data: bytes) -> None:
        """Bytes of the present table's COPY data, without the terminator."""
        ...

    def begin_object(self, oid: int) -> None:
        """A large object begins."""
        ...

    def content(self, data: bytes) -> None:
        """Bytes of the present large object."""
        ...

    def end_object(self) -> None:
        """The present large object is complete."""
        ...

    def end(self, entry: Entry) -> None:
        """The present block is complete."""
        ...


def contents(source: Source, compression: Compression, what: str) -> Iterator[bytes]:
    """The decompressed bytes of one series of chunks; must be read to its end."""
    stream = decoder(compression, what)
    for piece in source.chunks(f"the data of {what}"):
        yield from stream.feed(piece)
    stream.finish()


def rows_of(source: Source, compression: Compression, what: str) -> Iterator[bytes]:
    """The COPY data of one table without its terminator. Raise ArchiveError where that is missing."""
    held = b""  # the last piece, for the terminator may be its end
    for piece in contents(source, compression, what):
        if len(piece) >= len(TERMINATOR):
            if held:
                yield held
            held = piece
        else:
            held += piece
    rest = held.removesuffix(TERMINATOR)
    if rest == held or (rest and not rest.endswith(b"\n")):
        raise damaged(f"the data of {what} does not end as pg_dump ends it")
    if rest:
        yield rest


def read_block_header(source: Source) -> tuple[str, int]:
    """The kind and the id of the entry whose block begins here."""
    at = source.position
    kind = BLOCK_TYPES.get(source.take_byte("the head of a block"))
    if kind is None:
        raise damaged(f"at byte {at} no block of data begins")
    return kind, source.take_int("the head of a block")


def walk(source: Source, header: Header, entries: tuple[Entry, ...], sink: Sink) -> None:
    """Read all blocks; what follows behind the last one is the caller's to judge."""
    waiting = {entry.id: entry for entry in entries if entry.had_dumper}
    every = set(waiting)
    while waiting and not source.at_end():
        offset = source.position
        kind, number = read_block_header(source)
        entry = waiting.pop(number, None)
        if entry is None:
            fault = "a second time" if number in every else "that no entry has"
            raise damaged(f"at byte {offset} the data of entry {number} begins, {fault}")
        if entry.kind != kind:
            raise damaged(f"at byte {offset} the data of {entry.label} begins as that of {kind}")
        if entry.state is OffsetState.SET and entry.offset != offset:
            raise damaged(f"the data of {entry.label} stands at byte {offset}, its entry says {entry.offset}")
        sink.begin(entry, offset)
        if kind == TABLE_DATA:
            for piece in rows_of(source, header.compression, entry.label):
                sink.rows(piece)
        else:
            _walk_objects(source, header, sink)
        sink.end(entry)
    if waiting:
        first = next(iter(waiting.values()))
        more = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
        raise ArchiveError(f"the archive is cut: the data of {first.label}{more} is missing", hint=CUT_HINT)


def _walk_objects(source: Source, header: Header, sink: Sink) -> None:
    while oid := source.take_oid("the list of large objects"):
        sink.begin_object(oid)
        for piece in contents(source, header.compression, f"large object {oid}"):
            sink.content(piece)
        sink.end_object()
