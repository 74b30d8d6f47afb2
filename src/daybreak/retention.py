"""Decide which archives or snapshots stay. Pure: the clock is the caller's, no disk, no log.

Shapes  items: any order, any number, all of one plan. Result: one `Decision` per item, newest first;
        no reasons means "may be deleted".
Units   counts are items per rule (0: the rule is off); `taken_at` is aware; a day, ISO week, month
        and year are those of the calendar in `zone`.
Errors  `Refused` for a policy with every rule off: it would ask to delete everything.
        `ValueError` for a negative count or an instant without a zone (bugs of the caller).
Source  the walk over the buckets is restic's (`forget --keep-*`): the newest of each bucket stays until
        the count is spent. Ours alone: only checked items use up a count, so bad nights never push out
        a good one; those that were read back are counted once more by themselves, so that one of which nobody
        knows whether it is good stands beside a good one and not in its place; what is dated later than now stays
        apart, so that a clock that was ahead pushes nothing out; what no policy may delete is in `_protected`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta, tzinfo
from itertools import chain
from typing import Final, Generic, Protocol, TypeVar

from daybreak.errors import Refused
from daybreak.model import Keep

#: An item that is not checked (quarantined, incomplete) stays this long beside the newest checked one,
#: so that a person has time to look at it and to accept it.
UNCHECKED_GRACE: Final = timedelta(days=30)
#: An item may be dated later than now by so much and count as any other: clocks are set.
_CLOCKS_DIFFER: Final = timedelta(minutes=5)
#: A clock that takes another zone's time for its own is not so far off. What is dated later than that was written by a
#: clock that was never right, and must not pass for the newest of its kind until then.
FAR_AHEAD: Final = timedelta(hours=26)


class Item(Protocol):
    """What retention must know of an archive or a snapshot."""

    @property
    def id(self) -> str:
        """Its name; unique in one call."""
        ...

    @property
    def taken_at(self) -> datetime:
        """When its data was taken, aware."""
        ...

    @property
    def checked(self) -> bool:
        """Complete and not quarantined."""
        ...

    @property
    def read_back(self) -> bool:
        """Known to hold what it should, because it was read; of another one nobody here knows whether it does."""
        ...

    @property
    def proven(self) -> bool:
        """Restored somewhere, every table compared."""
        ...


Kind = TypeVar("Kind", bound=Item)


@dataclass(frozen=True, slots=True)
class Decision(Generic[Kind]):
    """The fate of one item and why, so that command line and console show the same words."""

    item: Kind
    reasons: tuple[str, ...]

    @property
    def keep(self) -> bool:
        """Whether anything speaks for the item."""
        return bool(self.reasons)


@dataclass(frozen=True, slots=True)
class _Rule:
    """One rule of `Keep`: which bucket an instant falls in, and the words for it."""

    count: int
    bucket: Callable[[str, datetime], Hashable]
    reason: str  # filled by strftime; %G-W%V is the ISO week


def decide(
    items: Iterable[Kind], keep: Keep, zone: tzinfo, at: datetime, *, sent: Collection[str] = ()
) -> list[Decision[Kind]]:
    """Apply `keep` to all items of one plan; `at` is now. Raise Refused where it has no rule.

    `sent` are the ids of what was made just now: it stays, whatever is dated later.
    """
    if min(astuple(keep)) < 0:
        raise ValueError(f"negative count in {keep}")
    if keep == Keep():
        raise Refused(
            "the retention policy keeps nothing, so it would delete everything",
            hint="set for example keep = { daily = 7 }",
        )
    newest_first = sorted(items, key=lambda item: (item.taken_at, item.id), reverse=True)
    if any(item.taken_at.tzinfo is None for item in newest_first):
        raise ValueError("an instant without a zone")
    reasons: dict[str, list[str]] = {item.id: [] for item in newest_first}
    present = [item for item in newest_first if not is_ahead(item.taken_at, at)]
    for known in (present, [item for item in present if item.read_back]):
        for item, reason in chain(_protected(known), _counted(known, keep, zone)):
            if reason not in reasons[item.id]:
                reasons[item.id].append(reason)
    for item in newest_first:
        if is_ahead(item.taken_at, at):
            reasons[item.id].append("dated later than now: a clock was ahead")
        if item.id in sent:
            reasons[item.id].append("sent just now")
    return [Decision(item, tuple(reasons[item.id])) for item in newest_first]


def is_ahead(taken_at: datetime, at: datetime) -> bool:
    """Whether an instant is one that has not come at `at`, by more than clocks differ."""
    return taken_at - at > _CLOCKS_DIFFER


def _protected(newest_first: Sequence[Kind]) -> Iterator[tuple[Kind, str]]:
    """Yield what no policy may delete."""
    newest_checked = next((item for item in newest_first if item.checked), None)
    newest_proven = next((item for item in newest_first if item.proven), None)
    for item in newest_first:
        if item is newest_checked:
            yield item, "the newest checked one"
        elif newest_checked is None or _order(item) > _order(newest_checked):
            yield item, "nothing newer is checked"
        elif not item.checked and newest_checked.taken_at - item.taken_at <= UNCHECKED_GRACE:
            yield item, f"not checked, kept {UNCHECKED_GRACE.days} days for a person to look at"
        if item is newest_proven:
            yield item, "the newest proven one"


def _order(item: Item) -> tuple[datetime, str]:
    return item.taken_at, item.id


def _counted(newest_first: Sequence[Kind], keep: Keep, zone: tzinfo) -> Iterator[tuple[Kind, str]]:
    """Yield the newest checked item of each bucket until a rule's count is spent."""
    checked = [(item, item.taken_at.astimezone(zone)) for item in newest_first if item.checked]
    for rule in _rules(keep):
        buckets: set[Hashable] = set()
        for item, at in checked if rule.count else ():
            bucket = rule.bucket(item.id, at)
            if bucket not in buckets:
                buckets.add(bucket)
                yield item, at.strftime(rule.reason)
                if len(buckets) == rule.count:
                    break


def _rules(keep: Keep) -> Iterator[_Rule]:
    """The rules in the order of their reasons."""
    yield _Rule(keep.last, lambda id_, _at: id_, f"one of the last {keep.last}")
    yield _Rule(keep.daily, lambda _id, at: at.date(), "the newest of the day %Y-%m-%d")
    yield _Rule(keep.weekly, lambda _id, at: at.isocalendar()[:2], "the newest of the week %G-W%V")
    yield _Rule(keep.monthly, lambda _id, at: (at.year, at.month), "the newest of the month %Y-%m")
    yield _Rule(keep.yearly, lambda _id, at: at.year, "the newest of the year %Y")
