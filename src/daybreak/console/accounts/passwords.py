"""Passwords: argon2id, one at a time, and as much work for a name that nobody has.

Shapes  19 MiB, three passes: above OWASP's least, and `daybreak serve` stays small. One is computed at a time and few
        may wait, so that a storm of sign-ins costs one processor at most and no memory.
Errors  `Busy` when too many wait.
"""

from __future__ import annotations

import base64
import secrets
import threading
from typing import Final

from argon2 import DEFAULT_HASH_LENGTH, DEFAULT_RANDOM_SALT_LENGTH, PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from daybreak.console.accounts.words import LONGEST_PASSWORD
from daybreak.errors import Busy

_MEMORY_KIB: Final = 19 * 1024
_PASSES: Final = 3
_MOST_WAITING: Final = 8


class Passwords:
    """Makes and compares hashes."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=1)
        self._turn = threading.Lock()
        self._waiting = threading.BoundedSemaphore(_MOST_WAITING)
        self._nobodys = _drawn()

    def hash(self, password: str) -> str:
        """What is kept of a password."""
        with self._turn:
            return self._hasher.hash(password)

    def fits(self, password: str, kept: str) -> bool:
        """Whether a password is the one of which `kept` was made; "" costs as much and is never right."""
        if not self._waiting.acquire(blocking=False):
            raise Busy("too many sign in at this moment", hint="wait some seconds and try again")
        try:
            with self._turn:
                return self._hasher.verify(kept or self._nobodys, password[: LONGEST_PASSWORD + 1]) and bool(kept)
        except (VerifyMismatchError, VerificationError, InvalidHashError):
            return False
        finally:
            self._waiting.release()

    def is_old(self, kept: str) -> bool:
        """Whether `kept` was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(kept)


def _drawn() -> str:
    """A hash with today's parameters that no password has: to compare one with it costs as much as with a person's."""
    salt, digest = (
        base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=")
        for size in (DEFAULT_RANDOM_SALT_LENGTH, DEFAULT_HASH_LENGTH)
    )
    return f"$argon2id$v=19$m={_MEMORY_KIB},t={_PASSES},p=1${salt}${digest}"
