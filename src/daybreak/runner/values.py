"""What a value that comes through the socket may be, by the name it has there. Pure.

Shapes  a value is a text, yes or no, or a few texts; nothing else is taken. A name of the configuration begins with a
        letter or digit, so that no program ever reads it as an option.
Errors  `UsageError` in words, whatever the value is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, cast

from daybreak.errors import UsageError
from daybreak.jobs.tables import NAME as TABLE
from daybreak.units import parse_instant

NOW: Final = "now"
KINDS: Final = ("backup", "refresh")

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_RUN: Final = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]{5,15}(?:Z|[+-]\d\d:\d\d)")
_SNAPSHOT: Final = re.compile(r"[0-9a-f]{8,64}")
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{16,64}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_SETTING: Final = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63}){0,3}")
_LONGEST_TEXT: Final = 200
LONGEST_WHO: Final = 80
_MOST_TABLES: Final = 40

Value = str | bool | tuple[str, ...]


def checked(ask: str, name: str, value: object) -> Value:
    """A value of a request, as it is kept. Raise UsageError for one that cannot be."""
    if isinstance(value, list):
        value = tuple(cast("list[object]", value))
    if not _IS[name](value):
        raise UsageError(f"{ask}: {name} cannot be {shown(value)}", hint=_HINTS[name])
    return cast("Value", value)


def shown(value: object) -> str:
    """What was given, short and without what a terminal would obey."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}…"  # noqa: PLR2004 -- about a line


def _like(pattern: re.Pattern[str], *others: str) -> Callable[[object], bool]:
    """Whether a value is a text of this form, or one of these."""
    return lambda value: isinstance(value, str) and (value in others or pattern.fullmatch(value) is not None)


def _is_instant(value: object) -> bool:
    if not isinstance(value, str) or _INSTANT.fullmatch(value) is None:
        return False
    try:
        parse_instant(value)
    except (ValueError, OverflowError):
        return False
    return True


def _is_text(value: object) -> bool:
    """Some words on one line."""
    return isinstance(value, str) and bool(value.strip()) and value.isprintable() and len(value) <= _LONGEST_TEXT


def _is_value(value: object) -> bool:
    """A text as `_is_text` takes it, or nothing: the key is taken out."""
    return value == "" or _is_text(value)


def _is_who(value: object) -> bool:
    """A name that nobody takes for another run: that is how the trigger of a part begins."""
    if not isinstance(value, str) or len(value) > LONGEST_WHO or value.startswith("run "):
        return False
    return value.isprintable() and value == value.strip()


def _is_tables(value: object) -> bool:
    if not isinstance(value, tuple):
        return False
    tables = cast("tuple[object, ...]", value)
    return 0 < len(tables) <= _MOST_TABLES and all(map(_is_table, tables)) and len(set(tables)) == len(tables)


def _is_table(value: object) -> bool:
    """A name that a restore can look for; whether the archive has it is seen there."""
    return _is_text(value) and TABLE.fullmatch(cast("str", value)) is not None


def _is_answer(value: object) -> bool:
    return isinstance(value, bool)


_IS: Final[dict[str, Callable[[object], bool]]] = {
    "kind": lambda value: isinstance(value, str) and value in KINDS,
    "plan": _like(_NAME),
    "database": _like(_NAME),
    "repository": _like(_NAME),
    "destination": _like(_NAME, ""),
    "source": _like(_NAME),
    "backup": _like(_NAME, ""),
    "only": _like(_NAME, ""),
    "run": _like(_RUN),
    "archive": _like(_RUN),
    "snapshot": _like(_SNAPSHOT),
    "slot": lambda value: value == NOW or _is_instant(value),
    "until": lambda value: value == "" or _is_instant(value),
    "why": _is_text,
    "tables": _is_tables,
    "new": _like(_NAME, ""),
    "schema": _like(_NAME, ""),
    "confirm": _like(_NAME, ""),
    "seen": _like(_DIGEST),
    "first": _is_answer,
    "tonight": _is_answer,
    "who": _is_who,
    "key": _like(_KEY, ""),
    "setting": _like(_SETTING),
    "value": _is_value,
    "base": _like(_DIGEST),
}
_HINTS: Final = {
    "kind": f"it is one of {', '.join(KINDS)}",
    "plan": "it is the name of a plan",
    "database": "it is the name of a database of the configuration",
    "repository": "it is the name of a repository of the configuration",
    "destination": "it is empty, or the name of a destination of alerts",
    "source": "it is the word local, or the name of a repository",
    "backup": "it is empty, or the name of a backup",
    "only": "it is empty, or the name of a backup",
    "run": "it is a run's whole id, like 20261122-020000-3f9a",
    "archive": "it is an archive's whole id, like 20261122-020000-3f9a",
    "snapshot": "it is a snapshot's id, 8 to 64 hexadecimal digits",
    "slot": "it is the word now, or an instant like 2026-11-22T02:00:00-06:00",
    "until": "it is empty, or an instant like 2026-11-22T02:00:00-06:00",
    "why": f"it is some words on one line, at most {_LONGEST_TEXT} letters",
    "tables": f"it is a list of 1 to {_MOST_TABLES} names like public.account, each once and with its schema; "
    "what SQL wants quoted is quoted, what holds a dot always",
    "new": "it is empty, or a database's name of letters, digits, _ and -",
    "schema": "it is empty, or a schema's name of letters, digits, _ and -",
    "confirm": "it is empty, or the new database's name once more",
    "seen": "it is what the preview said",
    "first": "it is true or false",
    "tonight": "it is true or false",
    "who": f"it is the name of a person, at most {LONGEST_WHO} letters on one line",
    "key": "it is empty, or 16 to 64 letters, digits, _ and -",
    "setting": "it is the dotted path of a key, like backups.nightly.schedule",
    "value": f"it is empty, or a value on one line, at most {_LONGEST_TEXT} letters",
    "base": "it is what the preview said",
}
