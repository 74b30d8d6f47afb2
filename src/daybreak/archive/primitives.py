"""The bytes that PostgreSQL's custom format is made of: integers, texts, offsets, chunks.

Shapes  an integer is a sign byte and four bytes, least significant first; a text is an integer (its length, -1 for
        none) and its bytes; an offset is a state byte and eight bytes; data is chunks, each an integer and its bytes,
        ended by a chunk of length 0.
Units   positions and lengths in bytes from the start of the stream.
Errors  `ArchiveError` where the stream ends too early or a value is one that pg_dump never writes. What is accepted
        has one spelling only, so what was read is written again byte for byte.
Source  PostgreSQL, src/bin/pg_dump/pg_backup_archiver.c: WriteInt, WriteStr, WriteOffset and their readers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Final

import xxhash

from daybreak.errors import ArchiveError

#: The largest text of a table of contents that we accept; the text of a function is a thousand times smaller.
TEXT_BYTES: Final = 64 * 2**20
#: What one read asks for, and about what one gathered piece of chunks holds.
READ_BYTES: Final = 2**20
PIECE_BYTES: Final = 2**17

_INT: Final = struct.Struct("<BI")
_OFFSET: Final = struct.Struct("<BQ")
_INT_MAX: Final = 2**31 - 1

CUT_HINT: Final = "the archive is not complete; take an older one or make a new one"
DAMAGED_HINT: Final = "the archive is damaged; take an older one or make a new one"


class OffsetState(IntEnum):
    """What an entry of the table of contents knows about the place of its data."""

    NOT_SET = 1  # it has data; a pg_dump that wrote to a pipe could not go back and say where
    SET = 2
    NO_DATA = 3


def shown(text: str, longest: int = 200) -> str:
    """A text out of an archive as it may stand in a message: printable, and no longer than `longest`."""
    short = text if len(text) <= longest else text[: longest - 1] + "…"
    return short if short.isprintable() else "".join(each if each.isprintable() else "�" for each in short)


def damaged(message: str) -> ArchiveError:
    """The error for bytes that pg_dump does not write."""
    return ArchiveError(message, hint=DAMAGED_HINT)


def pack_int(value: int) -> bytes:
    """One integer as the format writes it. Raise ArchiveError where it does not fit into 32 bits."""
    if abs(value) > _INT_MAX:
        raise ArchiveError(f"{value} does not fit into an archive's integer")
    return _INT.pack(value < 0, abs(value))


def pack_text(text: str | None) -> bytes:
    """One text, or none. Bytes that were no UTF-8 when read become the same bytes again."""
    if text is None:
        return pack_int(-1)
    raw = text.encode("utf-8", "surrogateescape")
    return pack_int(len(raw)) + raw


def pack_offset(state: OffsetState, offset: int) -> bytes:
    """One offset; its width does not depend on its value, so it can be filled in later."""
    return _OFFSET.pack(state, offset)


def pack_oid(oid: int) -> bytes:
    """A large object's oid: unsigned, but written through a signed integer."""
    signed = oid - 2**32 if oid > _INT_MAX else oid
    return _INT.pack(signed < 0, abs(signed))


