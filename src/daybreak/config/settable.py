"""Which keys may be set without opening the file, and how far: from the console, and by `daybreak config set`. Pure.

Whoever breaks into the console can ask for whatever is open here. So a key is open only where no value of it is a path,
a command, an address, SQL, the name of a database, role or host, or a secret; where it neither says which database is
written nor who comes in; and where no value that its limit lets through loses an archive or silences an alarm. Every
other key is closed and says why. A key that is neither is found by a test, so each new one is decided.

Shapes  a setting is the dotted path of a key: `timezone`, `backups.nightly.schedule`, `repositories.r2.keep.daily`. A
        value is a text, as somebody types it into a field; "" takes the key out of the file.
Errors  `UsageError` for a setting that is not open, and for a text that is no value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, Final, TypeAlias, cast

from pydantic import ValidationError

from daybreak.config.alerts import AlertTable
from daybreak.config.base import PasswordTable, Table, UrlTable
from daybreak.config.describe import show_length
from daybreak.config.fields import NEVER
from daybreak.config.nearest import nearest
from daybreak.config.tables import (
    SECTIONS,
    SINGLES,
    BackupTable,
    DatabaseTable,
    HostTable,
    KeepTable,
    PlanTable,
    RefreshTable,
    RepositoryTable,
    TopTable,
)
from daybreak.errors import UsageError
from daybreak.schedule import comes_within

#: The value before and the one after, as the tables have them; why the second is not taken, or "".
Limit: TypeAlias = Callable[[Any, Any], str]
Tables: TypeAlias = Mapping[str, Any]
LONGEST_VALUE: Final = 200
_NUMBER: Final = re.compile(r"-?[0-9]{1,9}")
_ANSWERS: Final = {"yes": True, "true": True, "no": False, "false": False}
#: What may be left out of the events of a destination: nothing is wrong when they come.
_QUIET: Final = frozenset({"recovered", "weekly_all_is_well"})


def _any(_before: object, _after: object) -> str:
    return ""


def _within(least: timedelta, most: timedelta) -> Limit:
    """A duration that neither ends every run nor waits for ever."""

    def limit(_before: object, after: timedelta) -> str:
        if least <= after <= most:
            return ""
        words = f"{show_length(least)} to {show_length(most)}" if least else f"{show_length(most)} or less"
        return f"must be {words} when it is set from here"

    return limit


def _at_least_every(most: timedelta) -> Limit:
    """A schedule that was there stays one, and comes often enough for somebody to miss it."""

    def limit(before: str | None, after: str | None) -> str:
        if after is None:
            return "" if before is None else "can be changed from here, and not taken away"
        held = comes_within(after, most)
        return "" if held else f"must come at least every {show_length(most)} when it is set from here"

    return limit


def _grows(before: int | None, after: int | None) -> str:
    """What is kept can become more from here, never less."""
    held = before is not None and after is not None and after >= before
    return "" if held else f"can only grow from here: {before} or more"


def _prunes(before: str | None, after: str | None) -> str:
    if before == NEVER and after != NEVER:
        return f"is {NEVER!r}: a storage that only takes stays one from here"
    return "" if after is None or after == NEVER else _at_least_every(timedelta(days=32))(before, after)


def _proves(before: str, after: str) -> str:
    return f"is {before!r}: a drill can be changed to another one from here, not left out" if after == "refresh" else ""


def _tells(before: list[str], after: list[str]) -> str:
    silenced = [one for one in before if one not in after and one not in _QUIET]
    return f"cannot be without {', '.join(silenced)} from here: those tell that something is wrong" if silenced else ""


_DAY: Final = timedelta(days=1)
_MINUTE: Final = timedelta(minutes=1)
_SECOND: Final = timedelta(seconds=1)
_DEADLINE: Final = _within(10 * _MINUTE, 7 * _DAY)
_WAIT: Final = _within(0 * _DAY, _DAY)

OPEN: Final[Mapping[type[Table], Mapping[str, Limit]]] = {
    TopTable: {"log": _any, "timezone": _any, "doctor": _at_least_every(8 * _DAY)},
    PlanTable: {
        "timezone": _any,
        "catch_up": _within(5 * _MINUTE, 7 * _DAY),
        "trigger": _any,
        "grace": _within(0 * _DAY, _DAY / 2),
        "wait": _WAIT,
        "deadline": _DEADLINE,
    },
    BackupTable: {
        "schedule": _at_least_every(8 * _DAY),
        "keep_local": _grows,
        "proof": _proves,
        "backlog": _grows,
        "ship": _any,
        "shard_kib": _any,
        "lock_wait": _within(_SECOND, 60 * _MINUTE),
        "idle": _within(_MINUTE, _DAY),
    },
    RefreshTable: {
        "schedule": _at_least_every(32 * _DAY),
        "max_age": _within(0 * _DAY, 7 * _DAY),
        "jobs": _any,
        "swap_within": _within(_SECOND, 5 * _MINUTE),
    },
    RepositoryTable: {
        "check": _at_least_every(32 * _DAY),
        "prune": _prunes,
        "timezone": _any,
        "wait": _WAIT,
        "limit_upload": _any,
        "limit_download": _any,
        "deadline": _DEADLINE,
    },
    KeepTable: dict.fromkeys(KeepTable.model_fields, _grows),
    AlertTable: {"events": _tells},
}

_PATH: Final = "it is a path"
_COMMAND: Final = "it is a command"
_ADDRESS: Final = "it is an address"
_WHICH: Final = "it says which database is meant"
_SECRET: Final = "it says where a secret is kept"  # noqa: S105 -- a reason, no secret
_COMES_IN: Final = "it says what is let onto this host"
_CARRIED: Final = "it says what goes on in the target"

CLOSED: Final[Mapping[type[Table], Mapping[str, str]]] = {
    TopTable: {
        "state": _PATH,
        "restic": _COMMAND,
        "metrics_file": _PATH,
        "server": _COMES_IN,
        "console": "it says who comes into the console",
    },
    PasswordTable: dict.fromkeys(PasswordTable.model_fields, _SECRET),
    UrlTable: dict.fromkeys(UrlTable.model_fields, _SECRET),
    HostTable: {"ssh": _ADDRESS},
    DatabaseTable: {
        **dict.fromkeys(("url", "service", "host", "port", "user", "database", "container"), _WHICH),
        "runtime": _COMMAND,
        "bin": _PATH,
        "protected": "it says what is never written",
        "shares_cluster_with": "it says what is never written",
    },
    PlanTable: {"ping": _ADDRESS},
    BackupTable: {
        "database": _WHICH,
        "archive": _PATH,
        "repositories": "it says where copies go",
        "drill_image": "it is a program of somebody else",
        "drill_on": _WHICH,
        "search_path": _CARRIED,
        "leave_out": _CARRIED,
        "globals_passwords": "it puts secrets into a file",
    },
    RefreshTable: {
        "backup": _WHICH,
        "target": _WHICH,
        "owner": "it is the name of a role",
        "cron": _CARRIED,
        "restart": _COMMAND,
        "foreign": "it lets the target lead to other servers",
        "event_triggers": _CARRIED,
        "older_extensions": "it takes a look away that a refresh has",
        "keep": _CARRIED,
        "checks": "it is SQL",
        "hooks": _COMMAND,
    },
    RepositoryTable: {"url": _ADDRESS, "env_file": _PATH, "env": _ADDRESS, "restic": _COMMAND},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One key that is open, as it stands in a file."""

    setting: str
    meaning: str
    kind: str  # text, number, answer (yes or no), one (of the options), some (of the options)
    options: tuple[str, ...]
    value: str  # "" where the file leaves it out
    default: str  # what counts then; "" where the meaning says it
    removable: bool  # whether its limit lets it be taken out of the file


