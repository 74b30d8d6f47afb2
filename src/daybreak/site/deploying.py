"""The server that a configuration describes, and the workflows that call it. No catalog is opened: there may be none.

Errors  `ConfigError` where the file says nothing about the server, or the caller is not root.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from daybreak import files
from daybreak.config import Settings
from daybreak.deploy.pieces import Account, Service, Text
from daybreak.deploy.server import Deployment, Result, pieces, walk
from daybreak.deploy.workflows import workflows
from daybreak.errors import ConfigError
from daybreak.site import state_of
from daybreak.site.units import units
from daybreak.systemd.units import CONSOLE_USER

_UNITS: Final = Path("/etc/systemd/system")
#: There where systemd is the init of this host: sd_booted(3).
_SYSTEMD: Final = Path("/run/systemd/system")


def setup(settings: Settings, *, make: bool) -> list[Result]:
    """`daybreak server setup`; without `make` it only looks."""
    if settings.server is None:
        raise ConfigError(
            f"{settings.path} has no [server]", hint="`daybreak config example` shows one: group, user, scripts, keys"
        )
    if make and os.geteuid() != 0:
        raise ConfigError("only root can set a server up", hint="sudo daybreak server setup; --check only looks")
    deployment = Deployment(
        server=settings.server,
        source=settings.path,
        state=state_of(settings),
        program=_program(),
        databases=settings.databases.values(),
        repositories=settings.repositories.values(),
        backups=settings.backups.values(),
        refreshes=settings.refreshes.values(),
    )
    parts = pieces(deployment)
    if any(plan.schedule for plan in (*settings.backups.values(), *settings.refreshes.values())):
        found = units(replace(settings, path=settings.server.configuration), deployment.state, timers=False)
        parts.append(Account(name=CONSOLE_USER, group=settings.server.group, system=True))
        parts += [Text(path=_UNITS / unit.name, content=unit.text.encode(), mode=0o644) for unit in found]
        parts += [Service(name=unit.name, system=_SYSTEMD) for unit in found]
    return walk(parts, make=make)


def install_workflows(settings: Settings, folder: Path, *, minutes: int) -> dict[Path, bool]:
    """`daybreak github install`: each workflow's file, and whether it was changed."""
    texts = workflows(settings.backups.values(), settings.refreshes.values(), settings.scripts, minutes=minutes)
    if not texts:
        raise ConfigError(
            f"{settings.path} expects GitHub for no plan",
            hint='write trigger = "github" beside the schedule of each plan that GitHub is to come for',
        )
    changed: dict[Path, bool] = {}
    with files.disk_errors(folder, "cannot write workflows into"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            path = folder / name
            changed[path] = not path.is_file() or path.read_text("utf-8", "replace") != text
            if changed[path]:
                path.write_text(text, "utf-8")
    return changed


def _program() -> Path:
    """This very daybreak, as somebody else can call it."""
    called = Path(sys.argv[0])
    if called.name == "daybreak" and called.is_file():
        return called.absolute()
    found = shutil.which("daybreak")
    return Path(found) if found else Path(sys.executable).with_name("daybreak")
