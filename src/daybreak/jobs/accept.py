"""Accept a quarantined archive: a person has looked, and it is published."""

from __future__ import annotations

from daybreak.archive import read_manifest
from daybreak.errors import ArchiveError, Refused, UsageError
from daybreak.jobs import backlog
from daybreak.jobs.adoption import adopt
from daybreak.jobs.backup import archive_json, place, tidy
from daybreak.jobs.run import RunContext
from daybreak.jobs.shelf import GLOBALS, JSON, Shelf, sha256_of
from daybreak.model import ArchiveState, BackupPlan


def accept(run: RunContext, plan: BackupPlan, archive_id: str) -> None:
    """Publish a quarantined archive of `plan`. Raise ArchiveError when it has changed since it was put aside."""
    shelf = Shelf(plan.archive)
    shelf.prepare()
    with shelf.lock(wait=plan.wait, cancel=run.cancel, holder=f"run {run.id}"):
        run.begin()
        record = run.catalog.archives.get(archive_id)
        if record is None or record.archive.state is not ArchiveState.QUARANTINED:
            raise UsageError(f"{archive_id} is not a quarantined archive", hint="daybreak archives shows them")
        newest = run.catalog.archives.newest(plan.name)
        if newest is not None and newest.archive.taken_at > record.archive.taken_at:
            raise Refused(
                f"a newer archive, {newest.archive.id}, was published after {archive_id}",
                hint=f"the older one can be restored by hand from {record.archive.path}",
            )
        path = record.archive.path
        with run.step("check"):
            manifest = read_manifest(path.with_name(path.name + JSON))
            if sha256_of(path) != manifest.sha256:
                raise ArchiveError(
                    f"{path} has changed since it was put aside", hint="run a new backup: daybreak backup " + plan.name
                )
            beside = path.with_name(path.name + GLOBALS)
            globals_sql = beside.read_bytes() if beside.exists() else b""
            before = adopt(run, plan, shelf)
        with run.step("publish"):
            shelf.store_manifest(manifest, globals_sql)
            place(run, plan, shelf, path, manifest, before=before)
            shelf.remove(path)  # its manifest and globals; the archive itself has moved
            run.catalog.archives.set_state(archive_id, ArchiveState.PUBLISHED, path=plan.archive)
            tidy(run, plan, shelf)
            backlog.keep_unsent(run, plan, shelf, manifest)  # off-site it is a quarantined one so far
    accepted = run.catalog.archives.get(archive_id)
    assert accepted is not None
    run.result["archive"] = archive_json(accepted.archive)
