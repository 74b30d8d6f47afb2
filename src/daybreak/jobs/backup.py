"""Nightly backup: dump through the reader, check, publish, then send off-site.

    lock → guard → room → dump → globals → read back → gate → publish → record → unlock → ship → drill (by `proof`)

The previous archive stands until the rename. Nothing is published that was not read back from the disk.

Shapes  the run's result gets `archive` and `snapshots`, as in `--json`.
Errors  `SourceError` (10), `DumpError` (11), `ArchiveError` (12), `PublishError` (13), `OffsiteError`
        (14, published all the same), `Refused` (4), `Busy` (5), `TimedOut` (30).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from daybreak import files, gate
from daybreak.archive import Globals, Manifest, fill_offsets
from daybreak.archive.readback import read_back
from daybreak.catalog.records import ArchiveRecord
from daybreak.errors import ArchiveError, Cancelled, DaybreakError
from daybreak.jobs import backlog, guard
from daybreak.jobs.adoption import adopting, record_of
from daybreak.jobs.connect import connect
from daybreak.jobs.dump import Dumped, dump_source
from daybreak.jobs.run import RunContext, Skip, now
from daybreak.jobs.shelf import Shelf
from daybreak.model import Archive, ArchiveState, BackupPlan
from daybreak.postgres.client import Postgres
from daybreak.postgres.globals import dump_globals

#: A dump may have grown by so much since the last one; the forecast of room counts on it.
_GROWTH: Final = 1.3

#: Sends an archive off-site: (run, plan, archive) -> snapshots as in --json.
Shipper = Callable[[RunContext, BackupPlan, Archive], list[dict[str, Any]]]


#: Proves a new archive where its plan wants that: (run, plan).
Driller = Callable[[RunContext, BackupPlan], None]


def backup(
    run: RunContext, plan: BackupPlan, *, ship: Shipper, fresh: bool = False, drill: Driller | None = None
) -> None:
    """Make a new archive of `plan`, send it off-site, and let `drill` prove it.

    Where a dump is running, wait for it; its result is taken only if it began after this request,
    and not at all with `fresh`.
    """
    shelf = Shelf(plan.archive)
    shelf.prepare()
    run.result["snapshots"] = []
    with shelf.lock(wait=plan.wait, cancel=run.cancel, holder=f"run {run.id}"):
        run.begin()
        with adopting(run, plan, shelf) as adopted:
            taken = None if fresh else _begun_since(run, plan)
            if taken is not None:
                run.result["archive"] = archive_json(taken)
                raise Skip(f"archive {taken.id} was begun after this was asked for, by run {taken.run}")
            for removed in shelf.sweep(run.engine.is_alive):
                run.log.write(f"removed what a dead run left: {removed}")
            archive = _make_archive(run, plan, shelf, adopted)
        run.result["archive"] = archive_json(archive)
    quarantined = archive.state is ArchiveState.QUARANTINED
    try:
        run.result["snapshots"] = ship(run, plan, archive)
    except DaybreakError as error:
        if not quarantined:
            if not isinstance(error, Cancelled):
                _prove(run, plan, archive, drill)  # trouble off-site says nothing of the archive
            raise
        run.warn(f"the quarantined archive could not be sent off-site: {error.message}")
    if not quarantined:
        _prove(run, plan, archive, drill)
    else:
        record = run.catalog.archives.get(archive.id)
        why = record.quarantine_reason if record else ""
        raise ArchiveError(
            f"archive {archive.id} is complete but suspicious and was not published: {why}",
            hint=f"look at it (daybreak archive read {archive.path}); if it is right: daybreak accept {archive.id}",
        )


def _prove(run: RunContext, plan: BackupPlan, archive: Archive, drill: Driller | None) -> None:
    """Let the new archive be proven; whatever comes of that, it is published."""
    if drill is None:
        return
    try:
        drill(run, plan)
    except Cancelled:
        raise
    except DaybreakError as error:
        error.message = f"archive {archive.id} is published, but its drill failed: {error.message}"
        raise


def _begun_since(run: RunContext, plan: BackupPlan) -> Archive | None:
    record = run.catalog.archives.newest(plan.name)
    if record is not None and run.requested_at < record.archive.taken_at <= now() and plan.archive.exists():
        return record.archive
    return None


def _make_archive(run: RunContext, plan: BackupPlan, shelf: Shelf, adopted: Callable[[], Manifest | None]) -> Archive:
    """`adopted` waits for the manifest of the archive before it, as `adopt` returns it."""
    staged = shelf.staged(run.id)
    try:
        with connect(plan.database, run) as server:
            with run.step("check") as facts:
                facts["server"] = server.version
                facts["database"] = str(guard.check_source(run, server))
                facts["pg_dump"] = server.tools.major
                if ended := guard.end_dead_backends(run, server, everything=False):
                    facts["ended_backends"] = ended
                _require_room(run, plan, shelf, server, adopted)
            with run.step("dump") as facts:
                dumped = dump_source(run, plan, server, staged)
                facts.update(tables=len(dumped.scan.blocks), rows=dumped.scan.rows, bytes=dumped.scan.size_bytes)
            with run.step("globals"):
                globals_sql = dump_globals(server, passwords=plan.globals_passwords, warn=run.warn)
        with run.step("read back") as facts:
            manifest = _finish(run, plan, dumped, globals_sql)
            facts["sha256"] = manifest.sha256
        with run.step("publish") as facts:
            shelf.store_manifest(manifest, globals_sql)
            before = adopted()
            backlog.keep_unsent(run, plan, shelf, before)
            archive = _publish(run, plan, shelf, dumped, manifest=manifest, before=before)
            facts["state"] = archive.state.value
            return archive
    finally:
        files.discard(staged)


def _require_room(
    run: RunContext, plan: BackupPlan, shelf: Shelf, server: Postgres, adopted: Callable[[], Manifest | None]
) -> None:
    needed = forecast_bytes(run, plan, server)
    backlog.make_room(run, plan, shelf, needed, published=adopted)
    shelf.require_room(needed)


def forecast_bytes(run: RunContext, plan: BackupPlan, server: Postgres) -> int:
    """What the next archive will need, by the last one; for the first, a fifth of the database."""
    recent = run.catalog.archives.recent_published(plan.name, limit=1)
    if recent:
        return int(recent[0].archive.size_bytes * _GROWTH)
    rows = server.query("SELECT pg_database_size(current_database()) AS size_bytes")
    return int(rows[0]["size_bytes"] / 5)


def _finish(run: RunContext, plan: BackupPlan, dumped: Dumped, globals_sql: bytes) -> Manifest:
    """Fill in the offsets, force the file to the disk, read it back, and describe it."""
    with files.disk_errors(dumped.path, "cannot finish"):
        handle = os.open(dumped.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            filled = fill_offsets(handle, dumped.scan)
            os.fsync(handle)
            size_bytes, whole = read_back(handle, filled)
            run.engine.seen.note(os.fstat(handle), whole)
        finally:
            os.close(handle)
    return Manifest.from_scan(
        filled,
        id=run.id,
        plan=plan.name,
        run=run.id,
        taken_at=dumped.taken_at,
        finished_at=now(),
        sha256=whole,
        size_bytes=size_bytes,
        globals=Globals(sha256=sha256(globals_sql).hexdigest(), size_bytes=len(globals_sql), facts=dumped.facts),
    )


def _publish(
    run: RunContext, plan: BackupPlan, shelf: Shelf, dumped: Dumped, *, manifest: Manifest, before: Manifest | None
) -> Archive:
    catalog = run.catalog.archives
    doubts = gate.doubts(_weigh(manifest), [_weigh_record(one) for one in catalog.recent_published(plan.name)])
    if doubts:
        path = shelf.quarantine(dumped.path, manifest)
        record = record_of(manifest, path, ArchiveState.QUARANTINED, dumped.seconds, reason="; ".join(doubts))
        run.best_effort(lambda: catalog.add(record))
        for one in catalog.list(plan.name, state=ArchiveState.QUARANTINED):
            if not one.archive.path.exists():  # only so many are kept
                _forget(run, one.archive.id)
        return record.archive
    place(run, plan, shelf, dumped.path, manifest, before=before)
    record = record_of(manifest, plan.archive, ArchiveState.PUBLISHED, dumped.seconds)
    run.best_effort(lambda: catalog.add(record))
    if not run.engine.alone:  # which archives are proven is known to the catalog only
        run.best_effort(lambda: tidy(run, plan, shelf))
    return record.archive


def place(
    run: RunContext, plan: BackupPlan, shelf: Shelf, complete: Path, manifest: Manifest, *, before: Manifest | None
) -> None:
    """Publish a complete archive; the one `before` (from `adopt`) gets its name as an older one until `tidy` looks."""
    known = before is not None and plan.archive.exists() and plan.archive.stat().st_size == before.size_bytes
    keep_as = shelf.older_name(before.id) if before is not None and known else None
    shelf.publish(complete, manifest, keep_as=keep_as)
    if before is not None and keep_as is not None:
        _note(run, before.id, lambda: run.catalog.archives.set_path(before.id, keep_as))
    else:
        run.best_effort(lambda: _forget_what_stood(run, plan, manifest.id))


def _forget_what_stood(run: RunContext, plan: BackupPlan, now_there: str) -> None:
    """Nothing is left of what stood under the name before: it was damaged, or somebody took it away."""
    for one in run.catalog.archives.list(plan.name, state=ArchiveState.PUBLISHED):
        if one.archive.path == plan.archive and one.archive.id != now_there:
            run.catalog.archives.set_state(one.archive.id, ArchiveState.REPLACED)


def _forget(run: RunContext, archive: str) -> None:
    """Record that no local copy of an archive is left."""
    _note(run, archive, lambda: run.catalog.archives.set_state(archive, ArchiveState.REPLACED))


def _note(run: RunContext, archive: str, what: Callable[[], None]) -> None:
    """Record something of an archive, if the catalog knows it."""

    def note() -> None:
        if run.catalog.archives.get(archive) is not None:
            what()

    run.best_effort(note)


def tidy(run: RunContext, plan: BackupPlan, shelf: Shelf) -> None:
    """Delete older archives beyond `keep_local`; the newest proven one keeps a place of its own."""
    catalog = run.catalog.archives
    newest = shelf.manifest_of(plan.archive)
    standing = [*([(plan.archive, newest)] if newest else []), *shelf.older()]
    # By their ids: a plan may have had another name when they were proven.
    newest_proven = next((one for one in standing if _is_proven(catalog.get(one[1].id))), None)
    kept, dropped = standing[: plan.keep_local], standing[plan.keep_local :]
    if newest_proven is not None:
        before = shelf.manifest_of(shelf.proven_name)
        if newest_proven in kept:
            shelf.remove(shelf.proven_name)
        else:
            shelf.keep_proven(newest_proven[0])
            run.best_effort(lambda: catalog.set_path(newest_proven[1].id, shelf.proven_name))
        if before is not None and all(before.id != manifest.id for _, manifest in standing):
            _forget(run, before.id)
    for path, manifest in dropped:
        shelf.remove(path)
        if newest_proven is None or manifest.id != newest_proven[1].id:
            _forget(run, manifest.id)
        run.log.write(f"removed the older archive {path.name}")
    shelf.forget_manifests()


def _is_proven(record: ArchiveRecord | None) -> bool:
    return record is not None and record.archive.proven_at is not None


def _weigh(manifest: Manifest) -> gate.Weight:
    rows = {table.label: table.digest.rows for table in manifest.tables}
    return gate.Weight(size_bytes=manifest.size_bytes, rows=manifest.rows, table_rows=rows)


def _weigh_record(record: ArchiveRecord) -> gate.Weight:
    return gate.Weight(
        size_bytes=record.archive.size_bytes,
        rows=record.archive.rows,
        table_rows=record.table_rows,
        accepted=bool(record.quarantine_reason),
    )


def archive_json(archive: Archive) -> dict[str, object]:
    """An archive as it stands in `--json`."""
    return {
        "id": archive.id,
        "path": str(archive.path),
        "size_bytes": archive.size_bytes,
        "sha256": archive.sha256,
        "tables": archive.tables,
        "rows": archive.rows,
    }


def archive_of(run: RunContext, manifest: Manifest) -> dict[str, object]:
    """The archive that a job uses, as in `--json`."""
    record = run.catalog.archives.get(manifest.id)
    known = {"id": manifest.id, "size_bytes": manifest.size_bytes, "sha256": manifest.sha256, "rows": manifest.rows}
    return {
        **(known if record is None else archive_json(record.archive)),
        "taken_at": manifest.taken_at.isoformat(),
    }
