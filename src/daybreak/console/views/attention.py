"""What a person should look at, worst first, each with the next step and where it is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from daybreak.console.views.freshness import Freshness
from daybreak.console.views.words import WORST_FIRST, Tone, is_alive, plain
from daybreak.console.world import Look
from daybreak.jobs.conditions import Condition, find_conditions
from daybreak.jobs.status import PlanStatus
from daybreak.model import AlertEvent

#: Kinds of runs that end with sending something off-site.
_SENDING: Final = frozenset({"backup", "refresh", "ship", "accept"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """One thing to look at."""

    tone: Tone
    subject: str  # the plan, database, repository or destination
    text: str
    next_step: str
    href: str


def attentions(look: Look, backups: Sequence[PlanStatus], targets: Sequence[Freshness]) -> tuple[Attention, ...]:
    """All of them."""
    settings, catalog = look.settings, look.catalog
    found = [
        _of_condition(one, is_backup=one.plan in settings.backups)
        for one in find_conditions(
            catalog,
            settings.backups.values(),
            settings.refreshes.values(),
            look.at,
            repositories=settings.repositories,
        )
    ]
    for one in backups:
        found += _of_backup(look, one)
    for target in targets:
        if target.held is not None:
            until = _instant(look, target.held.until) if target.held.until else "somebody releases it"
            text = f"held until {until} by {target.held.by}: {target.held.why}"
            next_step = "release it when it is needed no more"
            found.append(Attention(tone=Tone.NONE, subject=target.target, text=text, next_step=next_step, href="/dev"))
    for alert in catalog.alerts.list(events=[AlertEvent.TONIGHT_WILL_FAIL]):
        found.append(
            Attention(
                tone=Tone.BAD,
                subject=alert.plan,
                text=f"tonight will fail: {alert.text.splitlines()[0] if alert.text else ''}",
                next_step="the doctor says what to do",
                href="/doctor",
            )
        )
    for delivery in catalog.alerts.deliveries():
        if delivery.fault:
            text = f"the last message did not arrive: {delivery.fault}"
            is_alert = delivery.destination in settings.alerts  # else a ping, which only a run calls
            next_step = "mend the address and send a test" if is_alert else "look at its address: the next run calls it"
            found.append(_warn(delivery.destination, text, next_step, "/settings"))
    return tuple(sorted(dict.fromkeys(found), key=lambda one: WORST_FIRST.index(one.tone)))


def _of_condition(one: Condition, *, is_backup: bool) -> Attention:
    bad = is_backup or one.event is AlertEvent.CHECK_FAILED
    href = f"/runs/{one.run}" if one.run else "/schedule"
    if one.event is AlertEvent.QUARANTINED:
        href = f"/archives/{one.run}"
    return Attention(
        tone=Tone.BAD if bad else Tone.WARN,
        subject=one.plan,
        text=plain(one.text),
        next_step=plain(one.hint),
        href=href,
    )


def _of_backup(look: Look, one: PlanStatus) -> Iterator[Attention]:
    if one.doubt is not None:
        yield Attention(
            tone=Tone.BAD,
            subject=one.plan,
            text=f"the last proof did not pass ({one.doubt.source}): {plain(one.doubt.why)}",
            next_step="nothing is forgotten off-site until one passes; make a new backup and drill it",
            href=f"/runs/{one.doubt.run}",
        )
    if one.unread is not None:
        text = "what waits to be sent off-site is not known: its folder cannot be read"
        yield _warn(one.plan, text, f"daybreak status says why; daybreak ship {one.plan} sends it", "/doctor")
    if one.waiting:
        lacking = sorted({repository.name for waiting in one.waiting for repository in waiting.lacking})
        count = "an archive waits" if len(one.waiting) == 1 else f"{len(one.waiting)} archives wait"
        text = f"{count} to be sent to {', '.join(lacking)}, the oldest of {_instant(look, one.waiting[0].taken_at)}"
        yield _warn(one.plan, text, f"daybreak ship {one.plan} sends them now", f"/archives?plan={one.plan}")
    elif one.archive is not None:
        lacking = lacking_copies(look, one.plan, one.archive.archive.id)
        if lacking and not is_sending(look, one.plan):
            text = f"the newest archive is not in {', '.join(lacking)}"
            yield _warn(one.plan, text, f"daybreak ship {one.plan} sends it", f"/archives/{one.archive.archive.id}")
    if one.archive is not None and one.proof is None and one.proven is None:
        text = "no archive was ever restored and compared"
        yield _warn(one.plan, text, f"daybreak drill {one.plan} proves the newest one", f"/archives?plan={one.plan}")
    if one.below_floor:
        yield _warn(one.plan, one.below_floor.removesuffix(" (daybreak doctor)"), "update the server", "/doctor")


def _warn(subject: str, text: str, next_step: str, href: str) -> Attention:
    return Attention(tone=Tone.WARN, subject=subject, text=plain(text), next_step=next_step, href=href)


def _instant(look: Look, at: datetime) -> str:
    return f"{at.astimezone(look.zone):%a %d %b %H:%M %Z}"


def lacking_copies(look: Look, plan: str, archive: str) -> tuple[str, ...]:
    """The repositories of a backup that have no copy of an archive."""
    there = {one.repository for one in look.catalog.snapshots.list(plan=plan, archive=archive)}
    return tuple(one.name for one in look.settings.backups[plan].repositories if one.name not in there)


def is_sending(look: Look, plan: str) -> bool:
    """Whether a run goes on that ends with sending the archives of a backup."""
    feeds = {plan} | {one.name for one in look.settings.refreshes.values() if one.backup.name == plan}
    return any(
        one.plan in feeds and one.kind in _SENDING and is_alive(look, one.id) for one in look.catalog.runs.open_runs()
    )
