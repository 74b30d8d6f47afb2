"""Write into the configuration file what a verb was asked to add; comments and order stay as they are.

Shapes  text in, text out; nothing is read or written here, and the result is checked by the caller.
Errors  `Refused` where the table is there already.
Source  tomlkit keeps every byte of what it does not change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from daybreak.errors import ConfigError, Refused


def add_repository(text: str, name: str, values: Mapping[str, str], *, backups: Sequence[str] = ()) -> str:
    """Add `[repositories.NAME]` at the end, and its name to the repositories of `backups`."""
    try:
        document: Any = tomlkit.parse(text)
    except TOMLKitError as error:
        raise ConfigError(f"the configuration cannot be edited: {error}", hint="daybreak config check") from error
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
