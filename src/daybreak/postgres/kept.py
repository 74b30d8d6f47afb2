"""Rows that go from one database into another of the same schema: what is read, and the statements that load it.

Pure but for `tables_of`.

Shapes  a `Table` is one table as a database has it; `load_statements` is one transaction, in which the rows of a table
        stand behind its COPY.
Errors  `RefreshError` names the table and what is in the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from importlib.resources import files
from typing import Any, Final

from daybreak.errors import RefreshError
from daybreak.postgres.client import Postgres
from daybreak.postgres.shadow import UNHEARD
from daybreak.postgres.sql import identifier, literal, qualified
from daybreak.replacement import Conflict, KeptRows

#: The statement behind which the rows of a table stand, and what closes them.
COPY: Final = "COPY "
END: Final = b"\\.\n"
#: The session is an ordinary one again: foreign keys are checked in no other.
_HEARD: Final = UNHEARD.replace("'replica'", "'origin'")
#: What tables and their partitions do by themselves, each for itself; what keys check goes on. And a key of periods
#: (PostgreSQL 18) waits for the last row: no row matches another by what it refers to, so all are replaced.
_ACTING: Final = """
CREATE TEMPORARY TABLE daybreak_acting ON COMMIT DROP AS
WITH kept (oid) AS (SELECT unnest(ARRAY[{oids}]::oid[])),
acting (relation, what, always) AS (
    SELECT tgrelid::regclass, format('TRIGGER %I', tgname), tgenabled = 'A'
      FROM pg_trigger LEFT JOIN pg_constraint c ON c.oid = tgconstraint
     WHERE tgrelid IN (SELECT oid FROM kept UNION SELECT relid FROM kept, pg_partition_tree(kept.oid))
       AND coalesce(contype, 't') = 't' AND tgenabled IN ('O', 'A')
    UNION ALL
    SELECT ev_class::regclass, format('RULE %I', rulename), ev_enabled = 'A'
      FROM pg_rewrite JOIN kept ON kept.oid = ev_class WHERE ev_enabled IN ('O', 'A'))
-- ONLY: what is off in one partition stays off
SELECT format('ONLY %s', relation) AS relation, format('DISABLE %s', what) AS off,
       format('ENABLE %s %s', CASE WHEN always THEN 'ALWAYS' END, what) AS again FROM acting
 UNION ALL
SELECT conrelid::regclass::text, format('ALTER CONSTRAINT %I DEFERRABLE', conname),
       format('ALTER CONSTRAINT %I NOT DEFERRABLE', conname)
  FROM pg_constraint c
 WHERE contype = 'f' AND conparentid = 0 AND NOT condeferrable
   AND to_jsonb(c) @> '{{"conperiod": true, "conenforced": true}}'
   AND confrelid IN (SELECT oid FROM kept UNION SELECT relid FROM kept, pg_partition_ancestors(kept.oid))"""
_SWITCH: Final = """
DO $$ DECLARE one record; BEGIN
    FOR one IN SELECT * FROM pg_temp.daybreak_acting LOOP
        EXECUTE format('ALTER TABLE %s %s', one.relation, one.{way});
    END LOOP;
END $$"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table."""

    name: str
    type: str
    needed: bool  # a row must bring a value
    generated: bool
    always: bool  # GENERATED ALWAYS AS IDENTITY: never updated


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A unique key."""

    columns: tuple[str, ...]
    nullable: tuple[str, ...]  # those of them that may be empty
    alike: bool  # NULLS NOT DISTINCT: an empty one equals an empty one
    operators: tuple[str, ...]  # for each column, what equal means there

    @property
    def loose(self) -> tuple[str, ...]:
        """The columns in which a row may be empty, and then equals no other."""
        return () if self.alike else self.nullable

    def same(self, one: str, other: str) -> str:
        """The condition that two rows are the same by it."""
        return " AND ".join(
            self._equal(name, operator, f"{one}.{identifier(name)}", f"{other}.{identifier(name)}")
            for name, operator in zip(self.columns, self.operators, strict=True)
        )

    def _equal(self, name: str, operator: str, one: str, other: str) -> str:
        equal = f"{one} {operator} {other}"
        return f"({equal} OR {one} IS NULL AND {other} IS NULL)" if self.alike and name in self.nullable else equal


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as one database has it."""

    schema: str
    name: str
    oid: int
    partitioned: bool
    columns: tuple[Column, ...]
    keys: tuple[Key, ...]  # the primary key first, then those without empty values
    parents: tuple[Mapping[str, Any], ...]  # foreign keys: name, parent (oid), deferrable
    update_rules: tuple[str, ...]  # switched off ones, too
    sequences: tuple[Mapping[str, Any], ...]  # owned by a column of numbers: sequence, column

    @property
    def label(self) -> str:
        """`schema.name`, for people."""
        return f"{self.schema}.{self.name}"

    @property
    def sql(self) -> str:
        """The table in a statement."""
        return qualified(self.schema, self.name)

    @property
    def rows(self) -> str:
        """Its own rows in a statement: those of tables that inherit from it are theirs."""
        return self.sql if self.partitioned else f"ONLY {self.sql}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """One table's way from the old database into the new one."""

    wish: KeptRows
    table: Table  # in the new one
    columns: tuple[str, ...]  # that both have, in the old one's order

    @property
    def names(self) -> str:
        """The columns in a statement."""
        return ", ".join(map(identifier, self.columns))

    @property
    def key(self) -> Key | None:
        """The first unique key whose columns are all carried."""
        return next((key for key in self.table.keys if set(key.columns) <= set(self.columns)), None)


