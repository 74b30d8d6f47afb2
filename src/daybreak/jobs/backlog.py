"""Archives that a repository still lacks: they wait beside the published one until it can be reached again.

    .daybreak/backlog/<archive>.dump   with its manifest and globals: hard links, made before anything is sent

An archive waits from before it is sent until every repository of its plan has it, so that no kill and no failure
loses one. At most `backlog` of the plan wait; the oldest is let go then, and when the disk has no room for tonight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from daybreak import files
from daybreak.archive import Manifest
from daybreak.catalog import Catalog
from daybreak.jobs.run import RunContext
from daybreak.jobs.shelf import Shelf
from daybreak.model import BackupPlan, Repository
from daybreak.units import show_instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An archive and who lacks it."""

    archive: str
    taken_at: datetime
    path: Path
    lacking: tuple[Repository, ...]


def waiting(catalog: Catalog, plan: BackupPlan) -> list[Waiting]:
    """What waits to be sent, oldest first."""
    return [one for one in _standing(catalog, plan, Shelf(plan.archive)) if one.lacking]


def _standing(catalog: Catalog, plan: BackupPlan, shelf: Shelf) -> list[Waiting]:
    """All that stands in the backlog, oldest first, also what no repository lacks any more."""
    return [
        Waiting(archive=manifest.id, taken_at=manifest.taken_at, path=path, lacking=lacks(catalog, plan, manifest.id))
        for path, manifest in shelf.backlog()
    ]


def lacks(catalog: Catalog, plan: BackupPlan, archive: str) -> tuple[Repository, ...]:
    """The repositories of a plan that never had an archive; one that forgot it since is none of them."""
    had = {one.repository for one in catalog.snapshots.list(plan=plan.name, archive=archive, forgotten=True)}
    return tuple(one for one in plan.repositories if one.name not in had)


def keep_unsent(run: RunContext, plan: BackupPlan, shelf: Shelf, published: Manifest | None) -> None:
    """Before a new archive replaces it: let the published one wait if a run died before it was sent everywhere."""
    if published is None or published.plan != plan.name or not plan.archive.exists():
        return
    if lacks(run.catalog, plan, published.id):
        shelf.enlist(plan.archive, published.id)


def settle(run: RunContext, plan: BackupPlan, shelf: Shelf) -> list[Waiting]:
    """Let go what every repository has, and what is too much; return what goes on waiting."""
    # One look: what another run lets wait meanwhile is none of it.
    standing = _standing(run.catalog, plan, shelf)
    for one in standing:
        if not one.lacking:
            shelf.remove(one.path)
    still = [one for one in standing if one.lacking]
    excess, rest = still[: -plan.backlog], still[-plan.backlog :]
    for one in excess:
        _let_go(run, shelf, one, f"more than {plan.backlog} wait")
    return rest


def make_room(
    run: RunContext,
    plan: BackupPlan,
    shelf: Shelf,
    needed_bytes: int,
    *,
    published: Callable[[], Manifest | None],
) -> None:
    """Tonight's archive comes before those that wait: let go the oldest until there is room, or none is left.

    One that has another name here stays: letting it go would free nothing. So does the newest, unless a sound archive
    stands `published`, for tonight's may still fail; that is asked for only where room is lacking.
    """
    apart = [one for one in waiting(run.catalog, plan) if _stands_alone(one.path)]
    while apart and files.free_bytes(shelf.folder) < needed_bytes and (len(apart) > 1 or published() is not None):
        _let_go(run, shelf, apart.pop(0), "the disk needs the room for a new one")


def _stands_alone(path: Path) -> bool:
    try:
        return path.stat().st_nlink == 1
    except FileNotFoundError:  # sent by now, and let go by whoever sent it
        return False


def _let_go(run: RunContext, shelf: Shelf, one: Waiting, why: str) -> None:
    shelf.remove(one.path)
    lacking = ", ".join(repository.name for repository in one.lacking)
    run.warn(f"archive {one.archive} of {show_instant(one.taken_at)} was never sent to {lacking} and is let go: {why}")
