"""Cuts table data and large objects into shards, at places that only what lies nearby decides about.

Shapes  a stream of bytes in pieces of any size goes in, shards come out; joined they are the stream again. A shard of
        table data ends behind a row, one of large objects behind an object; a row or an object larger than
        `maximum_bytes` is cut by bytes, from its own beginning.
Units   bytes. Memory is `maximum_bytes` and one piece, whatever the size of a row.
Errors  none of its own.

Behind each cut the next one falls between `minimum_bytes` and `maximum_bytes`: after the row there whose hash is the
smallest. So the same rows are cut in the same places wherever they stand and whatever stands before them; a changed
row changes the shard that it is in, and seldom, by being or replacing the smallest, one or two behind it. Sizes vary
little, which a small chance at every row would not give, and what nobody chooses from is not hashed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Self

import xxhash

from daybreak.archive.primitives import PIECE_BYTES, pack_int, pack_oid

_row_hash = xxhash.xxh3_64_intdigest

AVERAGE_BYTES: Final = 64 * 2**10
#: Shards grow with the database, so that restic and the file system never see many more files than this.
SHARDS: Final = 2**15
#: A row's content in a shard of large objects stands in chunks of so many bytes, as in an archive.
_CHUNK_BYTES: Final = 64 * 2**10
#: One large object in so many ends a shard that is large enough.
_ONE_IN: Final = 4
_END: Final = pack_int(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutting:
    """How an archive is cut. Another cutting gives other shards of the same rows, and all of them are sent again."""

    minimum_bytes: int
    maximum_bytes: int

    @classmethod
    def of_average(cls, average_bytes: int) -> Self:
        """The narrower the choice the less is hashed, the longer two streams take to meet in a cut again."""
        return cls(minimum_bytes=average_bytes * 3 // 4, maximum_bytes=average_bytes * 5 // 4)

    @classmethod
    def for_size(cls, data_bytes: int) -> Self:
        """The cutting for a database of this size: the average doubles as long as there would be too many shards."""
        average = AVERAGE_BYTES
        while data_bytes > average * SHARDS:
            average *= 2
        return cls.of_average(average)


def cut_rows(pieces: Iterable[bytes], cutting: Cutting) -> Iterator[bytes]:
    """The shards of one table's COPY data."""
    maximum = cutting.maximum_bytes
    stream = iter(pieces)
    buffer, at, ended = b"", 0, False
    wide = False  # inside a row that is larger than a shard
    while True:
        if len(buffer) - at <= maximum and not ended:
            buffer, ended = _filled(buffer[at:], stream, maximum)
            at = 0
        left = len(buffer) - at
        if wide:
            end = buffer.find(b"\n", at, at + maximum) + 1
            wide = not end and left > maximum
            end = end or min(at + maximum, len(buffer))
        elif left <= maximum:
            end = len(buffer)
        else:
            end = _choose(buffer, at + cutting.minimum_bytes, at + maximum)
            if not end:  # a wide row; what stands before it is cut off first
                end = buffer.rfind(b"\n", at, at + cutting.minimum_bytes) + 1
                wide = not end
                end = end or at + maximum
        if end > at:
            yield buffer[at:end]
        at = end
        if ended and at == len(buffer):
            return


def _filled(rest: bytes, stream: Iterator[bytes], maximum: int) -> tuple[bytes, bool]:
    """The rest and what follows it, more than one shard; and whether the stream ended."""
    gathered, size = [rest], len(rest)
    for piece in stream:
        gathered.append(piece)
        size += len(piece)
        if size > maximum + PIECE_BYTES:
            return b"".join(gathered), False
    return b"".join(gathered), True


def _choose(buffer: bytes, low: int, high: int) -> int:
    """Where to cut between two positions: behind a row. 0 where no row ends."""
    first = buffer.find(b"\n", low - 1, high) + 1
    if not first:
        return 0
    last = buffer.rfind(b"\n", first - 1, high) + 1
    rows = buffer[first:last].split(b"\n")[:-1]
    if not rows:
        return first
    smallest = rows.index(min(rows, key=_row_hash))
    return first + sum(map(len, rows[: smallest + 1])) + smallest + 1


def cut_objects(objects: Iterable[tuple[int, bytes]], cutting: Cutting) -> Iterator[bytes]:
    """The shards of one entry of large objects, given as `large_objects` gives them.

    Joined they are what stands in an uncompressed archive between the head of the block and its end: for each object
    its oid, its content in chunks, an end.
    """
    shard = bytearray()
    begin = 0  # of the present object in `shard`
    wide = False  # the present object is larger than a shard
    for piece, ended_oid in _framed(objects):
        shard += piece
        if len(shard) > cutting.maximum_bytes and begin:
            yield bytes(shard[:begin])
            del shard[:begin]
            begin = 0
        while len(shard) > cutting.maximum_bytes:
            wide = True
            yield bytes(shard[: cutting.maximum_bytes])
            del shard[: cutting.maximum_bytes]
        if ended_oid is None:
            continue
        if wide or (len(shard) >= cutting.minimum_bytes and not _row_hash(pack_oid(ended_oid)) % _ONE_IN):
            if shard:
                yield bytes(shard)
            shard.clear()
            wide = False
        begin = len(shard)
    if shard:
        yield bytes(shard)


def _framed(objects: Iterable[tuple[int, bytes]]) -> Iterator[tuple[bytes, int | None]]:
    """The bytes of each object as an archive has them, and with the last ones its oid."""
    content = bytearray()
    present: int | None = None
    for oid, piece in objects:
        if not piece:  # a new object
            if present is not None:
                yield _chunk(content) + _END, present
            content.clear()
            present = oid
            yield pack_oid(oid), None
            continue
        content += piece
        while len(content) >= _CHUNK_BYTES:
            yield _chunk(content[:_CHUNK_BYTES]), None
            del content[:_CHUNK_BYTES]
    if present is not None:
        yield _chunk(content) + _END, present


def _chunk(content: bytearray) -> bytes:
    """One chunk; none of length 0, which would end the object."""
    return pack_int(len(content)) + content if content else b""
