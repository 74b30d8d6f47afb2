"""Fetch an archive back from a repository.

Shapes  an archive that went as one file comes as it is; one that went as shards is joined, and is the same archive
        in other bytes. FILE, FILE.json and FILE.globals.sql appear together, after FILE was compared with its manifest;
        they are written in a folder beside and renamed, so nothing half ever bears their names.
Errors  `Refused` where FILE exists already, or the snapshot's plan is no name; `OffsiteError` (missing) where no
        snapshot fits, `ArchiveError` where what came back is not what its manifest says, `PublishError` for what the
        disk refuses.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from glob import escape
from itertools import islice
from pathlib import Path
from typing import Final

from daybreak.archive import Manifest, differences, parse_manifest, read_archive, read_manifest
from daybreak.archive.join import JoinError, join
from daybreak.archive.shards import GLOBALS, MANIFEST, joined, parse_shard_manifest
from daybreak.config.fields import NAME
from daybreak.errors import ArchiveError, OffsiteError, PublishError, Refused, UsageError
from daybreak.files import (
    FILE_MODE,
    disk_errors,
    disk_told,
    free_bytes,
    fsync_folder,
    make_folder,
    sha256_file,
    share,
    write_durable,
)
from daybreak.jobs.parcel import OURS, QUARANTINED, archive_path, is_whole, shard_folder
from daybreak.jobs.run import RunContext, now
from daybreak.model import Snapshot
from daybreak.restic import Restic
from daybreak.retention import FAR_AHEAD
from daybreak.units import show_bytes

LATEST: Final = "latest"
#: Where fetches without a name of their own go, in the state folder, and for how long.
FETCHED: Final = "fetched"
KEPT: Final = timedelta(days=7)
_SUFFIXES: Final = ("", ".json", ".globals.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """An archive that came back and is what its manifest says."""

    repository: str
    snapshot: str
    archive: str  # the archive's id
    path: Path
    size_bytes: int
    sha256: str
    seconds: float


def fetch(
    restic: Restic, *, to: Path, snapshot: str = LATEST, plan: str = "", on_file: Callable[[str], None] | None = None
) -> Fetched:
    """Bring one snapshot's archive back as `to`, with its manifest and globals beside it.

    `latest` is the newest of ours (of `plan`, if one is named) that is not quarantined and lacks nothing; else an
    id, or its first digits. `on_file` hears the name of each file before it comes. An archive that went as shards is
    joined: its manifest is then that of the joined file.
    """
    started = time.monotonic()
    names = {suffix: to.with_name(to.name + suffix) for suffix in _SUFFIXES}
    for name in names.values():
        if name.exists() or name.is_symlink():
            raise Refused(
                f"{name} exists already and is not overwritten", hint="name another file, or move that one away"
            )
    chosen = choose(restic, snapshot, plan=plan)
    if not is_whole(chosen):
        raise OffsiteError(
            f"snapshot {chosen.id[:8]} in repository {restic.name} holds no archive with its manifest",
            hint=f"`daybreak repository snapshots {restic.name}` shows the whole ones",
            reason="partial",
        )
    coming = _Coming(restic=restic, snapshot=chosen, to=to, hear=on_file or _silent)
    with disk_errors(to, "cannot write"), _folder_beside(to) as beside:
        stored = archive_path(chosen)
        manifest = _bring_file(coming, stored, beside) if stored else _bring_shards(coming, beside)
        for suffix in reversed(_SUFFIXES):  # the archive last: who sees it finds its manifest
            if (beside / f"file{suffix}").exists():
                share(beside / f"file{suffix}", group_of=to.parent, mode=FILE_MODE)
                (beside / f"file{suffix}").rename(names[suffix])
        fsync_folder(to.parent)
    return Fetched(
        repository=restic.name,
        snapshot=chosen.id,
        archive=manifest.id,
        path=to,
        size_bytes=manifest.size_bytes,
        sha256=manifest.sha256,
        seconds=time.monotonic() - started,
    )


def fetch_here(run: RunContext, restic: Restic, folder: Path, *, snapshot: str, plan: str = "") -> None:
    """Bring an archive back as a recorded run, into a folder of its own below `folder`; those of last week go."""
    run.begin()
    with disk_errors(folder, "cannot write"):
        make_folder(folder, group_of=folder.parent)
        _tidy(folder)
        own = folder / run.id
        make_folder(own, group_of=folder)
    try:
        with run.step("fetch") as facts:
            chosen = choose(restic, snapshot, plan=plan)
            found = fetch(restic, to=own / f"{chosen.plan}.dump", snapshot=chosen.id, on_file=run.progress)
            facts |= {"size_bytes": found.size_bytes, "seconds": round(found.seconds, 2)}
    except BaseException:
        shutil.rmtree(own, ignore_errors=True)
        raise
    run.result |= {
        "repository": found.repository,
        "snapshot": found.snapshot,
        "fetched": found.archive,
        "path": str(found.path),
        "size_bytes": found.size_bytes,
        "sha256": found.sha256,
    }


def _tidy(folder: Path) -> None:
    """Remove what was fetched long ago: nobody looks after these folders."""
    for old in folder.iterdir():
        if old.stat().st_mtime < time.time() - KEPT.total_seconds():
            shutil.rmtree(old, ignore_errors=True)


def _silent(_name: str) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Coming:
    """What is fetched, and for what."""

    restic: Restic
    snapshot: Snapshot
    to: Path
    hear: Callable[[str], None]

    def damaged(self, why: str) -> ArchiveError:
        return ArchiveError(
            f"the archive of snapshot {self.snapshot.id[:8]} in repository {self.restic.name} {why}",
            hint=f"`daybreak repository check {self.restic.name}`, and fetch an older snapshot",
        )


def _bring_file(coming: _Coming, stored: str, beside: Path) -> Manifest:
    """An archive that went as one file, compared with its manifest."""
    sizes = {entry.path: entry.size_bytes for entry in coming.restic.ls(coming.snapshot.id).entries}
    suffixes = [suffix for suffix in _SUFFIXES if stored + suffix in sizes]
    _require_room(coming.to, sum(sizes[stored + suffix] for suffix in suffixes))
    for suffix in suffixes:
        coming.hear(coming.to.name + suffix)
        coming.restic.dump(coming.snapshot.id, stored + suffix, beside / f"file{suffix}")
    manifest = read_manifest(beside / "file.json")
    if sha256_file(beside / "file") != manifest.sha256:
        raise coming.damaged("is not what its manifest says")
    return manifest


def _bring_shards(coming: _Coming, beside: Path) -> Manifest:
    """Shards, joined by the program that travels with them; then the archive is read and compared, table by table."""
    listing = coming.restic.ls(coming.snapshot.id)
    # The shards lie beside the file that is made of them.
    _require_room(coming.to, 2 * sum(entry.size_bytes for entry in listing.entries))
    coming.hear(f"shards of {coming.to.name}")
    with disk_told(beside, "restic cannot write to"):
        coming.restic.restore(coming.snapshot.id, beside / "snapshot")
    folder = beside / "snapshot" / str(coming.snapshot.plan)
    coming.hear(coming.to.name)
    try:
        join(folder, beside / "file")
    except JoinError as fault:
        raise coming.damaged(f"cannot be joined: {fault}") from fault
    sent = parse_shard_manifest((folder / MANIFEST).read_bytes(), MANIFEST)
    if sent.archive.globals is not None:
        (folder / GLOBALS).rename(beside / "file.globals.sql")
    shutil.rmtree(beside / "snapshot")
    found = read_archive(beside / "file")
    manifest = joined(sent.archive, sha256=found.sha256 or "", size_bytes=found.size_bytes)
    if faults := list(differences(found, manifest)):
        raise coming.damaged(f"is not what its manifest says: {faults[0]}")
    write_durable(beside / "file.json", manifest.to_json(), group_of=coming.to.parent)
    return manifest


def choose(restic: Restic, snapshot: str, *, plan: str = "") -> Snapshot:
    """Find the snapshot that is meant; its plan may be a part of a path.

    Raise OffsiteError (missing), UsageError for digits that fit several, Refused for a plan that is no name.
    """
    ours = restic.snapshots(tags=(OURS, f"plan={plan}") if plan else (OURS,))
    listing = f"`daybreak repository snapshots {restic.name}` lists them"
    if snapshot == LATEST:
        # One that a clock dated far later is the newest for as long, and holds what was so then.
        latest = now() + FAR_AHEAD
        newest_first = sorted(ours, key=lambda one: (one.taken_at <= latest, one.taken_at), reverse=True)
        good = (one for one in newest_first if QUARANTINED not in one.tags and is_whole(one) and _is_named(one))
        found = list(islice((one for one in good if _lacks_nothing(restic, one)), 1))
    else:
        found = [one for one in ours if one.id.startswith(snapshot.lower())] if snapshot else []
    if not found:
        of_plan = f" of plan {plan}" if plan else ""
        what = (
            f"no snapshot{of_plan}" if snapshot == LATEST else f"no snapshot{of_plan} whose id begins with {snapshot!r}"
        )
        raise OffsiteError(f"repository {restic.name} has {what}", hint=listing, reason="missing")
    if len(found) > 1:
        raise UsageError(
            f"{len(found)} snapshots in repository {restic.name} begin with {snapshot!r}",
            hint=f"write more digits; {listing}",
        )
    if not _is_named(found[0]):
        raise Refused(
            f"snapshot {found[0].id[:8]} in repository {restic.name} is tagged with the plan {found[0].plan!r}, "
            "which is no backup's name",
            hint="no Daybreak sent it; somebody else has the repository's password",
        )
    return found[0]


def _is_named(snapshot: Snapshot) -> bool:
    """Whether its plan is one that a configuration can have: whoever has the password can tag with what he likes."""
    return snapshot.plan is None or NAME.fullmatch(snapshot.plan) is not None


def _lacks_nothing(restic: Restic, snapshot: Snapshot) -> bool:
    """Whether every file that the manifest in a snapshot names is there, with its size.

    A ship that failed half-way forgets its snapshot; an append-only storage keeps it, and it looks like any other.
    """
    sizes = {entry.path: entry.size_bytes for entry in restic.ls(snapshot.id).entries if entry.kind != "dir"}
    stored = archive_path(snapshot)
    at = f"{stored}.json" if stored else f"{shard_folder(snapshot)}/{MANIFEST}"
    if at not in sizes or not sizes.keys() >= set(snapshot.paths if stored else ()):
        return False
    aside = Path(tempfile.gettempdir())
    with disk_errors(aside, "cannot write below"), tempfile.TemporaryDirectory(dir=aside, prefix="daybreak-") as folder:
        restic.dump(snapshot.id, at, Path(folder) / MANIFEST)
        raw = (Path(folder) / MANIFEST).read_bytes()
    if stored:
        return sizes[stored] == parse_manifest(raw, at).size_bytes
    sent = parse_shard_manifest(raw, at)
    named = {name: file.size_bytes for name, file in sent.files.items()}
    named |= {shard.path: shard.size_bytes for shard in sent.shards}
    return all(sizes.get(f"{shard_folder(snapshot)}/{name}") == size for name, size in named.items())


def _require_room(to: Path, needed: int) -> None:
    free = free_bytes(to.parent)
    if free < needed:
        raise PublishError(
            f"{to} needs {show_bytes(needed)} and there are {show_bytes(free)} free",
            hint="make room there, or fetch to a larger disk",
        )


@contextmanager
def _folder_beside(to: Path) -> Generator[Path]:
    """A folder of our own on the target's file system, gone when the block is left; those that kills left go too."""
    for left in to.parent.glob(f".{escape(to.name)}.*.fetch"):
        with suppress(PermissionError, FileNotFoundError):  # somebody else's; gone by now
            _remove_left(left)
    folder = to.with_name(f".{to.name}.{os.getpid()}.fetch")
    handle = _locked(folder)
    while handle is None:
        handle = _locked(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _remove_left(left: Path) -> None:
    """Remove a folder that nobody alive holds; who made it just now and has not locked it yet waits meanwhile."""
    handle = os.open(left, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(left, ignore_errors=True)
    except BlockingIOError:
        pass
    finally:
        os.close(handle)


def _locked(folder: Path) -> int | None:
    """Make a folder and lock it; None where another fetch took it for a dead one's before it was locked."""
    folder.mkdir(mode=0o700)
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    fcntl.flock(handle, fcntl.LOCK_EX)
    if folder.exists():
        return handle
    os.close(handle)
    return None
