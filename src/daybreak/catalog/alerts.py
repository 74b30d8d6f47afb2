"""Alerts: what each destination was told and is not over yet, and how the last message to each went.

Several processes may look at once: who claims an alert tells it, and nobody else does. What is over stays until its
destination has heard that; it was claimed for that later than it was told.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, delete, insert, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from daybreak.catalog.records import Delivery, OpenAlert
from daybreak.catalog.schema import alerts, deliveries
from daybreak.catalog.store import Store
from daybreak.secret import mask

_OVER: Final = alerts.c.claimed_at > alerts.c.told_at


class Alerts:
    """At most one open alert for each plan, event and destination."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def list(self, *, events: Collection[str] | None = None, also_over: bool = False) -> list[OpenAlert]:
        """All that is open, oldest first; `also_over`: and that is over, which its destination has not heard yet."""
        query = select(alerts).order_by(alerts.c.opened_at, alerts.c.plan, alerts.c.event, alerts.c.destination)
        if not also_over:
            query = query.where(or_(alerts.c.told_at.is_(None), ~_OVER))
        if events is not None:
            query = query.where(alerts.c.event.in_(events))
        with self._store.read() as connection:
            return [OpenAlert(**row) for row in connection.execute(query).mappings()]

    def claim(self, alert: OpenAlert, *, again_before: datetime) -> bool:
        """Take it on oneself to tell `alert`. False: it was told, or somebody claimed it at `again_before` or later."""
        values = {"opened_at": alert.opened_at, "run": alert.run, "text": mask(alert.text)}
        with self._store.write() as connection:
            made = connection.execute(
                upsert(alerts)
                .values(
                    plan=alert.plan,
                    event=alert.event,
                    destination=alert.destination,
                    claimed_at=alert.claimed_at,
                    told_at=alert.told_at,
                    **values,
                )
                .on_conflict_do_nothing()
            )
            if made.rowcount:
                return True
            # Where it was over in between, and nobody heard that, it is what was told before.
            connection.execute(update(alerts).where(*_is(alert), _OVER).values(claimed_at=alerts.c.told_at))
            taken = update(alerts).where(*_is(alert), alerts.c.told_at.is_(None), alerts.c.claimed_at < again_before)
            return bool(connection.execute(taken.values(claimed_at=alert.claimed_at)).rowcount)

    def claim_end(self, alert: OpenAlert, *, at: datetime, again_before: datetime) -> bool:
        """Take it on oneself to tell that `alert` is over. False: somebody claimed that at `again_before` or later."""
        free = or_(~_OVER, alerts.c.claimed_at < again_before)
        with self._store.write() as connection:
            taken = update(alerts).where(*_is(alert), alerts.c.told_at.is_not(None), free)
            return bool(connection.execute(taken.values(claimed_at=at)).rowcount)

    def told(self, alert: OpenAlert, *, at: datetime, before: datetime | None = None) -> bool:
        """Record that it was told; False where it is told already, at another instant than `before`."""
        was = alerts.c.told_at.is_(None) if before is None else alerts.c.told_at == before
        with self._store.write() as connection:
            return bool(connection.execute(update(alerts).where(*_is(alert), was).values(told_at=at)).rowcount)

    def close(self, alert: OpenAlert) -> None:
        """It is over, and nobody needs to hear that any more."""
        with self._store.write() as connection:
            connection.execute(delete(alerts).where(*_is(alert)))

    def delivered(self, delivery: Delivery) -> None:
        """Record how a message went; the last one counts."""
        with self._store.write() as connection:
            connection.execute(delete(deliveries).where(deliveries.c.destination == delivery.destination))
            connection.execute(
                insert(deliveries).values(
                    destination=delivery.destination,
                    at=delivery.at,
                    what=mask(delivery.what),
                    fault=mask(delivery.fault),
                )
            )

    def deliveries(self) -> list[Delivery]:
        """The last message to each destination, by name."""
        with self._store.read() as connection:
            rows = connection.execute(select(deliveries).order_by(deliveries.c.destination)).mappings()
            return [Delivery(**row) for row in rows]

    def keep(self, destinations: Collection[str], switches: Collection[str]) -> None:
        """Forget everything of destinations, and of pings, that are configured no more: nobody can mend them."""
        with self._store.write() as connection:
            connection.execute(delete(alerts).where(alerts.c.destination.not_in(destinations)))
            connection.execute(delete(deliveries).where(deliveries.c.destination.not_in([*destinations, *switches])))


def _is(alert: OpenAlert) -> tuple[ColumnElement[bool], ...]:
    return (
        alerts.c.plan == alert.plan,
        alerts.c.event == alert.event,
        alerts.c.destination == alert.destination,
    )
