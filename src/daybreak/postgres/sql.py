"""Names and values as SQL text. Pure.

psql's own variables are not replaced inside `-c`, so quoting happens here, in one place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from daybreak.hosts.shells import weight

_LONGEST_NAME_BYTES: Final = 63
#: Linux ends a word of a command line at 128 KiB, and ssh takes a whole command as one word, quoted for a shell.
_COMMAND_BYTES: Final = 2**16


def literal(value: str | float | None) -> str:
    """A value as an SQL literal (standard_conforming_strings is on in every session of ours)."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if "\0" in value:
        raise ValueError("a NUL cannot stand in SQL")
    return "'" + value.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A name as a quoted SQL identifier."""
    if not name or "\0" in name:
        raise ValueError(f"{name!r} cannot be a name in SQL")
    return '"' + name.replace('"', '""') + '"'


def qualified(schema: str, name: str) -> str:
    """`"schema"."name"`."""
    return f"{identifier(schema)}.{identifier(name)}"


def derived_name(base: str, suffix: str) -> str:
    """`base_suffix`, cut in the base where PostgreSQL would cut the end (63 bytes)."""
    room = _LONGEST_NAME_BYTES - len(suffix.encode()) - 1
    return f"{base.encode()[:room].decode('utf-8', 'ignore')}_{suffix}"


def portions(statements: Iterable[str]) -> Iterator[list[str]]:
    """Statements in portions that a command line takes on every way."""
    portion: list[str] = []
    total = 0
    for one in statements:
        size = weight(one)
        if portion and total + size > _COMMAND_BYTES:
            yield portion
            portion, total = [], 0
        portion.append(one)
        total += size
    if portion:
        yield portion
