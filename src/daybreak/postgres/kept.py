"""Rows that go from one database into another of the same schema: what is read, and the statements that load it.

Pure but for `tables_of`.

Shapes  a `Table` is one table as a database has it; `load_statements` is one transaction whose COPY statements read
        the tables' data from one stream, each part closed by COPY's own end mark.
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

#: What closes the data of one COPY in a stream of several.
END: Final = b"\\.\n"
#: The session is an ordinary one again: foreign keys are checked in no other.
_HEARD: Final = UNHEARD.replace("'replica'", "'origin'")
#: What tables and their partitions do by themselves, each for itself; what keys check goes on.
_ACTING: Final = """
CREATE TEMPORARY TABLE daybreak_acting ON COMMIT DROP AS
WITH kept (oid) AS (SELECT unnest(ARRAY[{oids}]::oid[]))
SELECT tgrelid::regclass AS relation, format('TRIGGER %I', tgname) AS what, tgenabled = 'A' AS always
  FROM pg_trigger LEFT JOIN pg_constraint c ON c.oid = tgconstraint
 WHERE tgrelid IN (SELECT oid FROM kept UNION SELECT relid FROM kept, pg_partition_tree(kept.oid))
   AND coalesce(contype, 't') = 't' AND tgenabled IN ('O', 'A')
UNION ALL
SELECT ev_class::regclass, format('RULE %I', rulename), ev_enabled = 'A'
  FROM pg_rewrite JOIN kept ON kept.oid = ev_class WHERE ev_enabled IN ('O', 'A')"""
#: ONLY: what is off in one partition stays off.
_SWITCH: Final = """
DO $$ DECLARE one record; BEGIN
    FOR one IN SELECT * FROM pg_temp.daybreak_acting LOOP
        EXECUTE format('ALTER TABLE ONLY %s %s %s', one.relation, {mode}, one.what);
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
class Table:
    """A table as one database has it."""

    schema: str
    name: str
    oid: int
    partitioned: bool
    columns: tuple[Column, ...]
    keys: tuple[tuple[str, ...], ...]  # unique ones, the primary key first
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
    def key(self) -> tuple[str, ...]:
        """The first unique key whose columns are all carried; empty where there is none."""
        return next((key for key in self.table.keys if set(key) <= set(self.columns)), ())


def tables_of(server: Postgres, dbname: str, wishes: Sequence[KeptRows]) -> dict[int, Table]:
    """The tables that are named and are there, by their place in `wishes`."""
    names = ", ".join(literal(wish.table) for wish in wishes)
    sql = files("daybreak.postgres").joinpath("kept.sql").read_text("utf-8").replace("{names}", f"ARRAY[{names}]")
    return {
        row.pop("number") - 1: Table(
            columns=tuple(Column(**one) for one in row.pop("columns") or ()),
            keys=tuple(tuple(key) for key in row.pop("keys") or ()),
            **{part: tuple(row.pop(part) or ()) for part in ("parents", "update_rules", "sequences")},
            **row,
        )
        for row in server.query(sql, dbname=dbname)
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


def read_statement(one: Carried, old: Table) -> str:
    """What prints the rows of the old database that are kept."""
    where = f" WHERE ({one.wish.where})" if one.wish.where else ""
    return f"COPY (SELECT {one.names} FROM {old.rows}{where}) TO STDOUT"


def load_statements(carried: Sequence[Carried]) -> Iterator[str]:
    """One transaction that takes all rows in; a line `number rows conflicts` for each table."""
    yield "BEGIN"
    yield UNHEARD
    yield _ACTING.format(oids=", ".join(str(one.table.oid) for one in carried))
    yield _SWITCH.format(mode="'DISABLE'")
    for number, one in enumerate(carried):
        yield (
            f"CREATE TEMPORARY TABLE daybreak_kept_{number} ON COMMIT DROP AS SELECT {one.names} FROM {one.table.sql} "
            "WITH NO DATA"
        )
    yield _HEARD
    yield "SET CONSTRAINTS ALL DEFERRED"
    for number, one in enumerate(carried):
        yield from _load(number, one)
    for one in carried:
        yield from _set_sequences(one.table)
    yield "SET CONSTRAINTS ALL IMMEDIATE"  # a table whose rows wait for a check cannot be altered
    yield UNHEARD
    yield _SWITCH.format(mode="CASE WHEN one.always THEN 'ENABLE ALWAYS' ELSE 'ENABLE' END")
    yield "COMMIT"


def _load(number: int, one: Carried) -> Iterator[str]:
    table, staged = one.table, f"pg_temp.daybreak_kept_{number}"
    yield f"COPY {staged} ({one.names}) FROM STDIN"
    conflicts = "0"
    if one.key:
        same = " AND ".join(f"n.{identifier(name)} = k.{identifier(name)}" for name in one.key)
        conflicts = f"(SELECT count(*) FROM {staged} k WHERE EXISTS (SELECT FROM {table.rows} n WHERE {same}))"
    yield f"SELECT {number}, (SELECT count(*) FROM {staged}), {conflicts}"
    if one.key and one.wish.conflict is Conflict.FAIL:
        yield _refuse(one, conflicts)
    if not one.key:
        where = f" WHERE ({one.wish.where})" if one.wish.where else ""
        yield f"DELETE FROM {table.rows}{where}"
    yield (
        f"INSERT INTO {table.sql} ({one.names}) OVERRIDING SYSTEM VALUE SELECT {one.names} FROM {staged}"
        f"{_on_conflict(one)}"
    )


def _on_conflict(one: Carried) -> str:
    if not one.key:
        return ""
    target = f" ON CONFLICT ({', '.join(map(identifier, one.key))})"
    always = {column.name for column in one.table.columns if column.always}
    changed = [name for name in one.columns if name not in one.key and name not in always]
    if one.wish.conflict is not Conflict.DEV or not changed:
        return f"{target} DO NOTHING"
    values = ", ".join(f"{identifier(name)} = EXCLUDED.{identifier(name)}" for name in changed)
    return f"{target} DO UPDATE SET {values}"


def _refuse(one: Carried, conflicts: str) -> str:
    """Only how many: the keys themselves may be personal data, and what is said here is kept in logs."""
    text = f"keep: %s rows of {one.table.label} are in production's data too, by {', '.join(one.key)}"
    block = (
        f"DECLARE conflicts bigint := {conflicts}; BEGIN IF conflicts > 0 THEN "
        f"RAISE EXCEPTION USING MESSAGE = format({literal(text)}, conflicts); END IF; END"
    )
    return f"DO {literal(block)}"


def _set_sequences(table: Table) -> Iterator[str]:
    """A sequence that its rows have overtaken goes on behind them, in its own direction."""
    for one in table.sequences:
        column, sequence = identifier(one["column"]), one["sequence"]
        ends = (f"(SELECT {end}({column}) FROM {table.sql})" for end in ("max", "min"))
        yield (
            f"SELECT setval({literal(sequence)}, m.value) IS NULL FROM (SELECT seqincrement, "
            f"CASE WHEN seqincrement > 0 THEN {next(ends)} ELSE {next(ends)} END::bigint AS value "
            f"FROM pg_sequence WHERE seqrelid = {literal(sequence)}::regclass) m, {sequence} s "
            "WHERE m.value IS NOT NULL AND (m.value - s.last_value) * sign(m.seqincrement) >= 0"
        )
