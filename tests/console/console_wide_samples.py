"""A state folder whose plans, databases, repositories and people have ordinary names, or the longest that are allowed.

Beside it a runner that answers what pages ask of one, with the same names.
"""

from __future__ import annotations

import fcntl
import sqlite3
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from console_open_samples import Open, opened
from console_people_samples import HOST
from console_view_samples import CONFIGURATION, begin_run, write_years

from daybreak import config
from daybreak.catalog import Catalog
from daybreak.catalog.records import Hold
from daybreak.catalog.store import FILE
from daybreak.config import settable
from daybreak.console.people import Role
from daybreak.runner.words import Files, Identify, Locks, LookAhead, LookAtChange, LookAtForgetting, LookAtSettings
from daybreak.units import rfc3339

#: What a name of the samples is where the longest is wanted: 63 letters, and nowhere a place to break.
LONG: Mapping[str, str] = {
    name: (name.replace("-", "") * 63)[:63] for name in ("prod", "dev", "nightly", "weekly", "r2", "attic", "discord")
}
PLAIN: Mapping[str, str] = {name: name for name in LONG}


@dataclass(frozen=True)
class Wide:
    """A console that is open, how things are called in it, and where each of its pages is."""

    console: Open
    names: Mapping[str, str]
    person: str
    pages: Mapping[str, str]


@contextmanager
def wide(folder: Path, names: Mapping[str, str]) -> Iterator[Wide]:
    """A console over some weeks of nights inside the block."""
    at, long = datetime.now(UTC), names is LONG
    with Catalog.open(folder) as catalog:
        write_years(catalog, nights=40, tables=5, at=at)
        run = begin_run(catalog, folder, at)
        why = names["nightly"] if long else "the demo on Thursday"
        catalog.holds.set(Hold(database="dev", until=at + timedelta(days=2), why=why, by=names["prod"], at=at))
        archive = catalog.archives.list()[0].archive.id
        snapshot = next(one.id for one in catalog.snapshots.list(repository="r2"))
    _rename(folder, names)
    text = CONFIGURATION.format(folder=folder)
    for name, other in names.items():
        text = text.replace(f'"{name}"', f'"{other}"').replace(f".{name}]", f".{other}]")
    settings = config.check_content(folder / "daybreak.toml", text.encode())
    person = (names["prod"] if long else "ada") + ("x" if long else "")  # people may have one letter more
    lock = folder / "runs" / f"{run}.lock"
    with opened(folder, settings) as console, lock.open("w") as held, pytest.MonkeyPatch.context() as patch:
        fcntl.flock(held, fcntl.LOCK_EX)  # it goes on
        patch.setattr("daybreak.console.inquiry.ask", _runner(names, text, at))
        console.user(person)
        bob = console.user(names["dev"] if long else "bob", Role.OPERATOR)
        console.accounts.tokens.add(bob, names["r2"], ["look", "backup"], lasting=timedelta(days=9), at=at, by=HOST)
        n = names
        yield Wide(
            console,
            names,
            person,
            {
                **{
                    name: f"/{name}"
                    for name in ("runs", "archives", "off-site", "dev", "schedule", "doctor", "settings")
                },
                **{name: f"/{name}" for name in ("account", "people", "tokens", "audit", "api", "step-up")},
                "overview": "/",
                "narrowed": f"/runs?plan={n['nightly']}&kind=backup",
                "running": f"/runs/{run}",
                "run": f"/runs/{archive}",
                "archive": f"/archives/{archive}",
                "repository": f"/off-site/{n['r2']}",
                "snapshot": f"/off-site/{n['r2']}/snapshots/{snapshot}",
                "fetch": f"/off-site/{n['r2']}/snapshots/{snapshot}/fetch",
                "locks": f"/off-site/{n['r2']}/locks",
                "plan": f"/dev/{n['weekly']}/plan",
                "refresh": f"/dev/{n['weekly']}/refresh",
                "hold": f"/dev/{n['dev']}/hold",
                "release": f"/dev/{n['dev']}/release",
                "undo": f"/dev/{n['dev']}/undo",
                "back-up": f"/backups/{n['nightly']}/backup",
                "drill": f"/backups/{n['nightly']}/drill",
                "ship": f"/backups/{n['nightly']}/ship",
                "check": f"/off-site/{n['r2']}/check",
                "forget": f"/off-site/{n['r2']}/forget",
                "restore": f"/archives/{archive}/restore",
                "change": f"/settings/change?setting=backups.{n['nightly']}.schedule&value=03:30",
                "passkey": "/account/passkey",
                "nowhere": f"/backups/{n['attic']}/backup",
            },
        )


def _rename(folder: Path, names: Mapping[str, str]) -> None:
    """Call everything in the catalog by these names."""
    catalog = sqlite3.connect(folder / FILE)
    with catalog:
        for (table,) in catalog.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for _, column, kind, *_ in catalog.execute(f"PRAGMA table_info('{table}')").fetchall():
                for name, other in names.items():
                    if name != other and ("CHAR" in kind or kind in {"TEXT", "JSON"}):
                        catalog.execute(
                            f"UPDATE {table} SET {column} = CASE"  # noqa: S608 -- names of our own tables
                            f" WHEN {column} IN (?1, ?1 || '-check', ?1 || '-prune') THEN replace({column}, ?1, ?2)"
                            f" ELSE replace({column}, '\"' || ?1 || '\"', '\"' || ?2 || '\"') END",
                            (name, other),
                        )
    catalog.close()


def _runner(names: Mapping[str, str], text: str, at: datetime) -> Any:
    """What asks a runner that knows these names."""
    snapshot = {"id": "5" * 64, "taken_at": rfc3339(at), "archive": "20261125-080003-0000", "host": "vps"}
    difference = ('-schedule = "02:00"', '+schedule = "03:30"')
    said: dict[type, dict[str, Any]] = {
        LookAhead: {
            "target": names["dev"],
            "obstacles": ["extension pg_stat_statements is not there → CREATE EXTENSION pg_stat_statements"],
            "steps": [
                "take the newest archive, /var/lib/daybreak/archives/nightly/20261125-080003-0000/prod.dump",
                f"restore it as {names['dev']}_new_20261125080003, 8 at a time",
            ],
            "notes": ["public.feature_flags keeps its rows where owner = 'dev'"],
            "left_out": [f"SUBSCRIPTION {names['prod']}"],
        },
        Identify: {
            "now": {"database": names["dev"], "oid": 16384, "system_identifier": "7580340398405775360"},
            "same": None,
        },
        Locks: {"locks": [{"holder": f"restic of root on {names['prod']}, pid 4242, for 3 h", "dead": True}]},
        Files: {"files": [{"path": f"/{names['nightly']}/manifest.json", "kind": "file", "size_bytes": 4711}]},
        LookAtForgetting: {
            "repository": names["r2"],
            "seen": "x",
            "plans": [
                {
                    "plan": names["nightly"],
                    "paused": [],
                    "snapshots": [
                        {**snapshot, "keep": True, "reasons": ["the newest", "daily 7"]},
                        {**snapshot, "keep": False, "reasons": []},
                    ],
                }
            ],
        },
        LookAtSettings: {"settings": [asdict(one) for one in settable.settings_of(tomllib.loads(text))]},
        LookAtChange: {
            "difference": difference,
            "faults": (),
            "base": "x",
            "file": "/etc/daybreak/daybreak.toml",
            "obstacle": "",
            "remedy": "",
        },
    }

    def ask(_folder: Path, request: Any) -> Iterator[dict[str, Any]]:
        if type(request) in said:
            yield deepcopy(said[type(request)])

    return ask
