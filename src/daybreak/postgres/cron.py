"""pg_cron as it is on a server: one launcher, in one database, by name; its jobs are rows of that database.

Shapes  jobs travel as the text of COPY, in a file: a job's command may hold a secret, and argv is for everybody.
        What belongs to pg_cron goes through the swap in a schema of ours (`set_aside`), in the database itself: whoever
        is killed behind the swap, `make` finds it there.
Errors  `SqlError`, `SourceError` as of the client.
Source  pg_cron: CREATE EXTENSION fails outside `cron.database_name`; a launcher older than 1.6.1 that was ended
        comes back with the server only. Seen with 1.4 on PostgreSQL 15.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from daybreak.errors import CommandError
from daybreak.postgres.client import QUICK, Postgres
from daybreak.postgres.shadow import UNHEARD, quietly
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
#: Where jobs are: pg_cron's own table, and ours, in which they wait until the extension is there.
JOBS: Final = "cron.job"
_SCHEMA: Final = "daybreak_pg_cron"
ASIDE: Final = f"{_SCHEMA}.job"
_COLUMNS: Final = (
    "SELECT attname AS name FROM pg_attribute WHERE attrelid = to_regclass({table}) AND attnum > 0 "
    "AND NOT attisdropped ORDER BY attnum"
)
#: One transaction: where the extension is, its jobs are. What was granted on something that this version does not have,
#: or to a role that is gone, is passed over. pg_cron hears of new jobs by a trigger, so that one must fire.
_MAKE: Final = f"""
DO $daybreak$
DECLARE
    unheard constant text := current_setting('session_replication_role');
    known text;
    one record;
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_cron;
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO known FROM pg_attribute a
      JOIN pg_attribute b ON b.attrelid = '{ASIDE}'::regclass AND b.attname = a.attname AND b.attnum > 0
     WHERE a.attrelid = 'cron.job'::regclass AND a.attnum > 0 AND NOT a.attisdropped;
    IF unheard <> 'origin' THEN PERFORM set_config('session_replication_role', 'origin', true); END IF;
    IF known <> '' THEN EXECUTE format('INSERT INTO cron.job (%1$s) SELECT %1$s FROM {ASIDE}', known); END IF;
    IF unheard <> 'origin' THEN PERFORM set_config('session_replication_role', unheard, true); END IF;
    PERFORM setval('cron.jobid_seq', greatest((SELECT max(jobid) FROM cron.job), 1), EXISTS (SELECT FROM cron.job));
    FOR one IN SELECT statement FROM {_SCHEMA}.rights ORDER BY number LOOP
        BEGIN
            EXECUTE one.statement;
        EXCEPTION
            WHEN undefined_object OR undefined_function OR undefined_table OR undefined_column THEN NULL;
        END;
    END LOOP;
    DROP SCHEMA {_SCHEMA} CASCADE;
