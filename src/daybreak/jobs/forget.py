"""Which snapshots of a plan a repository may forget, with reasons; and forgetting them, by their ids.

Only snapshots with our tags, of one plan and one host, are ever looked at. What must not go, whatever the rules
say, is in `retention.py`; what stops forgetting altogether is in `pauses`.

Errors  `Refused` for rules that keep nothing; `OffsiteError`, its reason `retained` where the storage deletes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from daybreak import files
from daybreak.catalog import Catalog
from daybreak.catalog.records import Shipment
from daybreak.errors import OffsiteError, Refused
from daybreak.jobs.parcel import OURS, QUARANTINED, is_whole
from daybreak.jobs.proven import doubted
from daybreak.jobs.run import RunContext, Skip, now
from daybreak.jobs.ship import WAIT
from daybreak.jobs.status import waiting_archive
from daybreak.jobs.upkeep import Connect, last_damage, lock_path, require_deleting
from daybreak.model import BackupPlan, Repository, Snapshot
from daybreak.restic import Restic
from daybreak.retention import Decision, decide, is_ahead
from daybreak.units import rfc3339


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A snapshot as retention sees it."""

    snapshot: Snapshot
    checked: bool
    proven: bool
    read_back: bool  # by this host, as far as its catalog goes back

    @property
    def id(self) -> str:
        """restic's."""
        return self.snapshot.id

    @property
    def taken_at(self) -> datetime:
        """When its data was taken."""
        return self.snapshot.taken_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What would become of every snapshot of one plan and host in one repository."""

    repository: str
    plan: str
    host: str
    decisions: tuple[Decision[Candidate], ...] = ()  # newest first
    pauses: tuple[str, ...] = ()  # why nothing is forgotten now, whatever the decisions say

    @property
    def gone(self) -> tuple[str, ...]:
        """The ids that are to be forgotten."""
        return () if self.pauses else tuple(one.item.id for one in self.decisions if not one.keep)

    def as_json(self) -> dict[str, object]:
        """As it stands in `--json`."""
        return {
            "repository": self.repository,
            "plan": self.plan,
            "host": self.host,
            "paused": list(self.pauses),
            "snapshots": [
                {
                    "id": one.item.id,
                    "taken_at": rfc3339(one.item.taken_at),
                    "archive": one.item.snapshot.archive,
                    "keep": one.keep or bool(self.pauses),
                    "reasons": list(one.reasons),
                }
                for one in self.decisions
            ],
        }


def look(catalog: Catalog, plan: BackupPlan, restic: Restic, *, host: str, only_look: bool = False) -> Outlook:
    """What the repository's rules say of this plan's snapshots of `host`, all kept where there are no rules.

    `only_look`: a storage from which nothing is deleted is no reason not to know.
    """
    at, damage = now(), last_damage(catalog, restic.name)
    proven = {record.archive.id for record in catalog.archives.list(plan.name, proven=True)}
    shipped = catalog.snapshots.list(repository=restic.name, plan=plan.name)
    read_back = {one.id for one in shipped}
    found = restic.snapshots(tags=(OURS, f"plan={plan.name}"), host=host)
    candidates = [
        Candidate(
            snapshot=one,
            checked=QUARANTINED not in one.tags and is_whole(one) and one.id not in damage.snapshots,
            proven=one.archive in proven,
            read_back=one.id in read_back,
        )
        for one in found
    ]
    keep = restic.repository.keep
    decided = [Decision(one, ("no rules",)) for one in candidates]
    if keep:
        decided = decide(candidates, keep, plan.zone, at, sent=_just_sent(catalog, shipped))
    present = [one for one in candidates if not is_ahead(one.taken_at, at)]
    said = pauses(catalog, plan, restic.repository, present, damaged=damage.words)
    if restic.repository.append_only and not only_look:
        said = ['nothing is deleted from here (prune = "never")', *said]
    return Outlook(repository=restic.name, plan=plan.name, host=host, decisions=tuple(decided), pauses=tuple(said))


def pauses(
    catalog: Catalog, plan: BackupPlan, repository: Repository, found: Collection[Candidate], *, damaged: str
) -> list[str]:
    """Why nothing may be forgotten now; `found` without what is dated later than now."""
    said: list[str] = []
    waiting = waiting_archive(catalog, plan)
    if waiting is not None:
        said.append(f"archive {waiting.archive.id} is quarantined and waits for a person")
    newest = max(found, key=lambda one: (one.taken_at, one.id), default=None)
    if newest is not None and not newest.checked:
        said.append(f"the newest snapshot, {newest.id[:8]}, is not good")
    doubt = doubted(catalog, plan.name)
    if doubt is not None:
        said.append(f"the last proof, of archive {doubt.archive}, did not pass")
    if damaged:
        said.append(f"the last check of {repository.name} found damage: {damaged}")
    return said


def forget(catalog: Catalog, restic: Restic, outlook: Outlook, *, at: datetime) -> tuple[str, ...]:
    """Forget what the outlook says, and record it. The repository's lock is held. Raise OffsiteError."""
    gone = outlook.gone
    if gone:
        restic.forget(gone)
        catalog.snapshots.forget(restic.name, gone, at=at)
    return gone


