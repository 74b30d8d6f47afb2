"""The scripts on the server that carry out a plan, for people and for schedulers that know a path. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from daybreak.deploy.workflows import fill
from daybreak.server import Server

_DOES: Final = {"backup": "Backs up", "refresh": "Refreshes"}


def scripts(server: Server, subjects: Mapping[str, str]) -> dict[Path, str]:
    """The text of each script by its path; `subjects` has the database that each of its verbs is about."""
    texts: dict[Path, str] = {}
    for verb, path in server.scripts.items():
        kind, _, plan = verb.partition(":")
        texts[path] = fill(
            "script.sh",
            DOES=f"{_DOES[kind]} {subjects[verb]} ({plan})",
            SCRIPT=path.name,
            GROUP=server.group,
            CONFIGURATION=str(server.configuration),
            KIND=kind,
            PLAN=plan,
        )
    return texts
