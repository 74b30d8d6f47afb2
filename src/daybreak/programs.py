"""Where a program is, and what it finds around it.

Errors  `ConfigError` for a program that is not there.
"""

from __future__ import annotations

import os
import shutil
from typing import Final

from daybreak.errors import ConfigError

#: What a child inherits from our environment; everything else, PG* above all, is left out.
_INHERITED: Final = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "TZ",
    "SSH_AUTH_SOCK",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
    "CONTAINER_HOST",
    "CONTAINERS_CONF",
    "CONTAINERS_STORAGE_CONF",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "LD_LIBRARY_PATH",
)


def surroundings() -> dict[str, str]:
    """The environment that a program of ours starts with."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"}


def find_program(name: str, path: str | None = None) -> str:
    """The full path of a program. Raise ConfigError with what to install when it is not there."""
    found = shutil.which(name, path=path)
    if found is None:
        raise ConfigError(
            f"the program {name} is not there",
            hint=f"install it, or say where it is in the configuration (looked in {path or os.environ.get('PATH')})",
        )
    return found
