"""Ship one archive off-site.

Shapes  a `Parcel` is packed under one stable path, so that every night's snapshot has the same paths (`pack.py`);
        each repository gets a snapshot of it, which counts only after it was read back (`readback.py`) and the
        storage has what it took (`stored.py`).
Units   `added_bytes` is the growth of the repository that this snapshot caused.
Errors  `ArchiveError` where the parcel is not what its manifest says; `Busy`; per repository an `OffsiteError`
        in a `NotShipped`, so that one failing repository never stops the others; `require_all` raises them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from daybreak.errors import Cancelled, DaybreakError, OffsiteError
from daybreak.files import lock, make_folder
from daybreak.jobs.pack import Packed, distrust, packed
from daybreak.jobs.parcel import Parcel
from daybreak.jobs.readback import read_back
from daybreak.jobs.stored import Known, RequireStored, known, stored
from daybreak.model import Snapshot
from daybreak.restic import Restic, Summary

#: How long another run of ours may hold a repository, or a plan's ship folder.
WAIT: Final = timedelta(hours=1)

#: The version of a repository's format that can compress.
_COMPRESSES: Final = 2
_NO_COMPRESSION: Final = "this repository is of version 1, which cannot compress: it grows several times as fast"
_MIGRATE: Final = "`restic migrate upgrade_repo_v2`, then `restic prune --repack-uncompressed`"

#: Hears what happens: `progress`, `reading back`, `shipped`, `failed`, `warning`, each with its facts.
Report = Callable[[str, Mapping[str, object]], None]


def _silent(_event: str, _facts: Mapping[str, object]) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """A snapshot that was read back."""

    repository: str
    archive: str
    snapshot: str  # 64 hexadecimal digits
    taken_at: datetime  # of the archive; the snapshot's own time, in whole seconds
    total_bytes: int
    added_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NotShipped:
    """Why one repository has no new snapshot."""

    repository: str
    fault: DaybreakError


def ship_all(
    parcel: Parcel,
    restics: Sequence[Restic],
    *,
    folder: Path,
    locks: Path,
    host: str,
    wait: timedelta = WAIT,
    cancel: threading.Event | None = None,
    holder: str = "",
    report: Report = _silent,
) -> list[Shipped | NotShipped]:
    """Ship `parcel` to every repository in turn.

    `folder` is `.daybreak/ship` beside the archive, `locks` a folder of the state; `host` is the name that the
    snapshots bear. Raise ArchiveError, Busy, Cancelled before anything was sent; `require_all` speaks for the rest.
    """
    results: list[Shipped | NotShipped] = []
    make_folder(folder, group_of=folder.parent)
    with (
        lock(folder / f"{parcel.plan}.lock", wait=wait, cancel=cancel, holder=holder),
        ThreadPoolExecutor(max_workers=max(1, len(restics))) as pool,
    ):
        # restic takes a second to turn a password into a key: meanwhile the archive is packed
        notes = {restic: locks / f"repository-{restic.name}.stored" for restic in restics}
        opened = {restic: pool.submit(_open, restic, note) for restic, note in notes.items()}
        with packed(parcel, folder / parcel.plan, warn=lambda text: report("warning", {"message": text})) as ready:
            for restic in restics:
                try:
                    with lock(locks / f"repository-{restic.name}.lock", wait=wait, cancel=cancel, holder=holder):
                        way = _Way(ready, restic, host=host, scratch=folder, note=notes[restic], report=report)
                        shipped = way.ship(opened[restic].result())
                except Cancelled:
                    raise
                except DaybreakError as fault:
                    results.append(NotShipped(repository=restic.name, fault=fault))
                    report("failed", {"repository": restic.name, "message": fault.message})
                else:
                    results.append(shipped)
    return results


def require_all(results: Sequence[Shipped | NotShipped]) -> list[Shipped]:
    """The snapshots, if each repository has one. Raise OffsiteError that names those that have none."""
    missed = [result for result in results if isinstance(result, NotShipped)]
    if missed:
        faults = [one.fault for one in missed]
        reasons = {fault.reason if isinstance(fault, OffsiteError) else "failed" for fault in faults}
        raise OffsiteError(
            "the archive is published here, but not off-site: " + "; ".join(fault.message for fault in faults),
            hint="; ".join(dict.fromkeys(fault.hint for fault in faults if fault.hint)),
            reason=reasons.pop() if len(reasons) == 1 else "failed",
        ) from faults[0]
    return [result for result in results if isinstance(result, Shipped)]


def _open(restic: Restic, note: Path) -> Known:
    """Wrong keys and a missing repository show here, within the short deadline."""
    restic.version()
    restic.unlock_dead()  # looks at every lock, which proves access; what a killed restic of ours left is removed
    found = known(note)
    if found is not None and found.version >= _COMPRESSES:  # an older one may have become newer
        return found
    return Known(version=restic.format(), indexes=restic.indexes())


class _Way:
    """The way of one packed parcel into one repository."""

    def __init__(self, ready: Packed, restic: Restic, *, host: str, scratch: Path, note: Path, report: Report) -> None:
        self._ready = ready
        self._restic = restic
        self._host = host
        self._scratch = scratch
        self._note = note
        self._report = report

    def ship(self, opened: Known) -> Shipped:
        """One snapshot, read back. Raise OffsiteError."""
        ready, restic = self._ready, self._restic
        compresses = opened.version >= _COMPRESSES
        if not compresses:
            self._tell("warning", message=_NO_COMPRESSION, hint=_MIGRATE)
        with stored(restic, self._note, opened) as require_stored:
            summary = (self._sent_before() if ready.parcel.again else None) or restic.backup(
                ready.paths,
                tags=ready.tags,
                host=self._host,
                taken_at=ready.manifest.taken_at,
                folder=ready.folder,
                compression=ready.compression if compresses else "",
                on_progress=lambda at: self._tell("progress", done_bytes=at.done_bytes, total_bytes=at.total_bytes),
            )
            self._tell("reading back", snapshot=summary.snapshot)
            require_stored.begin()
            try:
                snapshot = self._read_back(summary.snapshot)
                self._require(require_stored, snapshot.id)
            except OffsiteError as fault:
                if fault.reason == "partial" and ready.folder is not None:
                    with contextlib.suppress(OSError):  # the fault that brought us here is the one to tell
                        # What restic read here may not be what its name says.
                        distrust(ready.folder / ready.parcel.plan)
                raise
        shipped = Shipped(
            repository=restic.name,
            archive=ready.manifest.id,
            snapshot=snapshot.id,
            taken_at=snapshot.taken_at,
            total_bytes=summary.total_bytes,
            added_bytes=summary.added_bytes,
            seconds=summary.seconds,
        )
        self._tell("shipped", snapshot=snapshot.id, total_bytes=summary.total_bytes, added_bytes=summary.added_bytes)
        return shipped

    def _tell(self, event: str, **facts: object) -> None:
        self._report(event, {"repository": self._restic.name, **facts})

    def _read_back(self, snapshot: str) -> Snapshot:
        return read_back(self._ready, self._restic, snapshot, host=self._host, scratch=self._scratch)

    def _require(self, require_stored: RequireStored, snapshot: str) -> None:
        """See that the storage has what it took; a snapshot of what it has not must not become anybody's `latest`."""
        try:
            require_stored()
        except OffsiteError as fault:
            if fault.reason == "partial":
                with contextlib.suppress(OffsiteError):  # the fault that brought us here is the one to tell
                    self._restic.forget([snapshot])
            raise

    def _sent_before(self) -> Summary | None:
        """The snapshot that an earlier run left, if one did and it is whole."""
        tags = self._ready.tags
        for found in self._restic.snapshots(tags=tags, host=self._host):
            if set(found.tags) == set(tags):
                try:
                    self._read_back(found.id)
                except OffsiteError as fault:
                    if fault.reason != "partial":  # else it is forgotten, and made again
                        raise
                else:
                    total = sum(self._ready.files.values())
                    return Summary(snapshot=found.id, total_bytes=total, added_bytes=0, seconds=0.0)
        return None
