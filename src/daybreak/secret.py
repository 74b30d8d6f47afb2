"""Values that must never be seen, and the mask that keeps them out of every text we emit.

A `Secret` registers its value when it is made; `mask` then removes it, and its URL-encoded and
base64 forms, from any text. Log lines, error tails and messages all pass through `mask`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Final, cast
from urllib.parse import quote, quote_plus

MASK: Final = "***"
#: Shorter values would mask ordinary words; nobody is protected by a two-letter password.
_SHORTEST: Final = 4

_known: set[str] = set()


class Secret:
    """A value that prints as `***`; `reveal` is the one way to read it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        if len(value) >= _SHORTEST:
            encoded = base64.b64encode(value.encode()).decode()
            _known.update({value, quote(value, safe=""), quote_plus(value), encoded, encoded.rstrip("=")})

    def reveal(self) -> str:
        """The value itself, for the child process that needs it."""
        return self._value

    def __repr__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def mask(text: str) -> str:
    """Return `text` as it may leave: every known secret replaced, the longest first, and what is no text escaped."""
    for value in sorted(_known, key=len, reverse=True):
        if value in text:
            text = text.replace(value, MASK)
    # A file's name may hold bytes that no log, terminal or catalog takes.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def masked(value: object) -> object:
    """`value` (JSON shapes) with every known secret taken out of its texts."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {masked(key): masked(item) for key, item in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list | tuple):
        return [masked(item) for item in cast("Sequence[object]", value)]
    return value
