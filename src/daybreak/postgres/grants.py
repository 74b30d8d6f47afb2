"""Who may do what in a database: read from the old development database, given again in the new one.

A restore leaves production's privileges out, so everything there would belong to its owner alone. What stands in both
gets the rights that it had; what is new gets what the owner's default privileges say of new objects.

Shapes  `rights_of` reads, the statements are pure, `carry_over` does both.
Errors  `SqlError`, `SourceError` as of the client.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from daybreak.files import discard
from daybreak.postgres.client import AS_IT_IS, Postgres
from daybreak.postgres.shadow import UNHEARD
from daybreak.postgres.sql import identifier

_DEFAULTS: Final = """
SELECT pg_get_userbyid(d.defaclrole) AS role, n.nspname AS schema, d.defaclobjtype AS kind,
       (SELECT coalesce(json_agg(json_build_object(
                   'grantee', CASE a.grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(a.grantee) END,
                   'privilege', a.privilege_type, 'grantable', a.is_grantable)), '[]')
          FROM aclexplode(d.defaclacl) a WHERE a.grantee <> d.defaclrole) AS acl,
       (SELECT coalesce(json_agg(a.privilege_type), '[]')
          FROM aclexplode(acldefault(CASE defaclobjtype WHEN 'S' THEN 's' ELSE defaclobjtype END, d.defaclrole)) a
         WHERE a.grantee = d.defaclrole AND d.defaclnamespace = 0 AND NOT EXISTS (
               SELECT FROM aclexplode(d.defaclacl) b
                WHERE b.grantee = a.grantee AND b.privilege_type = a.privilege_type)) AS lost
  FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace"""
#: The letter of pg_default_acl -> what it is called, and the kinds of objects that it counts for.
_KINDS: Final = {
    "r": "TABLES",
    "S": "SEQUENCES",
    "f": "ROUTINES",
    "T": "TYPES",
    "n": "SCHEMAS",
    "L": "LARGE OBJECTS",
}
_COUNTS_FOR: Final = {
    "r": "TABLE",
    "S": "SEQUENCE",
    "f": "ROUTINE",
    "T": "TYPE",
    "n": "SCHEMA",
    "L": "LARGE OBJECT",
}
#: Kinds of which there may be many, and few with rights of their own.
_MANY: Final = {"COLUMN", "LARGE OBJECT"}
_AT_ONCE: Final = 100
_DEADLINE: Final = timedelta(hours=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One privilege of one role."""

    grantee: str | None  # None: PUBLIC
    privilege: str
    grantable: bool

    @property
    def to(self) -> str:
        """The end of a GRANT."""
        name = "PUBLIC" if self.grantee is None else identifier(self.grantee)
        return f"TO {name}{' WITH GRANT OPTION' if self.grantable else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An object, or a column of one, with its rights."""

    kind: str  # SCHEMA, TABLE, SEQUENCE, COLUMN, ROUTINE, TYPE, LARGE OBJECT
    schema: str  # of a large object: empty
    identity: str  # qualified and quoted
    part: str | None  # the column
    owner: str
    grants: tuple[Grant, ...] | None  # None: those that it was made with
    lost: tuple[str, ...]  # what its owner took from himself

    @property
    def key(self) -> tuple[str, str, str | None]:
        """What makes it the same in another database."""
        return self.kind, self.identity, self.part


@dataclass(frozen=True, slots=True, kw_only=True)
class Default:
    """What a role gives to others on what it will make."""

    role: str
    schema: str | None  # None: everywhere
    kind: str  # the letter of the catalogue
    grants: tuple[Grant, ...]
    lost: tuple[str, ...]  # what the role took from himself


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """All rights of one database."""

    items: tuple[Item, ...]
    defaults: tuple[Default, ...]


def rights_of(server: Postgres, dbname: str, *, everything: bool = False) -> Rights:
    """Read them; `everything` lists every column and large object, also those without rights of their own.

    Default privileges for a kind that a newer PostgreSQL knows and we do not are left out: nobody can say them here.
    """
    sql = files("daybreak.postgres").joinpath("grants.sql").read_text("utf-8")
    rows = server.query(sql.replace("{everything}", "true" if everything else "false"), dbname=dbname, named=True)
    return Rights(
        items=tuple(
            Item(
                kind=row["kind"],
                schema=row["schema"],
                identity=row["identity"],
                part=row["part"],
                owner=row["owner"],
                grants=None if row["acl"] is None else _grants(row["acl"]),
                lost=tuple(row["lost"] or ()),
            )
            for row in rows
        ),
        defaults=tuple(
            Default(
                role=row["role"],
                schema=row["schema"],
                kind=row["kind"],
                grants=_grants(row["acl"]),
                lost=tuple(row["lost"]),
            )
            for row in server.query(_DEFAULTS, dbname=dbname, named=True)
            if row["kind"] in _KINDS
        ),
    )


