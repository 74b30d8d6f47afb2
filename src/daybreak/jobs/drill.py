"""Drill: a proof on purpose. An archive is fetched, restored in a throw-away server, compared, timed, and dropped.

    archive (pinned here, or fetched from a repository) → server → rehearse → restore → proof → gone

Shapes  the run's result gets `archive`, `source`, `fetch_s`, `restore_s`, `proof_s`, `proof`, `server`, `left_out`.
Errors  `ArchiveError` (12: damaged, or nothing here can take it), `ProofError` (18: it differs), `OffsiteError` (14),
        `ConfigError` (3), `PublishError` (13).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Final

from daybreak.archive import read_manifest
from daybreak.errors import ArchiveError, Busy, DaybreakError
from daybreak.jobs.backup import archive_of, tidy
from daybreak.jobs.choice import choose, pinned
from daybreak.jobs.fetch import fetch
from daybreak.jobs.proven import is_due, newest_proven_at, record_verdict
from daybreak.jobs.restored import restored
from daybreak.jobs.run import RunContext, now
from daybreak.jobs.shelf import JSON, Pinned, Shelf
from daybreak.jobs.throwaway import Wish
from daybreak.model import BackupPlan
from daybreak.replacement import Replacement
from daybreak.restic import Restic
from daybreak.units import show_bytes

LOCAL: Final = "local"


def drill(run: RunContext, plan: BackupPlan, *, restic: Restic | None, wish: Wish, how: Replacement) -> None:
    """Prove the newest archive of `plan`: the one here, or with `restic` the one in that repository."""
    source = f"drill {restic.name if restic else LOCAL}"
    run.result |= {"source": restic.name if restic else LOCAL, "fetch_s": None}
    run.begin()
    # Before its end: whoever wants another copy proven must not be sent to this run.
    run.best_effort(lambda: run.catalog.runs.set_result(run.id, run.result))
    chosen = choose(run, plan.name, [plan]) if restic is None else None
    with contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(pinned(run, chosen) if chosen else _fetched(run, plan, restic))
        except ArchiveError as error:
            record_verdict(run, plan.name, None, source=source, why=error.message)
            raise
        run.result["archive"] = archive_of(run, held.manifest)
        stack.enter_context(restored(run, held, wish, how, source=source))
        with run.step("drop"):
            stack.close()
    _tidy(run, plan)


@contextlib.contextmanager
def _fetched(run: RunContext, plan: BackupPlan, restic: Restic | None) -> Generator[Pinned]:
    """The newest archive of a repository, in the run's private folder."""
    assert restic is not None
    run.private.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = run.private / "archive.dump"
    began = time.monotonic()
    with run.step("fetch") as facts:
        found = fetch(restic, to=path, plan=plan.name, on_file=lambda name: run.progress(f"fetching {name}"))
        run.result["fetch_s"] = round(time.monotonic() - began, 2)
        run.result["snapshot"] = found.snapshot
        facts.update(repository=restic.name, archive=found.archive, size=show_bytes(found.size_bytes))
    yield Pinned(path=path, manifest=read_manifest(path.with_name(path.name + JSON)))


def _tidy(run: RunContext, plan: BackupPlan) -> None:
    """An older archive that was kept because it was the newest proven one may go now."""
    shelf = Shelf(plan.archive)
    if not shelf.root.exists():
        return
    try:
        with shelf.lock(wait=timedelta(0), cancel=run.cancel, holder=f"run {run.id}"):
            tidy(run, plan, shelf)
    except Busy:
        run.log.write("a backup is running; it tidies up itself")
    except DaybreakError as error:
        run.warn(f"older archives could not be looked through: {error.message}")


def drill_if_due(run: RunContext, plan: BackupPlan, *, job: Callable[[RunContext], None]) -> None:
    """After a backup's publish: drill the archive as a run of its own, where the plan's `proof` says so."""
    if not is_due(plan, newest_proven_at(run.catalog, plan.name), now()):
        return
    child = run.run_child(plan=plan.name, kind="drill", job=job)
    run.result["drill"] = {
        "run": child.id,
        **{key: child.result.get(key) for key in ("source", "restore_s", "proof_s", "proof")},
    }
