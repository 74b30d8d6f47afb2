"""Send archives off-site as a part of a run: pinned, shipped to every repository, recorded, read back.

let it wait → what waits, oldest first → this one → let go what arrived everywhere → forget by the rules
"""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from daybreak.catalog.records import Shipment
from daybreak.errors import ArchiveError, Busy, ConfigError, OffsiteError, Refused, UnreadableError
from daybreak.files import lock
from daybreak.jobs import backlog, forget
from daybreak.jobs.parcel import Parcel
from daybreak.jobs.run import RunContext, now
from daybreak.jobs.shelf import GLOBALS, JSON, Shelf
from daybreak.jobs.ship import WAIT, NotShipped, Shipped, require_all, ship_all
from daybreak.jobs.upkeep import Connect, lock_path
from daybreak.model import Archive, ArchiveState, BackupPlan
from daybreak.restic import Restic
from daybreak.units import rfc3339


def send(run: RunContext, plan: BackupPlan, archive: Archive, *, connect: Connect) -> list[dict[str, Any]]:
    """Send what waits and `archive` to every repository of `plan` that lacks it; return the snapshots as in `--json`.

    Oldest first, each with the time at which it was taken; then old snapshots are forgotten where `archive` arrived.
    Raise OffsiteError when a repository lacks one, after all were tried.
    """
    if not plan.repositories:
        return []
    shelf = Shelf(plan.archive)
    quarantined = archive.state is ArchiveState.QUARANTINED
    shipment = _Shipping(run, plan, shelf, {one.name: connect(one, run.runner) for one in plan.repositories})
    with run.step("off-site") as facts:
        try:
            with shelf.pin(archive.path, run.id, seen=run.engine.seen) as pinned:
                # Before anything is sent, so that no kill loses it; a quarantined one is kept by itself.
                known = quarantined or not shelf.enlist(pinned.path, pinned.manifest.id)
                for one in backlog.waiting(run.catalog, plan):
                    if one.taken_at < pinned.manifest.taken_at:
                        shipment.catch_up(one)
                shipment.send(pinned.path, [one.name for one in plan.repositories], again=known, aside=quarantined)
        finally:
            still = backlog.settle(run, plan, shelf)
            snapshots = run.result["snapshots"] = [_as_json(plan, one) for one in shipment.shipped]
            facts.update({one.repository: one.snapshot[:8] for one in shipment.shipped})
            facts["added_bytes"] = sum(one.added_bytes for one in shipment.shipped)
            facts["failed"] = [one.repository for one in shipment.faults.values()]
            if still:
                run.result["waiting"] = facts["waiting"] = [one.archive for one in still]
        for restic in shipment.served(archive.id):
            forget_old(run, plan, restic)
        if shipment.faults:
            _require_all(shipment, still)
    return snapshots


class _Shipping:
    """One run's way through the repositories of a plan: a repository that failed is left alone for the rest of it."""

    def __init__(self, run: RunContext, plan: BackupPlan, shelf: Shelf, restics: Mapping[str, Restic]) -> None:
        self._run = run
        self._plan = plan
        self._shelf = shelf
        self._restics = restics
        self.shipped: list[Shipped] = []
        self.faults: dict[str, NotShipped] = {}

    def catch_up(self, one: backlog.Waiting) -> None:
        """Send an older archive that waits. One that is damaged is let go: it can never be sent."""
        try:
            self.send(one.path, [repository.name for repository in one.lacking], again=True)
        except UnreadableError as fault:
            if not backlog.lacks(self._run.catalog, self._plan, one.archive):
                self._run.log.write(f"another run sent archive {one.archive} meanwhile")
                return
            self._run.warn(f"{fault.message}; archive {one.archive} goes on waiting for the next night")
        except ArchiveError as fault:
            self._run.warn(f"{fault.message}; archive {one.archive} was never sent to all repositories and is let go")
            self._shelf.remove(one.path)

    def send(self, path: Path, names: Sequence[str], *, again: bool, aside: bool = False) -> None:
        """Send an archive to the repositories of these names that have not failed yet."""
        beside = path.with_name(path.name + GLOBALS)
        parcel = Parcel(
            plan=self._plan.name,
            name=self._plan.archive.name,
            dump=path,
            manifest=path.with_name(path.name + JSON),
            globals=beside if beside.exists() else None,
            quarantined=aside,
            again=again,
            form=self._plan.ship,
            shard_bytes=None if self._plan.shard_kib is None else self._plan.shard_kib * 1024,
        )
        results = ship_all(
            parcel,
            [self._restics[name] for name in names if name not in self.faults],
            folder=self._shelf.root / "ship",
            locks=self._run.engine.state / "locks",
            host=host_name(),
            cancel=self._run.cancel,
            holder=f"run {self._run.id}",
            report=lambda event, said: _tell(self._run, event, said),
        )
        for result in results:
            if isinstance(result, Shipped):
                self.shipped.append(result)
                if not aside:  # once it is accepted, the repositories still lack it
                    self._run.best_effort(functools.partial(_remember, self._run, self._plan, result))
            else:
                self.faults[result.repository] = result

    def served(self, archive: str) -> list[Restic]:
        """The repositories that got an archive in this run, and nothing failed there."""
        got = {one.repository for one in self.shipped if one.archive == archive} - self.faults.keys()
        return [restic for name, restic in self._restics.items() if name in got]


