"""Do now what the next run would do: put right what dead runs left, and say what was done."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from daybreak import files
from daybreak.errors import Busy, DaybreakError
from daybreak.jobs.adoption import adopt
from daybreak.jobs.connect import connect
from daybreak.jobs.ground import mend_ground
from daybreak.jobs.run import RunContext
from daybreak.jobs.shelf import Shelf
from daybreak.jobs.throwaway import sweep
from daybreak.model import BackupPlan, Database, RefreshPlan

_BRIEFLY = timedelta(seconds=5)


def repair(
    run: RunContext,
    *,
    backups: Iterable[BackupPlan],
    refreshes: Iterable[RefreshPlan],
    databases: Iterable[Database],
    protected: Iterable[Database],
) -> None:
    """Clean up around every archive and on every target; what is in use is left alone and named.

    Raise the last fault when something could not be looked at; everything else is done all the same.
    """
    run.begin()
    done: list[str] = [f"recorded run {one} as lost" for one in run.engine.lost]
    run.result["done"] = done
    fault: DaybreakError | None = None
    for plan in backups:
        with run.step(f"archive of {plan.name}"):
            try:
                done += _repair_archive(run, plan)
            except DaybreakError as error:
                fault = error
                run.warn(f"{plan.name}: {error.message}")
    with run.step("throw-away servers"):
        done += [f"removed {one}" for one in sweep(run)]
    begun = {one.target for one in run.catalog.databases.open_creations()}
    targets = {one.target.name: one.target for one in refreshes}
    targets |= {one.name: one for one in databases if one.name in begun}  # where a restore was begun
    for target in targets.values():
        with run.step(f"target {target.name}"):
            try:
                done += _repair_target(run, target, protected)
            except DaybreakError as error:
                fault = error
                run.warn(f"{target.name}: {error.message}")
    run.reason = "; ".join(done) or "there was nothing to do"
    if fault is not None:
        raise fault


def _repair_archive(run: RunContext, plan: BackupPlan) -> list[str]:
    shelf = Shelf(plan.archive)
    shelf.prepare()
    try:
        with shelf.lock(wait=_BRIEFLY, cancel=run.cancel, holder=f"run {run.id}"):
            adopt(run, plan, shelf)
            return [f"removed {one}" for one in shelf.sweep(run.engine.is_alive)]
    except Busy as busy:
        run.warn(f"left the archive of {plan.name} alone: {busy.message}")
        return []


def _repair_target(run: RunContext, target: Database, protected: Iterable[Database]) -> list[str]:
    lock = run.engine.lock_path(f"target-{target.name}")
    try:
        with (
            files.lock(lock, wait=_BRIEFLY, cancel=run.cancel, holder=f"run {run.id}"),
            connect(target, run) as server,
        ):
            return mend_ground(run, server, protected)
    except Busy as busy:
        run.warn(f"left {target.name} alone: {busy.message}")
        return []