END $daybreak$"""
_OURS: Final = (
    "(nodename IN ('', 'localhost', '127.0.0.1', '::1', coalesce(current_setting('cron.host', true), '')) "
    "OR nodename LIKE '/%') AND nodeport::integer = current_setting('port')::integer"
)

_AT_WORK: Final = """
SELECT CASE WHEN ((SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
                  OR pg_has_role('pg_read_all_stats', 'USAGE'))
             AND current_setting('cron.database_name', true) = current_database()
             AND EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron')
            THEN EXISTS (SELECT FROM pg_stat_activity
                          WHERE backend_type = 'pg_cron launcher' AND datname = current_database()) END AS at_work"""


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


def is_at_work(server: Postgres) -> bool | None:
    """Whether the launcher runs our database's jobs; None: it is not its database, or our role cannot see sessions."""
    found = server.query(_AT_WORK)[0]["at_work"]
    return None if found is None else bool(found)


def has_aside(server: Postgres, dbname: str) -> bool:
    """Whether something of pg_cron's waits in a database for the extension."""
    sql = f"SELECT 1 AS one WHERE to_regclass({literal(ASIDE)}) IS NOT NULL"
    return bool(server.query(sql, dbname=dbname))


def save_jobs(server: Postgres, dbname: str, path: Path, *, table: str = JOBS) -> tuple[str, ...]:
    """Write the jobs of a database to `path`; the columns that stand in it."""
    rows = server.query(_COLUMNS.format(table=literal(table)), dbname=dbname)
    columns = tuple(str(row["name"]) for row in rows if row["name"] in _TYPES)
    statement = f"COPY {table} ({_names(columns)}) TO STDOUT"
    try:
        with path.open("wb") as file, server.stream(statement, dbname=dbname, deadline=QUICK) as stream:
            while chunk := stream.read():
                file.write(chunk)
    except CommandError as error:
        raise server.explain(error) from error
    return columns


def rights_aside(server: Postgres, dbname: str) -> list[str]:
    """The statements that wait in a database to give others what they may do with pg_cron."""
    rows = server.query(f"SELECT statement FROM {_SCHEMA}.rights ORDER BY number", dbname=dbname)
    return [str(row["statement"]) for row in rows]


def make(server: Postgres, dbname: str) -> None:
    """Create the extension, with the jobs and the rights that were set aside in that database."""
    quietly(server, dbname, _MAKE)


def own_jobs() -> dict[str, str]:
    """What is changed in the target's own jobs: those that lead to another server are switched off."""
    return {"active": f"active::boolean AND {_OURS}"}


def productions_jobs(dbname: str, owner: str) -> dict[str, str]:
    """What is changed in production's jobs: here, in this database, by a role that is here, and switched off."""
    return {
        "nodename": "coalesce(nullif(current_setting('cron.host', true), ''), 'localhost')",
        "nodeport": "current_setting('port')::integer",
        "database": literal(dbname),
        "username": f"CASE WHEN to_regrole(quote_ident(username)) IS NULL THEN {literal(owner)} ELSE username END",
        "active": "false",
    }


def set_aside(
    server: Postgres,
    dbname: str,
    path: Path,
    columns: Sequence[str],
    *,
    changed: Mapping[str, str],
    rights: Sequence[str],
) -> int:
    """Put the jobs of `path` into our schema of a database, some columns by an expression, for `make` to find them.

    How many are active in the file and not there.
    """
    known = [name for name in columns if name in _TYPES]
    values = ", ".join(changed.get(name) or f"{identifier(name)}::{_TYPES[name]}" for name in known)
    said = server.load(
        path,
        "BEGIN",
        UNHEARD,
        f"CREATE SCHEMA {_SCHEMA}",
        f"REVOKE ALL ON SCHEMA {_SCHEMA} FROM PUBLIC",
        f"CREATE TABLE {ASIDE} ({', '.join(f'{identifier(name)} {_TYPES[name]}' for name in known)})",
        f"CREATE TABLE {_SCHEMA}.rights (number integer, statement text)",
        *(f"INSERT INTO {_SCHEMA}.rights VALUES ({number}, {literal(one)})" for number, one in enumerate(rights)),
        f"CREATE TEMPORARY TABLE daybreak_jobs ({', '.join(f'{identifier(name)} text' for name in columns)})",
        f"COPY pg_temp.daybreak_jobs ({_names(columns)}) FROM STDIN",
        f"INSERT INTO {ASIDE} ({_names(known)}) SELECT {values} FROM pg_temp.daybreak_jobs",
        "COMMIT",
        f"SELECT count(*) FROM pg_temp.daybreak_jobs old JOIN {ASIDE} new ON new.jobid = old.jobid::bigint "
        "WHERE old.active::boolean AND NOT new.active",
        dbname=dbname,
    )
    return int(said.split()[-1])


def _names(columns: Sequence[str]) -> str:
    return ", ".join(map(identifier, columns))
