"""Tells destinations what is wrong, once, and when it is over. State is in the catalog, so it outlives every process.

    conditions of now  -  what is open in the catalog  =  what is to be told, and what is over

Shapes  a message has plan, state, exit code, the reason in words and the next step; no row, no secret.
Units   every look is bounded by `notify.DEADLINE`; what could not be told is tried again after `AGAIN`.
Errors  those of the catalog only; a destination that fails is written down for `daybreak status`.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from daybreak.catalog import Catalog
from daybreak.catalog.records import Delivery, OpenAlert
from daybreak.errors import DaybreakError
from daybreak.jobs.conditions import Condition
from daybreak.model import AlertEvent, Destination
from daybreak.notify import Message, all_at_once, tell
from daybreak.process import Runner

#: When a message that did not arrive is tried again, by the next who looks.
AGAIN: Final = timedelta(minutes=5)
_WEEK: Final = timedelta(days=7)
#: Sends one message: (destination, message) -> why it did not arrive, "".
Teller = Callable[[Destination, Message], str]

_WORDS: Final[Mapping[AlertEvent, str]] = {
    AlertEvent.FAILED: "failed",
    AlertEvent.REFUSED: "was refused",
    AlertEvent.QUARANTINED: "is suspicious",
    AlertEvent.LATE: "is late",
    AlertEvent.MISSED: "was missed",
    AlertEvent.CHECK_FAILED: "did not pass its check",
    AlertEvent.TONIGHT_WILL_FAIL: "will fail tonight",
}


def carry(destination: Destination, message: Message) -> str:
    """The teller of everyday: Apprise, in a process of its own."""
    return tell(destination.url, message, Runner())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Due:
    """One message that is ours to send."""

    destination: Destination
    message: Message
    what: str
    alert: OpenAlert | None  # the one that is told by it
    is_over: bool = False  # it tells the end of it


class Alerts:
    """The alerts of one configuration."""

    def __init__(self, catalog: Catalog, destinations: Iterable[Destination], *, teller: Teller = carry) -> None:
        self._catalog = catalog
        self._destinations = tuple(destinations)
        self._teller = teller

    @property
    def names(self) -> list[str]:
        """Every destination."""
        return [one.name for one in self._destinations]

    def look(self, conditions: Iterable[Condition], at: datetime, *, events: Iterable[AlertEvent]) -> list[str]:
        """Tell what is new among `conditions`, and what of `events` is over. Return what did not arrive, in words."""
        now_so = {(one.plan, one.event): one for one in conditions}
        due: list[_Due] = []
        for alert in self._catalog.alerts.list(events=[event.value for event in events], also_over=True):
            if (alert.plan, AlertEvent(alert.event)) not in now_so:
                due += self._over(alert, at)
        for condition in now_so.values():
            due += [one for to in self._wanting(condition.event) if (one := self._new(condition, to, at))]
        return self._send(due, at)

    def weekly(self, at: datetime, lines: Callable[[], Sequence[str]]) -> list[str]:
        """Once a week, if nothing is open: all is well, with `lines`. The first week begins at the first look."""
        event = AlertEvent.WEEKLY_ALL_IS_WELL
        last = {one.destination: one for one in self._catalog.alerts.list(events=[event.value])}
        is_well = not any(one.event != event for one in self._catalog.alerts.list())
        due: list[_Due] = []
        for to in self._wanting(event):
            row = last.get(to.name)
            if row is None:
                self._catalog.alerts.claim(_row("", event, to, at, told_at=at), again_before=at)
                continue
            week_is_over = row.told_at is not None and at - row.told_at >= _WEEK
            if is_well and week_is_over and self._catalog.alerts.told(row, at=at, before=row.told_at):
                message = Message(title=f"Daybreak on {_host()}: all is well", body="\n".join(lines()), kind="success")
                due.append(_Due(destination=to, message=message, what="all is well", alert=None))
        return self._send(due, at)

    def shout(self, condition: Condition) -> list[str]:
        """Tell everybody who wants to know, and write nothing down: for when the catalog cannot be written."""
        return _shout(self._wanting(condition.event), condition, self._teller)

    def test(self, names: Iterable[str], at: datetime) -> dict[str, str]:
        """Send a message to each of the named destinations; why each did not arrive, "" where it did."""
        message = Message(
            title=f"Daybreak on {_host()}: a test",
            body="This destination works. Real messages name a plan, what happened, and what to do next.",
        )
        chosen = [one for one in self._destinations if one.name in set(names)]
        due = [_Due(destination=one, message=message, what="a test", alert=None) for one in chosen]
        faults = all_at_once([functools.partial(self._teller, one, message) for one in chosen])
        self._write_down(due, faults, at)
        return {one.name: fault for one, fault in zip(chosen, faults, strict=True)}

    def _wanting(self, event: AlertEvent) -> list[Destination]:
        return [one for one in self._destinations if event in one.events]

    def _new(self, condition: Condition, to: Destination, at: datetime) -> _Due | None:
        alert = _row(condition.plan, condition.event, to, at, run=condition.run, text=condition.text)
        if not self._catalog.alerts.claim(alert, again_before=at - AGAIN):
            return None
        what = f"{condition.plan} {_WORDS[condition.event]}"
        return _Due(destination=to, message=message_of(condition), what=what, alert=alert)

    def _over(self, alert: OpenAlert, at: datetime) -> list[_Due]:
        """Who was told of it hears that it is over; who never could be told needs not."""
        wanting = [to for to in self._wanting(AlertEvent.RECOVERED) if to.name == alert.destination]
        if alert.told_at is None or not wanting:
            self._catalog.alerts.close(alert)
            return []
        if not self._catalog.alerts.claim_end(alert, at=at, again_before=at - AGAIN):
            return []
        was = f"{alert.plan} {_WORDS[AlertEvent(alert.event)]}"
        message = Message(
            title=f"Daybreak on {_host()}: {alert.plan} has recovered",
            body=f"It is over, as seen at {at:%Y-%m-%d %H:%M} UTC: {was} ({alert.opened_at:%Y-%m-%d %H:%M} UTC).",
            kind="success",
        )
        what = f"{alert.plan} has recovered"
        return [_Due(destination=to, message=message, what=what, alert=alert, is_over=True) for to in wanting]

    def _send(self, due: Sequence[_Due], at: datetime) -> list[str]:
        faults = all_at_once([functools.partial(self._teller, one.destination, one.message) for one in due])
        self._write_down(due, faults, at)
        return [
            f"{one.destination.name} could not be told that {one.what}: {fault}"
            for one, fault in zip(due, faults, strict=True)
            if fault
        ]

    def _write_down(self, due: Sequence[_Due], faults: Sequence[str], at: datetime) -> None:
        for one, fault in zip(due, faults, strict=True):
            self._catalog.alerts.delivered(
                Delivery(destination=one.destination.name, at=at, what=one.what, fault=fault)
            )
            if one.alert is None or fault:
                continue
            if one.is_over:
                self._catalog.alerts.close(one.alert)
            else:
                self._catalog.alerts.told(one.alert, at=at)


def shout(destinations: Iterable[Destination], job: str, fault: DaybreakError) -> list[str]:
    """Tell of a job that could not even begin, where there is no catalog to remember it in."""
    condition = Condition(
        plan=job,
        event=AlertEvent.FAILED,
        since=datetime.now(UTC),
        text=fault.message,
        hint=fault.hint,
        exit_code=fault.exit_code,
    )
    return _shout([one for one in destinations if AlertEvent.FAILED in one.events], condition, carry)


def _shout(wanting: Sequence[Destination], condition: Condition, teller: Teller) -> list[str]:
    faults = all_at_once([functools.partial(teller, one, message_of(condition)) for one in wanting])
    return [f"{one.name} could not be told: {fault}" for one, fault in zip(wanting, faults, strict=True) if fault]


def message_of(condition: Condition) -> Message:
    """A condition for people."""
    code = "" if condition.exit_code is None else f"exit code {condition.exit_code}"
    lines = [
        condition.text,
        f"next: {condition.hint}" if condition.hint else "",
        " · ".join(part for part in (f"since {condition.since:%Y-%m-%d %H:%M} UTC", code) if part),
        f"daybreak run show {condition.run}" if condition.run else "daybreak status",
    ]
    return Message(
        title=f"Daybreak on {_host()}: {condition.plan} {_WORDS[condition.event]}",
        body="\n".join(line for line in lines if line),
        kind="warning" if condition.event in {AlertEvent.LATE, AlertEvent.QUARANTINED} else "failure",
    )


def _row(
    plan: str,
    event: AlertEvent,
    to: Destination,
    at: datetime,
    *,
    told_at: datetime | None = None,
    run: str = "",
    text: str = "",
) -> OpenAlert:
    return OpenAlert(
        plan=plan,
        event=event.value,
        destination=to.name,
        opened_at=at,
        claimed_at=at,
        told_at=told_at,
        run=run,
        text=text,
    )


def _host() -> str:
    return socket.gethostname()
