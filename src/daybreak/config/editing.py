"""Write into the configuration file what a verb was asked to add or change; comments and order stay as they are.

Shapes  text in, text out; nothing is read or written here, and the result is checked by the caller.
Errors  `Refused` where the table is there already, `ConfigError` for a file that cannot be edited like this.
Source  tomlkit keeps every byte of what it does not change.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

import tomlkit
from tomlkit import TOMLDocument
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, Table

from daybreak.errors import ConfigError, Refused


def add_repository(text: str, name: str, values: Mapping[str, str], *, backups: Sequence[str] = ()) -> str:
    """Add `[repositories.NAME]` at the end, and its name to the repositories of `backups`."""
    document = _parsed(text)
    if name in document.get("repositories", {}):
        raise Refused(
            f"the configuration has a repository {name} already",
            hint=f"`daybreak repository init {name}` makes it, if it is not made yet; or choose another name",
        )
    for backup in backups:
        table = document.get("backups", {}).get(backup)
        if table is None:
            raise ConfigError(f"there is no [backups.{backup}] to send to {name}", hint="daybreak config show")
        if "repositories" not in table:
            table["repositories"] = tomlkit.array()
        table["repositories"].append(name)
    added = tomlkit.table()
    for key, value in values.items():
        added.add(key, value)
    body = tomlkit.dumps(document)
    # Behind everything else: a table that is added to a super table could land in the middle of another one.
    gap = "" if body.endswith("\n\n") or not body else "\n" if body.endswith("\n") else "\n\n"
    return f"{body}{gap}[repositories.{name}]\n{added.as_string()}"


def set_key(text: str, setting: str, value: str | int | bool | Sequence[str] | None) -> str:  # noqa: FBT001 -- a value
    """Give the key at a dotted path a value, None: take it out. Nothing else of the text changes.

    Whatever way the file is written in, what it says afterwards is compared with what it is to say.
    """
    document = _parsed(text)
    *place, key = setting.split(".")
    wanted: Any = tomllib.loads(text)
    table, said = document, wanted
    for part in place:
        table, said = table[part], said[part]
    if value is None:
        if key in said:
            del table[key]
            del said[key]
    elif not isinstance(value, str | int) and key in said:
        said[key] = _in_place(table[key], value)
    else:
        said[key] = value if isinstance(value, str | int) else list(value)
        if key in table or not _add_behind(table, key, said[key], text):
            table[key] = said[key]
    edited = tomlkit.dumps(document)
    if not _says(edited, wanted) or not _keeps(difference(text, edited)):
        raise ConfigError(f"{setting}: something else in this file would change with it; change it there by hand")
    return edited


def difference(before: str, after: str) -> tuple[str, ...]:
    """The lines that go and come, with their numbers; no line that stays is in it."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return tuple(lines)[2:]


def _parsed(text: str) -> Any:  # noqa: ANN401 -- tomlkit's own
    try:
        return tomlkit.parse(text)
    except TOMLKitError as error:
        raise ConfigError(f"the configuration cannot be edited: {error}", hint="daybreak config check") from error


def _says(text: str, wanted: Mapping[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == wanted
    except tomllib.TOMLDecodeError:
        return False


def _keeps(lines: Sequence[str]) -> bool:
    """Whether no comment and no head of a table goes."""
    return not any(line.startswith("-") and line[1:].lstrip().startswith(("#", "[")) for line in lines)


def _in_place(array: Any, wanted: Sequence[str]) -> list[str]:  # noqa: ANN401 -- tomlkit's own
    """Let a list have what is wanted, each of its lines and comments where it stands; the list then."""
    for one in [one for one in array if one not in wanted]:
        array.remove(one)
    for one in wanted:
        if one not in array:
            array.append(one)
    return [str(one) for one in array]


def _add_behind(table: Any, key: str, value: object, text: str) -> bool:  # noqa: ANN401 -- tomlkit's own
    """Write a new key on a line behind the last one of its table, or behind its header; whether there is such a line.

    tomlkit itself adds behind the comments at the end of a table, which mostly belong to the next one.
    """
    if isinstance(table, Table) and not table.is_super_table():
        body, head = table.value.body, [table]
    elif isinstance(table, TOMLDocument):
        body, head = table.body, []
    else:  # an inline table, or keys with dots: tomlkit has no line for those
        return False
    lines = head + [one for name, one in body if name is not None and not isinstance(one, Table | AoT)]
    if not lines:
        return False
    trivia = lines[-1].trivia
    end = "\r\n" if "\r\n" in text else "\n"
    line = tomlkit.table()
    line.add(key, value)
    trivia.trail = f"{trivia.trail or end}{trivia.indent}{line.as_string().rstrip()}{end}"
    return True