def tables_of(server: Postgres, dbname: str, wishes: Sequence[KeptRows]) -> dict[int, Table]:
    """The tables that are named and are there, by their place in `wishes`."""
    names = ", ".join(literal(wish.table) for wish in wishes)
    sql = files("daybreak.postgres").joinpath("kept.sql").read_text("utf-8").replace("{names}", f"ARRAY[{names}]")
    return {
        row.pop("number") - 1: Table(
            columns=tuple(Column(**one) for one in row.pop("columns") or ()),
            keys=tuple(
                Key(alike=key.pop("alike"), **{part: tuple(names) for part, names in key.items()})
                for key in row.pop("keys") or ()
            ),
            **{part: tuple(row.pop(part) or ()) for part in ("parents", "update_rules", "sequences")},
            **row,
        )
        for row in server.query(sql, dbname=dbname, named=True)
    }


def match(wish: KeptRows, old: Table, new: Table) -> Carried:
    """Which columns are carried. Raise RefreshError where the new table asks for more than the old one has."""
    there = {column.name: column for column in new.columns}
    carried = tuple(
        column.name
        for column in old.columns
        if column.name in there and not (column.generated or there[column.name].generated)
    )
    for column in new.columns:
        if column.needed and not column.generated and column.name not in carried:
            raise RefreshError(
                f"keep: {new.label} of production needs {column.name}, which dev's rows do not have",
                hint="give the column a default in production, or take the table out of keep",
            )
    found = Carried(wish=wish, table=new, columns=carried)
    if not carried:
        raise RefreshError(f"keep: {new.label} has no column in common with dev's", hint="take it out of keep")
    if not found.key and wish.conflict is not Conflict.DEV:
        raise RefreshError(
            f'keep: {new.label} has no unique key, so conflict = "{wish.conflict}" cannot be judged',
            hint='give it a primary key, or set conflict = "dev": then its rows are replaced by dev\'s',
        )
    if found.key and new.update_rules:
        raise RefreshError(
            f"keep: {new.label} has the rule {new.update_rules[0]} on UPDATE, where PostgreSQL takes no ON CONFLICT",
            hint="let a trigger do in production what the rule does, or take the table out of keep",
        )
    return found


def in_order(carried: Sequence[Carried]) -> list[Carried]:
    """Parents before children. Raise RefreshError for a ring of constraints that cannot wait."""
    by_oid = {one.table.oid: one for one in carried}
    graph: TopologicalSorter[int] = TopologicalSorter()
    for one in carried:
        graph.add(
            one.table.oid,
            *(each["parent"] for each in one.table.parents if each["parent"] in by_oid and not each["deferrable"]),
        )
    try:
        return [by_oid[oid] for oid in graph.static_order()]
    except CycleError as error:
        ring = " → ".join(by_oid[oid].table.label for oid in error.args[1])
        raise RefreshError(
            f"keep: foreign keys form a ring: {ring}",
            hint="make one of them DEFERRABLE in production, or take one of the tables out of keep",
        ) from None


def read_statement(one: Carried, old: Table, *, encoding: str) -> str:
    """What prints the rows of the old database that are kept, in the encoding of the new one."""
    where = f" WHERE ({one.wish.where})" if one.wish.where else ""
    return f"COPY (SELECT {one.names} FROM {old.rows}{where}) TO STDOUT (ENCODING {literal(encoding)})"


