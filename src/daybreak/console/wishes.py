"""What somebody says beside the name of a thing, as a form or a document brings it. Pure.

Shapes  every value is a text, but `first`; what is wrong with one is said by whoever reads it. Nothing else that a form
        or document holds is looked at: a target is never named here, only typed once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, tzinfo
from typing import TypeVar

from daybreak.errors import UsageError
from daybreak.jobs.hold import parse_until


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a form."""

    name: str
    label: str
    kind: str = "text"  # text, select, checkbox, lines
    value: str = ""
    options: tuple[str, ...] = ()
    hint: str = ""
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """Nothing more to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """The name of the target once more."""

    typed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshing:
    """A refresh; `first`: although Daybreak never refreshed this target."""

    typed: str = ""
    first: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoring:
    """Where an archive goes; `tables`, one a line: only these, into a new schema."""

    typed: str = ""
    database: str = ""
    new: str = ""
    tables: str = ""
    schema: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The tables, each once."""
        return tuple(dict.fromkeys(one.strip() for one in self.tables.splitlines() if one.strip()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Drilling:
    """Which copy is proven: local, or a repository's."""

    source: str = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """Until when and why; an empty `until` is until somebody releases it."""

    until: str = ""
    why: str = ""

    def instant(self, at: datetime, zone: tzinfo) -> datetime | None:
        """The end. Raise UsageError for one that cannot be read."""
        text = self.until.strip()
        if not text:
            return None
        try:  # what a browser's own field for dates says has no zone: it is the page's
            found = datetime.fromisoformat(text)
        except ValueError:
            return parse_until(text, at, zone)
        return found if found.tzinfo is not None else found.replace(tzinfo=zone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgetting:
    """What the preview said, of one backup or of all."""

    typed: str = ""
    only: str = ""
    seen: str = ""


_W = TypeVar("_W")


def read_wish(kind: type[_W], form: Mapping[str, object]) -> _W:
    """A wish from what a form holds: its own fields, each once. Raise UsageError."""
    values: dict[str, object] = {}
    for one in fields(kind):  # pyright: ignore[reportArgumentType] -- every wish is a dataclass
        if one.name not in form:
            continue
        value = form[one.name]
        if not isinstance(value, str):
            raise UsageError(f"{one.name} stands several times in the form", hint="open the page again")
        values[one.name] = value == "yes" if one.name == "first" else value.replace("\r\n", "\n")
    return kind(**values)
