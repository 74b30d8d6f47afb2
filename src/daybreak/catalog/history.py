"""What pages and other readers ask of many rows at once: filtered, counted, cut into pages, light.

Shapes  nothing here writes. A page of runs is newest first; what draws thirty days takes `Brief` rows, without the
        JSON of a run.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, func, select

from daybreak.catalog.records import ProofRecord, Shipment, SlotRecord
from daybreak.catalog.runs import run_of
from daybreak.catalog.schema import archives, creations, proofs, runs, slots, snapshots
from daybreak.catalog.slots import JOINED, record_of
from daybreak.catalog.store import Store
from daybreak.model import Run, RunState, SlotState

#: Runs whose triggers are offered for choice: the newest ones.
_TRIGGERS_OF: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs; what is empty narrows nothing."""

    plan: str = ""
    kind: str = ""
    states: tuple[RunState, ...] = ()
    trigger: str = ""  # its beginning
    since: datetime | None = None  # asked for then or later
    until: datetime | None = None  # asked for before


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """A run in few words."""

    id: str
    plan: str
    kind: str
    state: RunState
    requested_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """An archive in few words."""

    id: str
    plan: str
    run: str
    taken_at: datetime
    size_bytes: int
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A snapshot in few words."""

    repository: str
    id: str
    plan: str
    archive: str
    taken_at: datetime
    forgotten_at: datetime | None


class History:
    """Reads across runs, slots, archives, snapshots and proofs."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def runs(self, wanted: RunFilter, *, limit: int, offset: int = 0) -> list[Run]:
        """Runs newest first, without steps."""
        query = select(runs).where(*_where(wanted)).order_by(runs.c.requested_at.desc(), runs.c.id.desc())
        with self._store.read() as connection:
            return [run_of(row) for row in connection.execute(query.limit(limit).offset(offset)).mappings()]

    def count(self, wanted: RunFilter) -> int:
        """How many runs there are."""
        query = select(func.count()).select_from(runs).where(*_where(wanted))
        with self._store.read() as connection:
            return connection.execute(query).scalar_one()

    def briefs(self, since: datetime | None = None, *, kinds: Collection[str], limit: int = 4000) -> list[Brief]:
        """Runs of some kinds, of those that were asked for since an instant where one is given, newest first."""
        columns = (runs.c.id, runs.c.plan, runs.c.kind, runs.c.state, runs.c.requested_at, runs.c.ended_at)
        query = select(*columns).where(runs.c.kind.in_(kinds))
        if since is not None:
            query = query.where(runs.c.requested_at >= since)
        query = query.order_by(runs.c.requested_at.desc(), runs.c.id.desc()).limit(limit)
        with self._store.read() as connection:
            return [
                Brief(
                    id=row.id,
                    plan=row.plan,
                    kind=row.kind,
                    state=RunState(row.state),
                    requested_at=row.requested_at,
                    ended_at=row.ended_at,
                )
                for row in connection.execute(query)
            ]

    def plans(self) -> list[tuple[str, str]]:
        """Every kind and plan that ever ran."""
        query = select(runs.c.kind, runs.c.plan).distinct().order_by(runs.c.kind, runs.c.plan)
        with self._store.read() as connection:
            return [(row.kind, row.plan) for row in connection.execute(query)]

    def triggers(self) -> list[str]:
        """Who asked for the newest runs; those that a run started are one."""
        newest = select(runs.c.trigger).order_by(runs.c.requested_at.desc()).limit(_TRIGGERS_OF).subquery()
        with self._store.read() as connection:
            found = connection.execute(select(newest.c.trigger).distinct()).scalars().all()
        return sorted({"run" if one.startswith("run ") else one for one in found})

    def children(self, run: str) -> list[Run]:
        """The runs that a run started, oldest first."""
        query = select(runs).where(runs.c.requested_at >= _asked(run), runs.c.trigger == f"run {run}")
        with self._store.read() as connection:
            found = connection.execute(query.order_by(runs.c.requested_at).limit(20)).mappings()
            return [run_of(row) for row in found]

    def slots(
        self,
        *,
        states: Collection[SlotState] | None = None,
        plan: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int,
    ) -> list[tuple[str, str, SlotRecord]]:
        """Kind, plan and row of slots, newest first."""
        columns = (slots, runs.c.state.label("run_state"), runs.c.reason.label("run_reason"))
        query = select(*columns).select_from(JOINED).order_by(slots.c.due_at.desc()).limit(limit)
        if states is not None:
            query = query.where(slots.c.state.in_(states))
        if plan:
            query = query.where(slots.c.plan == plan)
        if since is not None:
            query = query.where(slots.c.due_at >= since)
        if until is not None:
            query = query.where(slots.c.due_at < until)
        with self._store.read() as connection:
            return [(row["kind"], row["plan"], record_of(row)) for row in connection.execute(query).mappings()]

    def taken(self, since: datetime, *, plan: str = "") -> list[Taken]:
        """Archives taken since an instant, newest first."""
        columns = (
            archives.c.id,
            archives.c.plan,
            archives.c.run,
            archives.c.taken_at,
            archives.c.size_bytes,
            archives.c.state,
        )
        query = select(*columns).where(archives.c.taken_at >= since).order_by(archives.c.taken_at.desc())
        if plan:
            query = query.where(archives.c.plan == plan)
        with self._store.read() as connection:
            return [Taken(**row) for row in connection.execute(query).mappings()]

    def archive_count(self, plan: str = "") -> int:
        """How many archives there are."""
        query = select(func.count()).select_from(archives)
        with self._store.read() as connection:
            return connection.execute(query.where(archives.c.plan == plan) if plan else query).scalar_one()

    def archive_page(self, plan: str, *, limit: int, offset: int) -> list[str]:
        """The ids of a page of archives, newest first."""
        query = select(archives.c.id).order_by(archives.c.taken_at.desc(), archives.c.id.desc())
        query = query.where(archives.c.plan == plan) if plan else query
        with self._store.read() as connection:
            return list(connection.execute(query.limit(limit).offset(offset)).scalars())

    def before(self, plan: str, taken_at: datetime) -> str:
        """The archive of a plan that was taken last before an instant; "" where there is none."""
        query = select(archives.c.id).where(archives.c.plan == plan, archives.c.taken_at < taken_at)
        with self._store.read() as connection:
            return connection.execute(query.order_by(archives.c.taken_at.desc()).limit(1)).scalar() or ""

    def shipped(self, since: datetime) -> list[Shipment]:
        """Snapshots taken since an instant, newest first, the forgotten ones too."""
        query = select(snapshots).where(snapshots.c.taken_at >= since).order_by(snapshots.c.taken_at.desc())
        with self._store.read() as connection:
            return [Shipment(**row) for row in connection.execute(query).mappings()]

    def stored(
        self,
        *,
        plan: str = "",
        repository: str = "",
        archives: Collection[str] | None = None,
        since: datetime | None = None,
        forgotten: bool = False,
    ) -> list[Stored]:
        """Snapshots in few words, newest first; the forgotten ones only when asked for."""
        columns = (
            snapshots.c.repository,
            snapshots.c.id,
            snapshots.c.plan,
            snapshots.c.archive,
            snapshots.c.taken_at,
            snapshots.c.forgotten_at,
        )
        query = select(*columns).order_by(snapshots.c.taken_at.desc(), snapshots.c.id)
        if plan:
            query = query.where(snapshots.c.plan == plan)
        if repository:
            query = query.where(snapshots.c.repository == repository)
        if archives is not None:
            query = query.where(snapshots.c.archive.in_(archives))
        if since is not None:
            query = query.where(snapshots.c.taken_at >= since)
        if not forgotten:
            query = query.where(snapshots.c.forgotten_at.is_(None))
        with self._store.read() as connection:
            return [
                Stored(repository=where, id=id_, plan=its, archive=archive, taken_at=taken_at, forgotten_at=gone)
                for where, id_, its, archive, taken_at, gone in connection.execute(query)
            ]

    def snapshot_count(self, repository: str, *, forgotten: bool = False) -> int:
        """How many snapshots a repository has; with `forgotten`, how many it ever had."""
        query = select(func.count()).select_from(snapshots).where(snapshots.c.repository == repository)
        query = query if forgotten else query.where(snapshots.c.forgotten_at.is_(None))
        with self._store.read() as connection:
            return connection.execute(query).scalar_one()

    def shipments(self, repository: str, *, limit: int, offset: int) -> list[Shipment]:
        """A page of the snapshots of a repository, the forgotten ones too, newest first."""
        query = select(snapshots).where(snapshots.c.repository == repository)
        query = query.order_by(snapshots.c.taken_at.desc(), snapshots.c.id).limit(limit).offset(offset)
        with self._store.read() as connection:
            return [Shipment(**row) for row in connection.execute(query).mappings()]

    def proven(self, plan: str) -> set[str]:
        """The archives of a plan that count as proven."""
        query = select(archives.c.id).where(archives.c.plan == plan, archives.c.proven_at.is_not(None))
        with self._store.read() as connection:
            return set(connection.execute(query).scalars())

    def proofs(
        self, *, archive: str = "", since: datetime | None = None, limit: int | None = None
    ) -> list[ProofRecord]:
        """Proofs, newest first."""
        query = select(proofs).order_by(proofs.c.at.desc()).limit(limit)
        if archive:
            query = query.where(proofs.c.archive == archive)
        if since is not None:
            query = query.where(proofs.c.at >= since)
        with self._store.read() as connection:
            return [ProofRecord(**row) for row in connection.execute(query).mappings()]

    def users_of(self, archive: str, taken_at: datetime, *, limit: int = 50) -> list[Run]:
        """The runs that restored an archive or tried to, oldest first; what made or sent it is none of them."""
        its = runs.c.result["archive"]["id"].as_string() == archive
        kinds = ("refresh", "drill", "restore", "pull", "open")
        query = select(runs).where(runs.c.requested_at >= taken_at, runs.c.kind.in_(kinds), its)
        with self._store.read() as connection:
            found = connection.execute(query.order_by(runs.c.requested_at).limit(limit)).mappings()
            return [run_of(row) for row in found]

    def swaps(self, target: str) -> set[str]:
        """The runs whose shadow became a target."""
        query = select(creations.c.run).where(creations.c.target == target, creations.c.promoted_at.is_not(None))
        with self._store.read() as connection:
            return set(connection.execute(query).scalars())


def _asked(run: str) -> datetime:
    """When a run was asked for at the earliest, by its id."""
    try:
        return datetime.strptime(f"{run[:15]}+0000", "%Y%m%d-%H%M%S%z")
    except ValueError:
        return datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def _where(wanted: RunFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.plan:
        found.append(runs.c.plan == wanted.plan)
    if wanted.kind:
        found.append(runs.c.kind == wanted.kind)
    if wanted.states:
        found.append(runs.c.state.in_(wanted.states))
    if wanted.trigger:
        found.append(runs.c.trigger.startswith(wanted.trigger, autoescape=True))
    if wanted.since is not None:
        found.append(runs.c.requested_at >= wanted.since)
    if wanted.until is not None:
        found.append(runs.c.requested_at < wanted.until)
    return found
