"""Enrolled databases, the swap that is announced for one, and the databases that are ours to drop.

A refresh writes before it acts, so that whoever comes after a kill can tell what happened:
`add_creation` before CREATE DATABASE, `set_oid` after it, `announce_next` before the swap,
`accept_next` after it (or by the next run that finds the announced oid under the target's name).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TypedDict

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from daybreak.catalog.records import Baseline, Counted, Creation, Enrolment, Role
from daybreak.catalog.schema import counts, creations, databases
from daybreak.catalog.store import Store
from daybreak.model import Identity

_OPEN = creations.c.dropped_at.is_(None) & creations.c.promoted_at.is_(None)


class Databases:
    """What is known about the servers' databases."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def enrolled(self, name: str) -> Enrolment | None:
        """Which database `name` meant when it was enrolled, kept up by every swap since."""
        with self._store.read() as connection:
            return _enrolled(connection, name)

    def list(self) -> list[Enrolment]:
        """All enrolled databases by name."""
        with self._store.read() as connection:
            return [
                _enrolment(row) for row in connection.execute(select(databases).order_by(databases.c.name)).mappings()
            ]

    def enrol(self, name: str, identity: Identity, *, at: datetime) -> None:
        """Record which database `name` means; forgets a swap that was announced."""
        values: dict[str, object] = {
            "system_identifier": identity.system_identifier,
            "oid": identity.oid,
            "database": identity.database,
            "enrolled_at": at,
            "next_oid": None,
            "next_run": None,
        }
        with self._store.write() as connection:
            connection.execute(
                upsert(databases)
                .values(name=name, **values)
                .on_conflict_do_update(index_elements=["name"], set_=values)
            )

    def announce_next(self, name: str, oid: int, run: str) -> None:
        """Record, before the swap, the oid that `name` will have after it."""
        with self._store.write() as connection:
            changed = connection.execute(
                update(databases).where(databases.c.name == name).values(next_oid=oid, next_run=run)
            )
            if changed.rowcount == 0:
                raise LookupError(f"{name} is not enrolled")

    def withdraw_next(self, name: str, run: str) -> None:
        """Take back what `run` announced, when its swap certainly did not happen."""
        with self._store.write() as connection:
            where = (databases.c.name == name) & (databases.c.next_run == run)
            connection.execute(update(databases).where(where).values(next_oid=None, next_run=None))

    def accept_next(self, name: str, *, previous: str | None, at: datetime) -> Enrolment:
        """Record that the announced swap happened: the target has its next oid now.

        In one transaction: the shadow counts as promoted, and the database that was the target becomes
        ours as previous, under the name `previous` (None: it is gone). Raise LookupError where nothing was announced.
        """
        with self._store.write() as connection:
            before = _enrolled(connection, name)
            if before is None or before.next_oid is None or before.next_run is None:
                raise LookupError(f"no swap was announced for {name}")
            old = before.identity
            promoted = _open_with_oid(old.system_identifier, before.next_oid)
            connection.execute(update(creations).where(promoted).values(promoted_at=at))
            if previous is not None and old.oid != before.next_oid:
                creation = _Row(
                    target=name,
                    system_identifier=old.system_identifier,
                    oid=old.oid,
                    database=previous,
                    run=before.next_run,
                    role=Role.PREVIOUS,
                    created_at=at,
                )
                _insert(connection, creation)
            values = {"oid": before.next_oid, "next_oid": None, "next_run": None}
            connection.execute(update(databases).where(databases.c.name == name).values(values))
            return replace(before, identity=replace(old, oid=before.next_oid), next_oid=None, next_run=None)

    def add_creation(
        self,
        *,
        target: str,
        system_identifier: str,
        database: str,
        run: str,
        role: Role,
        at: datetime,
        oid: int | None = None,
    ) -> Creation:
        """Record a database as ours; without `oid` before it is created, see `set_oid`."""
        with self._store.write() as connection:
            creation = _Row(
                target=target,
                system_identifier=system_identifier,
                oid=oid,
                database=database,
                run=run,
                role=role,
                created_at=at,
            )
            number = _insert(connection, creation)
            return _creation(connection.execute(select(creations).where(creations.c.id == number)).mappings().one())

    def set_oid(self, creation: int, oid: int) -> None:
        """Complete a creation that was recorded before its database was there."""
        with self._store.write() as connection:
            row = connection.execute(select(creations).where(creations.c.id == creation)).mappings().first()
            if row is None:
                raise LookupError(f"there is no creation {creation}")
            if row["oid"] == oid:
                return
            _supersede(connection, row["system_identifier"], oid, row["created_at"])
            connection.execute(update(creations).where(creations.c.id == creation).values(oid=oid))

    def find_creation(self, system_identifier: str, oid: int) -> Creation | None:
        """The record of a database that is ours and neither dropped nor promoted."""
        query = select(creations).where(_open_with_oid(system_identifier, oid))
        with self._store.read() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else _creation(row)

    def open_creations(self, target: str | None = None, *, role: Role | None = None) -> list[Creation]:
        """Databases of ours that are neither dropped nor promoted, oldest first."""
        query = select(creations).where(_OPEN).order_by(creations.c.id)
        if target is not None:
            query = query.where(creations.c.target == target)
        if role is not None:
            query = query.where(creations.c.role == role)
        with self._store.read() as connection:
            return [_creation(row) for row in connection.execute(query).mappings()]

    def was_refreshed(self, target: str) -> bool:
        """Whether a swap of ours ever made a database the target."""
        query = (
            select(creations.c.id).where(creations.c.target == target, creations.c.promoted_at.is_not(None)).limit(1)
        )
        with self._store.read() as connection:
            return connection.execute(query).first() is not None

    def set_baseline(self, target: str, baseline: Baseline) -> None:
        """Record what was counted in the database that just became `target`; the one before is forgotten."""
        values: dict[str, object] = {
            "system_identifier": baseline.system_identifier,
            "oid": baseline.oid,
            "at": baseline.at,
            "reset_at": baseline.counted.reset_at,
            "tables": {str(oid): count for oid, count in baseline.counted.tables.items()},
        }
        with self._store.write() as connection:
            connection.execute(
                upsert(counts)
                .values(target=target, **values)
                .on_conflict_do_update(index_elements=["target"], set_=values)
            )

    def baseline(self, target: str, identity: Identity) -> Baseline | None:
        """What was counted when the database of this identity became `target`; None for another one."""
        same = (counts.c.system_identifier == identity.system_identifier) & (counts.c.oid == identity.oid)
        with self._store.read() as connection:
            row = connection.execute(select(counts).where(counts.c.target == target, same)).mappings().first()
        if row is None:
            return None
        tables = {int(oid): count for oid, count in row["tables"].items()}
        counted = Counted(reset_at=row["reset_at"], tables=tables)
        return Baseline(system_identifier=row["system_identifier"], oid=row["oid"], at=row["at"], counted=counted)

    def forget_creation(self, creation: int) -> None:
        """Forget a database of ours: it was made for somebody, and belongs to him from now on."""
        with self._store.write() as connection:
            connection.execute(delete(creations).where(creations.c.id == creation))

    def mark_dropped(self, creation: int, *, at: datetime) -> None:
        """Record that a database of ours is gone."""
        with self._store.write() as connection:
            changed = connection.execute(update(creations).where(creations.c.id == creation).values(dropped_at=at))
            if changed.rowcount == 0:
                raise LookupError(f"there is no creation {creation}")


