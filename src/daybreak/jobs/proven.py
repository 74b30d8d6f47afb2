"""What is known of the proofs of a backup's archives, and when the next one is due.

A proof that differs never unpublishes an archive: it still is the newest copy there is. It counts as proven no more,
`status` says so, and nothing is forgotten off-site until a later proof of the same backup passes.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from daybreak.archive import Manifest
from daybreak.catalog import Catalog
from daybreak.catalog.records import ProofRecord
from daybreak.jobs.run import RunContext, now
from daybreak.jobs.verdicts import Proof
from daybreak.model import BackupPlan, ProofWhen
from daybreak.retention import FAR_AHEAD

_WEEK: Final = timedelta(days=7)


def record_proof(run: RunContext, manifest: Manifest, proof: Proof, *, source: str) -> None:
    """Write down how a proof went; the seconds are those that stand in the run's result."""
    summary, passed = proof.summary(), not proof.differences
    record_verdict(run, manifest.plan, manifest, source=source, why="" if passed else proof.differs())
    if run.catalog.archives.get(manifest.id) is None:
        return
    if passed:
        run.best_effort(lambda: run.catalog.archives.set_proven(manifest.id, at=now(), proof=summary))
    else:
        run.best_effort(lambda: run.catalog.archives.set_disproven(manifest.id, proof=summary))


def record_verdict(run: RunContext, plan: str, manifest: Manifest | None, *, source: str, why: str) -> None:
    """Write down what was found of an archive, also of one that was too damaged to be restored."""

    def seconds(key: str) -> float | None:
        value = run.result.get(key)
        return value if isinstance(value, float) else None

    record = ProofRecord(
        run=run.id,
        plan=plan,
        archive="" if manifest is None else manifest.id,
        taken_at=None if manifest is None else manifest.taken_at,
        at=now(),
        source=source,
        passed=not why,
        why=why,
        fetch_s=seconds("fetch_s"),
        restore_s=seconds("restore_s"),
        proof_s=seconds("proof_s"),
    )
    run.best_effort(lambda: run.catalog.proofs.add(record))


def doubted(catalog: Catalog, plan: str) -> ProofRecord | None:
    """The last proof of a backup's archives, where it did not pass."""
    last = catalog.proofs.last(plan)
    return None if last is None or last.passed else last


def is_due(plan: BackupPlan, proven: datetime | None, at: datetime) -> bool:
    """Whether a new archive is to be drilled; `proven` is when the newest proven one was taken. Pure."""
    match plan.proof:
        case ProofWhen.NIGHTLY:
            return True
        case ProofWhen.WEEKLY:
            return proven is None or at - proven > _WEEK
        case ProofWhen.REFRESH:
            return False


def newest_proven_at(catalog: Catalog, plan: str) -> datetime | None:
    """When the newest proven archive of a backup was taken; one that a clock dated far later says nothing of today."""
    latest = now() + FAR_AHEAD
    record = next(iter(catalog.archives.list(plan, proven=True, latest=latest, limit=1)), None)
    return None if record is None else record.archive.taken_at
