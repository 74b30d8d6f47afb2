"""Weekly refresh: restore beside the target, prove, then swap names.

    lock → guard → archive (reuse, wait for, or make) → shadow → restore → proof → analyze → views → carry over → checks
    → swap

Any failure before the swap leaves the target exactly as it was, and the shadow is dropped.

Shapes  the run's result gets `target, outage_ms, failed_connects, proof, archive`, as in `--json`.
        Hooks run on the way. A target that is held is left alone: the run ends as skipped.
Errors  `Refused` (4), `Busy` (5), `ArchiveError` (12), `RefreshError` (15, 16, 17, 19), `ProofError` (18),
        `OffsiteError` (14: refreshed, but the new archive did not get off-site), and those of a backup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Final

from daybreak.archive import Manifest
from daybreak.errors import ArchiveError, OffsiteError, RefreshError, Unfinished
from daybreak.jobs.backup import Shipper, backup
from daybreak.jobs.hold import require_not_held
from daybreak.jobs.replace import replace_target, require_confirmed
from daybreak.jobs.run import RunContext, now
from daybreak.jobs.shelf import Shelf
from daybreak.jobs.target import hold_target, require_own_previous
from daybreak.model import Archive, ArchiveState, BackupPlan, Database, RefreshPlan, RunState
from daybreak.units import show_duration

#: An archive may seem to be from the future by so much: clocks are set.
_CLOCKS_DIFFER: Final = timedelta(minutes=5)


def refresh(
    run: RunContext,
    plan: RefreshPlan,
    *,
    protected: Iterable[Database],
    ship: Shipper,
    confirm_first: Callable[[str], bool],
    fresh: bool = False,
) -> None:
    """Replace the target's data by production's.

    `confirm_first` is asked, with the target in words, before the first refresh of a target;
    `fresh` takes a new dump whatever `max_age` says.
    """
    run.result["target"] = plan.target.name
    require_not_held(run, plan.target.name)
    late: Unfinished | None = None
    with hold_target(run, plan.target, protected, plan.wait) as held:
        require_own_previous(run, held.server, held.identity)
        require_confirmed(run, held, confirm_first)
        run.begin()
        shelf = Shelf(plan.backup.archive)
        shelf.prepare()
        for removed in shelf.sweep_pins(run.engine.is_alive):
            run.log.write(f"removed what a dead run left: {removed}")
        chosen, made = _take_archive(run, plan, shelf, fresh=fresh)
        with shelf.pin(plan.backup.archive, run.id, seen=run.engine.seen) as pinned:
            _require_as_new(pinned.manifest, chosen)
            try:
                replace_target(run, held, pinned, plan.how)
            except Unfinished as error:
                late = error
                run.warn(error.message)
    if made and plan.backup.repositories:
        _ship_afterwards(run, plan, chosen, ship)
    if late is not None:  # the new archive is off-site all the same
        raise late


# -- which archive --------------------------------------------------------------------------------


def _take_archive(run: RunContext, plan: RefreshPlan, shelf: Shelf, *, fresh: bool) -> tuple[Archive, bool]:
    """See that a young enough archive is published; return it, and whether this run had it made."""
    with run.step("archive") as facts:
        if not fresh:
            usable = _young(run, plan) or _awaited(run, plan, shelf, facts)
            if usable is not None:
                facts.update(archive=usable.id, age=show_duration((now() - usable.taken_at).total_seconds()))
                return usable, False
        # The refresh does not wait for the network: what is made here goes off-site after the swap.
        child = run.run_child(
            plan=plan.backup.name,
            kind="backup",
            job=lambda inner: backup(inner, plan.backup, ship=_not_yet, fresh=fresh),
        )
        facts["backup"] = child.id
        archive = _published(run, plan)
        if archive is None:
            raise RefreshError("the backup left no archive", hint="look at the backup's run: `daybreak runs`")
        facts["archive"] = archive.id
        # Skipped: another run made it after we asked, and sends it off-site itself.
        return archive, child.state is not RunState.SKIPPED


def _young(run: RunContext, plan: RefreshPlan) -> Archive | None:
    """The published archive, unless it is too old, or from the future: then a clock is or was wrong."""
    archive = _published(run, plan)
    if archive is None or not -_CLOCKS_DIFFER <= now() - archive.taken_at <= plan.max_age:
        return None
    return archive


def _published(run: RunContext, plan: RefreshPlan) -> Archive | None:
    """The archive that stands under the stable name; the newest by its own clock may be another."""
    path = plan.backup.archive
    published = run.catalog.archives.list(plan.backup.name, state=ArchiveState.PUBLISHED)
    return next((one.archive for one in published if one.archive.path == path and path.exists()), None)


def _awaited(run: RunContext, plan: RefreshPlan, shelf: Shelf, facts: dict[str, object]) -> Archive | None:
    """What a running backup publishes, whatever its age by then; None when none runs or it published nothing."""
    before = _published(run, plan)
    if not shelf.is_busy():
        return None
    facts["waited"] = "for the publish of a running backup"
    run.progress("waiting for a running backup")
    with shelf.lock(wait=plan.wait, cancel=run.cancel, holder=f"run {run.id} looks for an archive"):
        after = _published(run, plan)
    return after if after is not None and (before is None or after.id != before.id) else None


def _require_as_new(manifest: Manifest, chosen: Archive) -> None:
    """What is pinned may be newer than what was chosen, if a backup was just published; never older."""
    if manifest.id != chosen.id and manifest.taken_at < chosen.taken_at:
        raise ArchiveError(
            f"{chosen.path} is the archive {manifest.id}, older than {chosen.id}, which was published there",
            hint="somebody put an older file there; `daybreak backup` makes a new one",
        )


def _ship_afterwards(run: RunContext, plan: RefreshPlan, archive: Archive, ship: Shipper) -> None:
    def job(inner: RunContext) -> None:
        inner.begin()
        inner.result["snapshots"] = ship(inner, plan.backup, archive)

    try:
        child = run.run_child(plan=plan.backup.name, kind="ship", job=job)
    except OffsiteError as error:
        raise OffsiteError(
            f"{plan.target.name} is refreshed, but {error.message}", hint=error.hint, reason=error.reason
        ) from error
    run.result["snapshots"] = child.result.get("snapshots", [])


def _not_yet(_run: RunContext, _plan: BackupPlan, _archive: Archive) -> list[dict[str, Any]]:
    """What a refresh's own backup does about off-site: nothing, until the target is refreshed."""
    return []
