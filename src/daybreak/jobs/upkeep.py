"""Check a repository and prune it: plans of their own, never inside a night.

    wait until nobody sends to it → its lock → open → check, with parts of the data read → what suffers

Every check looks at restic's structure, reads the next part of the data, and again each part that was found damaged,
or everything where that was no part that could be read again; the catalog remembers which. What restic cannot see,
a snapshot that is gone, the catalog's list of shipments tells.

Shapes  a check's result has `parts` and `damage`; the newest one that got to its end tells how the repository is.
Errors  `OffsiteError` (its reason is `damaged` for damage), `Busy`, `Refused`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from daybreak import files
from daybreak.catalog import Catalog
from daybreak.catalog.records import Shipment
from daybreak.errors import Busy, Cancelled, OffsiteError, Refused
from daybreak.jobs.parcel import OURS
from daybreak.jobs.run import RunContext, Skip, now
from daybreak.model import Repository, Snapshot
from daybreak.process import Runner
from daybreak.restic import Findings, Restic, damaged
from daybreak.retention import decide, is_ahead
from daybreak.rotation import Part, Reading, next_parts, parts_within
from daybreak.units import show_count
from daybreak.upkeep import RepositoryPlan, Upkeep

#: Makes the client of a repository: `site` decides which.
Connect = Callable[[Repository, Runner], Restic]
#: Kinds of runs that end with sending something off-site.
_SENDING: Final = frozenset({"backup", "refresh", "ship", "accept"})
_POLL_S: Final = 1.0
#: So many checks back are looked at: more than any rotation has parts.
_REMEMBERED: Final = 300
_NAMED: Final = 5
_ALL: Final = Part(1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """What the last check of a repository found."""

    packs: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    others: tuple[str, ...] = ()  # sentences of restic's
    gone: tuple[str, ...] = ()  # snapshots that were shipped, that nobody forgot, and that are not there
    snapshots: frozenset[str] = field(default_factory=frozenset[str])  # those that suffer
    archives: tuple[str, ...] = ()  # whose snapshots these are

    @property
    def words(self) -> str:
        """In one sentence; empty where there is none."""
        said = [
            _count(self.packs, "damaged or missing pack"),
            _count(self.trees, "folder that cannot be read", "folders that cannot be read"),
            _count(self.gone, "snapshot that is gone", "snapshots that are gone"),
            *self.others[:_NAMED],
        ]
        suffering = f"; it concerns {_list(self.archives)}" if self.archives else ""
        return ", ".join(filter(None, said)) + suffering if any(said) else ""


def check_repository(
    run: RunContext,
    plan: RepositoryPlan,
    *,
    senders: Collection[str],
    zones: Mapping[str, ZoneInfo],
    connect: Connect,
    read: str = "",
) -> None:
    """Check a repository and read what is due, or `read` instead (`2/4`, `5%`, `500M`, `100%`).

    `senders` are the plans that send to it, `zones` those by whose calendars its backups are kept.
    Raise OffsiteError (damaged) with the packs and the archives that suffer.
    """
    restic = connect(plan.repository, run.runner)
    with _turn(run, plan, senders):
        began = time.monotonic()
        restic.version()
        restic.open()
        parts = _parts(run, plan, read)
        found: list[tuple[str, bool, Findings]] = []
        for part, planned in parts:
            with run.step(f"read {part}") as facts:
                findings = restic.check(read_data_subset=part, on_line=lambda line: _tell(run, line))
                found.append((part, planned, findings))
                facts["sound"] = findings.sound
        snapshots = restic.snapshots()
        gone = _gone(run, restic, snapshots, zones)
        damage = _damage(run, restic, [findings for _, _, findings in found], snapshots, gone)
        run.result.update(
            repository=restic.name,
            parts=[{"part": part, "planned": planned, "sound": one.sound} for part, planned, one in found],
            damage=_as_json(damage),
            snapshots=len(snapshots),
            size_bytes=None if damage.words else restic.size_bytes(),
            seconds=round(time.monotonic() - began, 1),
        )
        # Before the lock goes: a prune or a night that waits for it asks at once what was found.
        run.best_effort(lambda: run.catalog.runs.set_result(run.id, run.result))
        if ahead := [one for one in snapshots if OURS in one.tags and is_ahead(one.taken_at, now())]:
            run.warn(
                f"a clock was ahead: {_count([one.id for one in ahead], 'snapshot')} dated later than now;"
                " no rule counts them, and nothing here forgets them"
            )
        if damage.gone:
            # Told once, and then no longer believed to be there.
            run.best_effort(lambda: run.catalog.snapshots.forget(restic.name, damage.gone, at=now()))
    if damage.words:
        raise damaged(restic.name, damage.words)


def prune_repository(run: RunContext, plan: RepositoryPlan, *, senders: Collection[str], connect: Connect) -> None:
    """Remove from the storage what no snapshot needs any more."""
    restic = connect(plan.repository, run.runner)
    require_deleting(plan.repository, "pruned")
    with _turn(run, plan, senders):
        damage = last_damage(run.catalog, restic.name)  # not before: it may be a check that was waited for
        if damage.words:
            raise Refused(
                f"repository {restic.name} is not pruned: its last check found {damage.words}",
                hint=f"a repair may need what prune takes away; repair, then `daybreak repository check {restic.name}`",
            )
        restic.version()
        restic.open()
        with run.step("prune") as facts:
            try:
                facts["freed"] = restic.prune(on_line=lambda line: _tell(run, line))
            except OffsiteError as fault:
                if fault.reason != "retained":
                    raise
                run.warn(f"{fault.message} ({fault.hint})")
                raise Skip(fault.message) from fault
        size = restic.size_bytes()
        run.result.update(repository=restic.name, freed=facts["freed"], size_bytes=size)


def require_deleting(repository: Repository, what: str) -> None:
    """Raise Refused for a repository from which nothing is deleted here."""
    if repository.append_only:
        raise Refused(
            f'repository {repository.name} is not {what} from here: its prune is "never"',
            hint="docs/ransomware.md says how it is done from elsewhere, with other keys",
        )


def last_damage(catalog: Catalog, repository: str) -> Damage:
    """What the newest check that got to its end found; nothing where there was none."""
    for said in _told(catalog, repository, "damage", limit=1):
        return Damage(
            **{name: tuple(said.get(name, ())) for name in ("packs", "trees", "others", "gone", "archives")},
            snapshots=frozenset(said.get("snapshots", ())),
        )
    return Damage()


def readings(catalog: Catalog, repository: str) -> list[Reading]:
    """What was read of a repository, newest first."""
    found: list[Reading] = []
    for parts in _told(catalog, repository, "parts", limit=_REMEMBERED):
        for one in reversed(parts):
            part = _part(one["part"])
            if part is None and not one["sound"]:
                part = _ALL  # nobody can read the same 5% again: what covers it is everything
            if part is not None:
                found.append(Reading(part, one["sound"], planned=one["planned"]))
    return found


def _told(catalog: Catalog, repository: str, key: str, *, limit: int) -> list[Any]:
    """What the newest checks that got to their end say."""
    return catalog.runs.told(key, plan=Upkeep.CHECK.plan_of(repository), kind=Upkeep.CHECK, limit=limit)


def _parts(run: RunContext, plan: RepositoryPlan, read: str) -> list[tuple[str, bool]]:
    """What is read, each with whether the rotation asks for it."""
    due = next_parts(readings(run.catalog, plan.repository.name), parts_within(plan.schedule, now()))
    if not read:
        return [(str(part), part == due[-1]) for part in due]
    wanted = str(_part(read) or read)
    again = [] if wanted == str(_ALL) else [str(part) for part in due[:-1] if str(part) != wanted]
    return [(part, False) for part in [*again, wanted]]


def _part(text: str) -> Part | None:
    """`2/4` and `100%` as parts; None for what no rotation knows."""
    if text == "100%":
        return _ALL
    n, slash, t = text.partition("/")
    if not slash:
        return None
    part = Part(int(n), int(t))
    return part if 1 <= part.n <= part.t else Part(0, 0)


@contextlib.contextmanager
def _turn(run: RunContext, plan: RepositoryPlan, senders: Collection[str]) -> Generator[None]:
    """Hold the repository, at a time at which no run that will send to it goes on. Raise Busy after `plan.wait`."""
    until = time.monotonic() + plan.wait.total_seconds()
    while sending := [
        other
        for other in run.catalog.runs.open_runs()
        if other.kind in _SENDING and other.plan in senders and run.engine.is_alive(other.id)
    ]:
        if time.monotonic() >= until:
            raise Busy(
                f"run {sending[0].id} ({sending[0].kind} {sending[0].plan}) will send to {plan.repository.name}",
                hint="a check or prune waits for the night; give it a later hour, or raise the repository's wait",
                holder=f"run {sending[0].id}",
            )
        if run.cancel.wait(_POLL_S):
            raise Cancelled("the run was cancelled while it waited for a run that sends to the repository")
    left = timedelta(seconds=max(0.0, until - time.monotonic()))
    with files.lock(lock_path(run, plan.repository), wait=left, cancel=run.cancel, holder=f"run {run.id}"):
        run.begin()
        yield


def lock_path(run: RunContext, repository: Repository) -> Path:
    """The file behind the queue of a repository on this host; `ship_all` takes the same."""
    return run.engine.lock_path(f"repository-{repository.name}")


def _damage(
    run: RunContext,
    restic: Restic,
    found: Sequence[Findings],
    snapshots: Sequence[Snapshot],
    gone: Sequence[Shipment],
) -> Damage:
    """All that was found, with the snapshots and archives that suffer."""
    packs, trees, others = (
        tuple(dict.fromkeys(one for findings in found for one in getattr(findings, name)))
        for name in ("packs", "trees", "others")
    )
    suffering: set[str] = set()
    if packs or trees:
        with run.step("what suffers") as facts:
            suffering |= restic.needing("pack", packs) | restic.needing("tree", trees)
            if trees:  # of a folder that cannot be read nobody can say whose it was
                ours = [one for one in snapshots if OURS in one.tags and one.id not in suffering]
                suffering |= {one.id for one in ours if not restic.is_readable(one.id)}
            facts["snapshots"] = len(suffering)
    archives = {one.id: one.archive for one in snapshots if one.archive}
    archives |= {one.id: one.archive for one in gone}
    concerned = [*suffering, *(one.id for one in gone)]
    return Damage(
        packs=packs,
        trees=trees,
        others=others,
        gone=tuple(one.id for one in gone),
        snapshots=frozenset(suffering),
        archives=tuple(sorted({archives[one] for one in concerned if one in archives})),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """A shipment as retention sees it."""

    shipment: Shipment
    proven: bool
    checked: bool = True
    read_back: bool = True

    @property
    def id(self) -> str:
        return self.shipment.id

    @property
    def taken_at(self) -> datetime:
        return self.shipment.taken_at


def _gone(
    run: RunContext, restic: Restic, snapshots: Collection[Snapshot], zones: Mapping[str, ZoneInfo]
) -> list[Shipment]:
    """What was shipped, is not there, and would not have gone by the rules: those are followed elsewhere too."""
    there = {one.id for one in snapshots}
    known = run.catalog.snapshots.list(repository=restic.name)
    keep = restic.repository.keep
    lost: list[Shipment] = []
    for plan, shipments in groupby(sorted(known, key=lambda one: one.plan), key=lambda one: one.plan):
        proven = {record.archive.id for record in run.catalog.archives.list(plan, proven=True)}
        ours = [_Known(shipment=one, proven=one.archive in proven) for one in shipments]
        kept = (
            {one.item.id for one in decide(ours, keep, zones.get(plan, ZoneInfo("UTC")), now()) if one.keep}
            if keep
            else {one.id for one in ours}
        )
        absent = [one.shipment for one in ours if one.id not in there]
        lost += [one for one in absent if one.id in kept]
        expected = [one.id for one in absent if one.id not in kept]
        if expected:
            run.log.write(f"forgotten elsewhere, as the rules say: {show_count(len(expected), 'snapshot')} of {plan}")
            run.catalog.snapshots.forget(restic.name, expected, at=now())
    return lost


def _tell(run: RunContext, line: str) -> None:
    if line.strip():
        run.progress(line.strip()[:100])


def _as_json(damage: Damage) -> dict[str, object]:
    said = {name: list(value) for name, value in asdict(damage).items()}
    return {**said, "snapshots": sorted(damage.snapshots), "words": damage.words}


def _count(found: Sequence[str], one: str, many: str = "") -> str:
    if not found:
        return ""
    what = one if len(found) == 1 else many or f"{one}s"
    return f"{len(found)} {what} ({_list([name[:16] for name in found])})"


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
