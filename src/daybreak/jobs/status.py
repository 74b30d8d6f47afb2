"""How each plan stands: the last success, what happened last, and when it is due again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from daybreak import schedule
from daybreak.catalog import Catalog
from daybreak.catalog.records import ArchiveRecord, ProofRecord, Shipment
from daybreak.errors import OffsiteError, PublishError, Unfinished, UsageError
from daybreak.jobs import backlog
from daybreak.jobs.backlog import Waiting
from daybreak.jobs.doctor import floors
from daybreak.jobs.proven import doubted
from daybreak.model import ArchiveState, BackupPlan, RefreshPlan, Run, RunState
from daybreak.retention import FAR_AHEAD
from daybreak.units import rfc3339, show_duration, show_instant
from daybreak.upkeep import RepositoryPlan

_NEVER = "never run"
#: All but skipped and cancelled.
_TRIED: Final = tuple(state for state in RunState if state not in {RunState.SKIPPED, RunState.CANCELLED})
#: So many runs back one is looked for that says something.
_LOOKED_AT: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStatus:
    """One plan of the configuration."""

    plan: str
    kind: str
    state: str  # of the last run that ended, or running, or never run
    last_run: Run | None
    last_tried: Run | None  # the last one that was neither skipped nor cancelled: those say nothing of the plan
    last_success_at: datetime | None
    age_s: float | None  # since the last success
    next_at: datetime | None
    archive: ArchiveRecord | None = None  # the newest published one
    quarantined: ArchiveRecord | None = None  # one that waits for a person
    shipments: tuple[Shipment, ...] = ()  # the newest of each repository
    proven: ArchiveRecord | None = None  # the newest that counts as proven
    proof: ProofRecord | None = None  # how the newest archive that passed one was proven
    doubt: ProofRecord | None = None  # the last proof, where it did not pass
    last_drill: Run | None = None
    waiting: tuple[Waiting, ...] = ()  # archives that a repository lacks, oldest first
    unread: PublishError | None = None  # why nobody knows what waits

    @property
    def is_offsite(self) -> bool:
        """Whether a repository has the newest archive, whatever became of the run that made it."""
        return self.archive is not None and any(one.archive == self.archive.archive.id for one in self.shipments)

    @property
    def below_floor(self) -> str:
        """What a person should know of the server that the newest archive came from: "" where nothing is."""
        if self.archive is None:
            return ""
        version = self.archive.archive.server_version.partition(" ")[0]
        floor = floors.is_below("server", version)
        return (
            f"its server is PostgreSQL {version}, below the security floor {floor} (daybreak doctor)" if floor else ""
        )

    @property
    def attention(self) -> tuple[str, ...]:
        """What a person should look at, with the next step."""
        said: list[str] = []
        last = self.last_tried
        if last is not None and last.state in {RunState.FAILED, RunState.LOST}:
            code = "" if last.failure is None else last.failure.code
            sent_later = code == "OffsiteError" and self.is_offsite
            accepted = code == "ArchiveError" and self.archive is not None and self.archive.archive.id == last.id
            if not sent_later and not accepted:
                said.append(f"{last.reason} (daybreak run show {last.id})")
        if self.quarantined is not None:
            archive = self.quarantined.archive
            said.append(
                f"archive {archive.id} waits for a person: {self.quarantined.quarantine_reason}"
                f" (daybreak accept {archive.id})"
            )
        drill = self.last_drill
        if self.doubt is not None:
            one = self.doubt
            which = f"archive {one.archive}" if one.archive else "its archive"
            said.append(
                f"the proof of {which} did not pass ({one.source}): "
                f"{one.why}; nothing is forgotten off-site until one passes "
                f"(daybreak run show {one.run}; daybreak drill {self.plan})"
            )
        elif drill is not None and drill.state in {RunState.FAILED, RunState.LOST}:
            how = "was refused" if drill.failure is not None and drill.failure.code == "Refused" else "failed"
            said.append(f"its last drill {how}: {drill.reason} (daybreak run show {drill.id})")
        if self.unread is not None:
            said.append(f"what waits to be sent off-site is not known: {self.unread.message} ({self.unread.hint})")
        if self.waiting and not any("off-site" in one for one in said):
            lacking = sorted({repository.name for one in self.waiting for repository in one.lacking})
            said.append(
                f"{len(self.waiting)} waiting to be sent to {', '.join(lacking)}, the oldest of"
                f" {show_instant(self.waiting[0].taken_at)} (daybreak ship {self.plan})"
            )
        return tuple(said)

    @property
    def proven_text(self) -> str:
        """When the newest proven archive was taken, and how long it took to have it back."""
        if self.proof is None or self.proof.taken_at is None:
            if self.proven is not None:
                return f"newest proven archive taken {show_instant(self.proven.archive.taken_at)}"
            return f"no archive was proven yet (daybreak drill {self.plan})" if self.archive is not None else ""
        one, took = self.proof, list[str]()
        if one.fetch_s is not None:
            took.append(f"fetched in {show_duration(one.fetch_s)}")
        if one.restore_s is not None:
            took.append(f"restored in {show_duration(one.restore_s)}")
        return ", ".join(
            [f"newest proven archive taken {show_instant(self.proof.taken_at)}", *took, f"by {one.source}"]
        )

    def _proven_json(self) -> dict[str, object] | None:
        if self.proof is not None and self.proof.taken_at is not None:
            one = self.proof
            return {
                "archive": one.archive,
                "taken_at": rfc3339(self.proof.taken_at),
                "proven_at": rfc3339(one.at),
                "source": one.source,
                "fetch_s": one.fetch_s,
                "restore_s": one.restore_s,
                "proof_s": one.proof_s,
            }
        if self.proven is None or self.proven.archive.proven_at is None:
            return None
        # Proven before Daybreak kept the seconds.
        archive = self.proven.archive
        nothing = dict.fromkeys(("source", "fetch_s", "restore_s", "proof_s"))
        at = self.proven.archive.proven_at
        return {
            "archive": archive.id,
            "taken_at": rfc3339(archive.taken_at),
            "proven_at": rfc3339(at),
            **nothing,
        }

    def as_json(self) -> dict[str, object]:
        """As it stands in `--json`."""
        return {
            "plan": self.plan,
            "kind": self.kind,
            "state": self.state,
            "last_run": self.last_run.id if self.last_run else None,
            "reason": self.last_run.reason if self.last_run else "",
            "last_success_at": rfc3339(self.last_success_at) if self.last_success_at else None,
            "age_s": None if self.age_s is None else round(self.age_s, 1),
            "next_at": rfc3339(self.next_at) if self.next_at else None,
            "archive": None if self.archive is None else self.archive.archive.id,
            "proven": bool(self.archive and self.archive.archive.proven_at),
            "newest_proven": self._proven_json(),
            "quarantined": None if self.quarantined is None else self.quarantined.archive.id,
            "attention": list(self.attention),
            "below_floor": self.below_floor,
            "off_site": {one.repository: rfc3339(one.taken_at) for one in self.shipments},
            "waiting": None
            if self.unread
            else {one.archive: [repository.name for repository in one.lacking] for one in self.waiting},
        }


def status_of(
    catalog: Catalog,
    backups: Iterable[BackupPlan],
    refreshes: Iterable[RefreshPlan],
    at: datetime,
    *,
    upkeep: Iterable[RepositoryPlan] = (),
) -> list[PlanStatus]:
    """The status of every plan at one instant."""
    return [
        *(_backup_status(catalog, plan, at) for plan in backups),
        *(_refresh_status(catalog, plan, at) for plan in refreshes),
        *(one for plan in upkeep if (one := _upkeep_status(catalog, plan, at)).next_at or one.last_run),
    ]


def waiting_archive(catalog: Catalog, plan: BackupPlan) -> ArchiveRecord | None:
    """The quarantined archive that waits for a person; none where a newer one was published since."""
    found = catalog.archives.newest(plan.name, ArchiveState.QUARANTINED)
    published = None if found is None else catalog.archives.newest(plan.name)
    if found is None or (published is not None and published.archive.taken_at > found.archive.taken_at):
        return None
    return found


def is_slip(run: Run) -> bool:
    """Whether a run ended at a word of its caller: that says nothing of the plan."""
    return run.failure is not None and run.failure.code == UsageError.__name__


def has_swapped(run: Run) -> bool:
    """Whether a run has replaced its target: perhaps it failed at what was to follow."""
    late = run.failure is not None and run.failure.code in {Unfinished.__name__, OffsiteError.__name__}
    return "outage_ms" in run.result and (run.state is RunState.SUCCEEDED or late)


def _last(
    catalog: Catalog, plan: str, kind: str, at: datetime, *, states: Sequence[RunState] | None = None
) -> Run | None:
    found = catalog.runs.list(plan=plan, kind=kind, state=states, limit=_LOOKED_AT, at=at)
    return next((one for one in found if not is_slip(one)), None)


def _backup_status(catalog: Catalog, plan: BackupPlan, at: datetime) -> PlanStatus:
    waits: list[Waiting] = []
    unread: PublishError | None = None
    try:
        waits = backlog.waiting(catalog, plan)
    except PublishError as error:  # a closed folder, a failing disk: everything else is known from the catalog
        unread = error
    return replace(
        _status(catalog, plan, "backup", at),
        archive=catalog.archives.newest(plan.name),
        quarantined=waiting_archive(catalog, plan),
        shipments=tuple(catalog.snapshots.newest(plan.name)),
        proven=next(iter(catalog.archives.list(plan.name, proven=True, latest=at + FAR_AHEAD, limit=1)), None),
        proof=catalog.proofs.newest_passed(plan.name),
        doubt=doubted(catalog, plan.name),
        last_drill=_last(catalog, plan.name, "drill", at),
        waiting=tuple(waits),
        unread=unread,
    )


def _upkeep_status(catalog: Catalog, plan: RepositoryPlan, at: datetime) -> PlanStatus:
    return _status(catalog, plan, plan.kind.value, at)


def _refresh_status(catalog: Catalog, plan: RefreshPlan, at: datetime) -> PlanStatus:
    return _status(catalog, plan, "refresh", at)


def _status(catalog: Catalog, plan: BackupPlan | RefreshPlan | RepositoryPlan, kind: str, at: datetime) -> PlanStatus:
    last = _last(catalog, plan.name, kind, at)
    success = next(iter(catalog.runs.list(plan=plan.name, kind=kind, state=RunState.SUCCEEDED, limit=1, at=at)), None)
    success_at = success.ended_at if success else None
    return PlanStatus(
        plan=plan.name,
        kind=kind,
        state=last.state.value if last else _NEVER,
        last_run=last,
        last_tried=_last(catalog, plan.name, kind, at, states=_TRIED),
        last_success_at=success_at,
        age_s=(at - success_at).total_seconds() if success_at else None,
        next_at=schedule.next_after(plan.schedule, at) if plan.schedule else None,
    )