class _Row(TypedDict):
    """The columns of a new creation."""

    target: str
    system_identifier: str
    oid: int | None
    database: str
    run: str
    role: Role
    created_at: datetime


def _insert(connection: Connection, row: _Row) -> int:
    if row["oid"] is not None:
        _supersede(connection, row["system_identifier"], row["oid"], row["created_at"])
    return connection.execute(insert(creations).values(**row).returning(creations.c.id)).scalar_one()


def _open_with_oid(system_identifier: str, oid: int) -> ColumnElement[bool]:
    return _OPEN & (creations.c.system_identifier == system_identifier) & (creations.c.oid == oid)


def _supersede(connection: Connection, system_identifier: str, oid: int, at: datetime) -> None:
    """An oid names one database: an open record of the same oid is of one that somebody else dropped."""
    connection.execute(update(creations).where(_open_with_oid(system_identifier, oid)).values(dropped_at=at))


def _enrolled(connection: Connection, name: str) -> Enrolment | None:
    row = connection.execute(select(databases).where(databases.c.name == name)).mappings().first()
    return None if row is None else _enrolment(row)


def _enrolment(row: RowMapping) -> Enrolment:
    return Enrolment(
        name=row["name"],
        identity=Identity(system_identifier=row["system_identifier"], oid=row["oid"], database=row["database"]),
        enrolled_at=row["enrolled_at"],
        next_oid=row["next_oid"],
        next_run=row["next_run"],
    )


def _creation(row: RowMapping) -> Creation:
    return Creation(
        id=row["id"],
        target=row["target"],
        system_identifier=row["system_identifier"],
        oid=row["oid"],
        database=row["database"],
        run=row["run"],
        role=Role(row["role"]),
        created_at=row["created_at"],
        dropped_at=row["dropped_at"],
        promoted_at=row["promoted_at"],
    )
