"""Proofs: what was restored and compared, where it came from, how long it took, and how it ended."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import exists, select
from sqlalchemy.dialects.sqlite import insert as upsert

from daybreak.catalog.records import ProofRecord
from daybreak.catalog.schema import proofs
from daybreak.catalog.store import Store
from daybreak.secret import mask


class Proofs:
    """At most one for each run."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, proof: ProofRecord) -> None:
        """Record a proof; another one of the same run is written over."""
        values = {**asdict(proof), "why": mask(proof.why)}
        with self._store.write() as connection:
            connection.execute(upsert(proofs).values(values).on_conflict_do_update(index_elements=["run"], set_=values))

    def last(self, plan: str) -> ProofRecord | None:
        """The last proof of any archive of a plan, passed or not."""
        return next(iter(self.list(plan, limit=1)), None)

    def newest_passed(self, plan: str) -> ProofRecord | None:
        """The proof of the archive that was taken last, of those whose last proof passed."""
        later = proofs.alias()
        # Of this plan: where it was not known which archive came back, its id is empty in every plan.
        again = exists().where(later.c.plan == plan, later.c.archive == proofs.c.archive, later.c.at > proofs.c.at)
        query = select(proofs).where(proofs.c.plan == plan, proofs.c.passed, proofs.c.taken_at.is_not(None), ~again)
        with self._store.read() as connection:
            row = connection.execute(query.order_by(proofs.c.taken_at.desc(), proofs.c.at.desc()).limit(1)).mappings()
            return next((ProofRecord(**one) for one in row), None)

    def list(self, plan: str, *, limit: int | None = None) -> list[ProofRecord]:
        """Proofs of a plan's archives, newest first."""
        query = select(proofs).where(proofs.c.plan == plan).order_by(proofs.c.at.desc()).limit(limit)
        with self._store.read() as connection:
            return [ProofRecord(**row) for row in connection.execute(query).mappings()]