def load_statements(carried: Sequence[Carried], *, encoding: str) -> Iterator[str]:
    """One transaction that takes all rows in, each in `encoding`; a line `number rows conflicts` for each table."""
    yield "BEGIN"
    yield UNHEARD
    yield _ACTING.format(oids=", ".join(str(one.table.oid) for one in carried))
    yield _SWITCH.format(way="off")
    for number, one in enumerate(carried):
        yield (
            f"CREATE TEMPORARY TABLE daybreak_kept_{number} ON COMMIT DROP AS SELECT {one.names} FROM {one.table.sql} "
            "WITH NO DATA"
        )
    yield _HEARD
    yield "SET CONSTRAINTS ALL DEFERRED"
    for number, one in enumerate(carried):
        yield from _load(number, one, encoding)
    for one in carried:
        yield from _set_sequences(one.table)
    yield "SET CONSTRAINTS ALL IMMEDIATE"  # a table whose rows wait for a check cannot be altered
    yield UNHEARD
    yield _SWITCH.format(way="again")
    yield "COMMIT"


def _load(number: int, one: Carried, encoding: str) -> Iterator[str]:
    table, staged = one.table, f"pg_temp.daybreak_kept_{number}"
    yield f"{COPY}{staged} ({one.names}) FROM STDIN (ENCODING {literal(encoding)})"
    conflicts = "0"
    if one.key:
        same = one.key.same("n", "k")
        conflicts = f"(SELECT count(*) FROM {staged} k WHERE EXISTS (SELECT FROM {table.rows} n WHERE {same}))"
    yield f"SELECT {number}, (SELECT count(*) FROM {staged}), {conflicts}"
    if one.key and one.wish.conflict is Conflict.FAIL:
        by = ", ".join(one.key.columns)
        yield _refuse(conflicts, f"production's data has rows of {table.label} too, by {by}")
    # What equals nothing would be there twice after the next refresh, and three times after that: dev's replace
    # production's, as in a table without a key.
    unmatched = " OR ".join(f"{identifier(name)} IS NULL" for name in one.key.loose) if one.key else "true"
    if unmatched and one.wish.conflict is Conflict.DEV:
        where = f" AND ({one.wish.where})" if one.wish.where else ""
        yield f"DELETE FROM {table.rows} WHERE ({unmatched}){where}"
    elif unmatched and one.key:
        text = (
            f"rows of {table.label} have no value in {' or '.join(one.key.loose)}, and nobody can tell whether "
            'production has them too; narrow where to the others, or set conflict = "dev"'
        )
        yield _refuse(f"(SELECT count(*) FROM {staged} WHERE {unmatched})", text)
    yield (
        f"INSERT INTO {table.sql} ({one.names}) OVERRIDING SYSTEM VALUE SELECT {one.names} FROM {staged}"
        f"{_on_conflict(one)}"
    )


def _on_conflict(one: Carried) -> str:
    if not one.key:
        return ""
    target = f" ON CONFLICT ({', '.join(map(identifier, one.key.columns))})"
    always = {column.name for column in one.table.columns if column.always}
    changed = [name for name in one.columns if name not in one.key.columns and name not in always]
    if one.wish.conflict is not Conflict.DEV or not changed:
        return f"{target} DO NOTHING"
    values = ", ".join(f"{identifier(name)} = EXCLUDED.{identifier(name)}" for name in changed)
    return f"{target} DO UPDATE SET {values}"


def _refuse(count: str, text: str) -> str:
    """Only how many: the keys themselves may be personal data, and what is said here is kept in logs."""
    said = literal(f"keep: {text} (")
    block = (
        f"DECLARE found bigint := {count}; BEGIN IF found > 0 THEN "
        f"RAISE EXCEPTION USING MESSAGE = concat({said}, found, ')'); END IF; END"
    )
    return f"DO {literal(block)}"


def _set_sequences(table: Table) -> Iterator[str]:
    """A sequence that its rows have overtaken goes on behind them, in its own direction.

    Rows beyond its bounds are none of its own: 9999 in a table whose sequence ends at 1000, NaN.
    """
    for one in table.sequences:
        column, sequence = identifier(one["column"]), one["sequence"]
        within = f"FROM {table.sql}, bounds WHERE {column} BETWEEN seqmin AND seqmax"
        ends = (f"(SELECT {end}({column}) {within})" for end in ("max", "min"))
        yield (
            f"WITH bounds AS (SELECT * FROM pg_sequence WHERE seqrelid = {literal(sequence)}::regclass) "
            f"SELECT setval({literal(sequence)}, m.value) IS NULL FROM (SELECT seqincrement, "
            f"CASE WHEN seqincrement > 0 THEN {next(ends)} ELSE {next(ends)} END::bigint AS value "
            f"FROM bounds) m, {sequence} s "
            "WHERE m.value IS NOT NULL AND (m.value - s.last_value) * sign(m.seqincrement) >= 0"
        )
