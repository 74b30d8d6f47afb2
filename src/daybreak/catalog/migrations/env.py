"""Runs the revisions on the connection, and in the transaction, that `store.py` hands over."""

from __future__ import annotations

from alembic import context

from daybreak.catalog.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
