"""Off-site: how each repository is, what it holds, how it grew. By the catalog alone; nobody asks the storage here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from daybreak import rotation, schedule
from daybreak.catalog.records import Shipment
from daybreak.console.views.keeping import reasons_for, rules_of
from daybreak.console.views.words import RunLine, Tone, line_of, plain
from daybreak.console.world import Look
from daybreak.jobs.upkeep import last_damage, readings
from daybreak.model import Repository, Run, RunState
from daybreak.units import show_duration
from daybreak.upkeep import Upkeep

PER_PAGE: Final = 50
GROWTH: Final = 60
_RUNS: Final = 10
_SIZES: Final = 20
#: A copy that is older than this is no copy of last night.
_STALE: Final = timedelta(hours=36)
_YEAR: Final = timedelta(days=366)
_USERINFO: Final = re.compile(r"(://[^/@:\s]*):[^/@\s]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """What one snapshot added."""

    snapshot: str
    archive: str
    taken_at: datetime
    added_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPart:
    """A part of the data that checks read in turn."""

    part: str
    word: str  # read, damaged, to come
    tone: Tone


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryCard:
    """How one repository is."""

    name: str
    url: str  # "" for who may not see it
    tone: Tone
    health: str  # in a sentence
    damage: str
    snapshots: int
    newest_at: datetime | None
    age_s: float | None
    lacking: tuple[str, ...]  # plans whose newest archive is not there
    size_bytes: int | None  # of the whole repository, when it was last measured
    size_at: datetime | None
    rules: str
    append_only: bool
    check: RunLine | None
    next_check_at: datetime | None
    next_prune_at: datetime | None
    parts: tuple[ReadPart, ...]  # of the rotation that goes on
    growth: tuple[Grown, ...]  # oldest first


@dataclass(frozen=True, slots=True, kw_only=True)
class OffSite:
    """Every repository."""

    repositories: tuple[RepositoryCard, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotLine:
    """A snapshot."""

    id: str
    plan: str
    archive: str
    run: str
    taken_at: datetime
    size_bytes: int
    added_bytes: int
    forgotten_at: datetime | None
    why: tuple[str, ...]  # what speaks for it; () where the rules let it go


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A snapshot on the timeline."""

    taken_at: datetime
    plan: str
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryPage:
    """One repository."""

    card: RepositoryCard
    page: int
    pages: int
    total: int
    snapshots: tuple[SnapshotLine, ...]
    timeline: tuple[Mark, ...]  # oldest first
    upkeep: tuple[RunLine, ...]


def off_site(look: Look) -> OffSite:
    """Every repository of the configuration."""
    return OffSite(
        repositories=tuple(_card(look, one, _upkeep(look, one.name)) for one in look.settings.repositories.values())
    )


