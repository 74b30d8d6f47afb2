"""What a server can take in, and what holds its databases: asked once, before anything is made there.

Shapes  `Abilities` is what a rehearsal judges an archive by. What the role may not see is None, never "none".
Errors  `SqlError`, `SourceError` as of the client.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from daybreak.postgres.client import Postgres
from daybreak.postgres.faults import SqlError
from daybreak.postgres.sql import identifier, literal

#: The beginning is PostgreSQL's own: nobody can make such a schema.
_NOWHERE: Final = "pg_daybreak_nowhere"
_NOT_LOADED: Final = "22023"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """An extension that can be created on the server."""

    default: str  # the version that CREATE EXTENSION takes
    versions: tuple[str, ...]
    anybody: bool  # a role that is no superuser may create it


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A logical replication slot of the target."""

    name: str
    active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """A server, as far as a restore depends on it."""

    major: int
    role: str  # that we are
    superuser: bool
    createdb: bool
    createrole: bool
    memberships: frozenset[str]  # roles that ours may act as
    extensions: Mapping[str, Extension]
    preloaded: frozenset[str] | None  # libraries
    roles: frozenset[str]
    tablespaces: Mapping[str, str | None]  # name -> the folder; None: that of the server
    settings: frozenset[str]
    collations: frozenset[str]  # of the operating system, in lower case, `utf8` for UTF-8
    icu: bool
    locks: int  # that one transaction can surely take
    wal_bytes: int  # what pg_wal may grow to
    build_bytes: int  # memory that the build of one index may take
    owner: str | None  # of the target; None: it is not there
    template: bool  # the target is one
    directory: str | None  # where the target's tables lie on the server's disk
    cron_database: str | None  # where pg_cron's launcher lives
    prepared: tuple[str, ...]  # transactions in the target
    slots: tuple[Slot, ...]  # of the target
    subscriptions: tuple[str, ...]  # in the target

    def in_cron(self, dbname: str) -> bool:
        """Whether pg_cron can live in the database of that name."""
        return self.cron_database == dbname


_ASK: Final = """
SELECT current_setting('server_version_num')::int / 10000 AS major,
       current_user AS role, r.rolsuper AS superuser, r.rolcreatedb AS createdb, r.rolcreaterole AS createrole,
       (SELECT json_agg(m.rolname) FROM pg_roles m WHERE pg_has_role(r.oid, m.oid, 'MEMBER')) AS memberships,
       (SELECT json_object_agg(e.name, json_build_object(
                   'default', e.default_version,
                   'versions', (SELECT json_agg(v.version) FROM pg_available_extension_versions v
                                 WHERE v.name = e.name),
                   'anybody', (SELECT NOT v.superuser OR coalesce((to_jsonb(v) ->> 'trusted')::boolean, false)
                                 FROM pg_available_extension_versions v
                                WHERE v.name = e.name AND v.version = e.default_version)))
          FROM pg_available_extensions e) AS extensions,
       (SELECT setting FROM pg_settings WHERE name = 'shared_preload_libraries') AS preloaded,
       (SELECT json_agg(rolname) FROM pg_roles) AS roles,
       (SELECT json_object_agg(spcname, nullif(pg_tablespace_location(oid), '')) FROM pg_tablespace) AS tablespaces,
       (SELECT json_agg(lower(name)) FROM pg_settings) AS settings,
       (SELECT json_agg(DISTINCT lower(replace(collcollate, 'UTF-8', 'utf8'))) FROM pg_collation
         WHERE collcollate IS NOT NULL AND collprovider = 'c') AS collations,
       -- Since 16 one of ICU is always there; a build without ICU knows no version of it.
       EXISTS (SELECT FROM pg_collation
                WHERE collprovider = 'i' AND pg_collation_actual_version(oid) IS NOT NULL) AS icu,
       current_setting('max_locks_per_transaction')::int
           * (current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int) AS locks,
       pg_size_bytes(current_setting('max_wal_size')) AS wal_bytes,
       pg_size_bytes(current_setting('maintenance_work_mem')) AS build_bytes,
       (SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = {target}) AS owner,
       EXISTS (SELECT FROM pg_database WHERE datname = {target} AND datistemplate) AS template,
       coalesce((SELECT nullif(pg_tablespace_location(d.dattablespace), '')
                   FROM pg_database d WHERE d.datname = {target}),
                (SELECT setting FROM pg_settings WHERE name = 'data_directory')) AS directory,
       (SELECT setting FROM pg_settings WHERE name = 'cron.database_name') AS cron_database,
       (SELECT json_agg(gid) FROM pg_prepared_xacts WHERE database = {target}) AS prepared,
       (SELECT json_agg(json_build_object('name', slot_name, 'active', active)) FROM pg_replication_slots
         WHERE database = {target}) AS slots,
       (SELECT json_agg(s.subname) FROM pg_subscription s, pg_database d
         WHERE s.subdbid = d.oid AND d.datname = {target}) AS subscriptions
  FROM pg_roles r WHERE r.rolname = current_user"""


def abilities_of(server: Postgres, dbname: str) -> Abilities:
    """Ask the maintenance database about the server, and about `dbname` on it, which need not be there."""
    sql = _ASK.format(target=literal(dbname))
    row = server.query(sql, dbname=server.maintenance_db)[0]
    extensions: dict[str, dict[str, Any]] = row.pop("extensions") or {}
    preloaded: str | None = row.pop("preloaded")
    slots: list[dict[str, Any]] = row.pop("slots") or []
    return Abilities(
        extensions={
            name: Extension(default=one["default"], versions=tuple(one["versions"] or ()), anybody=bool(one["anybody"]))
            for name, one in extensions.items()
        },
        preloaded=None if preloaded is None else frozenset(part.strip(' "') for part in preloaded.split(",")),
        slots=tuple(Slot(**one) for one in slots),
        **{key: frozenset(row.pop(key) or ()) for key in ("roles", "memberships", "settings", "collations")},
        **{key: tuple(row.pop(key) or ()) for key in ("prepared", "subscriptions")},
        **row,
    )


def unknown_providers(server: Postgres, providers: Iterable[str]) -> frozenset[str]:
    """Which of these providers of security labels no session of ours on the server has loaded.

    There is no list of them: a label is put on a schema that cannot be there, and the provider is looked at first.
    """
    unknown: set[str] = set()
    for one in providers:
        statement = f"SECURITY LABEL FOR {identifier(one)} ON SCHEMA {identifier(_NOWHERE)} IS NULL"
        try:
            server.execute(statement, dbname=server.maintenance_db)
        except SqlError as error:
            if error.sqlstate == _NOT_LOADED:
                unknown.add(one)
    return frozenset(unknown)
