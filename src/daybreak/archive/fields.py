"""Takes a JSON object apart, field by field, and refuses what is not as it must be.

Errors  `ArchiveError` that names the file, the field and what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TypeAlias

from daybreak.errors import ArchiveError
from daybreak.units import parse_instant

JsonValue: TypeAlias = bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"] | None


def bad_manifest(where: str, fault: str) -> ArchiveError:
    """The error for a file that is no manifest or a damaged one."""
    hint = "the archive itself may be whole: move this file away, and it is read without comparing"
    return ArchiveError(f"{where} is no manifest that can be used: {fault}", hint=hint)


class Fields:
    """The fields of one object; each may be taken once, and none may be left over."""

    def __init__(self, value: JsonValue, file: str, path: str = "") -> None:
        self._file = file
        self._path = path
        if not isinstance(value, dict):
            raise bad_manifest(file, f"{path or 'the whole'} is not an object")
        self._fields = dict(value)

    def bad(self, name: str, fault: str) -> ArchiveError:
        """The error for one field."""
        return bad_manifest(self._file, f"{self._path}{name} {fault}")

    @property
    def values(self) -> Mapping[str, JsonValue]:
        """The object as it is."""
        return self._fields

    def has(self, name: str) -> bool:
        """Whether the field is there and not null; a null is taken."""
        if name not in self._fields:
            raise self.bad(name, "is missing")
        if self._fields[name] is None:
            del self._fields[name]
            return False
        return True

    def _take(self, name: str) -> JsonValue:
        if name not in self._fields:
            raise self.bad(name, "is missing")
        return self._fields.pop(name)

    def text(self, name: str) -> str:
        """A text."""
        value = self._take(name)
        if not isinstance(value, str):
            raise self.bad(name, "is not a text")
        return value

    def number(self, name: str) -> int:
        """A whole number."""
        value = self._take(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.bad(name, "is not a whole number")
        return value

    def count(self, name: str) -> int:
        """A whole number, not below 0."""
        value = self.number(name)
        if value < 0:
            raise self.bad(name, "is negative")
        return value

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self._take(name)
        if not isinstance(value, bool):
            raise self.bad(name, "is not true or false")
        return value

    def digits(self, name: str, length: int) -> str:
        """So many hexadecimal digits."""
        value = self.text(name)
        if len(value) != length or not re.fullmatch("[0-9a-f]+", value):
            raise self.bad(name, f"is not {length} hexadecimal digits")
        return value

    def instant(self, name: str) -> datetime:
        """An instant with its offset, in UTC."""
        try:
            return parse_instant(self.text(name))
        except (ValueError, OverflowError) as fault:
            raise self.bad(name, f"is no instant ({fault})") from None

    def inner(self, name: str) -> Fields:
        """An object inside."""
        return Fields(self._take(name), self._file, f"{self._path}{name}.")

    def each(self, name: str) -> Iterator[Fields]:
        """The objects of a list."""
        value = self._take(name)
        if not isinstance(value, list):
            raise self.bad(name, "is not a list")
        for number, one in enumerate(value):
            yield Fields(one, self._file, f"{self._path}{name}[{number}].")

    def texts(self, name: str) -> Iterator[str]:
        """The texts of a list."""
        value = self._take(name)
        if not isinstance(value, list):
            raise self.bad(name, "is not a list")
        for number, one in enumerate(value):
            if not isinstance(one, str):
                raise self.bad(f"{name}[{number}]", "is not a text")
            yield one

    def done(self) -> None:
        """Refuse a field that nobody took."""
        for name in self._fields:
            raise self.bad(name, "is not a field that this Daybreak knows")
