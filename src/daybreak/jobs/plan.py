"""What a refresh would do, without doing any of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from daybreak.archive import Manifest
from daybreak.errors import RefreshError, SourceError
from daybreak.jobs import guard
from daybreak.jobs.connect import connect
from daybreak.jobs.hold import hold_text
from daybreak.jobs.hooks import hook_lines, unready
from daybreak.jobs.rehearsal import Rehearsal, rehearse
from daybreak.jobs.run import RunContext, now
from daybreak.jobs.shelf import Shelf
from daybreak.jobs.target import require_own_previous
from daybreak.model import Database, RefreshPlan
from daybreak.postgres import shadow
from daybreak.postgres.client import Postgres
from daybreak.postgres.sql import derived_name
from daybreak.replacement import HookTime
from daybreak.retention import is_ahead
from daybreak.units import show_bytes, show_count, show_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshOutlook:
    """A refresh as it would go now."""

    plan: str
    target: str
    steps: tuple[str, ...]  # in order, in words
    notes: tuple[str, ...]  # what a person should know before
    left_out: tuple[str, ...]  # of the archive, with the reasons
    obstacles: tuple[str, ...]  # what would stop it, each with what solves it

    def as_json(self) -> dict[str, object]:
        """As it stands in `--json`."""
        return {
            "plan": self.plan,
            "target": self.target,
            "steps": list(self.steps),
            "notes": list(self.notes),
            "left_out": list(self.left_out),
            "obstacles": list(self.obstacles),
        }


def look_ahead(run: RunContext, plan: RefreshPlan, *, protected: Iterable[Database]) -> RefreshOutlook:
    """Ask the guards and look at the archive and the target. Raise Refused as a refresh would."""
    guard.refuse_protected(plan.target, protected)
    with connect(plan.target, run) as server:
        try:
            identity = guard.refuse_production(run, server, protected)
            require_own_previous(run, server, identity)
            _ = server.own_tools
            present = {one.name for one in shadow.databases(server)}
            size = server.query("SELECT pg_database_size(current_database()) AS size_bytes")[0]["size_bytes"]
            rehearsal = _rehearse(plan, server, identity.database)
        except SourceError as error:
            raise RefreshError(error.message, hint=error.hint) from error
    name, previous = identity.database, derived_name(identity.database, "previous")
    how = plan.how
    steps = [_archive_step(run, plan)]
    steps += hook_lines(how.hooks, HookTime.BEFORE, name)
    steps.append(f"restore it into a new database beside {name} on {server.where()} (PostgreSQL {server.version})")
    steps.append("compare every table with the manifest")
    steps += hook_lines(how.hooks, HookTime.AFTER_RESTORE, "the restored database")
    if rehearsal is not None and rehearsal.selection.views:
        steps.append("fill the materialized views")
    steps += [f"keep {name}'s {one.table}{f' where {one.where}' if one.where else ''}" for one in how.keep]
    steps += [f'check "{one.name}"' for one in how.checks]
    steps += hook_lines(how.hooks, HookTime.BEFORE_SWAP, "the restored database")
    if previous in present:
        steps.append(f"rename {previous}, kept for undo until now, aside")
    steps.append(f"swap: {name} ({show_bytes(size)}) becomes {previous}, the restored database becomes {name}")
    if previous in present:
        steps.append("drop the database that was kept for undo until now")
    steps += hook_lines(how.hooks, HookTime.AFTER_SWAP, name)
    notes = unready(how.hooks, server.host)
    held = run.catalog.holds.get(plan.target.name, at=now())
    if held is not None:
        notes.append(f"{plan.target.name} is {hold_text(held)}; until then a refresh ends as skipped")
    if not run.catalog.databases.was_refreshed(plan.target.name):
        notes.append(
            f"{plan.target.name} was never refreshed by Daybreak: the first time needs --first or a person's word"
        )
    known = run.catalog.databases.enrolled(plan.target.name)
    if known is None or known.next_oid != identity.oid:  # else the swap of a dead run, which a refresh takes note of
        guard.refuse_stranger(run, plan.target, identity)
    if rehearsal is None:
        notes.append("there is no archive yet to hold against the target")
    else:
        notes += rehearsal.notes
    return RefreshOutlook(
        plan=plan.name,
        target=plan.target.name,
        steps=tuple(steps),
        notes=tuple(notes),
        left_out=tuple(rehearsal.left_out) if rehearsal else (),
        obstacles=tuple(map(str, rehearsal.obstacles)) if rehearsal else (),
    )


def _rehearse(plan: RefreshPlan, server: Postgres, target: str) -> Rehearsal | None:
    """The rehearsal by the archive that stands there now; the one that a refresh takes may be newer."""
    path = plan.backup.archive
    manifest = Shelf(path).manifest_of(path) if path.exists() else None
    return None if manifest is None else rehearse(server, target, path, manifest, plan.how)


def _archive_step(run: RunContext, plan: RefreshPlan) -> str:
    record = run.catalog.archives.newest(plan.backup.name)
    shelf = Shelf(plan.backup.archive)
    if record is not None and plan.backup.archive.exists():
        age = now() - record.archive.taken_at
        if age <= plan.max_age and not is_ahead(record.archive.taken_at, now()):
            found: Manifest | None = shelf.manifest_of(plan.backup.archive)
            rows = f", {show_count(found.rows, 'row')}" if found else ""
            size, taken = show_bytes(record.archive.size_bytes), show_duration(age.total_seconds())
            return f"use archive {record.archive.id} ({size}{rows}), taken {taken} ago"
    limit = show_duration(plan.max_age.total_seconds())
    return f"take a new backup of {plan.backup.database.name} (none is younger than {limit})"
