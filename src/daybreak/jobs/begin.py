"""The first configuration: which of the servers that were found is production, which is dev, and where archives go.

Pure but for `place_file` and the zone of this host.
Errors  `UsageError` where it cannot be told, `Refused` where a configuration is there already.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from daybreak import schedule
from daybreak.errors import ConfigError, Refused, UsageError
from daybreak.hosts.search import Server
from daybreak.postgres.tools import conninfo_text

_DEV: Final = re.compile(
    r"(?:^|[-_.])(?:dev|devel|development|test|testing|stage|staging|qa)(?:[-_.0-9]|$)", re.IGNORECASE
)
_FOLDER: Final = Path("/var/backups/daybreak")
_FILE_MODE: Final = 0o640
_FOLDER_MODE: Final = 0o2770

Tables = Mapping[str, Mapping[str, Mapping[str, object]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What the configuration is to be made of."""

    production: Server
    development: Server | None
    folder: Path  # of the archives
    timezone: str


def candidates(servers: Sequence[Server]) -> tuple[list[Server], list[Server]]:
    """Those that look like production, and those that look like dev, by their names."""
    dev = [one for one in servers if _DEV.search(one.name)]
    return [one for one in servers if one not in dev], dev


def pick_server(servers: Sequence[Server], name: str | None, what: str) -> Server | None:
    """The one of that name; without a name the only one, None where there is none. Raise UsageError."""
    if name is not None:
        for one in servers:
            if one.name == name:
                return one
        there = ", ".join(one.name for one in servers) or "none"
        raise UsageError(f"no server {name!r} was found here", hint=f"found: {there}")
    if len(servers) > 1:
        there = ", ".join(one.name for one in servers)
        raise UsageError(f"which one is {what}: {there}?", hint=f"--{what} NAME says it")
    return servers[0] if servers else None


def propose_folder(production: Server) -> Path:
    """Where the archives go: what the container mounts for that, else a folder of our own."""
    return production.backups or _FOLDER / production.dbname


def tables_of(choice: Choice) -> Tables:
    """The tables of the configuration, as `config.written` takes them."""
    production, development = choice.production, choice.development
    databases = {"prod": {**_where(production), "protected": True}}
    tables: dict[str, Mapping[str, Mapping[str, object]]] = {"databases": databases}
    if development is not None:
        databases["dev"] = _where(development)
        if development.socket is not None and development.socket == production.socket:
            databases["dev"]["shares_cluster_with"] = "prod"
    archive = choice.folder / f"{production.dbname}-prod.dump"
    tables["backups"] = {"nightly": {"database": "prod", "archive": str(archive), "schedule": "02:00"}}
    if development is not None:
        tables["refreshes"] = {"weekly": {"backup": "nightly", "target": "dev", "schedule": "Sun 02:00"}}
    return tables


def _where(server: Server) -> dict[str, object]:
    if server.place.container:
        return {"container": server.place.container, "runtime": server.place.runtime}
    keywords = {"host": str(server.socket), "port": str(server.port), "user": server.user, "dbname": server.dbname}
    return {"url": conninfo_text(keywords)}


def host_zone(root: Path = Path("/")) -> str:
    """The zone of this host, UTC where it does not say."""
    names: list[str] = []
    if (root / "etc/timezone").is_file():
        names.append((root / "etc/timezone").read_text("utf-8", "replace").strip())
    link = root / "etc/localtime"
    if link.is_symlink():
        names.append(str(link.readlink()).partition("zoneinfo/")[2])
    for name in names:
        try:
            schedule.parse_zone(name)
        except ValueError:
            continue
        return name
    return "UTC"


def refuse_existing(path: Path) -> None:
    """Never overwrite. Raise Refused."""
    if os.path.lexists(path):  # False where we may not look; to write it says so
        raise Refused(f"{path} is there already", hint="daybreak doctor looks at it; --config FILE writes another one")


def place_file(path: Path, text: str) -> None:
    """Write a new configuration, readable for its group. Raise Refused, ConfigError."""
    refuse_existing(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(handle)
        except BaseException:  # half a file would be in the way of the next call
            path.unlink()
            raise
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}", hint="sudo, or --config FILE") from error


def make_folder(folder: Path) -> bool:
    """Make the folder of the archives, for its group alone, where it is missing. False where it was there."""
    try:
        if folder.is_dir():
            return False
        folder.mkdir(parents=True)
        folder.chmod(_FOLDER_MODE)
    except OSError as error:
        words = ["sudo", "install", "-d", "-m", "2770", "-o", str(os.geteuid()), "-g", str(os.getegid()), str(folder)]
        hint = shlex.join(words) if isinstance(error, PermissionError) else "look at the disk, or name another --folder"
        raise ConfigError(f"{folder} cannot be made: {error.strerror}", hint=hint) from error
    return True
