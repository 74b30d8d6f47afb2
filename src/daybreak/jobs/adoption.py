"""The archive that stands published before a run makes another: whether it is what its manifest and the catalog say.

Its bytes are read for that, which for a large one takes minutes. Where it stands as the catalog has it, nothing depends
on the answer until the next archive takes its name, and it is read beside the dump.

Errors  none of its own: an archive that is damaged, or that the disk does not give, is warned of.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from threading import Event

from daybreak.archive import Manifest
from daybreak.catalog.records import ArchiveRecord
from daybreak.errors import ArchiveError, UnreadableError
from daybreak.jobs.run import RunContext
from daybreak.jobs.shelf import Shelf
from daybreak.model import Archive, ArchiveState, BackupPlan


@contextlib.contextmanager
def adopting(run: RunContext, plan: BackupPlan, shelf: Shelf) -> Generator[Callable[[], Manifest | None]]:
    """`adopt` under the lock, while the block does other things; its value waits for what `adopt` returns.

    What the catalog does not know yet is adopted before the block begins. Leaving the block ends the reading.
    """
    if not _stands_as_recorded(run, plan, shelf):
        manifest = adopt(run, plan, shelf)
        yield lambda: manifest
        return
    stop = Event()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="older archive") as beside:
        reading = beside.submit(shelf.read, lambda: stop.is_set() or run.cancel.is_set())
        try:
            yield cache(lambda: adopt(run, plan, shelf, reading.result))
        finally:
            stop.set()


def _stands_as_recorded(run: RunContext, plan: BackupPlan, shelf: Shelf) -> bool:
    named = shelf.manifest_of(plan.archive)
    record = None if named is None else run.catalog.archives.get(named.id)
    return record is not None and _where(record) == (ArchiveState.PUBLISHED, plan.archive)


def _where(record: ArchiveRecord) -> tuple[ArchiveState, Path]:
    return record.archive.state, record.archive.path


def adopt(run: RunContext, plan: BackupPlan, shelf: Shelf, read: Callable[[], str] | None = None) -> Manifest | None:
    """Under the lock: mend the manifest's name, and record a published archive that the catalog does not know.

    A run that was killed between rename and record, or a catalog that was lost, leave one. `read` gives the archive's
    sha256 where somebody reads it already. Return the manifest of the published archive; None where there is none, or
    one that is not Daybreak's.
    """
    try:
        manifest = shelf.mend(read or (lambda: shelf.read(run.cancel.is_set)))
    except UnreadableError as error:
        # What the disk does not give now it may give tomorrow: it stays what its manifest says.
        manifest = shelf.manifest_of(plan.archive)
        run.warn(f"{error.message}; it goes on counting as the archive before this one ({error.hint})")
    except ArchiveError as error:
        # A dump of another tool, or a damaged one: nothing restores from it, and a new one replaces it.
        run.warn(f"{error.message}; the next backup replaces it")
        return None
    catalog = run.catalog.archives
    if manifest is None:
        _warn_if_gone(run, plan)
    if manifest is None or manifest.plan != plan.name:
        return manifest
    known = catalog.get(manifest.id)
    if known is None:
        seconds = (manifest.finished_at - manifest.taken_at).total_seconds()
        record = record_of(manifest, plan.archive, ArchiveState.PUBLISHED, seconds)
        run.best_effort(lambda: catalog.add(record))
        run.log.write(f"adopted archive {manifest.id}, which stood here without a record")
    elif _where(known) != (ArchiveState.PUBLISHED, plan.archive):
        run.best_effort(lambda: catalog.set_state(manifest.id, ArchiveState.PUBLISHED, path=plan.archive))
        run.log.write(f"archive {manifest.id} stands published, whatever was recorded")
    return manifest


def _warn_if_gone(run: RunContext, plan: BackupPlan) -> None:
    """What is written beneath the mount point of a disk that is away takes another's room, and is hidden later."""
    published = run.catalog.archives.list(plan.name, state=ArchiveState.PUBLISHED)
    if any(_where(one) == (ArchiveState.PUBLISHED, plan.archive) for one in published):
        run.warn(
            f"{plan.archive} is gone, where an archive was published: if nobody removed it, is its disk not mounted? "
            f"(findmnt --target {shlex.quote(str(plan.archive.parent))})"
        )


def record_of(
    manifest: Manifest, path: Path, state: ArchiveState, seconds: float, *, reason: str = ""
) -> ArchiveRecord:
    """What the catalog remembers of an archive that was dumped in so many seconds."""
    archive = Archive(
        id=manifest.id,
        plan=manifest.plan,
        run=manifest.run,
        path=path,
        taken_at=manifest.taken_at,
        size_bytes=manifest.size_bytes,
        sha256=manifest.sha256,
        tables=len(manifest.tables),
        rows=manifest.rows,
        server_version=manifest.server_version,
        state=state,
    )
    return ArchiveRecord(
        archive=archive,
        dump_s=round(seconds, 3),
        table_rows={table.label: table.digest.rows for table in manifest.tables},
        quarantine_reason=reason,
    )
