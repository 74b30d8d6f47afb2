"""Daybreak keeps a production Postgres safe every night and its development database fresh every week."""
