"""What is sent off-site, and what a snapshot of ours looks like from outside. Pure.

Shapes  a `Parcel` names an archive that nobody changes meanwhile; a snapshot holds it whole when `is_whole` says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from daybreak.model import ShipForm, Snapshot

#: Every snapshot of ours has this tag, and one each of `plan=` and `archive=`.
OURS: Final = "daybreak"
QUARANTINED: Final = "quarantined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """What is to be sent: files that nobody changes meanwhile (pinned), and the names they travel under."""

    plan: str
    name: str  # base name of the published archive, for example genjishimada-prod.dump
    dump: Path
    manifest: Path
    globals: Path | None = None
    quarantined: bool = False
    again: bool = False  # an earlier run may have sent it already, and died before it could say so
    form: ShipForm = ShipForm.SHARDS
    shard_bytes: int | None = None  # the average; None: as the last time


def tags(parcel: Parcel, archive: str) -> tuple[str, ...]:
    """The tags of a parcel's snapshot."""
    return (OURS, f"plan={parcel.plan}", f"archive={archive}", *([QUARANTINED] if parcel.quarantined else []))


def archive_path(snapshot: Snapshot) -> str | None:
    """Where the archive stands in a snapshot of ours that holds it as a file: beside its manifest."""
    return next((path for path in snapshot.paths if f"{path}.json" in snapshot.paths), None)


def shard_folder(snapshot: Snapshot) -> str | None:
    """The folder of a snapshot of ours that holds an archive as shards, as it stands in the snapshot: `/<plan>`."""
    if OURS not in snapshot.tags or snapshot.plan is None or len(snapshot.paths) != 1:
        return None
    return f"/{snapshot.plan}" if PurePosixPath(snapshot.paths[0]).name == snapshot.plan else None


def is_whole(snapshot: Snapshot) -> bool:
    """Whether a snapshot that was read back holds an archive with its manifest."""
    return archive_path(snapshot) is not None or shard_folder(snapshot) is not None
