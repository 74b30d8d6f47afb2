"""How an older catalog becomes a newer one; Alembic reads this folder, in the installed package too."""
