"""Thirty days of one database in lanes: a backup, a copy off-site, a proof, a refresh a day. Every day is a cell.

Shapes  days are those of the page's zone, oldest first. A cell says in words what its colour and its icon say.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Final, TypeVar

from daybreak.catalog.history import Brief, Taken
from daybreak.catalog.records import ProofRecord, Shipment, SlotRecord
from daybreak.console.views.words import TONES, Tone, is_alive
from daybreak.console.world import Look
from daybreak.model import BackupPlan, RefreshPlan, RunState, SlotState
from daybreak.units import show_bytes

DAYS: Final = 30
_KINDS: Final = ("backup", "refresh", "pull", "undo")
_MISSED: Final = (SlotState.MISSED,)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One day of a lane."""

    day: date
    tone: Tone
    word: str  # ok, failed, missed, …
    text: str  # what happened, in a sentence
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """Thirty days of one thing."""

    name: str
    cells: tuple[Cell, ...]
    summary: str  # the same in words


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseLanes:
    """A database and what happened to it."""

    database: str
    what: str  # production, or a target
    lanes: tuple[Lane, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """Everything of thirty days, read at once."""

    days: tuple[date, ...]
    zone: tzinfo
    runs: tuple[Brief, ...]
    taken: tuple[Taken, ...]
    shipped: tuple[Shipment, ...]
    proofs: tuple[ProofRecord, ...]
    missed: tuple[tuple[str, str, SlotRecord], ...]
    alive: Mapping[str, bool]

    def day(self, at: datetime) -> date:
        """The day of an instant."""
        return at.astimezone(self.zone).date()


def read_month(look: Look) -> Month:
    """Read thirty days."""
    today = look.at.astimezone(look.zone).date()
    days = tuple(today - timedelta(days=back) for back in range(DAYS - 1, -1, -1))
    since = datetime.combine(days[0], datetime.min.time(), look.zone)
    history = look.catalog.history
    runs = history.briefs(since, kinds=_KINDS)
    return Month(
        days=days,
        zone=look.zone,
        runs=tuple(runs),
        taken=tuple(history.taken(since)),
        shipped=tuple(history.shipped(since)),
        proofs=tuple(history.proofs(since=since)),
        missed=tuple(history.slots(states=_MISSED, since=since, limit=1000)),
        alive={one.id: is_alive(look, one.id) for one in runs if not one.state.ended},
    )


def source_lanes(month: Month, database: str, plans: Sequence[BackupPlan]) -> DatabaseLanes:
    """Backup, off-site and proof of a database that is dumped."""
    names = {plan.name for plan in plans}
    wanted = {plan.name: tuple(one.name for one in plan.repositories) for plan in plans}
    taken = _by_day(month, (one for one in month.taken if one.plan in names), lambda one: one.taken_at)
    its = [one for one in month.runs if one.kind == "backup" and one.plan in names]
    runs = _by_day(month, its, lambda one: one.requested_at)
    missed = _missed(month, "backup", names)

    def backup(day: date) -> Cell:
        return _backup(month, day, names, taken=taken.get(day, []), runs=runs.get(day, []), missed=missed.get(day, []))

    lanes = [_lane(month, "backup", backup)]
    if any(wanted.values()):
        copies: dict[str, set[str]] = defaultdict(set)
        for one in month.shipped:
            copies[one.archive].add(one.repository)
        lanes.append(_lane(month, "off-site", lambda day: _offsite(day, taken.get(day, []), wanted, copies)))
    proofs = _by_day(month, (one for one in month.proofs if one.plan in names), lambda one: one.at)
    lanes.append(_lane(month, "proof", lambda day: _proof(day, proofs.get(day, []))))
    return DatabaseLanes(database=database, what="production", lanes=tuple(lanes))


def target_lanes(month: Month, database: str, plans: Sequence[RefreshPlan]) -> DatabaseLanes:
    """The refreshes of a target."""
    names = {plan.name for plan in plans}
    runs = [one for one in month.runs if (one.kind == "refresh" and one.plan in names) or one.plan == database]
    by_day = _by_day(month, runs, lambda one: one.requested_at)
    missed = _missed(month, "refresh", names)

    def cell(day: date) -> Cell:
        return _of_runs(month, day, by_day.get(day, []), missed.get(day, []), names)

    return DatabaseLanes(database=database, what="replaced by a refresh", lanes=(_lane(month, "refresh", cell),))


def _lane(month: Month, name: str, cell: Callable[[date], Cell]) -> Lane:
    cells = tuple(cell(day) for day in month.days)
    counted = Counter(one.word for one in cells if one.tone is not Tone.NONE)
    said = " · ".join(f"{count} {word}" for word, count in counted.most_common())
    return Lane(name=name, cells=cells, summary=said or "nothing in thirty days")


def _backup(
    month: Month,
    day: date,
    plans: Collection[str],
    *,
    taken: Sequence[Taken],
    runs: Sequence[Brief],
    missed: Sequence[SlotRecord],
) -> Cell:
    good = [one for one in taken if one.state in {"published", "replaced"}]
    aside = [one for one in taken if one.state == "quarantined"]
    if good:
        others = [one for one in runs if one.state in {RunState.FAILED, RunState.LOST} and one.id != good[0].run]
        text, later = f"an archive of {show_bytes(good[0].size_bytes)}", [one for one in others if _is_after(one, good)]
        if later:
            text, word = f"{text}, and {len(later)} failed after it", "failed later"
            return Cell(day=day, tone=Tone.WARN, word=word, text=text, href=_day(day, plans))
        if others:
            text = f"{text}, after {len(others)} failed"
            return Cell(day=day, tone=Tone.WARN, word="ok later", text=text, href=_day(day, plans))
        return Cell(day=day, tone=Tone.OK, word="ok", text=text, href=f"/runs/{good[0].run}")
    if aside:
        text = "a suspicious archive, put aside"
        return Cell(day=day, tone=Tone.WARN, word="suspicious", text=text, href=f"/archives/{aside[0].id}")
    return _of_runs(month, day, runs, missed, plans)


def _is_after(run: Brief, good: Sequence[Taken]) -> bool:
    return all(run.requested_at > one.taken_at for one in good if one.plan == run.plan)


def _of_runs(
    month: Month, day: date, runs: Sequence[Brief], missed: Sequence[SlotRecord], plans: Collection[str]
) -> Cell:
    """The cell of a day by its runs; `runs` come newest first."""
    open_ = [one for one in runs if not one.state.ended]
    told = [one for one in runs if one.state is not RunState.SKIPPED]
    if open_:
        alive = month.alive.get(open_[0].id, True)
        word, tone = ("running", Tone.RUN) if alive else ("lost", Tone.BAD)
        text = f"{open_[0].kind} {'is going on' if alive else 'died before its end'}"
        return Cell(day=day, tone=tone, word=word, text=text, href=f"/runs/{open_[0].id}")
    if told:
        last = told[0]
        word = "ok" if last.state is RunState.SUCCEEDED else last.state.value
        more = f", {len(told)} runs" if len(told) > 1 else ""
        href = f"/runs/{last.id}" if len(told) == 1 else _day(day, {one.plan for one in told})
        if last.kind == "undo" and last.state is RunState.SUCCEEDED:
            return Cell(day=day, tone=Tone.WARN, word="undone", text=f"undone{more}", href=href)
        return Cell(day=day, tone=TONES[last.state], word=word, text=f"{last.kind} {last.state}{more}", href=href)
    if missed:
        href = f"{_day(day, plans)}&state=missed"
        return Cell(day=day, tone=Tone.BAD, word="missed", text=missed[0].reason, href=href)
    if runs:
        href = _day(day, {one.plan for one in runs})
        return Cell(day=day, tone=Tone.NONE, word="skipped", text="skipped: there was nothing to do", href=href)
    return Cell(day=day, tone=Tone.NONE, word="none", text="nothing", href=_day(day, plans))


def _offsite(
    day: date, taken: Sequence[Taken], wanted: Mapping[str, tuple[str, ...]], copies: Mapping[str, Collection[str]]
) -> Cell:
    archives = [one for one in taken if one.state in {"published", "replaced"}]
    if not archives:
        return Cell(day=day, tone=Tone.NONE, word="none", text="no archive to send", href=_day(day, wanted))
    newest = archives[0]
    has, wants = copies.get(newest.id, ()), wanted[newest.plan]
    lacking = [one for one in wants if one not in has]
    href = f"/archives/{newest.id}"
    if not lacking:
        return Cell(day=day, tone=Tone.OK, word="ok", text=f"in {', '.join(wants) or 'no repository'}", href=href)
    if len(lacking) < len(wants):
        return Cell(day=day, tone=Tone.WARN, word="partly", text=f"not in {', '.join(lacking)}", href=href)
    return Cell(day=day, tone=Tone.BAD, word="not sent", text=f"not in {', '.join(lacking)}", href=href)


def _proof(day: date, proofs: Sequence[ProofRecord]) -> Cell:
    if not proofs:
        return Cell(
            day=day, tone=Tone.NONE, word="none", text="no restore was proven", href=f"/runs?since={day}&until={day}"
        )
    last = proofs[0]
    if last.passed:
        return Cell(day=day, tone=Tone.OK, word="ok", text=f"proven equal by {last.source}", href=f"/runs/{last.run}")
    return Cell(
        day=day, tone=Tone.BAD, word="failed", text=f"it did not pass ({last.source})", href=f"/runs/{last.run}"
    )


def _missed(month: Month, kind: str, plans: Collection[str]) -> dict[date, list[SlotRecord]]:
    its = (row for what, plan, row in month.missed if what == kind and plan in plans)
    return _by_day(month, its, lambda one: one.slot.due_at)


def _by_day(month: Month, items: Iterable[_T], when: Callable[[_T], datetime]) -> dict[date, list[_T]]:
    found: dict[date, list[_T]] = defaultdict(list)
    for one in items:
        found[month.day(when(one))].append(one)
    return found


def _day(day: date, plans: Collection[str]) -> str:
    """The runs of a day; of one plan alone where the cell is about no other."""
    return f"/runs?since={day}&until={day}{''.join(f'&plan={one}' for one in plans) if len(plans) == 1 else ''}"
