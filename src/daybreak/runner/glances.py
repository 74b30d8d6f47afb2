"""What can be asked through the socket and is answered by looking, or done at once: the second half of `words.py`.

Shapes  as there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAhead:
    """What a refresh would do now."""

    ask: ClassVar[str] = "look-ahead"
    plan: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Identify:
    """Which database really answers under a name, beside the one that is enrolled."""

    ask: ClassVar[str] = "identify"
    database: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAtForgetting:
    """What would be forgotten now, and why."""

    ask: ClassVar[str] = "look-at-forgetting"
    repository: str
    only: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAtSettings:
    """Every key of the configuration that `Change` may set, as it is now."""

    ask: ClassVar[str] = "look-at-settings"


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAtChange:
    """What another value of a key would change in the file, and what is wrong with it."""

    ask: ClassVar[str] = "look-at-change"
    setting: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshots:
    """What a repository itself says it holds."""

    ask: ClassVar[str] = "snapshots"
    repository: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The files of one snapshot."""

    ask: ClassVar[str] = "files"
    repository: str
    snapshot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Weigh:
    """What a repository weighs."""

    ask: ClassVar[str] = "weigh"
    repository: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Locks:
    """Who holds a repository."""

    ask: ClassVar[str] = "locks"
    repository: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlock:
    """Remove the locks that dead restics of this host left."""

    ask: ClassVar[str] = "unlock"
    repository: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Doctor:
    """Look at every piece of the chain, or only at what tonight needs."""

    ask: ClassVar[str] = "doctor"
    tonight: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyTest:
    """Send a message to a destination, or to all of them."""

    ask: ClassVar[str] = "notify-test"
    destination: str


#: All of them.
Look = (
    LookAhead
    | Identify
    | LookAtForgetting
    | LookAtSettings
    | LookAtChange
    | Snapshots
    | Files
    | Weigh
    | Locks
    | Unlock
    | Doctor
    | NotifyTest
)