def _require_all(shipment: _Shipping, still: Sequence[backlog.Waiting]) -> None:
    try:
        require_all([*shipment.shipped, *shipment.faults.values()])
    except OffsiteError as fault:
        if still:
            archives = "an archive waits" if len(still) == 1 else f"{len(still)} archives wait"
            fault.hint += f"; {archives} here, and the next night sends what is missing"
        raise


def forget_old(run: RunContext, plan: BackupPlan, restic: Restic) -> None:
    """Forget what the rules of a repository no longer keep of a plan. Trouble is a warning: the night is safe."""
    if restic.repository.keep is None or restic.repository.append_only or run.engine.alone:
        return
    try:
        with lock(lock_path(run, restic.repository), wait=WAIT, cancel=run.cancel, holder=f"run {run.id}"):
            outlook = forget.look(run.catalog, plan, restic, host=host_name())
            gone = forget.forget(run.catalog, restic, outlook, at=now())
    except (OffsiteError, Refused, Busy) as fault:
        run.warn(f"{restic.name}: old snapshots were not forgotten: {fault.message} ({fault.hint})")
        return
    except ConfigError as fault:
        run.warn(f"{restic.name}: what was forgotten there could not be recorded: {fault.message} ({fault.hint})")
        return
    for why in outlook.pauses:
        run.log.write(f"nothing is forgotten in {restic.name}: {why}")
    if gone:
        run.log.write(f"forgotten in {restic.name}: {', '.join(one[:8] for one in gone)}")
        for snapshot in cast("list[dict[str, Any]]", run.result["snapshots"]):
            if snapshot["repository"] == restic.name:
                snapshot["forgotten"] = len(gone)


def ship(run: RunContext, plan: BackupPlan, *, connect: Connect) -> None:
    """Send the newest published archive of `plan` off-site. Raise ArchiveError where there is none."""
    run.result["snapshots"] = []
    shelf = Shelf(plan.archive)
    shelf.prepare()
    run.begin()
    record = run.catalog.archives.newest(plan.name)
    if record is None or not plan.archive.exists():
        raise ArchiveError(f"there is no archive of {plan.name} to send", hint=f"daybreak backup {plan.name}")
    run.result["snapshots"] = send(run, plan, record.archive, connect=connect)


def host_name() -> str:
    """The name that our snapshots bear: forget only ever looks at those of this host."""
    return os.environ.get("DAYBREAK_HOST") or socket.gethostname()


def _remember(run: RunContext, plan: BackupPlan, shipped: Shipped) -> None:
    run.catalog.snapshots.add(
        Shipment(
            id=shipped.snapshot,
            repository=shipped.repository,
            plan=plan.name,
            archive=shipped.archive,
            run=run.id,
            taken_at=shipped.taken_at,
            size_bytes=shipped.total_bytes,
            added_bytes=shipped.added_bytes,
        )
    )


def _as_json(plan: BackupPlan, shipped: Shipped) -> dict[str, Any]:
    return {
        "repository": shipped.repository,
        "id": shipped.snapshot,
        "plan": plan.name,
        "archive": shipped.archive,
        "taken_at": rfc3339(shipped.taken_at),
        "total_bytes": shipped.total_bytes,
        "added_bytes": shipped.added_bytes,
        "seconds": round(shipped.seconds, 1),
        "forgotten": 0,
    }


def _tell(run: RunContext, event: str, said: Mapping[str, Any]) -> None:
    if event == "progress":
        run.progress(f"to {said['repository']}", done_bytes=said["done_bytes"], total_bytes=said["total_bytes"])
    elif event == "reading back":
        run.progress(f"reading the snapshot in {said['repository']} back")
    elif event == "warning":
        where = f"{said['repository']}: " if "repository" in said else ""
        run.warn(f"{where}{said['message']}" + (f" ({said['hint']})" if said.get("hint") else ""))
    else:
        run.log.write(f"{event}: {dict(said)}")
