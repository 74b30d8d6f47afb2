"""The doctor: what was found when somebody last asked, and what the catalog says without asking anybody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, cast

from daybreak.console.views.words import Tone, plain
from daybreak.console.world import Examined, Look
from daybreak.jobs.conditions import find_conditions
from daybreak.jobs.doctor import home, plans
from daybreak.jobs.doctor.finding import Finding, Piece, Severity, read_finding, worst_first
from daybreak.jobs.status import status_of
from daybreak.model import AlertEvent, RunState, Schedule
from daybreak.schedule import next_after
from daybreak.site.timing import DOCTOR, TONIGHT
from daybreak.units import show_count

#: What a viewer is told: findings quote paths, addresses and servers.
_DISCREET = {
    Severity.OK: "is well",
    Severity.WARNING: "has to be looked at; an operator sees why",
    Severity.ERROR: "has to be mended; an operator sees why",
}
_TONES = {Severity.OK: Tone.OK, Severity.WARNING: Tone.WARN, Severity.ERROR: Tone.BAD}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One finding."""

    id: str
    subject: str
    severity: str
    tone: Tone
    text: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What the doctor found when somebody asked."""

    at: datetime
    by: str
    tonight: bool
    tone: Tone
    sentence: str
    findings: tuple[Found, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorPage:
    """The page."""

    tonight: Examination | None
    everything: Examination | None
    known: tuple[Found, ...]  # by the catalog and the clock alone
    tonight_will_fail: str  # what an alert says that is not over
    due_tonight: tuple[str, ...]


def doctor(look: Look, examined: dict[bool, Examined]) -> DoctorPage:
    """What is known now."""
    open_ = look.catalog.alerts.list(events=[AlertEvent.TONIGHT_WILL_FAIL])
    every = [*look.settings.backups.values(), *look.settings.refreshes.values()]
    due = plans.tonight(every, look.at)
    return DoctorPage(
        tonight=_examination(look, _newer(examined.get(True), _by_schedule(look)), tonight=True),
        everything=_examination(look, examined.get(False), tonight=False),
        known=tuple(_found(look, one) for one in worst_first(_known(look))),
        tonight_will_fail=(plain(open_[0].text) if look.full else _DISCREET[Severity.ERROR]) if open_ else "",
        due_tonight=tuple(
            f"{one.name} at {next_after(one.schedule, look.at).astimezone(look.zone):%a %H:%M %Z}"
            for one in due
            if one.schedule is not None
        ),
    )


def _by_schedule(look: Look) -> Examined | None:
    """What `doctor --tonight --alert` found when it last ran, by its schedule for example."""
    last = look.catalog.runs.list(plan=TONIGHT, kind=DOCTOR, state=RunState.SUCCEEDED, limit=1)
    if not last:
        return None
    run, found = last[0], cast("Any", last[0].result.get("findings", []))
    at = run.ended_at or run.requested_at
    return Examined(at=at, by=f"the {run.trigger}", findings=tuple(read_finding(one) for one in found))


def _newer(one: Examined | None, other: Examined | None) -> Examined | None:
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda examined: examined.at)


def examined_at(examined: dict[bool, Examined]) -> str:
    """When somebody last asked, as a text that changes with it."""
    return " ".join(f"{tonight} {one.at.isoformat()}" for tonight, one in sorted(examined.items()))


def sentence_of(findings: Iterable[Finding], *, tonight: bool) -> tuple[Tone, str]:
    """The answer to what was asked."""
    found = list(findings)
    errors = sum(1 for one in found if one.severity is Severity.ERROR)
    warnings = sum(1 for one in found if one.severity is Severity.WARNING)
    if errors:
        what = "Tonight will not work" if tonight else "Something will fail, or has"
        return Tone.BAD, f"{what}: {show_count(errors, 'error')} in {show_count(len(found), 'finding')}."
    if warnings:
        what = "Tonight will work" if tonight else "It works"
        count = "a warning" if warnings == 1 else f"{warnings} warnings"
        return Tone.WARN, f"{what}, with {count} to look at in {show_count(len(found), 'finding')}."
    return Tone.OK, f"{'Tonight will work' if tonight else 'All is well'}: {len(found)} findings, all of them good."


def _examination(look: Look, one: Examined | None, *, tonight: bool) -> Examination | None:
    if one is None:
        return None
    tone, sentence = sentence_of(one.findings, tonight=tonight)
    return Examination(
        at=one.at,
        by=one.by,
        tonight=tonight,
        tone=tone,
        sentence=sentence,
        findings=tuple(_found(look, finding) for finding in worst_first(one.findings)),
    )


def _found(look: Look, one: Finding) -> Found:
    return Found(
        id=one.id,
        subject=one.subject,
        severity=one.severity.value,
        tone=_TONES[one.severity],
        text=plain(one.text) if look.full else _DISCREET[one.severity],
        fix=plain(one.fix) if look.full else "",
    )


def _known(look: Look) -> Iterator[Finding]:
    settings, catalog = look.settings, look.catalog
    newest = next(iter(catalog.runs.list(limit=1)), None)
    yield home.judge_clock(Piece("clock", ""), look.at, newest.requested_at if newest else None)
    if not (look.known and look.configured):
        return
    backups, refreshes = settings.backups.values(), settings.refreshes.values()
    schedules = [one.schedule for one in (*backups, *refreshes) if one.schedule]
    yield _zone_data(tuple(dict.fromkeys(schedules)), look.at.year, look.at.hour)
    by_plan = {("backup", one.name): one.schedule for one in backups}
    by_plan |= {("refresh", one.name): one.schedule for one in refreshes}
    for one in status_of(catalog, backups, refreshes, look.at):
        when = by_plan[one.kind, one.plan]
        yield plans.judge_schedule(Piece("plan.schedule", one.plan), when, look.at)
        yield plans.judge_success(Piece("plan.last_success", one.plan), one, when, look.at)
        if one.unread is not None:
            yield Piece("plan.waiting", one.plan).fault(one.unread)
    found = find_conditions(catalog, backups, refreshes, look.at, repositories=settings.repositories)
    yield from plans.conditions(found)
    yield from plans.holds(catalog, look.at)
    for delivery in catalog.alerts.deliveries():
        arrived = Piece("alerts.delivered", delivery.destination)
        if delivery.fault:
            yield arrived.error(f"the last message did not arrive: {delivery.fault}", "daybreak notify test")
        else:
            yield arrived.ok("the last message arrived")


@lru_cache(maxsize=4)
def _zone_data(schedules: tuple[Schedule, ...], year: int, _hour: int) -> Finding:
    """It reads some hundred files, and clocks change on the hour."""
    return home.zone_data(Piece("zone_data", ""), schedules, year=year)
