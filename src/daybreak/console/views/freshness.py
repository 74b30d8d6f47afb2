"""How fresh a target is: what it holds, since when, and whether that was proven."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, Final, cast

from daybreak import schedule
from daybreak.catalog.history import RunFilter
from daybreak.catalog.records import Hold, Role
from daybreak.console.views.words import TONES, RunLine, Tone, archive_in, line_of, plain
from daybreak.console.world import Look
from daybreak.jobs.status import has_swapped
from daybreak.model import RefreshPlan, Run, RunState
from daybreak.units import parse_instant, show_count

HISTORY: Final = 10
_SEEN: Final = 60
#: Without a schedule dev may be so old before a person should look.
_OLD: Final = timedelta(days=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """One refresh, pull or undo of a target."""

    run: RunLine
    archive: str
    taken_at: datetime | None  # when the data was production's
    outage_ms: float | None
    failed_connects: int | None
    proof: str  # in words, "" where there was none
    proven: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A hold that counts now."""

    until: datetime | None
    why: str
    by: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """How a target stands."""

    plan: str
    target: str
    backup: str
    tone: Tone
    sentence: str  # dev = production of Sunday 02:00, proven equal
    taken_at: datetime | None
    refreshed_at: datetime | None
    age_s: float | None
    proven: bool
    run: str
    held: Held | None
    undone: bool  # whether it has again what it had before its last refresh
    previous: str  # the run whose replaced database is kept for undo
    previous_at: datetime | None
    next_at: datetime | None
    timezone: str
    history: tuple[Refreshed, ...]


def freshness_of(look: Look, plan: RefreshPlan) -> Freshness:
    """How the target of a refresh stands."""
    target = plan.target.name
    ended = _ended(look, target)
    done = _swapped(ended)
    last = done[0] if done else None
    undone = _undone(done)
    # An undo that was undone brings back what the last refresh brought.
    source = last if undone else next((one for one in done if one.kind != "undo"), last)
    holds = look.catalog.holds.get(target, at=look.at)
    previous = next(iter(look.catalog.databases.open_creations(target, role=Role.PREVIOUS)), None)
    told = _refreshed(look, source) if source is not None else None
    taken = told.taken_at if told is not None else None
    own = (one for one in ended if (one.kind == "refresh" and one.plan == plan.name) or one is last)
    tried = next(own, None)
    failed = tried is not None and tried.state in {RunState.FAILED, RunState.LOST}
    return Freshness(
        plan=plan.name,
        target=target,
        backup=plan.backup.name,
        tone=_tone(look, plan, last, told, failed=failed, undone=undone),
        sentence=_sentence(look, target, told, undone=undone),
        taken_at=taken,
        refreshed_at=last.ended_at if last else None,
        age_s=(look.at - taken).total_seconds() if taken else None,
        proven=told.proven if told else False,
        run=last.id if last else "",
        held=_held(holds),
        undone=undone,
        previous=previous.run if previous else "",
        previous_at=previous.created_at if previous else None,
        next_at=schedule.next_after(plan.schedule, look.at) if plan.schedule else None,
        timezone=plan.schedule.timezone if plan.schedule else "",
        history=tuple(_refreshed(look, one) for one in ended[:HISTORY]),
    )


def is_undone(look: Look, target: str) -> bool:
    """Whether a target has again what it had before its last refresh."""
    return _undone(_swapped(_ended(look, target)))


def _undone(done: Sequence[Run]) -> bool:
    """The same of those that swapped, newest first: each undo exchanges the two databases, so a second one is none."""
    undos = sum(1 for _ in takewhile(lambda one: one.kind == "undo", done))
    return undos % 2 == 1


def _swapped(ended: Sequence[Run]) -> list[Run]:
    return [one for one in ended if one.state is RunState.SUCCEEDED or has_swapped(one)]


def _ended(look: Look, target: str) -> list[Run]:
    """What replaced a target, or tried to, newest first: by any of its refreshes, whatever they are called now."""
    runs, plans = look.catalog.history.runs, look.settings.refreshes.values()
    names = [one.name for one in plans if one.target.name == target]
    found = runs(RunFilter(kind="refresh"), limit=_SEEN)
    for kind, name in (*(("refresh", name) for name in names), ("pull", target), ("undo", target)):
        found += runs(RunFilter(plan=name, kind=kind), limit=_SEEN)
    told = {one.id: one for one in found if one.state is not RunState.SKIPPED and one.state.ended}
    its = [one for one in told.values() if one.kind != "refresh" or _replaces(one, target, names)]
    return sorted(its, key=lambda one: one.requested_at, reverse=True)


def _replaces(refresh: Run, target: str, plans: Sequence[str]) -> bool:
    """Whether a refresh was one of this target: as it says itself, else by its name."""
    said = refresh.result.get("target")
    return said == target if said else refresh.plan in plans


def _refreshed(look: Look, run: Run) -> Refreshed:
    result = run.result
    proof = result.get("proof")
    said, proven = _proof(cast("Mapping[str, Any]", proof)) if isinstance(proof, dict) else ("", False)
    outage, failed = result.get("outage_ms"), result.get("failed_connects")
    return Refreshed(
        run=line_of(look, run),
        archive=archive_in(result),
        taken_at=_taken(look, result),
        outage_ms=float(outage) if isinstance(outage, int | float) else None,
        failed_connects=failed if isinstance(failed, int) else None,
        proof=said,
        proven=proven,
    )


def _proof(summary: Mapping[str, Any]) -> tuple[str, bool]:
    """A proof in words, and whether it passed."""
    compared, different = summary.get("compared", 0), summary.get("different", 0)
    if different:
        return f"{different} of {show_count(compared, 'table')} {'differs' if different == 1 else 'differ'}", False
    return f"{show_count(compared, 'table')} equal", bool(compared)


def _taken(look: Look, result: Mapping[str, object]) -> datetime | None:
    archive = result.get("archive")
    if isinstance(archive, dict):
        try:
            return parse_instant(str(cast("dict[str, object]", archive).get("taken_at", "")))
        except ValueError:
            pass
    record = look.catalog.archives.get(archive_in(result)) if archive_in(result) else None
    return record.archive.taken_at if record else None


def _tone(
    look: Look, plan: RefreshPlan, last: Run | None, told: Refreshed | None, *, failed: bool, undone: bool
) -> Tone:
    if last is None:
        return Tone.WARN if failed else Tone.NONE
    if failed or undone or (told is not None and not told.proven):
        return Tone.WARN
    if plan.schedule is None and last.ended_at is not None and look.at - last.ended_at > _OLD:
        return Tone.WARN
    return TONES[last.state]


def _sentence(look: Look, target: str, told: Refreshed | None, *, undone: bool) -> str:
    if told is None:
        return f"{target} was never refreshed by Daybreak"
    if undone:
        return f"{target} is as it was before its last refresh: that was undone"
    if told.taken_at is None:
        return f"{target} was replaced, by an archive of which nobody knows when it was taken"
    when = f"{told.taken_at.astimezone(look.zone):%A %d %B %H:%M %Z}"
    proven = ", proven equal" if told.proven else ", not proven"
    return f"{target} = production of {when}{proven}"


def _held(hold: Hold | None) -> Held | None:
    return None if hold is None else Held(until=hold.until, why=plain(hold.why), by=plain(hold.by), at=hold.at)
