"""A client of the development database that connects again and again, and notes how long it was without answer.

It speaks just enough of PostgreSQL's protocol to ask one question per connection: a program per
question would take longer than the absence that it is to measure.

Units   instants are `time.monotonic()` seconds; the result is in milliseconds.
Source  PostgreSQL's documentation, "Frontend/Backend Protocol", version 3.0; no password, no TLS.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

_VERSION: Final = 196608  # 3.0
_ASK: Final = b"SELECT oid FROM pg_database WHERE datname = current_database()\0"
_PAUSE_S: Final = 0.005  # short beside the absence, long enough to leave the processor to others
_TIMEOUT_S: Final = 10.0
_HEAD_BYTES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the client saw."""

    answers: int
    refused: int
    away_ms: float | None  # last answer of the old database to the first of the new; None: there was no change


class Client:
    """`with client:` asks all the time; `seen` is what it saw."""

    def __init__(self, *, host: str, port: int, user: str, database: str) -> None:
        self._address = (host, port)
        self._names = {"user": user, "database": database, "application_name": "tea house"}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask_on, name="client of dev", daemon=True)
        self._answers = 0
        self._refused = 0
        self._away_s: float | None = None

    @property
    def seen(self) -> Seen:
        """What the client saw until now."""
        return Seen(
            answers=self._answers,
            refused=self._refused,
            away_ms=None if self._away_s is None else round(self._away_s * 1000, 1),
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask_on(self) -> None:
        last_oid, last_at = "", 0.0
        while not self._stop.is_set():
            try:
                oid = self._ask()
            except (OSError, ValueError):  # closed, refused, or cut off by the swap
                self._refused += 1
                time.sleep(0.001)
                continue
            at = time.monotonic()
            self._answers += 1
            if last_oid and oid != last_oid:
                self._away_s = at - last_at
            last_oid, last_at = oid, at
            self._stop.wait(_PAUSE_S)

    def _ask(self) -> str:
        """The oid of the database that answers. Raise OSError, or ValueError with the server's words."""
        words = b"".join(f"{name}\0{value}\0".encode() for name, value in self._names.items()) + b"\0"
        with socket.create_connection(self._address, timeout=_TIMEOUT_S) as link:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link.sendall(struct.pack("!ii", 8 + len(words), _VERSION) + words)
            with link.makefile("rb") as answers:
                _until_ready(answers.read)
                link.sendall(b"Q" + struct.pack("!i", 4 + len(_ASK)) + _ASK)
                row = _until_ready(answers.read)
            with contextlib.suppress(OSError):  # a polite end; the answer is there
                link.sendall(b"X" + struct.pack("!i", 4))
        return row[6:].decode()  # after the number of columns (2 bytes) and the length of the first (4)


def _until_ready(read: Callable[[int], bytes]) -> bytes:
    """The last row before the server is ready for a question. Raise OSError, ValueError."""
    row = b""
    while True:
        head = read(_HEAD_BYTES)
        if len(head) < _HEAD_BYTES:
            raise ConnectionError("the server closed the connection")
        kind, length = struct.unpack("!ci", head)
        body = read(length - 4)
        if kind == b"E":
            raise ValueError(body.decode("utf-8", "replace"))
        if kind == b"D":
            row = body
        if kind == b"Z":
            return row
