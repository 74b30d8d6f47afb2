"""Runs with filters, and the slots that no run did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from daybreak.catalog.history import RunFilter
from daybreak.console.views.words import RunLine, line_of, plain
from daybreak.console.world import Look
from daybreak.model import RunState, SlotState

PER_PAGE: Final = 50
_SLOTS: Final = 50
_LONGEST: Final = 200
_STATES: Final = (*(one.value for one in RunState), SlotState.MISSED.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What somebody wants to see, as it was understood."""

    plan: str = ""
    kind: str = ""
    state: str = ""
    trigger: str = ""
    since: date | None = None
    until: date | None = None  # the whole of this day
    page: int = 1

    @property
    def narrows(self) -> bool:
        """Whether anything is left out."""
        return self != Asked(page=self.page)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotLine:
    """A slot that nobody took, or that was left out."""

    kind: str
    plan: str
    key: str
    due_at: datetime
    state: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What can be chosen."""

    plans: tuple[str, ...]
    kinds: tuple[str, ...]
    states: tuple[str, ...]
    triggers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunList:
    """A page of runs."""

    asked: Asked
    total: int
    pages: int
    runs: tuple[RunLine, ...]
    slots: tuple[SlotLine, ...]
    choices: Choices


def read_asked(query: Mapping[str, str]) -> Asked:
    """What a query string asks for; what cannot be understood narrows nothing."""
    page = query.get("page", "1")
    state = query.get("state", "")
    return Asked(
        plan=query.get("plan", "")[:_LONGEST],
        kind=query.get("kind", "")[:_LONGEST],
        state=state if state in _STATES else "",
        trigger=query.get("trigger", "")[:_LONGEST],
        since=_date(query.get("since", "")),
        until=_date(query.get("until", "")),
        page=max(1, int(page)) if page.isascii() and page.isdigit() and len(page) < 7 else 1,  # noqa: PLR2004 -- a million pages
    )


def run_list(look: Look, asked: Asked) -> RunList:
    """A page of the runs that were asked for, and of the slots that go with them."""
    since, until = _instant(look, asked.since, 0), _instant(look, asked.until, 1)
    history = look.catalog.history
    wanted = RunFilter(
        plan=asked.plan,
        kind=asked.kind,
        states=(RunState(asked.state),) if asked.state and asked.state != SlotState.MISSED else (),
        trigger=asked.trigger,
        since=since,
        until=until,
    )
    missed_only = asked.state == SlotState.MISSED
    total = 0 if missed_only else history.count(wanted)
    pages = max(1, -(-total // PER_PAGE))
    page = min(asked.page, pages)
    found = [] if missed_only else history.runs(wanted, limit=PER_PAGE, offset=(page - 1) * PER_PAGE)
    slots: tuple[SlotLine, ...] = ()
    if missed_only or (asked.state in {"", SlotState.SKIPPED} and not asked.trigger):
        # Beside a page of runs stand the slots of the same days.
        first = found[-1].requested_at if found and page < pages else since
        last = found[0].requested_at if found and page > 1 else until
        slots = _slots(look, asked, first, last)
    known = history.plans()
    return RunList(
        asked=Asked(
            plan=asked.plan,
            kind=asked.kind,
            state=asked.state,
            trigger=asked.trigger,
            since=asked.since,
            until=asked.until,
            page=page,
        ),
        total=total,
        pages=pages,
        runs=tuple(line_of(look, one) for one in found),
        slots=slots,
        choices=Choices(
            plans=tuple(
                sorted({plan for _, plan in known} | set(look.settings.backups) | set(look.settings.refreshes))
            ),
            kinds=tuple(sorted({kind for kind, _ in known})),
            states=_STATES,
            triggers=tuple(history.triggers()),
        ),
    )


def _slots(look: Look, asked: Asked, since: datetime | None, until: datetime | None) -> tuple[SlotLine, ...]:
    states = [SlotState(asked.state)] if asked.state else [SlotState.MISSED, SlotState.SKIPPED]
    found = look.catalog.history.slots(states=states, plan=asked.plan, since=since, until=until, limit=_SLOTS)
    return tuple(
        SlotLine(
            kind=kind,
            plan=plan,
            key=one.slot.key,
            due_at=one.slot.due_at,
            state=one.state.value,
            reason=plain(one.reason),
        )
        for kind, plan, one in found
        if asked.kind in {"", kind}
    )


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _instant(look: Look, day: date | None, later: int) -> datetime | None:
    if day is None:
        return None
    try:
        return datetime.combine(day + timedelta(days=later), datetime.min.time(), look.zone)
    except OverflowError:
        return None