def _grants(acl: Sequence[Mapping[str, Any]]) -> tuple[Grant, ...]:
    return tuple(Grant(**one) for one in acl)


def statements(old: Rights, new: Iterable[Item]) -> Iterator[str]:
    """What gives the objects of `new` the rights that they had in `old`, or that its defaults say. Pure."""
    known = {item.key: item for item in old.items}
    for item in new:
        before = known.get(item.key)
        if before is not None:
            if before.grants is not None:
                yield from _restated(item, before.grants, before.lost)
        elif item.part is None:
            defaults = [
                one
                for one in old.defaults
                if _COUNTS_FOR[one.kind] == item.kind and one.role == item.owner and one.schema in {None, item.schema}
            ]
            if any(one.schema is None for one in defaults):
                lost = [privilege for one in defaults for privilege in one.lost]
                yield from _restated(item, [grant for one in defaults for grant in one.grants], lost)
            else:
                yield from _given(item, [grant for one in defaults for grant in one.grants])


def _restated(item: Item, grants: Iterable[Grant], lost: Sequence[str]) -> Iterator[str]:
    """Exactly these: PostgreSQL gives PUBLIC some rights on new routines and types, and an owner all of them."""
    if item.kind != "COLUMN":
        yield f"REVOKE ALL ON {item.kind} {item.identity} FROM PUBLIC"
    if lost:
        yield f"REVOKE {', '.join(lost)} ON {item.kind} {item.identity} FROM {identifier(item.owner)}"
    yield from _given(item, grants)


def _given(item: Item, grants: Iterable[Grant]) -> Iterator[str]:
    on = f"TABLE {item.identity}" if item.kind == "COLUMN" else f"{item.kind} {item.identity}"
    part = f" ({identifier(item.part)})" if item.part is not None else ""
    for grant in grants:
        yield f"GRANT {grant.privilege}{part} ON {on} {grant.to}"


def default_statements(old: Rights, schemas: Iterable[str]) -> Iterator[str]:
    """What makes the default privileges those of `old`, where their schema is in `schemas`. Pure."""
    there = set(schemas)
    for one in old.defaults:
        if one.schema is not None and one.schema not in there:
            continue
        where = f" IN SCHEMA {identifier(one.schema)}" if one.schema is not None else ""
        subject = f"ALTER DEFAULT PRIVILEGES FOR ROLE {identifier(one.role)}{where}"
        if one.schema is None:
            yield f"{subject} REVOKE ALL ON {_KINDS[one.kind]} FROM PUBLIC"
        if one.lost:
            yield f"{subject} REVOKE {', '.join(one.lost)} ON {_KINDS[one.kind]} FROM {identifier(one.role)}"
        for grant in one.grants:
            yield f"{subject} GRANT {grant.privilege} ON {_KINDS[one.kind]} {grant.to}"


def carry_over(server: Postgres, *, old: str, new: str, script: Path) -> int:
    """Give the objects of database `new` the rights that they have in `old`; how many statements that took.

    They go by the file `script`: a program for each hundred of them takes its time where it begins behind ssh.
    """
    had = rights_of(server, old)
    if not had.defaults and all(item.grants is None for item in had.items):
        return 0
    many = any(item.kind in _MANY for item in had.items) or any(_COUNTS_FOR[one.kind] in _MANY for one in had.defaults)
    has = rights_of(server, new, everything=many)
    schemas = [item.schema for item in has.items if item.kind == "SCHEMA"]
    wanted = [*statements(had, has.items), *default_statements(had, schemas)]
    try:
        with script.open("w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(f"{UNHEARD};\n{AS_IT_IS};\n")
            for begin in range(0, len(wanted), _AT_ONCE):
                file.writelines(f"{one};\n" for one in ("BEGIN", *wanted[begin : begin + _AT_ONCE], "COMMIT"))
        server.script(script, dbname=new, deadline=_DEADLINE, on_stderr=lambda _line: None)
    finally:
        discard(script)
    return len(wanted)


def statements_of(server: Postgres, dbname: str, schema: str) -> list[str]:
    """What gives everybody the rights that they have on one schema and on all in it, where the same things are."""
    items = tuple(item for item in rights_of(server, dbname).items if item.schema == schema)
    return list(statements(Rights(items=items, defaults=()), items))
