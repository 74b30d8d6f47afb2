"""The verbs that tell the outside how things stand: alerts, metrics."""

from __future__ import annotations

from datetime import datetime

from daybreak.catalog.records import Delivery, OpenAlert
from daybreak.errors import UsageError
from daybreak.jobs.measure import measure
from daybreak.jobs.run import now
from daybreak.metrics import Measure
from daybreak.site.base import Base, pick


class Telling(Base):
    """Notify, metrics."""

    def notify_test(self, name: str | None) -> dict[str, str]:
        """`daybreak notify test`: by destination, why the message did not arrive, "" where it did."""
        if not self.settings.alerts:
            raise UsageError("the configuration has no destination of alerts", hint="docs/alerts.md shows one")
        chosen = [pick(self.settings.alerts, name, "destination")] if name else self.settings.alerts.values()
        return self.alerts.test([one.name for one in chosen], now())

    def look_round(self, at: datetime) -> list[str]:
        """Tell what is new and what is over, whoever made it so; what did not arrive, in words."""
        self.engine.mark_lost()
        return self.world.look(at)

    def measures(self, at: datetime, *, ageing: bool = True) -> list[Measure]:
        """`daybreak metrics`: every number of now."""
        self.engine.mark_lost()
        settings = self.settings
        return measure(self.catalog, settings.backups.values(), settings.refreshes.values(), at, ageing=ageing)

    def open_alerts(self) -> list[OpenAlert]:
        """What somebody was told, or is to be told, and is not over."""
        return [one for one in self.catalog.alerts.list() if one.plan]

    def undelivered(self) -> list[Delivery]:
        """The last messages that did not arrive."""
        return [one for one in self.catalog.alerts.deliveries() if one.fault]
