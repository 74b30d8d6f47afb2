"""The overview: whether we are safe, and how we know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Final

from daybreak.catalog.records import ArchiveRecord
from daybreak.console.views.attention import Attention, attentions, is_sending, lacking_copies
from daybreak.console.views.freshness import Freshness, freshness_of
from daybreak.console.views.lanes import DatabaseLanes, read_month, source_lanes, target_lanes
from daybreak.console.views.running import Running, running_now
from daybreak.console.views.words import RunLine, Tone, line_of, worst
from daybreak.console.world import Look
from daybreak.jobs.status import PlanStatus, status_of
from daybreak.model import BackupPlan
from daybreak.schedule import next_slot, parse_zone
from daybreak.site.timing import timed_plans
from daybreak.units import show_duration

_RECENT: Final = 8
_USUAL: Final = 8
_COMING: Final = 6
#: Without a schedule, an archive may be so old before nobody should call it safe.
_OLD: Final = timedelta(hours=26)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The one sentence."""

    tone: Tone
    answer: str  # Yes, Mostly, No, Not yet, Nobody can say
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """The newest copy in one repository."""

    repository: str
    taken_at: datetime | None
    current: bool  # whether it is of the newest archive
    sending: bool  # whether a run goes on that sends it there


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupCard:
    """How one backup stands."""

    plan: str
    database: str
    tone: Tone
    archive: str
    taken_at: datetime | None
    age_s: float | None
    size_bytes: int | None
    usual_bytes: int | None
    change: float | None  # against the usual, as a share
    rows: int | None
    copies: tuple[Copy, ...]
    proven_taken_at: datetime | None
    proven_at: datetime | None
    proven_by: str
    proof_run: str
    restore_s: float | None
    fetch_s: float | None
    next_at: datetime | None
    timezone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Coming:
    """What is due next."""

    kind: str
    plan: str
    due_at: datetime
    timezone: str
    by: str  # who begins it


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The whole page."""

    at: datetime
    verdict: Verdict
    faults: tuple[str, ...]
    attention: tuple[Attention, ...]
    running: tuple[Running, ...]
    databases: tuple[DatabaseLanes, ...]
    backups: tuple[BackupCard, ...]
    targets: tuple[Freshness, ...]
    coming: tuple[Coming, ...]
    recent: tuple[RunLine, ...]


def overview(look: Look) -> Overview:
    """The overview at an instant."""
    settings, catalog = look.settings, look.catalog
    plans = status_of(catalog, settings.backups.values(), (), look.at)
    cards = tuple(_card(look, settings.backups[one.plan], one) for one in plans)
    targets = tuple(freshness_of(look, plan) for plan in settings.refreshes.values())
    attention = attentions(look, plans, targets)
    recent = catalog.runs.list(limit=_RECENT)
    return Overview(
        at=look.at,
        verdict=_verdict(look, cards, targets, attention),
        faults=look.faults,
        attention=attention,
        running=running_now(look),
        databases=tuple(_databases(look)),
        backups=cards,
        targets=targets,
        coming=_coming(look),
        recent=tuple(line_of(look, one) for one in recent),
    )


def _databases(look: Look) -> Iterator[DatabaseLanes]:
    month = read_month(look)
    backups, refreshes = look.settings.backups.values(), look.settings.refreshes.values()
    for name in dict.fromkeys(one.database.name for one in backups):
        yield source_lanes(month, name, [one for one in backups if one.database.name == name])
    for name in dict.fromkeys(one.target.name for one in refreshes):
        yield target_lanes(month, name, [one for one in refreshes if one.target.name == name])


def _card(look: Look, plan: BackupPlan, one: PlanStatus) -> BackupCard:
    record, proof = one.archive, one.proof
    archive = record.archive if record else None
    usual = _usual(look, record)
    copies = {shipment.repository: shipment for shipment in one.shipments}
    proven_taken = proof.taken_at if proof else one.proven.archive.taken_at if one.proven else None
    proven_at = proof.at if proof else one.proven.archive.proven_at if one.proven else None
    lacking = () if archive is None else lacking_copies(look, plan.name, archive.id)
    sending = bool(lacking) and is_sending(look, plan.name)
    shown = tuple(
        Copy(
            repository=repository.name,
            taken_at=copies[repository.name].taken_at if repository.name in copies else None,
            current=archive is not None and repository.name not in lacking,
            sending=sending and repository.name in lacking,
        )
        for repository in plan.repositories
    )
    return BackupCard(
        plan=plan.name,
        database=plan.database.name,
        tone=_tone(look, plan, one, shown),
        archive=archive.id if archive else "",
        taken_at=archive.taken_at if archive else None,
        age_s=(look.at - archive.taken_at).total_seconds() if archive else None,
        size_bytes=archive.size_bytes if archive else None,
        usual_bytes=usual,
        change=archive.size_bytes / usual - 1 if archive and usual else None,
        rows=archive.rows if archive else None,
        copies=shown,
        proven_taken_at=proven_taken,
        proven_at=proven_at,
        proven_by=proof.source if proof else "",
        proof_run=proof.run if proof else "",
        restore_s=proof.restore_s if proof else None,
        fetch_s=proof.fetch_s if proof else None,
        next_at=one.next_at,
        timezone=plan.schedule.timezone if plan.schedule else "",
    )


def _usual(look: Look, record: ArchiveRecord | None) -> int | None:
    """The median size of those before."""
    if record is None:
        return None
    before = look.catalog.archives.sizes(record.archive.plan, limit=_USUAL)
    sizes = [size for id_, _, size in before if id_ != record.archive.id]
    return round(median(sizes)) if sizes else None


def _tone(look: Look, plan: BackupPlan, one: PlanStatus, copies: Sequence[Copy]) -> Tone:
    if one.archive is None:
        return Tone.NONE
    if _is_old(look, plan, one.archive):
        return Tone.BAD
    tones = [Tone.OK]
    if copies and not any(copy.current or copy.sending for copy in copies):
        tones.append(Tone.BAD if all(copy.taken_at is None for copy in copies) else Tone.WARN)
    if one.doubt is not None or one.quarantined is not None:
        tones.append(Tone.BAD)
    elif one.proof is None and one.proven is None:
        tones.append(Tone.WARN)
    return worst(tones)


def _is_old(look: Look, plan: BackupPlan, record: ArchiveRecord) -> bool:
    """Whether the newest archive is older than two of its slots, or than a day where it has no schedule."""
    taken = record.archive.taken_at
    if plan.schedule is None:
        return look.at - taken > _OLD
    return next_slot(plan.schedule, next_slot(plan.schedule, taken).due_at).due_at < look.at


def _verdict(
    look: Look, cards: Sequence[BackupCard], targets: Sequence[Freshness], attention: Sequence[Attention]
) -> Verdict:
    if not look.known or not look.configured:
        why = look.faults[0] if look.faults else "not everything could be read"
        return Verdict(tone=Tone.WARN, answer="Nobody can say.", sentence=_sentence(why))
    if not cards:
        return Verdict(tone=Tone.WARN, answer="No.", sentence="The configuration has no backup, so nothing is kept.")
    if all(not card.archive for card in cards) and not any(one.tone is Tone.BAD for one in attention):
        due = min((card.next_at for card in cards if card.next_at), default=None)
        when = f"; the first one is due on {due.astimezone(look.zone):%a %d %b at %H:%M %Z}" if due else ""
        return Verdict(tone=Tone.WARN, answer="Not yet.", sentence=f"Nothing has been backed up so far{when}.")
    bad = [one for one in attention if one.tone is Tone.BAD]
    without = [card.database for card in cards if not card.archive]
    old = [card for card in cards if card.tone is Tone.BAD]
    if bad or old or without:
        if bad:
            said = f"{bad[0].subject}: {bad[0].text}"
        elif without:
            said = f"{', '.join(without)} has no archive"
        else:
            said = f"The newest archive of {old[0].plan} is not what it should be"
        return Verdict(tone=Tone.BAD, answer="No.", sentence=_ended(said))
    safe = _safe(look, cards, targets)
    warned = [one for one in attention if one.tone is Tone.WARN]
    if warned or any(card.tone is Tone.WARN for card in cards):
        more = f" But {warned[0].subject}: {warned[0].text}" if warned else ""
        return Verdict(tone=Tone.WARN, answer="Mostly.", sentence=_sentence(f"{safe}{more}"))
    return Verdict(tone=Tone.OK, answer="Yes.", sentence=safe)


def _safe(look: Look, cards: Sequence[BackupCard], targets: Sequence[Freshness]) -> str:
    """What is so, in one sentence, of the backup that is worst off."""
    card = min(cards, key=lambda one: one.taken_at or look.at)
    zone = parse_zone(card.timezone) if card.timezone else look.zone
    parts = [
        f"production ({card.database}) of {card.taken_at.astimezone(zone):%a %d %b, %H:%M %Z} is here"
        if card.taken_at
        else ""
    ]
    there = [copy.repository for copy in card.copies if copy.current]
    if there:
        parts.append(f"off-site in {' and '.join(there)}")
    if card.proven_at is not None:
        took = f", restored in {show_duration(card.restore_s)}" if card.restore_s is not None else ""
        parts.append(f"proven restorable on {card.proven_at.astimezone(zone):%a %d %b}{took}")
    fresh = [one for one in targets if one.taken_at is not None and one.tone is Tone.OK]
    if fresh and fresh[0].taken_at is not None:
        parts.append(f"and {fresh[0].target} is production of {fresh[0].taken_at.astimezone(zone):%a %d %b}")
    return _sentence(", ".join(parts))


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + _ended(text[1:])


def _ended(text: str) -> str:
    """With a stop at its end; what begins with a name keeps it as it is written."""
    text = text.strip()
    return text + ("" if text.endswith((".", ")", "!", "…")) else ".")


def _coming(look: Look) -> tuple[Coming, ...]:
    found = [
        Coming(
            kind=one.kind,
            plan=one.plan,
            due_at=next_slot(one.schedule, look.at).due_at,
            timezone=one.schedule.timezone,
            by=one.schedule.trigger or "Daybreak",
        )
        for one in timed_plans(look.settings)
    ]
    return tuple(sorted(found, key=lambda one: (one.due_at, one.kind, one.plan))[:_COMING])
