"""Proofs: every restore whose tables were compared with a manifest, and how it went."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0005"
down_revision: Final = "0004"

_INSTANT: Final = sa.String(32)


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "proofs",
        sa.Column("run", sa.String(40), nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("archive", sa.String(40), nullable=False),
        sa.Column("taken_at", _INSTANT),
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("passed", sa.Boolean, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("fetch_s", sa.Float),
        sa.Column("restore_s", sa.Float),
        sa.Column("proof_s", sa.Float),
        sa.PrimaryKeyConstraint("run", name="pk_proofs"),
    )
    op.create_index("ix_proofs_plan_at", "proofs", ["plan", "at"])