class Source:
    """Reads an archive from its first byte to its last, forwards only.

    `read(n)` returns at most n bytes, none at the end; `write` receives the very bytes that were read.
    Memory is one buffer, whatever a length in the stream claims.
    """

    __slots__ = ("_at", "_base", "_body", "_buffer", "_read", "_write")

    def __init__(self, read: Callable[[int], bytes], write: Callable[[bytes], object] | None = None) -> None:
        self._read = read
        self._write = write
        self._buffer = b""
        self._at = 0  # first byte of the buffer that nobody has taken
        self._base = 0  # position of the buffer's first byte in the stream
        self._body = None

    @property
    def position(self) -> int:
        """Where the next byte to be taken stands in the stream."""
        return self._base + self._at

    def start_body(self) -> None:
        """From here on every byte counts for `body_digest`."""
        self._body = xxhash.xxh3_128(self._buffer[self._at :])

    def body_digest(self) -> str:
        """The xxh3_128 of all bytes since `start_body`, in hexadecimal digits."""
        return self._body.hexdigest() if self._body else ""

    def _fill(self) -> bool:
        """Read once more; False at the end of the stream."""
        fresh = self._read(READ_BYTES)
        if not fresh:
            return False
        if self._write is not None:
            self._write(fresh)
        if self._body is not None:
            self._body.update(fresh)
        self._base += self._at
        self._buffer = self._buffer[self._at :] + fresh if self._at < len(self._buffer) else fresh
        self._at = 0
        return True

    def _cut(self, what: str) -> ArchiveError:
        end = self._base + len(self._buffer)
        return ArchiveError(f"the archive is cut: it ends at byte {end} inside {what}", hint=CUT_HINT)

    def _need(self, count: int, what: str) -> None:
        while len(self._buffer) - self._at < count:
            if not self._fill():
                raise self._cut(what)

    def at_end(self) -> bool:
        """Whether nothing is left to read."""
        return self._at == len(self._buffer) and not self._fill()

    def peek(self, count: int) -> bytes:
        """Up to `count` coming bytes, without taking them; fewer where the stream ends."""
        while len(self._buffer) - self._at < count and self._fill():
            pass
        return self._buffer[self._at : self._at + count]

    def take(self, count: int, what: str) -> bytes:
        """The next `count` bytes; memory grows with what the stream delivers, not with `count`."""
        end = self._at + count
        if end <= len(self._buffer):
            taken = self._buffer[self._at : end]
            self._at = end
            return taken
        pieces: list[bytes] = []
        while count:
            if self._at == len(self._buffer) and not self._fill():
                raise self._cut(what)
            piece = self._buffer[self._at : self._at + count]
            self._at += len(piece)
            count -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def take_byte(self, what: str) -> int:
        """One byte as a number."""
        return self.take(1, what)[0]

    def take_int(self, what: str) -> int:
        """One integer."""
        at = self.position
        sign, size = _INT.unpack(self.take(_INT.size, what))
        if sign > 1 or size > _INT_MAX or (sign and not size):
            raise damaged(f"byte {at} in {what} is no integer of an archive")
        return -size if sign else size

    def take_text(self, what: str) -> str | None:
        """One text or none; bytes that are no UTF-8 survive as lone surrogates."""
        at = self.position
        length = self.take_int(what)
        if length == -1:
            return None
        if not 0 <= length <= TEXT_BYTES:
            raise damaged(f"a text of {length} bytes is claimed at byte {at} in {what}; {TEXT_BYTES} is the most")
        raw = self.take(length, what)
        if b"\0" in raw:
            raise damaged(f"the text at byte {at} in {what} holds a zero byte")
        return raw.decode("utf-8", "surrogateescape")

    def take_offset(self, what: str) -> tuple[OffsetState, int]:
        """An entry's offset: its state, and the position where that is `SET`."""
        at = self.position
        state, offset = _OFFSET.unpack(self.take(_OFFSET.size, what))
        if state not in {1, 2, 3} or offset >= 2**63:
            raise damaged(f"byte {at} in {what} is no offset of an archive")
        return OffsetState(state), offset

    def take_oid(self, what: str) -> int:
        """A large object's oid, 0 for the end of their list."""
        at = self.position
        sign, size = _INT.unpack(self.take(_INT.size, what))
        if sign > 1 or size > 2**31 or (sign and not size) or (not sign and size > _INT_MAX):
            raise damaged(f"byte {at} in {what} is no oid of a large object")
        return 2**32 - size if sign else size

    def chunks(self, what: str) -> Iterator[bytes]:
        """The bytes of one series of chunks, gathered into pieces of about PIECE_BYTES; must be read to its end.

        One chunk is one row where nothing is compressed, so the loop keeps to local names.
        """
        unpack, header = _INT.unpack_from, _INT.size
        pieces: list[bytes] = []
        gathered = 0
        buffer, at = self._buffer, self._at
        while True:
            if len(buffer) - at < header:
                self._at = at
                self._need(header, what)
                buffer, at = self._buffer, self._at
            sign, length = unpack(buffer, at)
            if sign or length > _INT_MAX:
                raise damaged(f"byte {self._base + at} in {what} is no length of a chunk")
            at += header
            if not length:
                break
            end = at + length
            while end > len(buffer):  # the chunk goes on behind the buffer, maybe for long
                pieces.append(buffer[at:])
                gathered += len(buffer) - at
                end -= len(buffer)
                self._at = len(buffer)
                if gathered >= PIECE_BYTES:
                    yield b"".join(pieces)
                    pieces, gathered = [], 0
                if not self._fill():
                    raise self._cut(what)
                buffer, at = self._buffer, 0
            pieces.append(buffer[at:end])
            gathered += end - at
            at = end
            if gathered >= PIECE_BYTES:
                self._at = at
                yield b"".join(pieces)
                pieces, gathered = [], 0
        self._at = at
        if pieces:
            yield b"".join(pieces)
