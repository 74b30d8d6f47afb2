"""The nouns of this host, as `server setup` makes it. No behaviour beyond themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerKey:
    """A key of ssh and the only things that it may ask for."""

    file: Path  # the public key
    may: tuple[str, ...]  # backup:NAME, refresh:NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """This host, as `server setup` makes it."""

    group: str
    configuration: Path  # where the file belongs
    user: str | None = None  # who comes over ssh
    scripts: Mapping[str, Path] = field(default_factory=dict[str, Path])  # backup:NAME, refresh:NAME -> its script
    keys: tuple[ServerKey, ...] = ()
    authorized_keys: Path | None = None  # None: in the user's home
