"""Archives: what each dump left, whether it is proven, and where it stands.

Errors  `LookupError` for an archive that was never added (a slip of ours), and what `store.py` raises.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import RowMapping, insert, select, update

from daybreak.catalog.records import ArchiveRecord
from daybreak.catalog.schema import archives
from daybreak.catalog.store import Store
from daybreak.model import Archive, ArchiveState
from daybreak.retention import FAR_AHEAD
from daybreak.secret import mask, masked


class Archives:
    """The archives of all plans."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, record: ArchiveRecord) -> None:
        """Record a new archive."""
        archive = record.archive
        values = {
            "id": archive.id,
            "plan": archive.plan,
            "run": archive.run,
            "path": str(archive.path),
            "taken_at": archive.taken_at,
            "size_bytes": archive.size_bytes,
            "sha256": archive.sha256,
            "tables": archive.tables,
            "rows": archive.rows,
            "server_version": archive.server_version,
            "dump_s": record.dump_s,
            "state": archive.state,
            "quarantine_reason": mask(record.quarantine_reason),
            "proven_at": archive.proven_at,
            "proof": None if record.proof is None else masked(dict(record.proof)),
            "table_rows": dict(record.table_rows),
        }
        with self._store.write() as connection:
            connection.execute(insert(archives).values(values))

    def get(self, id: str) -> ArchiveRecord | None:  # noqa: A002 -- the word that records and doors use
        """One archive with all that is known of it."""
        with self._store.read() as connection:
            row = connection.execute(select(archives).where(archives.c.id == id)).mappings().first()
        return None if row is None else _record(row)

    def find_sha256(self, sha256: str) -> ArchiveRecord | None:
        """The newest archive with this content."""
        query = select(archives).where(archives.c.sha256 == sha256).order_by(archives.c.taken_at.desc()).limit(1)
        with self._store.read() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else _record(row)

    def newest(
        self, plan: str, state: ArchiveState = ArchiveState.PUBLISHED, *, proven: bool = False
    ) -> ArchiveRecord | None:
        """The newest archive of a plan in `state`; with `proven`, the newest that was proven.

        One that a clock dated far later than now is it only where there is no other.
        """
        latest = datetime.now(UTC) + FAR_AHEAD
        found = self.list(plan, state=state, proven=proven, latest=latest, limit=1)
        found = found or self.list(plan, state=state, proven=proven, limit=1)
        return found[0] if found else None

    def list(
        self,
        plan: str | None = None,
        *,
        state: ArchiveState | Sequence[ArchiveState] | None = None,
        proven: bool = False,
        latest: datetime | None = None,
        limit: int | None = None,
    ) -> list[ArchiveRecord]:
        """Archives newest first; none that was taken after `latest`."""
        query = select(archives).order_by(archives.c.taken_at.desc(), archives.c.id.desc()).limit(limit)
        if plan is not None:
            query = query.where(archives.c.plan == plan)
        if state is not None:
            query = query.where(archives.c.state.in_([state] if isinstance(state, ArchiveState) else state))
        if proven:
            query = query.where(archives.c.proven_at.is_not(None))
        if latest is not None:
            query = query.where(archives.c.taken_at <= latest)
        with self._store.read() as connection:
            return [_record(row) for row in connection.execute(query).mappings()]

    def pick(self, ids: Collection[str]) -> list[ArchiveRecord]:
        """The archives of these ids, newest first."""
        query = select(archives).where(archives.c.id.in_(ids))
        with self._store.read() as connection:
            found = connection.execute(query.order_by(archives.c.taken_at.desc(), archives.c.id.desc())).mappings()
            return [_record(row) for row in found]

    def sizes(self, plan: str, *, limit: int) -> list[tuple[str, datetime, int]]:
        """Id, instant and size of the last archives that were published, replaced since or not, newest first."""
        good = archives.c.state.in_([ArchiveState.PUBLISHED, ArchiveState.REPLACED])
        query = select(archives.c.id, archives.c.taken_at, archives.c.size_bytes).where(archives.c.plan == plan, good)
        with self._store.read() as connection:
            found = connection.execute(query.order_by(archives.c.taken_at.desc()).limit(limit))
            return [(row.id, row.taken_at, row.size_bytes) for row in found]

    def recent_published(self, plan: str, limit: int = 7) -> Sequence[ArchiveRecord]:
        """What the gate compares with: the last archives that were published, replaced since or not."""
        return self.list(plan, state=(ArchiveState.PUBLISHED, ArchiveState.REPLACED), limit=limit)

    def set_state(
        self,
        id: str,  # noqa: A002 -- see get
        state: ArchiveState,
        *,
        path: Path | None = None,
        reason: str | None = None,
    ) -> None:
        """Record what became of an archive, where it stands now, and why it was quarantined or rejected."""
        values: dict[str, object] = {"state": state}
        if path is not None:
            values["path"] = str(path)
        if reason is not None:
            values["quarantine_reason"] = mask(reason)
        self._update(id, values)

    def set_path(self, id: str, path: Path) -> None:  # noqa: A002 -- see get
        """Record that an archive stands elsewhere now."""
        self._update(id, {"path": str(path)})

    def set_proven(self, id: str, *, at: datetime, proof: Mapping[str, object]) -> None:  # noqa: A002 -- see get
        """Record that an archive was restored and every table compared."""
        self._update(id, {"proven_at": at, "proof": masked(dict(proof))})

    def set_disproven(self, id: str, *, proof: Mapping[str, object]) -> None:  # noqa: A002 -- see get
        """Record that a restore of an archive differs from its manifest: it counts as proven no more."""
        self._update(id, {"proven_at": None, "proof": masked(dict(proof))})

    def _update(self, id: str, values: Mapping[str, object]) -> None:  # noqa: A002 -- see get
        with self._store.write() as connection:
            if connection.execute(update(archives).where(archives.c.id == id).values(dict(values))).rowcount == 0:
                raise LookupError(f"there is no archive {id}")


def _record(row: RowMapping) -> ArchiveRecord:
    return ArchiveRecord(
        archive=Archive(
            id=row["id"],
            plan=row["plan"],
            run=row["run"],
            path=Path(row["path"]),
            taken_at=row["taken_at"],
            size_bytes=row["size_bytes"],
            sha256=row["sha256"],
            tables=row["tables"],
            rows=row["rows"],
            server_version=row["server_version"],
            state=ArchiveState(row["state"]),
            proven_at=row["proven_at"],
        ),
        dump_s=row["dump_s"],
        table_rows=row["table_rows"],
        quarantine_reason=row["quarantine_reason"],
        proof=row["proof"],
    )
