"""Slots, and since when the slots of each plan count."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0003"
down_revision: Final = "0002"

_INSTANT: Final = sa.String(32)


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "schedules",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("timezone", sa.Text, nullable=False),
        sa.Column("since", _INSTANT, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("kind", "plan", name="pk_schedules"),
    )
    op.create_table(
        "slots",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("key", sa.String(16), nullable=False),
        sa.Column("due_at", _INSTANT, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("run", sa.String(40)),
        sa.Column("trigger", sa.Text, nullable=False),
        sa.Column("expected", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("kind", "plan", "key", name="pk_slots"),
        sa.CheckConstraint("state IN ('due', 'claimed', 'missed', 'skipped')", name=op.f("ck_slots_state")),
        sa.CheckConstraint("(state = 'claimed') = (run IS NOT NULL)", name=op.f("ck_slots_run")),
    )
    op.create_index("ix_slots_kind_plan_due_at", "slots", ["kind", "plan", "due_at"])
