"""The configuration as Daybreak understands it, every default written out. Secrets are only named."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Final, cast

from daybreak import config
from daybreak.config import Settings
from daybreak.config.settable import settings_of
from daybreak.console.views.words import plain
from daybreak.console.world import Look

_USERINFO: Final = re.compile(r"(://[^/@:\s]*):[^/@\s]*@")
_SECRET: Final = ("password_file", "password_env", "password_command", "env_file", "url_file", "url_env", "url_command")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One key."""

    key: str
    value: str
    secret: bool  # the value only names where a secret is kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One table of the file."""

    name: str  # as it stands in the file, `backups.nightly`; "" for what stands before the first
    settings: tuple[Setting, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A destination of alerts, and how the last message to it went."""

    name: str
    events: tuple[str, ...]
    last_at: datetime | None
    last_what: str
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changeable:
    """The keys of one table that can be set from here."""

    name: str  # as in `Section`
    settings: tuple[str, ...]  # dotted paths


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsPage:
    """The page."""

    file: str
    state: str
    alone: bool
    sections: tuple[Section, ...]
    destinations: tuple[Told, ...]
    changeable: tuple[Changeable, ...]


def settings_page(look: Look, *, alone: bool) -> SettingsPage:
    """The configuration."""
    sections: tuple[Section, ...] = ()
    if look.configured:
        sections = tuple(_sections(tomllib.loads(config.show(look.settings))))
    last = {one.destination: one for one in look.catalog.alerts.deliveries()}
    return SettingsPage(
        file=str(look.settings.path) if look.configured else "",
        state=str(look.folder),
        alone=alone,
        sections=sections,
        destinations=tuple(
            Told(
                name=name,
                events=tuple(event.value for event in one.events),
                last_at=last[name].at if name in last else None,
                last_what=plain(last[name].what) if name in last else "",
                fault=plain(last[name].fault) if name in last else "",
            )
            for name, one in look.settings.alerts.items()
        ),
        changeable=tuple(_changeable(look.settings)) if look.configured else (),
    )


def _changeable(settings: Settings) -> Iterator[Changeable]:
    tables: dict[str, dict[str, dict[str, object]]] = {
        "backups": {name: {} for name in settings.backups},
        "refreshes": {name: {} for name in settings.refreshes},
        "repositories": {name: {"keep": {}} if one.keep else {} for name, one in settings.repositories.items()},
        "alerts": {name: {} for name in settings.alerts},
    }
    paths = [one.setting for one in settings_of(tables)]
    for name, group in groupby(paths, lambda path: path.rpartition(".")[0]):
        yield Changeable(name=name, settings=tuple(group))


def _sections(root: Mapping[str, Any]) -> Iterator[Section]:
    plain = {key: value for key, value in root.items() if not isinstance(value, dict)}
    if plain:
        yield Section(name="", settings=tuple(_settings(plain)))
    for key, value in root.items():
        if isinstance(value, dict):
            yield from _table(key, cast("Mapping[str, Any]", value))


def _table(name: str, table: Mapping[str, Any]) -> Iterator[Section]:
    """A table, or a table of named tables."""
    if table and all(isinstance(one, dict) for one in table.values()):
        for key, one in table.items():
            yield Section(name=f"{name}.{key}", settings=tuple(_settings(cast("Mapping[str, Any]", one))))
    else:
        yield Section(name=name, settings=tuple(_settings(table)))


def _settings(table: Mapping[str, Any], prefix: str = "") -> Iterator[Setting]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _settings(cast("Mapping[str, Any]", value), f"{prefix}{key}.")
        else:
            yield Setting(key=prefix + key, value=_value(value), secret=key in _SECRET)


def _value(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case list():
            return "; ".join(_value(one) for one in cast("list[object]", value)) or "none"
        case dict():
            return ", ".join(f"{key} = {_value(one)}" for key, one in cast("dict[str, object]", value).items())
        case _:
            return plain(_USERINFO.sub(r"\1:***@", str(value)))
