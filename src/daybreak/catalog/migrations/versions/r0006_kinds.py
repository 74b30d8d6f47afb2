"""An index for what is asked of all plans of one kind: the last refreshes, the last drills."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "0006"
down_revision: Final = "0005"


def upgrade() -> None:
    """Make the index."""
    op.create_index("ix_runs_kind_requested_at", "runs", ["kind", "requested_at"])