def rule(kind: type[Table], key: str) -> Limit | str | None:
    """The limit of a key that is open, else why it is closed; None where nobody decided. What it inherits counts."""
    for base in kind.__mro__:
        for decided in (OPEN, CLOSED):
            if (found := decided.get(base, {}).get(key)) is not None:
                return cast("Limit | str", found)
    return None


def settings_of(tables: Tables) -> Iterator[Setting]:
    """Every key that is open in a file without faults, in the order of the manual."""
    for place, kind in _places(tables):
        for key in kind.model_fields:
            if callable(rule(kind, key)):
                yield _described(kind, key, ".".join([*place, key]), _table(tables, place) or {})


def find(tables: Tables, setting: str) -> Setting:
    """The key that is meant. Raise UsageError for one that is not open, with the reason where there is one."""
    *place, key = setting.split(".")
    known = dict(_places(tables))
    kind = known.get(tuple(place))
    found = rule(kind, key) if kind is not None else None
    if kind is not None and callable(found):
        return _described(kind, key, setting, _table(tables, place) or {})
    if isinstance(found, str):
        raise UsageError(f"{setting} is not set from here: {found}", hint="change it in the file itself")
    names = [one.setting for one in settings_of(tables)]
    closed = any(
        setting.startswith(f"{'.'.join([*at, name])}.") for at, of in known.items() for name in of.model_fields
    )
    if closed or place[:1] in ([name] for name in SINGLES):
        raise UsageError(f"{setting} is not set from here", hint="change it in the file itself")
    raise UsageError(
        f"{setting!a} is no key that is there{nearest(setting, names)}", hint="`daybreak config set` lists what is"
    )


