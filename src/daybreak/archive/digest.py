"""What is remembered of a table's rows and of a large object's bytes.

Shapes  a `TableDigest` takes the bytes of `COPY … TO STDOUT` in pieces of any size. One row is one line with its
        newline: COPY's text format escapes newlines and carriage returns inside values.
Units   `size_bytes` and `rows` are counts; sha256 is 64 hexadecimal digits; `unordered` is 32: the sum modulo 2**128 of
        xxh3_128 of each row, equal for equal rows in any order. It costs more than all the rest, and is only taken
        where somebody asks (docs/adr/0011).
Errors  none; memory is bounded whatever a row's length.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from typing import Final

import xxhash

from daybreak.archive.primitives import PIECE_BYTES, damaged

_row_hash = xxhash.xxh3_128_digest
_MODULUS: Final = 2**128
#: Between two hashes that are summed as one number: room for what 2**24 rows carry over.
_ROOM: Final = bytes(3)
_LANE_BITS: Final = 8 * (16 + len(_ROOM))

#: One large object: oid, bytes, sha256; big-endian, so that sorted records are sorted by oid.
_RECORD: Final = struct.Struct(">IQ32s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """The rows of one table."""

    rows: int
    size_bytes: int
    sha256: str  # of the COPY data in its order; empty: there is no order
    # Equal for the same rows in any order; empty: not taken. Where the sha256 is equal it says nothing new.
    unordered: str = field(default="", compare=False)


class TableDigest:
    """Digests the COPY data of one table as it passes; with `unordered`, its rows in any order too."""

    __slots__ = ("_cut", "_rows", "_sha", "_unordered", "size_bytes")

    def __init__(self, *, unordered: bool = False) -> None:
        self.size_bytes = 0
        self._rows = 0
        self._cut = False  # the last row's newline has not come yet
        self._sha = sha256()
        self._unordered = _Unordered() if unordered else None

    @property
    def rows(self) -> int:
        """How many rows have passed; one without newline is a row."""
        return self._rows + self._cut

    def update(self, data: bytes) -> None:
        """Take the next bytes; they may end anywhere."""
        if not data:
            return
        self.size_bytes += len(data)
        self._sha.update(data)
        self._rows += data.count(b"\n")
        self._cut = not data.endswith(b"\n")
        if self._unordered is not None:
            # small pieces stay in the processor's cache, and the list of rows stays small
            for at in range(0, len(data), PIECE_BYTES):
                self._unordered.update(data[at : at + PIECE_BYTES])

    def result(self) -> Digest:
        """What has passed so far."""
        return Digest(
            rows=self.rows,
            size_bytes=self.size_bytes,
            sha256=self._sha.hexdigest(),
            unordered="" if self._unordered is None else self._unordered.hexdigest(),
        )


def digest_of(data: Iterable[bytes], *, unordered: bool = False) -> Digest:
    """The digest of COPY data that comes in pieces."""
    digest = TableDigest(unordered=unordered)
    for piece in data:
        digest.update(piece)
    return digest.result()


def are_the_same(data: Iterable[bytes], want: Digest) -> bool:
    """Whether COPY data that comes in pieces is that of `want`, byte for byte; faster, since no row is counted."""
    size_bytes, found = 0, sha256()
    for piece in data:
        size_bytes += len(piece)
        found.update(piece)
    return size_bytes == want.size_bytes and found.hexdigest() == want.sha256


class _Unordered:
    """The sum of the hashes of rows."""

    __slots__ = ("_open_row", "_sum")

    def __init__(self) -> None:
        self._sum = 0
        self._open_row: xxhash.xxh3_128 | None = None  # a row whose newline has not come yet

    def update(self, data: bytes) -> None:
        """Take the next bytes; they may end anywhere."""
        # splitlines would also split at \r, which COPY's text format never writes as it is
        rows = data.splitlines(keepends=True) if b"\r" not in data else _split_rows(data)
        if self._open_row is not None:
            self._open_row.update(rows[0])
            if not rows[0].endswith(b"\n"):
                return
            self._sum += self._open_row.intdigest()
            self._open_row = None
            del rows[0]
        if rows and not rows[-1].endswith(b"\n"):
            self._open_row = xxhash.xxh3_128(rows.pop())
        self._sum = (self._sum + _sum_of_hashes(rows)) % _MODULUS

    def hexdigest(self) -> str:
        """The sum so far; a row without newline counts as a row."""
        last = 0 if self._open_row is None else self._open_row.intdigest()
        return f"{(self._sum + last) % _MODULUS:032x}"


def _sum_of_hashes(rows: list[bytes]) -> int:
    """The sum of the rows' hashes; twice as fast as adding them one by one.

    The hashes stand side by side in one long number, whose upper half is added to its lower half until one is left.
    """
    number = int.from_bytes(_ROOM.join(map(_row_hash, rows)), "big")
    lanes = len(rows)
    while lanes > 1:
        lanes = (lanes + 1) // 2
        bits = lanes * _LANE_BITS
        number = (number >> bits) + (number & ((1 << bits) - 1))
    return number


def _split_rows(data: bytes) -> list[bytes]:
    """Lines with their newline, split at nothing else."""
    lines = data.split(b"\n")
    last = lines.pop()
    rows = [line + b"\n" for line in lines]
    return [*rows, last] if last else rows


@dataclass(frozen=True, slots=True, kw_only=True)
class LargeObject:
    """One large object's content."""

    oid: int
    size_bytes: int
    sha256: str


class LargeObjects:
    """All large objects of an archive, by oid; 44 bytes each, for there may be millions."""

    __slots__ = ("_records",)

    def __init__(self, records: bytes = b"") -> None:
        """Take packed records. Raise ArchiveError where they are cut or an oid comes twice."""
        if len(records) % _RECORD.size:
            raise damaged("the list of large objects is cut")
        self._records = _sorted_records(records)

    @staticmethod
    def pack(oid: int, size_bytes: int, content_sha256: bytes) -> bytes:
        """One record, to be joined with the others."""
        return _RECORD.pack(oid, size_bytes, content_sha256)

    @property
    def packed(self) -> bytes:
        """All records in the order of their oids."""
        return self._records

    @property
    def size_bytes(self) -> int:
        """The size of all contents."""
        return sum(size for _, size, _ in _RECORD.iter_unpack(self._records))

    @property
    def sha256(self) -> str:
        """One checksum over every oid, size and sha256."""
        return sha256(self._records).hexdigest()

    def __len__(self) -> int:
        return len(self._records) // _RECORD.size

    def __iter__(self) -> Iterator[LargeObject]:
        for oid, size, digest in _RECORD.iter_unpack(self._records):
            yield LargeObject(oid=oid, size_bytes=size, sha256=digest.hex())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LargeObjects) and other._records == self._records

    def __hash__(self) -> int:
        return hash(self._records)

    def __repr__(self) -> str:
        return f"<{len(self)} large objects>"


def _sorted_records(records: bytes) -> bytes:
    oids = [oid for oid, _, _ in _RECORD.iter_unpack(records)]
    if any(left >= right for left, right in pairwise(oids)):
        size = _RECORD.size
        ordered = sorted(records[at : at + size] for at in range(0, len(records), size))
        oids.sort()
        twice = next((left for left, right in pairwise(oids) if left == right), None)
        if twice is not None:
            raise damaged(f"large object {twice} is there twice")
        return b"".join(ordered)
    return records