def repository_page(look: Look, name: str, page: int) -> RepositoryPage | None:
    """One repository; None where the configuration has none of this name."""
    repository = look.settings.repositories.get(name)
    if repository is None:
        return None
    history = look.catalog.history
    total = history.snapshot_count(name, forgotten=True)
    pages = max(1, -(-total // PER_PAGE))
    page = min(max(1, page), pages)
    shown = history.shipments(name, limit=PER_PAGE, offset=(page - 1) * PER_PAGE)
    present = [one for one in shown if one.forgotten_at is None]
    why: dict[str, tuple[str, ...]] = {}
    for plan in {one.plan for one in present}:
        why |= reasons_for(look, plan, name, [one.id for one in present if one.plan == plan])
    year = history.stored(repository=name, since=look.at - _YEAR, forgotten=True)
    upkeep = _upkeep(look, name)
    runs = [run for each in upkeep.values() for run in each]
    runs += look.catalog.runs.list(plan=f"{name}-forget", kind="forget", limit=_RUNS)
    runs.sort(key=lambda one: one.requested_at, reverse=True)
    return RepositoryPage(
        card=_card(look, repository, upkeep),
        page=page,
        pages=pages,
        total=total,
        snapshots=tuple(_line(one, why) for one in shown),
        timeline=tuple(
            Mark(taken_at=one.taken_at, plan=one.plan, kept=one.forgotten_at is None) for one in reversed(year)
        ),
        upkeep=tuple(line_of(look, one) for one in runs[:_RUNS]),
    )


def _line(one: Shipment, why: dict[str, tuple[str, ...]]) -> SnapshotLine:
    return SnapshotLine(
        id=one.id,
        plan=one.plan,
        archive=one.archive,
        run=one.run,
        taken_at=one.taken_at,
        size_bytes=one.size_bytes,
        added_bytes=one.added_bytes,
        forgotten_at=one.forgotten_at,
        why=why.get(one.id, ()),
    )


def _upkeep(look: Look, repository: str) -> dict[Upkeep, list[Run]]:
    """The last runs of each kind, newest first."""
    return {kind: look.catalog.runs.list(plan=kind.plan_of(repository), kind=kind, limit=_SIZES) for kind in Upkeep}


def _card(look: Look, repository: Repository, upkeep: Mapping[Upkeep, Sequence[Run]]) -> RepositoryCard:
    name, catalog = repository.name, look.catalog
    shipments = catalog.snapshots.list(repository=name, limit=GROWTH)
    newest = shipments[0] if shipments else None
    told = next((one for one in upkeep[Upkeep.CHECK] if one.state not in {RunState.SKIPPED, RunState.CANCELLED}), None)
    check = line_of(look, told) if told is not None else None
    damage = plain(last_damage(catalog, name).words)
    lacking = _lacking(look, repository)
    tone, health = _health(look, check, damage, newest, lacking)
    size, size_at = _size([run for each in upkeep.values() for run in each])
    return RepositoryCard(
        name=name,
        url=plain(_USERINFO.sub(r"\1:***@", repository.url)) if look.full else "",
        tone=tone,
        health=health,
        damage=damage,
        snapshots=catalog.history.snapshot_count(name),
        newest_at=newest.taken_at if newest else None,
        age_s=(look.at - newest.taken_at).total_seconds() if newest else None,
        lacking=lacking,
        size_bytes=size,
        size_at=size_at,
        rules=rules_of(repository),
        append_only=repository.append_only,
        check=check,
        next_check_at=_next(look, name, Upkeep.CHECK),
        next_prune_at=_next(look, name, Upkeep.PRUNE),
        parts=_parts(look, name),
        growth=tuple(
            Grown(
                snapshot=one.id,
                archive=one.archive,
                taken_at=one.taken_at,
                added_bytes=one.added_bytes,
                size_bytes=one.size_bytes,
            )
            for one in reversed(shipments)
        ),
    )


def _lacking(look: Look, repository: Repository) -> tuple[str, ...]:
    """The plans whose newest archive is not there."""
    return tuple(
        plan.name
        for plan in look.settings.backups.values()
        if repository in plan.repositories
        and (newest := look.catalog.archives.newest(plan.name)) is not None
        and not look.catalog.snapshots.list(repository=repository.name, archive=newest.archive.id, limit=1)
    )


def _health(
    look: Look, check: RunLine | None, damage: str, newest: Shipment | None, lacking: Sequence[str]
) -> tuple[Tone, str]:
    if damage:
        return Tone.BAD, f"The last check found damage: {damage}."
    if check is not None and check.tone is Tone.BAD:
        return Tone.BAD, f"The last check did not get to its end: {check.reason}."
    if newest is None:
        return Tone.NONE, "Nothing was sent here yet."
    age = show_duration((look.at - newest.taken_at).total_seconds())
    if lacking:
        tone = Tone.BAD if look.at - newest.taken_at > _STALE else Tone.WARN
        return tone, f"The newest archive of {', '.join(lacking)} is not here; the newest copy is {age} old."
    if check is None:
        return Tone.WARN, f"The newest copy is {age} old; nobody ever checked the repository."
    return Tone.OK, f"The newest copy is {age} old, and the last check found nothing wrong."


def _size(runs: Sequence[Run]) -> tuple[int | None, datetime | None]:
    for one in sorted(runs, key=lambda run: run.requested_at, reverse=True):
        size = one.result.get("size_bytes")
        if isinstance(size, int):
            return size, one.ended_at
    return None, None


def _next(look: Look, repository: str, kind: Upkeep) -> datetime | None:
    plan = look.settings.upkeep.get(kind.plan_of(repository))
    return None if plan is None or plan.schedule is None else schedule.next_after(plan.schedule, look.at)


def _parts(look: Look, repository: str) -> tuple[ReadPart, ...]:
    """The parts of the rotation that goes on, and what was found in each when it was last read."""
    plan = look.settings.upkeep.get(Upkeep.CHECK.plan_of(repository))
    read = readings(look.catalog, repository)
    parts = rotation.next_parts(read, rotation.parts_within(plan.schedule if plan else None, look.at))
    coming = parts[-1]
    whole = coming.n == 1 and any(one.planned and one.part == rotation.Part(coming.t, coming.t) for one in read[:1])
    newest: dict[rotation.Part, bool] = {}
    for one in read:
        newest.setdefault(one.part, one.sound)
    found: list[ReadPart] = []
    for number in range(1, coming.t + 1):
        part = rotation.Part(number, coming.t)
        if newest.get(part) is False:
            found.append(ReadPart(part=str(part), word="damaged", tone=Tone.BAD))
        elif (whole or number < coming.n) and part in newest:
            found.append(ReadPart(part=str(part), word="read", tone=Tone.OK))
        else:
            found.append(ReadPart(part=str(part), word="to come", tone=Tone.NONE))
    return tuple(found)
