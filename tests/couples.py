"""A production and a development database with an installation between them, and ways to look at both."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psycopg

from daybreak.config.describe import _toml
from installation import Installation, wait_for

if TYPE_CHECKING:
    from conftest import Server

OWNER = "dev owner"
PLAIN = "plain role"
#: One row per table of ours: its rows, and a checksum over them in an order of our own.
_TABLES = """
SELECT format('%I.%I', n.nspname, c.relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relispopulated
   AND NOT c.relispartition  -- a row is in its root, whichever partition has it
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY 1"""
_SEQUENCES = "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2"
_LARGE = "SELECT oid, md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY 1"
_OWNERS = """
WITH own (class, oid, kind, name, owner) AS (
    SELECT 'pg_class'::regclass, oid, 'relation', oid::regclass::text, relowner FROM pg_class WHERE relkind <> 't'
    UNION ALL SELECT 'pg_proc'::regclass, oid, 'routine', oid::regprocedure::text, proowner FROM pg_proc
    UNION ALL SELECT 'pg_type'::regclass, oid, 'type', oid::regtype::text, typowner FROM pg_type
    UNION ALL SELECT 'pg_namespace'::regclass, oid, 'schema', nspname, nspowner FROM pg_namespace
    UNION ALL SELECT 'pg_operator'::regclass, oid, 'operator', oid::regoperator::text, oprowner FROM pg_operator
    UNION ALL SELECT 'pg_collation'::regclass, oid, 'collation', collname, collowner FROM pg_collation
    UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, 'statistics', stxname, stxowner FROM pg_statistic_ext
    UNION ALL SELECT 'pg_ts_config'::regclass, oid, 'text search', cfgname, cfgowner FROM pg_ts_config
    UNION ALL SELECT 'pg_largeobject'::regclass, oid, 'large object', oid::text, lomowner FROM pg_largeobject_metadata)
SELECT kind, name, pg_get_userbyid(owner) FROM own
 WHERE oid >= 16384 AND name !~ '^pg_toast'
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = own.class AND d.objid = own.oid AND d.objsubid = 0
                      AND d.deptype IN ('e', 'i'))
   AND NOT EXISTS (SELECT FROM pg_type e WHERE own.class = 'pg_type'::regclass AND e.typarray = own.oid)
   AND NOT EXISTS (SELECT FROM pg_type r JOIN pg_class c ON c.oid = r.typrelid WHERE own.class = 'pg_type'::regclass
                      AND r.oid = own.oid AND c.relkind <> 'c')
 ORDER BY 1, 2"""
_PROPERTIES = """
SELECT json_build_object(
    'owner', pg_get_userbyid(d.datdba), 'limit', d.datconnlimit, 'comment', shobj_description(d.oid, 'pg_database'),
    'open', d.datallowconn, 'encoding', pg_encoding_to_char(d.encoding), 'collate', d.datcollate,
    'acl', (SELECT json_agg(json_build_array(coalesce(nullif(a.grantee, 0)::regrole::text, 'PUBLIC'), a.privilege_type,
                            a.is_grantable) ORDER BY 1)
              FROM (SELECT * FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba)))
                     ORDER BY grantee, privilege_type) a),
    'settings', (SELECT json_agg(json_build_array(coalesce(nullif(s.setrole, 0)::regrole::text, ''), s.setconfig)
                                 ORDER BY 1)
                   FROM (SELECT * FROM pg_db_role_setting WHERE setdatabase = d.oid ORDER BY setrole) s))
  FROM pg_database d WHERE d.datname = {name}"""


def chance() -> random.Random:
    """A source of instants; its seed is printed."""
    seed = random.SystemRandom().randrange(10**6)
    say(f"seed {seed}")
    return random.Random(seed)  # noqa: S311 -- instants, no secrets


def say(text: str) -> None:
    """A line that pytest shows beside a failure, or with -s."""
    sys.stderr.write(f"{text}\n")


def quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def named(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def contents(server: Server, dbname: str) -> dict[str, str]:
    """What is in a database, asked in another way than Daybreak asks."""
    found: dict[str, str] = {}
    with psycopg.connect(server.conninfo(dbname), autocommit=True) as session:
        for setting in (
            "timezone = 'UTC'",
            "datestyle = 'ISO'",
            "intervalstyle = 'postgres'",
            "bytea_output = 'hex'",
            "row_security = off",
        ):
            session.execute(f"SET {setting}")
        for (table,) in session.execute(_TABLES).fetchall():
            lines = f"SELECT to_jsonb(t)::text AS line FROM {table} AS t"  # noqa: S608 -- quoted by format()
            total = "count(*), md5(string_agg(line, '|' ORDER BY line COLLATE \"C\"))"
            row = session.execute(f"SELECT {total} FROM ({lines}) AS lines").fetchone()  # noqa: S608 -- see above
            found[table] = str(row)
        found["sequences"] = str(session.execute(_SEQUENCES).fetchall())
        found["large objects"] = str(session.execute(_LARGE).fetchall())
    return found


def schema(server: Server, dbname: str, bin: Path) -> str:  # noqa: A002 -- the word of the configuration
    """The schema as pg_dump prints it, without what is by chance."""
    done = subprocess.run(
        [bin / "pg_dump", "--schema-only", "--no-owner", "--no-privileges", "-d", server.conninfo(dbname)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return "\n".join(line for line in done.stdout.splitlines() if not re.match(r"--|\\(un)?restrict|$", line))


def settled(server: Server) -> None:
    """Wait until the server has seen that our programs hung up: a busy one notices late."""
    ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'daybreak:%'"
    wait_for(lambda: server.psql(ours).strip() == "0" or None, what="the end of our sessions")


def properties(server: Server, dbname: str) -> dict[str, Any]:
    """Owner, ACL, settings, limit, comment of a database."""
    return json.loads(server.psql(_PROPERTIES.format(name=quoted(dbname))))


def not_owned_by(owner: str, server: Server, dbname: str) -> list[str]:
    """What belongs to somebody else in there, but for what an extension brought."""
    return [line for line in server.psql(_OWNERS, dbname).splitlines() if line.rsplit("|", 1)[1] != owner]


def databases(server: Server, beginning: str) -> list[str]:
    """Databases whose name begins like that."""
    rows = server.psql("SELECT datname FROM pg_database ORDER BY 1")
    return [name for name in rows.splitlines() if name.startswith(beginning)]


def oid_of(server: Server, dbname: str) -> int:
    sql = f"SELECT oid FROM pg_database WHERE datname = {quoted(dbname)}"  # noqa: S608 -- quoted
    return int(server.psql(sql) or 0)


@dataclass(kw_only=True)
class Couple(Installation):
    """An installation with a backup `nightly` of `prod` and a refresh `weekly` of `dev`."""

    prod: Server
    prod_db: str
    dev: Server
    dev_db: str
    target: dict[str, object] = field(default_factory=dict[str, object])  # more keys of [databases.dev]
    weekly: dict[str, object] = field(default_factory=dict[str, object])  # more keys of [refreshes.weekly]

    def __post_init__(self) -> None:
        self.retarget()
        super().__post_init__()

    def retarget(self, target: Mapping[str, object] | None = None, weekly: Mapping[str, object] | None = None) -> None:
        """Write the configuration again with other keys for the target or the refresh."""
        self.target |= target or {}
        self.weekly |= weekly or {}
        dev = {"url": self.dev.url(self.dev_db), "bin": str(self.dev.bin), **self.target}
        plan = {"backup": "nightly", "target": "dev", "jobs": 2, **self.weekly}
        dev_lines, plan_lines = (
            "".join(f"{key} = {_toml(value)}\n" for key, value in table.items() if value is not None)
            for table in (dev, plan)
        )
        self.more = f"\n[databases.dev]\n{dev_lines}\n[refreshes.weekly]\n{plan_lines}"
        if self.backups.exists():
            self.configure()

    def fake_tool(self, tool: str, script: str) -> None:
        """Replace one of dev's tools by a shell script; in it `real` is the path of the real one."""
        fake = self.folder / f"fake-{tool}"
        shutil.rmtree(fake, ignore_errors=True)
        fake.mkdir()
        for program in self.dev.bin.iterdir():
            (fake / program.name).symlink_to(program)
        (fake / tool).unlink()
        (fake / tool).write_text(
            f'#!/bin/sh\nreal={self.dev.bin / tool}\n[ "$1" != --version ] || exec "$real" --version\n{script}\n'
        )
        (fake / tool).chmod(0o755)
        self.retarget({"bin": str(fake)})

    def by_role(self, name: str, options: str = "LOGIN CREATEDB") -> None:
        """Refresh by a role that is no superuser: member of pg_signal_backend, and of the target's owner."""
        self.dev.create_role(name, options=options)
        self.dev.psql(f"ALTER ROLE {named(name)} {options}; GRANT pg_signal_backend, {named(OWNER)} TO {named(name)}")
        self.retarget({"url": self.dev.url(self.dev_db, user=name)})

    def real_tools(self) -> None:
        """Take the real tools again."""
        self.retarget({"bin": str(self.dev.bin)})

    def refresh(self, *words: str, expect: int = 0) -> dict[str, Any]:
        """`daybreak refresh --first`."""
        return self.json("refresh", "--first", *words, expect=expect)

    def beside(self) -> list[str]:
        """The databases beside dev that have its name in front."""
        return [name for name in databases(self.dev, self.dev_db) if name != self.dev_db]

    def clean(self) -> list[str]:
        """What a green run must not leave: shadows, pins, private files, sessions of ours."""
        sessions = [
            f"session {line}"
            for server in {self.dev.port: self.dev, self.prod.port: self.prod}.values()
            for line in server.psql(
                "SELECT application_name, datname FROM pg_stat_activity WHERE application_name LIKE 'daybreak:%'"
            ).splitlines()
            if line.split("|")[1] in {self.dev_db, self.prod_db}
        ]
        return [*self.leftovers(), *(name for name in self.beside() if name != f"{self.dev_db}_previous"), *sessions]

    def drop(self) -> None:
        """Remove dev and all beside it."""
        for name in [self.dev_db, *self.beside()]:
            self.dev.drop_database(name)

    def wait_until_clean(self, within_s: float = 15) -> None:
        """Sessions end a moment after their client."""
        wait_for(lambda: not self.clean(), within_s=within_s, what=f"a clean place ({self.clean()})")


class Onlooker:
    """A client of dev that must notice nothing: one session that goes on asking, and a new one each time."""

    def __init__(self, site: Couple, sql: str = "SELECT n FROM version") -> None:
        self._conninfo = site.dev.conninfo(site.dev_db)
        self._sql = sql
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.answers: list[Any] = []
        self.faults: list[str] = []

    def _look(self) -> None:
        try:
            with psycopg.connect(self._conninfo, autocommit=True) as lasting:
                while not self._stop.wait(0.02):
                    with psycopg.connect(self._conninfo, autocommit=True) as fresh:
                        for session in (lasting, fresh):
                            self.answers.append((session.execute(self._sql).fetchone() or (None,))[0])
        except psycopg.Error as error:
            self.faults.append(str(error))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def noticed(self) -> list[str]:
        """What it saw of a refresh: faults, and answers that are not the first one."""
        return [*self.faults, *(f"answer {one}" for one in set(self.answers[1:]) if one != self.answers[0])]
