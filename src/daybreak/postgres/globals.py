"""What a dump does not hold: roles, and the properties of the database itself.

Shapes  `describe` gives a JSON-ready dictionary for the manifest; `dump_globals` the SQL of pg_dumpall.
Errors  none of their own: a role that may not read something gets a warning that names what is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from daybreak.errors import CommandError
from daybreak.postgres.client import Postgres
from daybreak.postgres.sql import identifier, literal

_PROPERTIES = """
SELECT d.datname AS database, pg_get_userbyid(d.datdba) AS owner, pg_encoding_to_char(d.encoding) AS encoding,
       d.datcollate AS lc_collate, d.datctype AS lc_ctype,
       coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') AS locale_provider,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale,
       to_jsonb(d) ->> 'daticurules' AS icu_rules,
       d.datconnlimit AS connection_limit, d.datacl::text[] AS acl,
       shobj_description(d.oid, 'pg_database') AS comment,
       current_setting('lc_monetary') AS lc_monetary,
       current_setting('server_version') AS server_version,
       pg_database_size(d.oid) AS size_bytes,
       CASE WHEN has_table_privilege('pg_catalog.pg_stats', 'SELECT')
            THEN pg_total_relation_size('pg_catalog.pg_statistic') END AS statistics_bytes,
       (SELECT json_object_agg(extname, extversion) FROM pg_extension) AS extensions,
       (SELECT json_agg(json_build_object('role', CASE s.setrole WHEN 0 THEN NULL ELSE pg_get_userbyid(s.setrole) END,
                                          'settings', s.setconfig))
          FROM pg_db_role_setting s WHERE s.setdatabase = d.oid) AS settings
  FROM pg_database d WHERE d.datname = current_database()"""


def describe(server: Postgres) -> dict[str, Any]:
    """Owner, encoding, locale, privileges, settings, extensions and size of the database."""
    return server.query(_PROPERTIES)[0]


def dump_globals(server: Postgres, *, passwords: bool, warn: Callable[[str], None]) -> bytes:
    """Roles and tablespaces by pg_dumpall, then this database's own properties, as SQL.

    With `passwords`, the hashes of the roles are in it. What the role may not read becomes a warning.
    """
    parts = [
        b"-- Roles and tablespaces of the cluster, and the properties of the database that the dump does not hold.\n"
    ]
    command = server.tools.pg_dumpall_globals(server.conninfo(), passwords=passwords, deadline=timedelta(minutes=5))
    try:
        parts.append(server.runner.run(command).stdout)
    except CommandError as error:
        warn(
            f"roles and tablespaces are missing from the globals: {(error.tail or (error.message,))[-1]} "
            "(a restore into an empty server needs them; let the role of this database read pg_roles and pg_tablespace)"
        )
        parts.append(b"-- pg_dumpall could not read the roles.\n")
    parts.append(_database_sql(describe(server)).encode())
    return b"\n".join(parts)


def _database_sql(facts: dict[str, Any]) -> str:
    """The database's own properties as SQL that a person can read and run."""
    name = identifier(facts["database"])
    lines = [
        f"-- The database: owner {facts['owner']}, encoding {facts['encoding']}, collation {facts['lc_collate']}, "
        f"character type {facts['lc_ctype']}.".replace("\n", " "),
        f"-- Extensions: {facts['extensions']}".replace("\n", " "),
        f"-- Privileges: {facts['acl']}".replace("\n", " "),
        f"ALTER DATABASE {name} OWNER TO {identifier(facts['owner'])};",
        f"ALTER DATABASE {name} CONNECTION LIMIT {facts['connection_limit']};",
    ]
    if facts["comment"] is not None:
        lines.append(f"COMMENT ON DATABASE {name} IS {literal(facts['comment'])};")
    entries: list[dict[str, Any]] = facts["settings"] or []
    for entry in entries:
        lines += setting_statements(facts["database"], entry["role"], entry["settings"])
    return "\n".join(lines) + "\n"


def setting_statements(database: str, role: str | None, settings: list[str]) -> list[str]:
    """`ALTER DATABASE … SET` or `ALTER ROLE … IN DATABASE … SET` for `name=value` pairs of the catalogue."""
    subject = (
        f"ALTER DATABASE {identifier(database)}"
        if role is None
        else f"ALTER ROLE {identifier(role)} IN DATABASE {identifier(database)}"
    )
    statements: list[str] = []
    for pair in settings:
        key, _, value = pair.partition("=")
        statements.append(f"{subject} SET {_setting_name(key)} TO {_setting_value(key, value)};")
    return statements


#: Settings whose value is a list of names: PostgreSQL keeps it as text that already is quoted.
_LISTS = frozenset(
    {
        "datestyle",
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
        "synchronous_standby_names",
        "log_destination",
        "wal_consistency_checking",
        "createrole_self_grant",
        "restrict_nonsystem_relation_kind",
    }
)


def _setting_name(key: str) -> str:
    return ".".join(identifier(part) for part in key.split("."))


def _setting_value(key: str, value: str) -> str:
    if key.lower() not in _LISTS:
        return literal(value)
    if not value.strip():
        return "''"
    # The catalogue holds the list with its items quoted as needed; each becomes one literal.
    return ", ".join(literal(item) for item in split_list(value))


def split_list(value: str) -> list[str]:
    """The items of a list setting: `"$user", public` -> `$user`, `public`."""
    items: list[str] = []
    item, quoted, at = "", False, 0
    while at < len(value):
        char = value[at]
        if char == '"':
            if quoted and value[at + 1 : at + 2] == '"':
                item, at = item + '"', at + 1
            else:
                quoted = not quoted
        elif char == "," and not quoted:
            items.append(item)
            item = ""
        elif quoted or not char.isspace():
            item += char
        at += 1
    return [*items, item]