def written(setting: Setting, text: str) -> str | int | bool | list[str] | None:
    """What stands in the file for a text; None for a key that is taken out. Raise UsageError with what is wrong."""
    if len(text) > LONGEST_VALUE or not text.isprintable():
        raise UsageError(f"{setting.setting}: must be at most {LONGEST_VALUE} letters on one line")
    text = text.strip()
    if not text:
        return None
    if setting.kind == "number":
        if _NUMBER.fullmatch(text) is None:
            raise UsageError(f"{setting.setting}: must be a whole number")
        return int(text)
    if setting.kind == "answer":
        if text.lower() not in _ANSWERS:
            raise UsageError(f"{setting.setting}: must be yes or no")
        return _ANSWERS[text.lower()]
    if setting.kind == "some":
        return list(dict.fromkeys(re.split(r"[\s,]+", text.strip(", "))))
    return text


def require_within(setting: str, before: Tables, after: Tables) -> None:
    """Refuse what lies beyond the limit of a key. Raise UsageError. What is no value at all, the check tells."""
    *place, key = setting.split(".")
    kind = dict(_places(before))[tuple(place)]
    limit = rule(kind, key)
    assert callable(limit)
    try:
        was, will = (_value(kind, key, _table(tables, place)) for tables in (before, after))
    except ValidationError:
        return
    if was != will and (why := limit(was, will)):
        raise UsageError(f"{setting}: {why}", hint="in the file itself it can be set")


def shown(value: object) -> str:
    """A value as somebody types it."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case timedelta():
            return show_length(value)
        case list():
            return ", ".join(map(str, cast("list[object]", value)))
        case _:
            return str(value)


def _places(tables: Tables) -> Iterator[tuple[tuple[str, ...], type[Table]]]:
    """The tables that there are, and what kind each is."""
    yield (), TopTable
    for section, kind in SECTIONS.items():
        for name, table in tables.get(section, {}).items():
            yield (section, name), kind
            if kind is RepositoryTable and "keep" in table:  # without it nothing is ever forgotten
                yield (section, name, "keep"), KeepTable


def _table(tables: Tables, place: Sequence[str]) -> Tables | None:
    for part in place:
        tables = tables.get(part, {})
    return tables or None


def _value(kind: type[Table], key: str, table: Tables | None) -> object:
    """What counts; None where there is no such table, as for a `keep` that is left out."""
    if table is None:
        return None
    own = {name: value for name, value in table.items() if name in kind.model_fields}
    return getattr(kind.model_validate(own), key)


def _described(kind: type[Table], key: str, setting: str, table: Tables) -> Setting:
    field = kind.model_fields[key]
    what, options = _shapes(kind)[key]
    return Setting(
        setting=setting,
        meaning=field.description or "",
        kind=what,
        options=options,
        value=shown(table.get(key)),
        default=shown(field.default),
        removable=_is_removable(kind, key, table),
    )


def _is_removable(kind: type[Table], key: str, table: Tables) -> bool:
    if key not in table:
        return True
    limit = rule(kind, key)
    assert callable(limit)
    try:
        was, will = _value(kind, key, table), _value(kind, key, {name: table[name] for name in table if name != key})
    except ValidationError:  # the table is nothing without it
        return False
    return was == will or not limit(was, will)


@cache
def _shapes(kind: type[Table]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """How each key is filled in, and what there is to choose from: as JSON Schema tells editors of it."""
    found: dict[str, Any] = kind.model_json_schema()["properties"]
    return {key: _shape(told) for key, told in found.items()}


def _shape(told: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    told = next((one for one in told.get("anyOf", ()) if one.get("type") != "null"), told)
    if "const" in told:
        return "one", (told["const"],)
    if "enum" in told:
        return "one", tuple(told["enum"])
    if told.get("type") == "array":
        return "some", tuple(told["items"].get("enum", ()))
    kinds = {"integer": "number", "boolean": "answer"}
    answers = ("yes", "no") if told.get("type") == "boolean" else ()
    return kinds.get(str(told.get("type")), "text"), answers
