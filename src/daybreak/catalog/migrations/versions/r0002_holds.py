"""Holds, and what was counted in a database when it became a target."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0002"
down_revision: Final = "0001"

_INSTANT: Final = sa.String(32)


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "holds",
        sa.Column("database", sa.Text, nullable=False),
        sa.Column("until", _INSTANT),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("database", name="pk_holds"),
    )
    op.create_table(
        "counts",
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("system_identifier", sa.Text, nullable=False),
        sa.Column("oid", sa.Integer, nullable=False),
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("reset_at", sa.Text),
        sa.Column("tables", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("target", name="pk_counts"),
    )
