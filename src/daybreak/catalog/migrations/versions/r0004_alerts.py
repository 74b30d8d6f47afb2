"""What destinations of alerts were told, and how the last message to each went."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0004"
down_revision: Final = "0003"

_INSTANT: Final = sa.String(32)


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "alerts",
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("event", sa.String(32), nullable=False),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("opened_at", _INSTANT, nullable=False),
        sa.Column("claimed_at", _INSTANT, nullable=False),
        sa.Column("told_at", _INSTANT),
        sa.Column("run", sa.String(40), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("plan", "event", "destination", name="pk_alerts"),
    )
    op.create_table(
        "deliveries",
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("fault", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("destination", name="pk_deliveries"),
    )
