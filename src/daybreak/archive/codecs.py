"""Compression of table data, as a stream: none, gzip (zlib's own frame), lz4, zstd.

Shapes  a `Decoder` takes pieces of any size and gives pieces of at most PIECE_BYTES, so a small piece that unpacks to
        gigabytes is never held.
Errors  `ArchiveError` for bytes that do not decompress, end too early or go on behind their end.
Source  PostgreSQL, src/bin/pg_dump/compress_io.c: each table and each large object is one frame of its own.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Final, Protocol, cast

from lz4 import frame as lz4_frame  # pyright: ignore[reportMissingTypeStubs] -- it ships none

from daybreak.archive.primitives import CUT_HINT, DAMAGED_HINT, PIECE_BYTES
from daybreak.errors import ArchiveError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


class Compression(StrEnum):
    """How table data is compressed."""

    NONE = "none"
    GZIP = "gzip"
    LZ4 = "lz4"
    ZSTD = "zstd"


#: The algorithms by their number in a header of format 1.15 and later.
ALGORITHMS: Final = (Compression.NONE, Compression.GZIP, Compression.LZ4, Compression.ZSTD)

#: Fast levels: a rewritten archive is read soon and seldom kept.
LEVELS: Final = {Compression.NONE: 0, Compression.GZIP: 1, Compression.LZ4: 0, Compression.ZSTD: 1}


class _Frame(Protocol):
    """What lz4 and zstd decompressors have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes | None: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class Decoder(Protocol):
    """Decompresses one table or one large object."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The decompressed bytes that `data` makes available."""
        ...

    def finish(self) -> None:
        """Check that the compressed data has come to its own end."""
        ...


class Encoder(Protocol):
    """Compresses one table or one large object."""

    def compress(self, data: bytes, /) -> bytes:
        """Whatever is ready after `data`, often nothing."""
        ...

    def flush(self) -> bytes:
        """The rest."""
        ...


def _broken(what: str, fault: Exception) -> ArchiveError:
    return ArchiveError(f"the data of {what} cannot be decompressed: {fault}", hint=DAMAGED_HINT)


def _unended(what: str) -> ArchiveError:
    return ArchiveError(f"the compressed data of {what} is cut", hint=CUT_HINT)


def _overfull(what: str) -> ArchiveError:
    return ArchiveError(f"the compressed data of {what} goes on behind its end", hint=DAMAGED_HINT)


class _Plain:
    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data

    def finish(self) -> None:
        return


class _Zlib:
    def __init__(self, what: str) -> None:
        self._what = what
        self._stream = zlib.decompressobj()
        self._fed = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._fed = True
        stream = self._stream
        while True:
            if stream.eof:
                raise _overfull(self._what)
            try:
                piece = stream.decompress(data, PIECE_BYTES)
            except zlib.error as fault:
                raise _broken(self._what, fault) from fault
            if piece:
                yield piece
            data = stream.unconsumed_tail
            if stream.eof:
                if stream.unused_data or data:
                    raise _overfull(self._what)
                return
            if not data and len(piece) < PIECE_BYTES:
                return

    def finish(self) -> None:
        if self._fed and not self._stream.eof:
            raise _unended(self._what)


class _Framed:
    def __init__(self, what: str, stream: _Frame, faults: tuple[type[Exception], ...]) -> None:
        self._what = what
        self._stream = stream
        self._faults = faults
        self._fed = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._fed = True
        stream = self._stream
        if stream.eof:
            raise _overfull(self._what)
        while True:
            try:
                piece = stream.decompress(data, PIECE_BYTES)
            except self._faults as fault:
                raise _broken(self._what, fault) from fault
            if piece:
                yield piece
            if stream.eof:
                if stream.unused_data:
                    raise _overfull(self._what)
                return
            if stream.needs_input:
                return
            data = b""

    def finish(self) -> None:
        if self._fed and not self._stream.eof:
            raise _unended(self._what)


_new_lz4 = cast("Callable[[], _Frame]", lz4_frame.LZ4FrameDecompressor)


def decoder(compression: Compression, what: str) -> Decoder:
    """A decoder for one table or large object; `what` names it in errors."""
    match compression:
        case Compression.NONE:
            return _Plain()
        case Compression.GZIP:
            return _Zlib(what)
        case Compression.LZ4:
            # the binding reports damage as RuntimeError, and a frame that claims too much as MemoryError
            return _Framed(what, _new_lz4(), (RuntimeError, ValueError, MemoryError, EOFError))
        case Compression.ZSTD:
            return _Framed(what, zstd.ZstdDecompressor(), (zstd.ZstdError, MemoryError, EOFError))


class _Copy:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


class _Lz4Compressor(Protocol):
    def begin(self) -> bytes: ...
    def compress(self, data: bytes) -> bytes: ...
    def flush(self) -> bytes: ...


class _Lz4:
    def __init__(self, level: int) -> None:
        new = cast("Callable[..., _Lz4Compressor]", lz4_frame.LZ4FrameCompressor)
        self._stream = new(compression_level=level)
        self._head = self._stream.begin()

    def compress(self, data: bytes, /) -> bytes:
        head, self._head = self._head, b""
        return head + self._stream.compress(data)

    def flush(self) -> bytes:
        head, self._head = self._head, b""
        return head + self._stream.flush()


def encoder(compression: Compression, level: int) -> Encoder:
    """An encoder for one table or large object."""
    match compression:
        case Compression.NONE:
            return _Copy()
        case Compression.GZIP:
            return zlib.compressobj(level)
        case Compression.LZ4:
            return _Lz4(level)
        case Compression.ZSTD:
            return zstd.ZstdCompressor(level=level)
