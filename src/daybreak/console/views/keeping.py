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
    read_back: bool = True  # else the catalog would not have it

    @property
    def id(self) -> str:
        return self.one.id

    @property
    def taken_at(self) -> datetime:
        return self.one.taken_at


def kept_off_site(look: Look, archives: Collection[str]) -> dict[str, list[Kept]]:
    """By archive: every copy of some archives that is known, with what speaks for it."""
    copies: dict[tuple[str, str], list[Stored]] = defaultdict(list)
    for one in look.catalog.history.stored(archives=archives):
        copies[one.plan, one.repository].append(one)
    found: dict[str, list[Kept]] = defaultdict(list)
    for (plan, repository), stored in sorted(copies.items()):
        reasons = reasons_for(look, plan, repository, [one.id for one in stored])
        for one in stored:
            found[one.archive].append(Kept(repository=repository, snapshot=one.id, why=reasons[one.id]))
    return found


def reasons_for(look: Look, plan: str, repository: str, ids: Collection[str]) -> dict[str, tuple[str, ...]]:
    """What speaks for some snapshots of one plan in one repository; () where the rules let one go."""
    known = look.settings.repositories.get(repository)
    if known is None:
        return dict.fromkeys(ids, ("the repository is not in the configuration any more",))
    if known.keep is None:
        return dict.fromkeys(ids, ("for ever, it has no rules",))
    every = look.catalog.history.stored(plan=plan, repository=repository)  # a rule looks at all of them
    proven, damaged = look.catalog.history.proven(plan), last_damage(look.catalog, repository).snapshots
    items = [_Item(one=one, checked=one.id not in damaged, proven=one.archive in proven) for one in every]
    reasons = {one.item.id: one.reasons for one in decide(items, known.keep, _zone(look, plan), look.at)}
    return {one: reasons[one] for one in ids}


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
    return known.zone if known is not None else ZoneInfo("UTC")
