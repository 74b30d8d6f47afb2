"""The same archive for one restore: its table of contents says what pg_restore should do otherwise than pg_dump meant.

    late checks     what calls functions is checked when all rows are in (`late_checks`)
    frozen          COPY says FREEZE, so that rows arrive as VACUUM FREEZE leaves them
    search path     functions that name tables without a schema find them where production does

Shapes  `read_restorable` gives the entries to choose from; `write_restorable` writes a file in which they stand: the
        table of contents anew, with its offsets moved, the data behind it copied as it stands.
Errors  `ArchiveError` where the archive cannot be read, `OSError` where the copy cannot be written.
Source  COPY takes FREEZE only in the transaction that made or emptied the table. A parallel pg_restore empties each
        table that it made itself in the transaction that loads it, unless its rows go through a partition root:
        PostgreSQL, src/bin/pg_dump/pg_backup_archiver.c, `use_truncate`; for the search path, `processSearchPathEntry`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from daybreak.archive.late_checks import behind_all_rows, late_checks
from daybreak.archive.primitives import OffsetState
from daybreak.archive.readback import from_disk
from daybreak.archive.reader import open_archive, read_contents
from daybreak.archive.statements import parse_copy
from daybreak.archive.toc import TABLE_DATA, Entry, pack_toc
from daybreak.errors import ArchiveError

_TABLE: Final = "TABLE"
_SEARCHPATH: Final = "SEARCHPATH"
#: The only access method that is known to do what FREEZE says.
_HEAP: Final = "heap"
#: They take COPY over for tables of theirs.
_TAKES_COPY: Final = {"citus", "timescaledb"}


def freezable(restored: Iterable[Entry]) -> frozenset[int]:
    """The ids of the table data, among what one parallel pg_restore restores, that COPY may load frozen."""
    entries = list(restored)
    if any(entry.kind == "EXTENSION" and entry.name in _TAKES_COPY for entry in entries):
        return frozenset()
    # As pg_restore sees it: the one thing that table data depends on is its table.
    made = {entry.id for entry in entries if entry.kind == _TABLE and entry.access_method == _HEAP}
    return frozenset(
        entry.id
        for entry in entries
        if entry.kind == TABLE_DATA
        and entry.had_dumper
        and entry.root is None
        and made.intersection(entry.dependencies[:1])
    )


def read_restorable(path: Path) -> tuple[Entry, ...]:
    """The entries of an archive as a restore chooses among them; those behind pg_dump's own have new ids."""
    return late_checks(read_contents(path)[1])


def write_restorable(
    source: Path,
    target: int,
    *,
    frozen: Collection[int] = (),
    search_path: str | None = None,
    on_bytes: Callable[[int], object] = lambda _: None,
) -> int:
    """Write the archive `source` into the open file `target` as a restore wants it; its size.

    `frozen`: the ids of the table data to be loaded frozen, among `freezable`. `search_path`: its value as an SQL
    literal. `on_bytes` hears after each piece how many bytes of the data are copied; what it raises ends the copy.
    """
    header, entries = read_contents(source)
    begin = len(pack_toc(header, entries))
    wanted = late_checks(entries)
    wanted = behind_all_rows(wanted, {entry.id for entry in wanted} - {entry.id for entry in entries})
    wanted = tuple(_with_path(_frozen(entry) if entry.id in frozen else entry, search_path) for entry in wanted)
    moved = len(pack_toc(header, wanted)) - begin
    toc = pack_toc(header, tuple(_moved(entry, moved) for entry in wanted))
    _write(target, toc)
    fd = open_archive(source)
    try:
        size = os.fstat(fd).st_size
        at = 0
        for block in from_disk(fd):  # the archive was read back past the page cache: it is not in memory
            rows = block[max(0, begin - at) :]
            at += len(block)
            _write(target, rows)
            on_bytes(max(0, at - begin))
        if at != size:
            raise ArchiveError(f"{source} was cut while it was read", hint="find out what writes there")
        return at + moved
    finally:
        os.close(fd)


def _write(target: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]


def _frozen(entry: Entry) -> Entry:
    return replace(entry, copy=parse_copy(entry.copy or "").copy_in_frozen)


def _with_path(entry: Entry, search_path: str | None) -> Entry:
    if search_path is None or entry.kind != _SEARCHPATH:
        return entry
    return replace(entry, definition=f"SELECT pg_catalog.set_config('search_path', {search_path}, false);\n")


def _moved(entry: Entry, by: int) -> Entry:
    return replace(entry, offset=entry.offset + by) if entry.state is OffsetState.SET else entry
