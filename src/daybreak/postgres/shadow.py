"""The database that a refresh builds beside its target: made, handed over, given what is dev's own.

Shapes  `TargetFacts` is what the target has today; `carry_over` gives the shadow the same.
Errors  `SqlError`, `SourceError` as of the client.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files
from typing import Any, Final

from daybreak.postgres.client import Postgres
from daybreak.postgres.globals import setting_statements
from daybreak.postgres.sql import identifier, literal

SHADOW_MARK: Final = "daybreak shadow"
PREVIOUS_MARK: Final = "daybreak previous"
DEFAULT_TABLESPACE: Final = "pg_default"
_LONG: Final = timedelta(hours=2)
#: Event triggers hear nothing of this session, where its role may say so (a superuser; no other could restore them).
#: Since PostgreSQL 17 those that fire ALWAYS are among them.
UNHEARD: Final = (
    "SELECT set_config(s.name, CASE s.name WHEN 'event_triggers' THEN 'off' ELSE 'replica' END, false) "
    "FROM pg_settings s, pg_roles r WHERE s.name IN ('session_replication_role', 'event_triggers') "
    "AND r.rolname = current_user AND r.rolsuper"
)


def mark(kind: str, run: str, target: str) -> str:
    """The comment that names the run which a database of ours belongs to."""
    return f"{kind}: run={run} target={target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFacts:
    """What belongs to a database and not to what is in it."""

    owner: str
    encoding: str
    lc_collate: str
    lc_ctype: str
    locale_provider: str  # c, i or b
    locale: str | None
    icu_rules: str | None
    tablespace: str
    connection_limit: int
    acl: tuple[dict[str, Any], ...] | None  # None: PostgreSQL's default
    comment: str | None
    settings: tuple[tuple[str | None, tuple[str, ...]], ...]
    open: bool


def facts_of(server: Postgres, dbname: str) -> TargetFacts:
    """Read the facts of one database from the maintenance database."""
    row = server.query(
        f"""
SELECT pg_get_userbyid(d.datdba) AS owner, pg_encoding_to_char(d.encoding) AS encoding,
       d.datcollate AS lc_collate, d.datctype AS lc_ctype,
       coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') AS locale_provider,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale,
       to_jsonb(d) ->> 'daticurules' AS icu_rules,
       (SELECT spcname FROM pg_tablespace WHERE oid = d.dattablespace) AS tablespace,
       d.datconnlimit AS connection_limit, d.datallowconn AS open,
       CASE WHEN d.datacl IS NOT NULL THEN
           (SELECT coalesce(json_agg(json_build_object(
                       'grantee', CASE a.grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(a.grantee) END,
                       'privilege', a.privilege_type, 'grantable', a.is_grantable)), '[]')
              FROM aclexplode(d.datacl) a) END AS acl,
       shobj_description(d.oid, 'pg_database') AS comment,
       (SELECT json_agg(json_build_array(
                   CASE s.setrole WHEN 0 THEN NULL ELSE pg_get_userbyid(s.setrole) END, s.setconfig))
          FROM pg_db_role_setting s WHERE s.setdatabase = d.oid) AS settings
  FROM pg_database d WHERE d.datname = {literal(dbname)}""",
        dbname=server.maintenance_db,
    )[0]
    acl: list[dict[str, Any]] | None = row.pop("acl")
    settings: list[tuple[str | None, list[str]]] = row.pop("settings") or []
    return TargetFacts(
        acl=None if acl is None else tuple(acl),
        settings=tuple((role, tuple(pairs)) for role, pairs in settings),
        **row,
    )


def create_statement(name: str, facts: TargetFacts) -> str:
    """CREATE DATABASE from template0 with the locale of `facts`. Pure."""
    words = [
        f"CREATE DATABASE {identifier(name)} OWNER {identifier(facts.owner)} TEMPLATE template0",
        f"ENCODING {literal(facts.encoding)} LC_COLLATE {literal(facts.lc_collate)} LC_CTYPE {literal(facts.lc_ctype)}",
    ]
    if facts.tablespace != DEFAULT_TABLESPACE:  # which needs no right where it is not named
        words.append(f"TABLESPACE {identifier(facts.tablespace)}")
    if facts.locale_provider == "i":
        words.append(f"LOCALE_PROVIDER icu ICU_LOCALE {literal(facts.locale)}")
        if facts.icu_rules is not None:
            words.append(f"ICU_RULES {literal(facts.icu_rules)}")
    elif facts.locale_provider == "b":
        words.append(f"LOCALE_PROVIDER builtin BUILTIN_LOCALE {literal(facts.locale)}")
    return " ".join(words)


def create(server: Postgres, name: str, facts: TargetFacts, *, run: str) -> None:
    """Make the shadow, closed to everybody but us and marked as ours."""
    server.execute(
        create_statement(name, facts),
        f"COMMENT ON DATABASE {identifier(name)} IS {literal(mark(SHADOW_MARK, run, server.database.name))}",
        f"REVOKE CONNECT ON DATABASE {identifier(name)} FROM PUBLIC",
        dbname=server.maintenance_db,
    )


def hand_over(server: Postgres, dbname: str, owner: str) -> None:
    """Make the target's owner the owner of all that was restored."""
    _to_everything(server, dbname, heir=owner, act=f"OWNER TO {identifier(owner)}")


