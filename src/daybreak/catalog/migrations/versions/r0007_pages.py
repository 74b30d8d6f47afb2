"""Indexes for what pages ask of years: the newest archive of a state, the last month, the copies of one archive."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "0007"
down_revision: Final = "0006"


def upgrade() -> None:
    """Make the indexes."""
    op.create_index("ix_runs_kind_plan_requested_at", "runs", ["kind", "plan", "requested_at"])
    op.create_index("ix_proofs_archive_at", "proofs", ["archive", "at"])
    op.create_index("ix_slots_due_at", "slots", ["due_at"])
    op.create_index("ix_archives_taken_at", "archives", ["taken_at"])
    op.create_index("ix_archives_plan_state_taken_at", "archives", ["plan", "state", "taken_at"])
    op.create_index("ix_snapshots_taken_at", "snapshots", ["taken_at"])
    op.create_index("ix_snapshots_plan_archive", "snapshots", ["plan", "archive"])
    op.create_index("ix_snapshots_repository_taken_at", "snapshots", ["repository", "taken_at"])
