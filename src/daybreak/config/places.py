"""Where the configuration file and the state folder are. Pure but for the question whether a file is there.

Errors  `ConfigError` where there is no file (with all places that were looked at), a name is relative, or this process
        has no folder that it stands in or is at home in.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from daybreak.errors import ConfigError

FILE_NAME: Final = "daybreak.toml"
SYSTEM_FILE: Final = Path("/etc/daybreak") / FILE_NAME
SYSTEM_STATE: Final = Path("/var/lib/daybreak")


def find_file(explicit: Path | None, env: Mapping[str, str], *, here: Path, system: Path = SYSTEM_FILE) -> Path:
    """The configuration file: `--config`, else DAYBREAK_CONFIG, else ./daybreak.toml, else /etc/daybreak/daybreak.toml.

    The first two must be there when they are given; nothing else is looked at then.
    """
    named = env.get("DAYBREAK_CONFIG", "")
    if explicit is not None or named:
        path = here / (explicit or named)
        if not _is_there(path, unseen=True):
            who = "--config" if explicit is not None else "DAYBREAK_CONFIG"
            raise ConfigError(f"the configuration file {path} is not there", hint=f"correct {who}")
        return path
    looked = (here / FILE_NAME, system)
    for path, unseen in zip(looked, (False, True), strict=True):  # root's folder is no place for whom root has become
        if _is_there(path, unseen=unseen):
            return path
    raise ConfigError(
        f"there is no configuration file: looked for --config, DAYBREAK_CONFIG, {looked[0]} and {looked[1]}",
        hint=f"`daybreak config example > {FILE_NAME}` writes one to begin with",
    )


def choose_state(
    configured: Path | None,
    env: Mapping[str, str],
    *,
    is_root: bool,
    home: Path,
    system: Path = SYSTEM_STATE,
) -> Path:
    """The one state folder of this host, for everybody who uses this configuration.

    DAYBREAK_STATE, else `state = "…"`, else /var/lib/daybreak for root or where it exists, else
    $XDG_STATE_HOME/daybreak. Whether the caller can write it is not asked here: there is no other choice.
    """
    if named := env.get("DAYBREAK_STATE"):
        if not Path(named).is_absolute():
            raise ConfigError(f"DAYBREAK_STATE is {named!r}: not an absolute path", hint="begin it with a slash")
        return Path(named)
    if configured is not None:
        return configured
    if is_root or system.exists():
        return system
    base = Path(env.get("XDG_STATE_HOME", ""))
    # The XDG specification asks to ignore a relative path there.
    if not base.is_absolute() and not home.is_absolute():
        raise ConfigError("this user has no home for the state folder", hint='set HOME, or state = "/…" in the file')
    return (base if base.is_absolute() else home / ".local" / "state") / "daybreak"


def here_now() -> Path:
    """The folder that we stand in. Raise ConfigError where it is gone."""
    try:
        return Path.cwd()
    except OSError as error:
        raise ConfigError(f"the folder this was called in: {error.strerror}", hint="cd /, and call it again") from None


def home_now() -> Path:
    """The home of this user; a relative path where there is none, as for a number without a name in a container."""
    with contextlib.suppress(RuntimeError):
        return Path.home()
    return Path()


def _is_there(path: Path, *, unseen: bool) -> bool:
    """Whether a file is there; `unseen` where we may not look: whoever reads it then says so."""
    try:
        return path.exists()
    except PermissionError:
        return unseen