def gather(server: Postgres, dbname: str, schema: str) -> None:
    """Move all types, routines, sequences and the like into one schema; tables stay where they are."""
    _to_everything(server, dbname, home=schema, act=f"SET SCHEMA {identifier(schema)}")


def _to_everything(server: Postgres, dbname: str, **settings: str) -> None:
    sql = files("daybreak.postgres").joinpath("hand_over.sql").read_text("utf-8")
    said = (f"SELECT set_config('daybreak.{name}', {literal(value)}, false)" for name, value in settings.items())
    quietly(server, dbname, *said, sql)


def quietly(server: Postgres, dbname: str, *statements: str) -> None:
    """Run statements that no event trigger of the database hears."""
    server.execute(UNHEARD, *statements, dbname=dbname, deadline=_LONG)


def carry_over_statements(name: str, facts: TargetFacts) -> list[str]:
    """What gives database `name` the privileges, settings and limit of `facts`. Pure."""
    database = identifier(name)
    statements = [f"ALTER DATABASE {database} CONNECTION LIMIT {facts.connection_limit}"]
    if facts.acl is None:
        statements.append(f"GRANT CONNECT, TEMPORARY ON DATABASE {database} TO PUBLIC")
    else:
        statements += [
            f"REVOKE ALL ON DATABASE {database} FROM PUBLIC",
            f"REVOKE ALL ON DATABASE {database} FROM {identifier(facts.owner)}",
        ]
        for entry in facts.acl:
            grantee = "PUBLIC" if entry["grantee"] is None else identifier(entry["grantee"])
            option = " WITH GRANT OPTION" if entry["grantable"] else ""
            statements.append(f"GRANT {entry['privilege']} ON DATABASE {database} TO {grantee}{option}")
    for role, pairs in facts.settings:
        statements += setting_statements(name, role, list(pairs))
    return statements


def carry_over(server: Postgres, name: str, facts: TargetFacts) -> None:
    """Give the shadow what is the target's own: privileges, settings and connection limit."""
    server.execute(*carry_over_statements(name, facts), dbname=server.maintenance_db)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A database of the server, with what tells whether it is ours."""

    name: str
    oid: int
    comment: str | None
    open: bool


def databases(server: Postgres) -> list[Found]:
    """All databases of the server."""
    rows = server.query(
        "SELECT datname AS name, oid::bigint AS oid, shobj_description(oid, 'pg_database') AS comment,"
        " datallowconn AS open FROM pg_database",
        dbname=server.maintenance_db,
    )
    return [Found(**row) for row in rows]
