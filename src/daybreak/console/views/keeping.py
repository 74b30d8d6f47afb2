"""Why a snapshot is kept, by the rules of its repository and what the catalog knows; nobody asks the storage here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from daybreak.catalog.history import Stored
from daybreak.console.world import Look
from daybreak.jobs.upkeep import last_damage
from daybreak.model import Repository
from daybreak.retention import decide


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A snapshot and what speaks for it."""

    repository: str
    snapshot: str
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """A snapshot as retention sees it."""

    one: Stored
    checked: bool
    proven: bool

    @property
    def id(self) -> str:
        return self.one.id

    @property
    def taken_at(self) -> datetime:
        return self.one.taken_at


def kept_off_site(look: Look, plans: Collection[str]) -> dict[str, list[Kept]]:
    """By archive: every copy of some plans that is known, with what speaks for it."""
    found: dict[str, list[Kept]] = defaultdict(list)
    for plan in sorted(plans):
        by_repository: dict[str, list[Stored]] = defaultdict(list)
        for one in look.catalog.history.stored(plan=plan):
            by_repository[one.repository].append(one)
        for name, stored in sorted(by_repository.items()):
            reasons = reasons_for(look, plan, name, stored)
            for one in stored:
                found[one.archive].append(Kept(repository=name, snapshot=one.id, why=reasons[one.id]))
    return found


def reasons_for(look: Look, plan: str, repository: str, stored: Collection[Stored]) -> dict[str, tuple[str, ...]]:
    """What speaks for each snapshot of one plan in one repository; () where the rules let it go."""
    known = look.settings.repositories.get(repository)
    if known is None:
        return {one.id: ("the repository is not in the configuration any more",) for one in stored}
    if known.keep is None:
        return {one.id: ("for ever, it has no rules",) for one in stored}
    proven, damaged = look.catalog.history.proven(plan), last_damage(look.catalog, repository).snapshots
    items = [_Item(one=one, checked=one.id not in damaged, proven=one.archive in proven) for one in stored]
    return {one.item.id: one.reasons for one in decide(items, known.keep, _zone(look, plan))}


def rules_of(repository: Repository) -> str:
    """How many of what are kept, in words."""
    keep = repository.keep
    if keep is None:
        return "nothing is ever forgotten"
    words = [
        f"{count} {name}"
        for name, count in (
            ("last", keep.last),
            ("daily", keep.daily),
            ("weekly", keep.weekly),
            ("monthly", keep.monthly),
            ("yearly", keep.yearly),
        )
        if count
    ]
    return f"keeps {', '.join(words)}"


def _zone(look: Look, plan: str) -> ZoneInfo:
    known = look.settings.backups.get(plan)
    return ZoneInfo(known.schedule.timezone if known is not None and known.schedule is not None else "UTC")