def seen_as(outlooks: Iterable[Outlook]) -> str:
    """What would go, as one word: the same where it is the same."""
    gone = sorted(f"{one.repository} {one.plan} {snapshot}" for one in outlooks for snapshot in one.gone)
    return sha256("\n".join(gone).encode()).hexdigest()


def require_seen(seen: str, outlooks: Iterable[Outlook]) -> None:
    """Raise Refused where something else would go than what a person looked at."""
    if seen_as(outlooks) != seen:
        raise Refused(
            "what would be forgotten is not what you looked at any more", hint="look at the preview again, then decide"
        )


def forget_all(
    run: RunContext, plans: Sequence[BackupPlan], repository: Repository, *, host: str, connect: Connect, seen: str = ""
) -> None:
    """Forget by a repository's rules what each plan has there, `seen` alone where it is given (as `seen_as` says it).

    Raise Refused where something speaks against it.
    """
    require_deleting(repository, "forgotten from")
    if repository.keep is None:
        raise Refused(
            f"repository {repository.name} has no rules: nothing is ever forgotten there",
            hint=f"set keep in [repositories.{repository.name}], for example {{ daily = 7, weekly = 4 }}",
        )
    restic = connect(repository, run.runner)
    paused: list[str] = []
    run.result.update(repository=repository.name, plans=(said := list[dict[str, object]]()))
    with files.lock(lock_path(run, repository), wait=WAIT, cancel=run.cancel, holder=f"run {run.id}"):
        run.begin()
        restic.version()
        restic.open()
        if seen:
            require_seen(seen, [look(run.catalog, plan, restic, host=host) for plan in plans])
        for plan in plans:
            with run.step(f"forget {plan.name}") as facts:
                outlook = look(run.catalog, plan, restic, host=host)
                said.append(outlook.as_json())
                paused += [f"{plan.name}: {why}" for why in outlook.pauses]
                try:
                    facts["forgotten"] = len(forget(run.catalog, restic, outlook, at=now()))
                except OffsiteError as fault:
                    if fault.reason != "retained":
                        raise
                    run.warn(f"{fault.message} ({fault.hint})")
                    raise Skip(fault.message) from fault
    if paused:
        raise Refused(f"nothing is forgotten in {repository.name}: {'; '.join(paused)}", hint="daybreak status")


def _just_sent(catalog: Catalog, shipped: Collection[Shipment]) -> frozenset[str]:
    """What runs that go on have sent: they must not forget it at once, whatever the times of others say."""
    going = {run.id for run in catalog.runs.open_runs()}
    return frozenset(one.id for one in shipped if one.run in going)
