"""Snapshots that were shipped and read back; restic's own list is the truth, this is the memory."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import func, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from daybreak.catalog.records import Shipment
from daybreak.catalog.schema import snapshots
from daybreak.catalog.store import Store
from daybreak.retention import FAR_AHEAD

#: More than any plan sends to one repository before it sends to another.
_LAST: Final = 200


class Snapshots:
    """The snapshots of all repositories."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, shipment: Shipment) -> None:
        """Record a snapshot; one that is known already is written over."""
        values = asdict(shipment)
        with self._store.write() as connection:
            connection.execute(
                upsert(snapshots).values(values).on_conflict_do_update(index_elements=["repository", "id"], set_=values)
            )

    def list(
        self,
        *,
        repository: str | None = None,
        plan: str | None = None,
        archive: str | None = None,
        forgotten: bool = False,
        limit: int | None = None,
    ) -> list[Shipment]:
        """Snapshots newest first; forgotten ones only when asked for."""
        query = select(snapshots).order_by(snapshots.c.taken_at.desc(), snapshots.c.id).limit(limit)
        if repository is not None:
            query = query.where(snapshots.c.repository == repository)
        if plan is not None:
            query = query.where(snapshots.c.plan == plan)
        if archive is not None:
            query = query.where(snapshots.c.archive == archive)
        if not forgotten:
            query = query.where(snapshots.c.forgotten_at.is_(None))
        with self._store.read() as connection:
            return [Shipment(**row) for row in connection.execute(query).mappings()]

    def newest(self, plan: str) -> list[Shipment]:
        """Of each repository the newest snapshot of a plan among its last ones, forgotten ones left out."""
        last = select(snapshots).where(snapshots.c.plan == plan, snapshots.c.forgotten_at.is_(None))
        # One that a clock dated far later would hide for as long that nothing newer arrives.
        last = last.where(snapshots.c.taken_at <= datetime.now(UTC) + FAR_AHEAD)
        last = last.order_by(snapshots.c.taken_at.desc()).limit(_LAST).subquery()
        # SQLite takes the other columns from the row that has the max().
        query = select(last, func.max(last.c.taken_at)).group_by(last.c.repository)
        with self._store.read() as connection:
            found = [
                Shipment(**{column.name: row[column.name] for column in last.c})
                for row in connection.execute(query).mappings()
            ]
        return sorted(found, key=lambda one: one.taken_at, reverse=True)

    def forget(self, repository: str, ids: Collection[str], *, at: datetime) -> int:
        """Record that snapshots are gone; return how many of them were known."""
        where = (snapshots.c.repository == repository) & snapshots.c.id.in_(ids) & snapshots.c.forgotten_at.is_(None)
        with self._store.write() as connection:
            return connection.execute(update(snapshots).where(where).values(forgotten_at=at)).rowcount
