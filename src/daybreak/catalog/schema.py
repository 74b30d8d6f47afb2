"""The tables of the catalog; `migrations/` brings any older file here.

Shapes  instants are text, RFC 3339 in UTC with microseconds, so that they sort and a person can read
        them with sqlite3; structured values are JSON text. Sizes are bytes.
Source  a test holds this module equal to what the migrations leave behind.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.types import TypeDecorator

#: The newest migration. Revisions are four digits and only grow, so a bigger one is a newer Daybreak's.
HEAD: Final = "0007"

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Instant(TypeDecorator[datetime]):
    """An aware datetime as sortable text."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002 -- SQLAlchemy's signature
        """To text. Raise ValueError for a naive datetime."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("an instant without a zone")
        return value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 -- see above
        """From text, in UTC."""
        return None if value is None else datetime.fromisoformat(value)


runs: Final = Table(
    "runs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("plan", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("trigger", Text, nullable=False),
    Column("requested_at", Instant, nullable=False, index=True),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    Column("reason", Text, nullable=False),
    Column("failure", JSON(none_as_null=True)),
    Column("result", JSON, nullable=False),
    CheckConstraint(
        "state IN ('waiting', 'running', 'succeeded', 'failed', 'cancelled', 'skipped', 'lost')", name="state"
    ),
    Index(None, "plan", "requested_at"),
    Index(None, "kind", "requested_at"),
    Index(None, "kind", "plan", "requested_at"),
)

steps: Final = Table(
    "steps",
    metadata,
    Column("run", String(40), ForeignKey(runs.c.id, ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("failed", Boolean, nullable=False),
    Column("facts", JSON, nullable=False),
)

progress: Final = Table(
    "progress",
    metadata,
    Column("run", String(40), ForeignKey(runs.c.id, ondelete="CASCADE"), primary_key=True),
    Column("at", Instant, nullable=False),
    Column("step", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("table_name", Text),
    Column("rows", Integer),
    Column("done_bytes", Integer),
    Column("total_bytes", Integer),
    Column("bytes_per_s", Float),
)

cancel_requests: Final = Table(
    "cancel_requests",
    metadata,
    Column("run", String(40), ForeignKey(runs.c.id, ondelete="CASCADE"), primary_key=True),
    Column("at", Instant, nullable=False),
    Column("by", Text, nullable=False),
)

# `run` of archives, creations and snapshots is no foreign key: an archive that is adopted from its manifest, after a
# state folder was lost, names a run that this catalog never saw.
archives: Final = Table(
    "archives",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("plan", Text, nullable=False),
    Column("run", String(40), nullable=False),
    Column("path", Text, nullable=False),
    Column("taken_at", Instant, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("tables", Integer, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("server_version", Text, nullable=False),
    Column("dump_s", Float, nullable=False),
    Column("state", String(16), nullable=False),
    Column("quarantine_reason", Text, nullable=False),
    Column("proven_at", Instant),
    Column("proof", JSON(none_as_null=True)),
    Column("table_rows", JSON, nullable=False),
    CheckConstraint("state IN ('published', 'quarantined', 'replaced', 'rejected')", name="state"),
    Index(None, "taken_at"),
    Index(None, "plan", "taken_at"),
    Index(None, "plan", "state", "taken_at"),
)

databases: Final = Table(
    "databases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("system_identifier", Text, nullable=False),
    Column("oid", Integer, nullable=False),
    Column("database", Text, nullable=False),
    Column("enrolled_at", Instant, nullable=False),
    Column("next_oid", Integer),
    Column("next_run", String(40)),
    CheckConstraint("(next_oid IS NULL) = (next_run IS NULL)", name="next"),
)

creations: Final = Table(
    "creations",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("target", Text, nullable=False),
    Column("system_identifier", Text, nullable=False),
    Column("oid", Integer),
    Column("database", Text, nullable=False),
    Column("run", String(40), nullable=False),
    Column("role", String(16), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("dropped_at", Instant),
    Column("promoted_at", Instant),
    CheckConstraint("role IN ('shadow', 'previous')", name="role"),
    # An oid can come back after a database is gone, so only the open ones are unique.
    Index(
        "uq_creations_open",
        "system_identifier",
        "oid",
        unique=True,
        sqlite_where=text("dropped_at IS NULL AND promoted_at IS NULL"),
    ),
)

holds: Final = Table(
    "holds",
    metadata,
    Column("database", Text, primary_key=True),
    Column("until", Instant),
    Column("why", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", Instant, nullable=False),
)

counts: Final = Table(
    "counts",
    metadata,
    Column("target", Text, primary_key=True),
    Column("system_identifier", Text, nullable=False),
    Column("oid", Integer, nullable=False),
    Column("at", Instant, nullable=False),
    Column("reset_at", Text),
    Column("tables", JSON, nullable=False),
)

alerts: Final = Table(
    "alerts",
    metadata,
    Column("plan", Text, primary_key=True),
    Column("event", String(32), primary_key=True),
    Column("destination", Text, primary_key=True),
    Column("opened_at", Instant, nullable=False),
    Column("claimed_at", Instant, nullable=False),
    Column("told_at", Instant),
    Column("run", String(40), nullable=False),
    Column("text", Text, nullable=False),
)

deliveries: Final = Table(
    "deliveries",
    metadata,
    Column("destination", Text, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("what", Text, nullable=False),
    Column("fault", Text, nullable=False),
)

# `run` and `archive` are no foreign keys: an archive may have been made on another host, or before a catalog was lost.
proofs: Final = Table(
    "proofs",
    metadata,
    Column("run", String(40), primary_key=True),
    Column("plan", Text, nullable=False),
    Column("archive", String(40), nullable=False),
    Column("taken_at", Instant),
    Column("at", Instant, nullable=False),
    Column("source", Text, nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("why", Text, nullable=False),
    Column("fetch_s", Float),
    Column("restore_s", Float),
    Column("proof_s", Float),
    Index(None, "plan", "at"),
    Index(None, "archive", "at"),
)

snapshots: Final = Table(
    "snapshots",
    metadata,
    Column("repository", Text, primary_key=True),
    Column("id", String(64), primary_key=True),
    Column("plan", Text, nullable=False),
    Column("archive", String(40), nullable=False, index=True),
    Column("run", String(40), nullable=False),
    Column("taken_at", Instant, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("added_bytes", Integer, nullable=False),
    Column("forgotten_at", Instant),
    Index(None, "taken_at"),
    Index(None, "plan", "taken_at"),
    Index(None, "plan", "archive"),
    Index(None, "repository", "taken_at"),
)

schedules: Final = Table(
    "schedules",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("plan", Text, primary_key=True),
    Column("spec", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("since", Instant, nullable=False),
    Column("note", Text, nullable=False),
)

# `run` is no foreign key: see archives. A backup and a refresh may have one name, so the kind belongs to the key.
slots: Final = Table(
    "slots",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("plan", Text, primary_key=True),
    Column("key", String(16), primary_key=True),
    Column("due_at", Instant, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("run", String(40)),
    Column("trigger", Text, nullable=False),
    Column("expected", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("at", Instant, nullable=False),
    CheckConstraint("state IN ('due', 'claimed', 'missed', 'skipped')", name="state"),
    CheckConstraint("(state = 'claimed') = (run IS NOT NULL)", name="run"),
    Index(None, "kind", "plan", "due_at"),
    Index(None, "due_at"),
)
