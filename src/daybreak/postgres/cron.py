"""pg_cron as it is on a server: one launcher, in one database, by name; its jobs are rows of that database.

Shapes  jobs travel as the text of COPY, in a file: a job's command may hold a secret, and argv is for everybody.
Errors  `SqlError`, `SourceError` as of the client.
Source  pg_cron: CREATE EXTENSION fails outside `cron.database_name`; a launcher older than 1.6.1 that was ended
        comes back with the server only. Seen with 1.4 on PostgreSQL 15.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from daybreak.errors import CommandError
from daybreak.postgres.client import QUICK, Postgres
from daybreak.postgres.sql import identifier, literal

#: The columns of cron.job that we know, with their types; later versions have added to them.
_TYPES: Final = {
    "jobid": "bigint",
    "schedule": "text",
    "command": "text",
    "nodename": "text",
    "nodeport": "integer",
    "database": "text",
    "username": "text",
    "active": "boolean",
    "jobname": "text",
}
_RESTARTS_SINCE: Final = (1, 6)
_COLUMNS: Final = (
    "SELECT attname AS name FROM pg_attribute WHERE attrelid = to_regclass('cron.job') AND attnum > 0 "
    "AND NOT attisdropped ORDER BY attnum"
)
_OURS: Final = (
    "(nodename IN ('', 'localhost', '127.0.0.1', '::1', coalesce(current_setting('cron.host', true), '')) "
    "OR nodename LIKE '/%') AND nodeport::integer = current_setting('port')::integer"
)


def has_cron(server: Postgres, dbname: str) -> bool:
    """Whether the extension is in a database."""
    return bool(server.query("SELECT 1 AS one FROM pg_extension WHERE extname = 'pg_cron'", dbname=dbname))


def comes_back(server: Postgres) -> bool:
    """Whether a launcher of this version may come back by itself: those before 1.6 surely do not."""
    rows = server.query(
        "SELECT default_version AS version FROM pg_available_extensions WHERE name = 'pg_cron'",
        dbname=server.maintenance_db,
    )
    found = re.match(r"(\d+)\.(\d+)", str(rows[0]["version"])) if rows else None
    return found is None or (int(found[1]), int(found[2])) >= _RESTARTS_SINCE


def has_launcher(server: Postgres, dbname: str) -> bool:
    """Whether pg_cron's launcher is connected to a database."""
    sql = (
        f"SELECT 1 AS one FROM pg_stat_activity WHERE backend_type = 'pg_cron launcher' AND datname = {literal(dbname)}"
    )
    return bool(server.query(sql, dbname=server.maintenance_db))


def save_jobs(server: Postgres, dbname: str, path: Path) -> tuple[str, ...]:
    """Write the jobs of a database to `path`; the columns that stand in it."""
    columns = tuple(str(row["name"]) for row in server.query(_COLUMNS, dbname=dbname) if row["name"] in _TYPES)
    statement = f"COPY cron.job ({_names(columns)}) TO STDOUT"
    try:
        with path.open("wb") as file, server.stream(statement, dbname=dbname, deadline=QUICK) as stream:
            while chunk := stream.read():
                file.write(chunk)
    except CommandError as error:
        raise server.explain(error) from error
    return columns


def make(server: Postgres, dbname: str) -> None:
    """Create the extension, without a job."""
    server.execute("CREATE EXTENSION IF NOT EXISTS pg_cron", dbname=dbname)


def load_own_jobs(server: Postgres, dbname: str, path: Path, columns: Sequence[str]) -> int:
    """Put the target's own jobs back, those that lead to another server switched off; how many those are."""
    active = f"active::boolean AND {_OURS}"
    return _load(server, dbname, path, columns, {"active": active})


def load_productions_jobs(server: Postgres, dbname: str, path: Path, columns: Sequence[str], owner: str) -> int:
    """Put production's jobs in: here, in this database, by a role that is here, and switched off."""
    changed = {
        "nodename": "coalesce(nullif(current_setting('cron.host', true), ''), 'localhost')",
        "nodeport": "current_setting('port')::integer",
        "database": literal(dbname),
        "username": f"CASE WHEN to_regrole(quote_ident(username)) IS NULL THEN {literal(owner)} ELSE username END",
        "active": "false",
    }
    return _load(server, dbname, path, columns, changed)


def _load(server: Postgres, dbname: str, path: Path, columns: Sequence[str], changed: dict[str, str]) -> int:
    """Load jobs from `path`, some columns by an expression; how many are active in the file and not afterwards."""
    present = {str(row["name"]) for row in server.query(_COLUMNS, dbname=dbname)}
    known = [name for name in columns if name in present and name in _TYPES]
    values = ", ".join(changed.get(name) or f"{identifier(name)}::{_TYPES[name]}" for name in known)
    said = server.load(
        path,
        f"CREATE TEMPORARY TABLE daybreak_jobs ({', '.join(f'{identifier(name)} text' for name in columns)})",
        f"COPY pg_temp.daybreak_jobs ({_names(columns)}) FROM STDIN",
        f"INSERT INTO cron.job ({_names(known)}) SELECT {values} FROM pg_temp.daybreak_jobs",
        "SELECT setval('cron.jobid_seq', greatest((SELECT max(jobid) FROM cron.job), 1), "
        "EXISTS (SELECT FROM cron.job)) IS NULL",
        "SELECT count(*) FROM pg_temp.daybreak_jobs old JOIN cron.job new ON new.jobid = old.jobid::bigint "
        "WHERE old.active::boolean AND NOT new.active",
        dbname=dbname,
    )
    return int(said.split()[-1])


def _names(columns: Sequence[str]) -> str:
    return ", ".join(map(identifier, columns))
