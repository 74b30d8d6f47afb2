"""The file that pg_restore loads from: a copy of the archive that says how to restore it, or the archive itself.

Frozen rows are written once: nothing goes over them later for hint bits, and the WAL for those falls away (ADR 0054).
That, and checks that wait for all rows, are worth a copy where there is room for it. A search path needs one, and so
does such a check that is left out (ADR 0056).

Shapes  `loading` gives a `Loading` for the time of a block; the copy is gone afterwards, and what a killed run left of
        it goes with its pins, or its private folder.
Errors  `RefreshError` where a copy is needed and cannot be made; else the archive itself is taken, the log says why.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from daybreak import files
from daybreak.archive import Entry, freezable, read_contents, read_restorable, write_restorable
from daybreak.archive.toc import TABLE_DATA
from daybreak.errors import Cancelled, DaybreakError, RefreshError
from daybreak.jobs.run import RunContext
from daybreak.jobs.shelf import Pinned, sha256_of
from daybreak.postgres.sql import identifier, literal
from daybreak.units import show_bytes

#: So much is copied in no time, whatever is loaded.
_NOTHING_BYTES: Final = 2**20
_PLAINLY: Final = "tables are not loaded frozen, and checks are made with them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """A file for pg_restore."""

    path: Path
    size_bytes: int
    sha256: str  # empty for a copy that stays on this host
    entries: tuple[Entry, ...]  # what is to be restored, as the file has it
    frozen: int = 0  # tables that are loaded frozen


@contextlib.contextmanager
def loading(
    run: RunContext,
    pinned: Pinned,
    entries: Sequence[Entry],
    *,
    search_path: Sequence[str],
    here: bool,
    spare_bytes: int | None,
) -> Generator[Loading]:
    """What a parallel pg_restore of `entries` is given, which runs `here` or elsewhere. Raise RefreshError, Cancelled.

    `search_path`: the schemas that it searches; none where it names all that it means. `spare_bytes`: what the restore
    leaves free on its disk, which may be the archive's, where that is known.
    """
    manifest = pinned.manifest
    before, wanted = {one.id: one for one in read_contents(pinned.path)[1]}, {one.id for one in entries}
    plain = Loading(
        path=pinned.path,
        size_bytes=manifest.size_bytes,
        sha256=manifest.sha256,
        entries=tuple(before[one.id] for one in entries if one.id in before),
    )
    apart = {one.id: one for one in read_restorable(pinned.path) if one.id not in before}
    needed = bool(search_path) or any(one.dependencies[0] in wanted for one in apart.values() if one.id not in wanted)
    if not needed and not _worth_it(run, pinned, entries, spare_bytes, late=not wanted.isdisjoint(apart)):
        yield plain
        return
    folder = pinned.folder or run.private
    path = folder / f"{run.id}.load"
    try:
        try:
            file = _copy(run, pinned, entries, search_path, path, here=here)
        except Cancelled:
            raise
        except (OSError, DaybreakError) as error:
            if needed:
                message, hint = files.told(error, path)
                raise RefreshError(f"this restore needs a copy of the archive: {message}", hint=hint) from error
            run.log.write(f"{_PLAINLY}: {error}")
            files.discard(path)
            file = plain
        yield file
    finally:
        files.discard(path)


def _worth_it(
    run: RunContext, pinned: Pinned, entries: Sequence[Entry], spare_bytes: int | None, *, late: bool
) -> bool:
    """Whether there is something to do otherwise, at least as much is loaded as copied, and there is room."""
    tables = freezable(entries)
    if not tables and not late:
        return False
    names = {(one.schema or "", one.name) for one in entries if one.kind == TABLE_DATA and (one.id in tables or late)}
    size = pinned.manifest.size_bytes
    loaded = sum(one.digest.size_bytes for one in pinned.manifest.tables if (one.schema, one.name) in names)
    if loaded + _NOTHING_BYTES < size:
        return False
    # Tonight's archive has to fit beside it, and what is restored, if that is on the same disk.
    free = files.free_bytes(pinned.folder or run.private)
    room = min(free - size, free if spare_bytes is None else spare_bytes)
    if room < size:
        run.log.write(f"{_PLAINLY}: a copy needs {show_bytes(size)}, and there is room for {show_bytes(max(0, room))}")
        return False
    return True


def _copy(
    run: RunContext, pinned: Pinned, entries: Sequence[Entry], search_path: Sequence[str], path: Path, *, here: bool
) -> Loading:
    """Write the copy. Raise OSError, ArchiveError, Cancelled."""

    def tell(copied: int) -> None:
        if run.cancel.is_set():
            raise Cancelled("the run was cancelled while the archive was copied for the restore")
        run.progress("preparing the archive", done_bytes=copied, total_bytes=pinned.manifest.size_bytes)

    tables = freezable(entries)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        searched = literal(", ".join(map(identifier, search_path))) if search_path else None
        size = write_restorable(pinned.path, handle, frozen=tables, search_path=searched, on_bytes=tell)
    finally:
        os.close(handle)
    if pinned.folder is not None:  # where a container that mounts the archives may read it
        files.share(path, group_of=pinned.folder, mode=files.FILE_MODE)
    return Loading(
        path=path,
        size_bytes=size,
        sha256="" if here else sha256_of(path),
        entries=tuple(entries),
        frozen=len(tables),
    )
