"""Holds: which databases nothing may replace for now, and whose wish that is."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, delete, or_, select
from sqlalchemy.dialects.sqlite import insert as upsert

from daybreak.catalog.records import Hold
from daybreak.catalog.schema import holds
from daybreak.catalog.store import Store
from daybreak.secret import mask


class Holds:
    """At most one for each database; one whose time is over counts for nothing."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def set(self, hold: Hold) -> None:
        """Hold a database; another hold of it is replaced."""
        values: dict[str, object] = {"until": hold.until, "why": mask(hold.why), "by": hold.by, "at": hold.at}
        with self._store.write() as connection:
            connection.execute(delete(holds).where(~_counts(hold.at)))
            connection.execute(
                upsert(holds)
                .values(database=hold.database, **values)
                .on_conflict_do_update(index_elements=["database"], set_=values)
            )

    def release(self, database: str) -> None:
        """Forget the hold of a database."""
        with self._store.write() as connection:
            connection.execute(delete(holds).where(holds.c.database == database))

    def get(self, database: str, *, at: datetime) -> Hold | None:
        """The hold of a database that counts at an instant."""
        return next((one for one in self.list(at=at) if one.database == database), None)

    def list(self, *, at: datetime) -> list[Hold]:
        """All holds that count at an instant, by database."""
        query = select(holds).where(_counts(at)).order_by(holds.c.database)
        with self._store.read() as connection:
            return [Hold(**row) for row in connection.execute(query).mappings()]


def _counts(at: datetime) -> ColumnElement[bool]:
    return or_(holds.c.until.is_(None), holds.c.until > at)
