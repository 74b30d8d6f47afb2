"""Databases: the container, the server and its version, which database it is, what our role may do there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from daybreak.errors import CommandError, DaybreakError
from daybreak.jobs import guard
from daybreak.jobs.connect import connect
from daybreak.jobs.doctor import floors
from daybreak.jobs.doctor.finding import Finding, Piece
from daybreak.jobs.run import RunContext
from daybreak.model import Database
from daybreak.postgres import cron
from daybreak.postgres.client import Postgres
from daybreak.postgres.sql import identifier

#: Clocks of two hosts may differ so much before the order of archives, snapshots and slots is in doubt.
_CLOCKS: Final = timedelta(seconds=30)
_FAR_APART: Final = timedelta(minutes=5)
_VERSION: Final = re.compile(r"\(PostgreSQL\) (\d+\.\d+)")
_PREDEFINED: Final = 140000  # the version that has pg_read_all_data
_USER_SCHEMAS: Final = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
_RELATIONS: Final = (
    "SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
)
_UNREADABLE: Final = (
    f"{_RELATIONS} WHERE c.relkind IN ('r', 'p', 'm', 'S') AND {_USER_SCHEMAS} "
    "AND NOT (has_schema_privilege(n.oid, 'USAGE') AND CASE c.relkind WHEN 'S' "
    "THEN has_sequence_privilege(c.oid, 'SELECT') ELSE has_table_privilege(c.oid, 'SELECT') END) ORDER BY 1"
)
_HIDDEN: Final = f"{_RELATIONS} WHERE c.relrowsecurity AND row_security_active(c.oid) AND {_USER_SCHEMAS} ORDER BY 1"
_OBJECTS: Final = (
    "SELECT DISTINCT pg_get_userbyid(m.lomowner) AS name FROM pg_largeobject_metadata m "
    "WHERE NOT pg_has_role(m.lomowner, 'USAGE') AND NOT EXISTS (SELECT 1 FROM aclexplode(m.lomacl) a "
    "WHERE a.privilege_type = 'SELECT' AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE'))) ORDER BY 1"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What the role of a database may do, and what it may not."""

    role: str
    superuser: bool
    reads_all: bool
    unreadable: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()  # tables whose row security would leave rows out
    owners: tuple[str, ...] = ()  # of large objects that the role cannot read


def examine(
    run: RunContext, database: Database, *, reads: bool, more: Callable[[Postgres], Iterator[Finding]] | None = None
) -> Iterator[Finding]:
    """All pieces of one database; `reads` where a backup dumps it. `more` looks at what only a connection tells."""
    reached = Piece("database.reachable", database.name)
    try:
        with connect(database, run) as server:
            yield reached.ok(f"{server.where()} answers, PostgreSQL {server.version}")
            today = datetime.now(UTC).date()
            yield floors.judge(Piece("server.version", database.name), "server", server.version, today=today)
            yield _client(server, Piece("client.version", database.name))
            yield judge_clock(Piece("database.clock", database.name), _their_clock(server), datetime.now(UTC))
            yield _identity(run, server, Piece("database.identity", database.name))
            if reads:
                yield from judge_rights(database.name, rights_of(server))
            if (at_work := cron.is_at_work(server)) is not None:
                yield _launcher(Piece("cron.launcher", database.name), at_work=at_work)
            if more is not None:
                yield from more(server)
    except DaybreakError as error:
        yield reached.fault(error)


def rights_of(server: Postgres) -> Rights:
    """Ask the server what our role may do there."""
    predefined = "pg_has_role('pg_read_all_data', 'USAGE')" if server.version_num >= _PREDEFINED else "false"
    row = server.query(
        f"SELECT rolname AS role, rolsuper AS superuser, {predefined} AS reads_all FROM pg_roles "
        "WHERE rolname = current_user"
    )[0]
    if row["superuser"]:
        return Rights(**row)
    return Rights(
        **row, unreadable=_names(server, _UNREADABLE), hidden=_names(server, _HIDDEN), owners=_names(server, _OBJECTS)
    )


def judge_rights(subject: str, rights: Rights) -> Iterator[Finding]:
    """Whether a role can dump everything."""
    role, named = rights.role, identifier(rights.role)
    reads, rows, objects = (Piece(f"role.{name}", subject) for name in ("reads_all", "row_security", "large_objects"))
    if rights.unreadable:
        yield reads.error(f"{role} cannot read {_some(rights.unreadable)}", f"GRANT pg_read_all_data TO {named};")
    elif rights.superuser or rights.reads_all:
        yield reads.ok(f"{role} reads everything")
    else:
        yield reads.warning(
            f"{role} reads every table of now, but not those that somebody makes tomorrow",
            f"GRANT pg_read_all_data TO {named};",
        )
    if rights.hidden:
        yield rows.error(
            f"row security would hide rows of {_some(rights.hidden)} from {role}", f"ALTER ROLE {named} BYPASSRLS;"
        )
    else:
        yield rows.ok("row security hides nothing")
    if rights.owners:
        yield objects.error(
            f"{role} cannot read large objects of {_some(rights.owners)}",
            f"GRANT {identifier(rights.owners[0])} TO {named};   -- or dump as a superuser",
        )
    else:
        yield objects.ok("every large object can be read")


def judge_clock(piece: Piece, theirs: datetime, ours: datetime) -> Finding:
    """How far the clock of a server is from ours."""
    apart = abs(theirs - ours)
    text = f"its clock and ours differ by {apart.total_seconds():.0f} s"
    if apart > _FAR_APART:
        return piece.error(text, "set both by NTP: timedatectl set-ntp true")
    return piece.warning(text, "set both by NTP: timedatectl set-ntp true") if apart > _CLOCKS else piece.ok(text)


def _their_clock(server: Postgres) -> datetime:
    row = server.query("SELECT extract(epoch FROM clock_timestamp())::float8 AS at")[0]
    return datetime.fromtimestamp(float(row["at"]), UTC)


def _client(server: Postgres, piece: Piece) -> Finding:
    tools = server.tools
    command = server.host.command((str(tools.folder / "pg_dump"), "--version"), deadline=timedelta(seconds=30))
    try:
        said = server.runner.run(command).stdout.decode("utf-8", "replace")
    except CommandError as error:
        return piece.fault(error)
    found = _VERSION.search(said)
    if found is None:
        return piece.warning(f"pg_dump does not say its version: {said.strip()[:80]}", "is that PostgreSQL's own?")
    return floors.judge(piece, "client", found[1], today=datetime.now(UTC).date())


def _identity(run: RunContext, server: Postgres, piece: Piece) -> Finding:
    identity = server.identity()
    try:
        guard.refuse_stranger(run, server.database, identity)
    except DaybreakError as error:
        return piece.fault(error)
    if run.catalog.databases.enrolled(server.database.name) is None:
        return piece.warning(f"is {identity}, and not yet known", "daybreak config check --connect, after a look")
    return piece.ok(f"is {identity}, as it is known")


def _launcher(piece: Piece, *, at_work: bool) -> Finding:
    if at_work:
        return piece.ok("pg_cron's launcher is at work")
    return piece.warning(
        "pg_cron's launcher is not connected, so that no job runs",
        "restart the server when you can; if it stays away, the server's log says why",
    )


def _names(server: Postgres, sql: str) -> tuple[str, ...]:
    rows: list[dict[str, Any]] = server.query(sql)
    return tuple(str(row["name"]) for row in rows)


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""  # noqa: PLR2004 -- enough to know where to look
    return ", ".join(names[:3]) + more
