"""The first catalog: runs, archives, databases, snapshots."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0001"
down_revision: Final = None

_INSTANT: Final = sa.String(32)
_RUN: Final = sa.String(40)


def upgrade() -> None:
    """Make all tables."""
    _make_runs()
    _make_archives()
    _make_databases()
    _make_snapshots()


def _make_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", _RUN, nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("trigger", sa.Text, nullable=False),
        sa.Column("requested_at", _INSTANT, nullable=False),
        sa.Column("started_at", _INSTANT),
        sa.Column("ended_at", _INSTANT),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("failure", sa.JSON),
        sa.Column("result", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.CheckConstraint(
            "state IN ('waiting', 'running', 'succeeded', 'failed', 'cancelled', 'skipped', 'lost')",
            name="state",
        ),
    )
    op.create_index("ix_runs_state", "runs", ["state"])
    op.create_index("ix_runs_requested_at", "runs", ["requested_at"])
    op.create_index("ix_runs_plan_requested_at", "runs", ["plan", "requested_at"])
    op.create_table(
        "steps",
        sa.Column("run", _RUN, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("started_at", _INSTANT, nullable=False),
        sa.Column("ended_at", _INSTANT),
        sa.Column("failed", sa.Boolean, nullable=False),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("run", "number", name="pk_steps"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_steps_run", ondelete="CASCADE"),
    )
    op.create_table(
        "progress",
        sa.Column("run", _RUN, nullable=False),
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("step", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("table_name", sa.Text),
        sa.Column("rows", sa.Integer),
        sa.Column("done_bytes", sa.Integer),
        sa.Column("total_bytes", sa.Integer),
        sa.Column("bytes_per_s", sa.Float),
        sa.PrimaryKeyConstraint("run", name="pk_progress"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_progress_run", ondelete="CASCADE"),
    )
    op.create_table(
        "cancel_requests",
        sa.Column("run", _RUN, nullable=False),
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("run", name="pk_cancel_requests"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_cancel_requests_run", ondelete="CASCADE"),
    )


def _make_archives() -> None:
    op.create_table(
        "archives",
        sa.Column("id", _RUN, nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("run", _RUN, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("taken_at", _INSTANT, nullable=False),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("tables", sa.Integer, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("server_version", sa.Text, nullable=False),
        sa.Column("dump_s", sa.Float, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("quarantine_reason", sa.Text, nullable=False),
        sa.Column("proven_at", _INSTANT),
        sa.Column("proof", sa.JSON),
        sa.Column("table_rows", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_archives"),
        sa.CheckConstraint("state IN ('published', 'quarantined', 'replaced', 'rejected')", name="state"),
    )
    op.create_index("ix_archives_plan_taken_at", "archives", ["plan", "taken_at"])


def _make_databases() -> None:
    op.create_table(
        "databases",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("system_identifier", sa.Text, nullable=False),
        sa.Column("oid", sa.Integer, nullable=False),
        sa.Column("database", sa.Text, nullable=False),
        sa.Column("enrolled_at", _INSTANT, nullable=False),
        sa.Column("next_oid", sa.Integer),
        sa.Column("next_run", _RUN),
        sa.PrimaryKeyConstraint("name", name="pk_databases"),
        sa.CheckConstraint("(next_oid IS NULL) = (next_run IS NULL)", name="next"),
    )
    op.create_table(
        "creations",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("system_identifier", sa.Text, nullable=False),
        sa.Column("oid", sa.Integer),
        sa.Column("database", sa.Text, nullable=False),
        sa.Column("run", _RUN, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("dropped_at", _INSTANT),
        sa.Column("promoted_at", _INSTANT),
        sa.PrimaryKeyConstraint("id", name="pk_creations"),
        sa.CheckConstraint("role IN ('shadow', 'previous')", name="role"),
    )
    op.create_index(
        "uq_creations_open",
        "creations",
        ["system_identifier", "oid"],
        unique=True,
        sqlite_where=sa.text("dropped_at IS NULL AND promoted_at IS NULL"),
    )


def _make_snapshots() -> None:
    op.create_table(
        "snapshots",
        sa.Column("repository", sa.Text, nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("archive", _RUN, nullable=False),
        sa.Column("run", _RUN, nullable=False),
        sa.Column("taken_at", _INSTANT, nullable=False),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("added_bytes", sa.Integer, nullable=False),
        sa.Column("forgotten_at", _INSTANT),
        sa.PrimaryKeyConstraint("repository", "id", name="pk_snapshots"),
    )
    op.create_index("ix_snapshots_archive", "snapshots", ["archive"])
    op.create_index("ix_snapshots_plan_taken_at", "snapshots", ["plan", "taken_at"])
