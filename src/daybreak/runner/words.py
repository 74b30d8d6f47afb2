"""What can be asked through the socket: a fixed list, each with arguments of a fixed kind. Pure.

Shapes  a request is one JSON object on one line of at most `LONGEST_LINE` bytes, `{"ask": "start", "kind": "backup",
        "plan": "nightly", "slot": "now"}`; the answers are objects on lines of their own. A key that is missing, too
        much or there twice is refused, and so is a value of another kind (`values.py`). What has a default here may
        be left out.
Errors  `UsageError` in words, whatever the bytes are.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, ClassVar, Final, cast

from daybreak.errors import UsageError
from daybreak.runner.glances import (
    Doctor,
    Files,
    Identify,
    Locks,
    Look,
    LookAhead,
    LookAtChange,
    LookAtForgetting,
    LookAtSettings,
    NotifyTest,
    Snapshots,
    Unlock,
    Weigh,
)
from daybreak.runner.values import KINDS, NOW, Value, checked, shown

__all__ = [
    "KINDS",
    "LONGEST_LINE",
    "NOW",
    "SOCKET",
    "Accept",
    "Act",
    "Backup",
    "Cancel",
    "Change",
    "Check",
    "Doctor",
    "Drill",
    "Fetch",
    "Files",
    "Follow",
    "Forget",
    "HoldIt",
    "Identify",
    "Locks",
    "Look",
    "LookAhead",
    "LookAtChange",
    "LookAtForgetting",
    "LookAtSettings",
    "NotifyTest",
    "Prune",
    "Refresh",
    "Release",
    "Request",
    "Rescue",
    "Restore",
    "Ship",
    "Snapshots",
    "Start",
    "State",
    "Undo",
    "Unlock",
    "Weigh",
    "read_request",
    "write_request",
]

SOCKET: Final = "runner.sock"
LONGEST_LINE: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Carry out a plan for a slot; a run that already does so is joined."""

    ask: ClassVar[str] = "start"
    kind: str
    plan: str
    slot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How a run is."""

    ask: ClassVar[str] = "state"
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """Steps and progress of a run as they come, until it has ended."""

    ask: ClassVar[str] = "follow"
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Ask a run to end."""

    ask: ClassVar[str] = "cancel"
    run: str
    who: str = ""  # the person for whom the caller asks; "": for himself


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldIt:
    """Let nothing replace a database for now; `until` is an instant, or empty."""

    ask: ClassVar[str] = "hold"
    database: str
    until: str
    why: str
    who: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Let it be replaced again."""

    ask: ClassVar[str] = "release"
    database: str
    who: str = ""


# -- what a person begins, without a slot: a run each -------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """What every one of them may say: for whom it is, and which click it was."""

    who: str = ""  # the person for whom the caller asks; "": for himself
    key: str = ""  # the same key once more is the same run, not another one


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup(_Begun):
    """Back up now."""

    ask: ClassVar[str] = "backup"
    plan: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ship(_Begun):
    """Send the newest archive off-site."""

    ask: ClassVar[str] = "ship"
    plan: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check(_Begun):
    """Check a repository, and read the part whose turn it is."""

    ask: ClassVar[str] = "check"
    repository: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune(_Begun):
    """Remove from a storage what no snapshot needs."""

    ask: ClassVar[str] = "prune"
    repository: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill(_Begun):
    """Prove the newest archive of a backup: the local one, or a repository's."""

    ask: ClassVar[str] = "drill"
    plan: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh(_Begun):
    """Replace the target of a refresh; `first`: although Daybreak never did so before."""

    ask: ClassVar[str] = "refresh"
    plan: str
    first: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo(_Begun):
    """Bring back what the last refresh replaced."""

    ask: ClassVar[str] = "undo"
    database: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Accept(_Begun):
    """Publish a quarantined archive."""

    ask: ClassVar[str] = "accept"
    archive: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore(_Begun):
    """Restore an archive into the new database `new`; on production's server `confirm` is that name once more."""

    ask: ClassVar[str] = "restore"
    archive: str
    backup: str
    database: str
    new: str
    confirm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescue(_Begun):
    """Restore single tables into a new schema."""

    ask: ClassVar[str] = "rescue"
    archive: str
    backup: str
    database: str
    tables: tuple[str, ...]
    schema: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch(_Begun):
    """Bring an archive back from a repository, into a folder of its own in the state folder."""

    ask: ClassVar[str] = "fetch"
    repository: str
    snapshot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget(_Begun):
    """Forget by the repository's rules what `LookAtForgetting` showed; refused where that is another answer by now."""

    ask: ClassVar[str] = "forget"
    repository: str
    only: str  # of this backup alone; "": of each that goes there
    seen: str  # what the preview said


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(_Begun):
    """Give a key of the configuration a value, "": the default, where the file is what `LookAtChange` was based on."""

    ask: ClassVar[str] = "change"
    setting: str
    value: str
    base: str


#: What begins a run that a person wants.
Act = Backup | Ship | Check | Prune | Drill | Refresh | Undo | Accept | Restore | Rescue | Fetch | Forget
Request = Start | State | Follow | Cancel | HoldIt | Release | Change | Act | Look

_REQUESTS: Final[dict[str, type[Request]]] = {
    one.ask: one
    for one in (
        *(Start, State, Follow, Cancel, HoldIt, Release, Change),
        *(Backup, Ship, Check, Prune, Drill, Refresh, Undo, Accept, Restore, Rescue, Fetch, Forget),
        *(LookAhead, Identify, LookAtForgetting, LookAtSettings, LookAtChange),
        *(Snapshots, Files, Weigh, Locks, Unlock, Doctor, NotifyTest),
    )
}


def read_request(line: bytes) -> Request:
    """Understand one line. Raise UsageError for everything that is not on the list."""
    found = _object(line)
    word = found.pop("ask", None)
    kind = _REQUESTS.get(word) if isinstance(word, str) else None
    if kind is None:
        raise UsageError(f"{shown(word)} is nothing that can be asked", hint=f"ask for {', '.join(_REQUESTS)}")
    known = [field.name for field in fields(kind)]
    wanted = [field.name for field in fields(kind) if field.default is MISSING]
    if not set(wanted) <= set(found) <= set(known):
        raise UsageError(f"{kind.ask} wants {', '.join(wanted)}, and nothing else")
    values: dict[str, Value] = {name: checked(kind.ask, name, found[name]) for name in known if name in found}
    return kind(**cast("dict[str, Any]", values))


def write_request(request: Request) -> bytes:
    """The line that `read_request` understands."""
    return json.dumps({"ask": request.ask, **asdict(request)}).encode() + b"\n"


def _object(line: bytes) -> dict[str, object]:
    if len(line) > LONGEST_LINE:
        raise UsageError(f"a request has at most {LONGEST_LINE} bytes")
    try:
        found: object = json.loads(line.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise UsageError("a request is one JSON object on one line, each of its keys once") from None
    if not isinstance(found, dict):
        raise UsageError("a request is one JSON object on one line")
    return cast("dict[str, object]", found)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found
