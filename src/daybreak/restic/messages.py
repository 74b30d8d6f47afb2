"""What restic says, as frozen records. Pure.

Shapes  one JSON object a line (backup, ls, exit_error) or one JSON list (snapshots).
Units   sizes in bytes, instants aware and in UTC.
Errors  `ValueError` for what is not restic's JSON; lines of a kind that nobody asked for are None.
Source  restic's manual, "Scripting"; fields that 0.14 lacks are optional here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, cast

from daybreak.model import Snapshot

#: restic writes nanoseconds, Python reads microseconds.
_FRACTION: Final = re.compile(r"(\.\d{6})\d+")
_VERSION: Final = re.compile(r"restic (\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a backup is."""

    done_bytes: int
    total_bytes: int  # grows while restic still looks around


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a backup says at its end."""

    snapshot: str  # 8 hexadecimal digits from 0.14, 64 from newer ones
    total_bytes: int  # what was read
    added_bytes: int  # growth of the repository: as stored from 0.17 on, before compression from older ones
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file or folder of a snapshot."""

    path: str
    kind: str  # file, dir, symlink, …
    size_bytes: int  # 0 for whatever is not a file


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """Who holds a lock of a repository."""

    host: str
    pid: int
    exclusive: bool
    made_at: datetime


def parse_version(text: str) -> tuple[int, int, int] | None:
    """`restic 0.14.0 compiled with …` as (0, 14, 0)."""
    found = _VERSION.search(text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def parse_backup(line: str) -> Progress | Summary | None:
    """One line of `backup --json`; None for a line that is neither progress nor the end."""
    said = _object(line)
    match said.get("message_type") if said else None:
        case "status":
            return Progress(done_bytes=_int(said, "bytes_done"), total_bytes=_int(said, "total_bytes"))
        case "summary":
            packed = said.get("data_added_packed")
            return Summary(
                snapshot=_text(said, "snapshot_id"),
                total_bytes=_int(said, "total_bytes_processed"),
                added_bytes=packed if isinstance(packed, int) else _int(said, "data_added"),
                seconds=_float(said, "total_duration"),
            )
        case _:
            return None


def parse_snapshots(text: str) -> tuple[Snapshot, ...]:
    """The list of `snapshots --json`, oldest first."""
    listed = _json(text)
    if listed is None:  # what restic says for an empty list
        return ()
    if not isinstance(listed, list):
        raise ValueError(f"not a list of snapshots: {text[:80]!r}")  # noqa: TRY004 -- bad input, not a bad call
    found = [_snapshot(one) for one in _objects(cast("object", listed))]
    return tuple(sorted(found, key=lambda snapshot: (snapshot.taken_at, snapshot.id)))


def _snapshot(said: Mapping[str, object]) -> Snapshot:
    tags = _texts(said, "tags")
    summary = said.get("summary")
    size = cast("Mapping[str, object]", summary).get("total_bytes_processed") if isinstance(summary, dict) else None
    return Snapshot(
        id=_text(said, "id"),
        taken_at=parse_time(_text(said, "time")),
        host=str(said.get("hostname", "")),
        tags=tags,
        paths=_texts(said, "paths"),
        plan=_tagged(tags, "plan="),
        archive=_tagged(tags, "archive="),
        size_bytes=size if isinstance(size, int) else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A snapshot and what it holds."""

    snapshot: Snapshot
    entries: tuple[Entry, ...]


def parse_ls(text: str) -> Listing:
    """What `ls --json` says: the snapshot, then its nodes."""
    lines = [_object(line) for line in text.splitlines()]
    about = next((said for said in lines if said.get("struct_type") == "snapshot"), None)
    if about is None:
        raise ValueError(f"no snapshot in the listing: {text[:80]!r}")
    entries = tuple(
        Entry(path=_text(said, "path"), kind=_text(said, "type"), size_bytes=_int(said, "size"))
        for said in lines
        if said.get("struct_type") == "node"
    )
    return Listing(snapshot=_snapshot(about), entries=entries)


def parse_keys(text: str) -> str:
    """The id of the key that the password opens, from `key list --json`."""
    listed = _json(text)
    for one in cast("list[object]", listed) if isinstance(listed, list) else ():
        if isinstance(one, dict):
            said = cast("Mapping[str, object]", one)
            if said.get("current") is True:
                return _text(said, "id")
    raise ValueError(f"no key is the present one: {text[:80]!r}")


def parse_config(text: str) -> int:
    """The format's version from `cat config`: 1 cannot compress, 2 can."""
    return _int(_object(text), "version")


def parse_lock(text: str) -> Lock:
    """The object of `cat lock`."""
    said = _object(text)
    return Lock(
        host=_text(said, "hostname"),
        pid=_int(said, "pid"),
        exclusive=said.get("exclusive") is True,
        made_at=parse_time(_text(said, "time")),
    )


def parse_broken_packs(line: str) -> tuple[str, ...]:
    """The packs that the summary of a `check` (0.18 and newer) calls broken."""
    return _texts(_object(line), "broken_packs")


def parse_found(line: str) -> frozenset[str]:
    """The snapshots in one line of `find --json`; none for a line that is no list."""
    if not line.startswith("["):
        return frozenset()
    named = (one.get("snapshot") for one in _objects(_json(line)))
    return frozenset(name for name in named if isinstance(name, str))


def parse_index(text: str) -> frozenset[str]:
    """The packs that one index names."""
    return frozenset(_text(one, "id") for one in _objects(_object(text).get("packs")))


def parse_freed(text: str) -> str:
    """What a `prune` says that it took away, `2 blobs / 506 B`; an empty text where it does not say."""
    found = re.search(r"^total prune:\s+(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


def parse_init(text: str) -> str:
    """The id of the new repository: 64 digits from newer restics, the first 10 from 0.14."""
    for line in text.splitlines():
        said = _object(line)
        if said.get("message_type") == "initialized":
            return _text(said, "id")
        found = re.match(r"created restic repository ([0-9a-f]+) at ", line)
        if found:
            return found[1]
    raise ValueError(f"not the end of init: {text[:80]!r}")


def parse_total_size(text: str) -> int:
    """The repository's size from `stats --mode raw-data --json`."""
    return _int(_object(text), "total_size")


def error_text(line: str) -> str:
    """A line of stderr as plain text; the message of an `exit_error` or `error` object taken out of its JSON."""
    said = _object(line)
    message: object = said.get("message")
    inner = said.get("error")
    if isinstance(inner, dict):
        message = cast("Mapping[str, object]", inner).get("message", message)
    return message.strip() if isinstance(message, str) else line


def parse_time(text: str) -> datetime:
    """An instant of restic's, nanoseconds cut to microseconds, in UTC."""
    at = datetime.fromisoformat(_FRACTION.sub(r"\1", text))
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC")
    return at.astimezone(UTC)


def _json(text: str) -> object:
    try:
        return cast("object", json.loads(text))
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {text[:80]!r}") from error


def _object(line: str) -> Mapping[str, object]:
    """The object that a text holds, or an empty one: restic mixes plain lines into its JSON."""
    if not line.lstrip().startswith("{"):
        return {}
    try:
        said = _json(line)
    except ValueError:
        return {}
    return cast("Mapping[str, object]", said) if isinstance(said, dict) else {}


def _objects(listed: object) -> list[Mapping[str, object]]:
    """The objects of a list; an empty one for anything else."""
    items = cast("list[object]", listed) if isinstance(listed, list) else []
    return [cast("Mapping[str, object]", one) for one in items if isinstance(one, dict)]


def _text(said: Mapping[str, object], key: str) -> str:
    value = said.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"restic's answer lacks {key!r}")
    return value


def _int(said: Mapping[str, object], key: str) -> int:
    """A number; restic leaves out what is 0."""
    value = said.get(key, 0)
    return value if isinstance(value, int) else 0


def _float(said: Mapping[str, object], key: str) -> float:
    value = said.get(key, 0.0)
    return float(value) if isinstance(value, (int, float)) else 0.0


def _texts(said: Mapping[str, object], key: str) -> tuple[str, ...]:
    value = said.get(key)
    return tuple(str(one) for one in cast("list[object]", value)) if isinstance(value, list) else ()


def _tagged(tags: tuple[str, ...], prefix: str) -> str | None:
    return next((tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix)), None)
