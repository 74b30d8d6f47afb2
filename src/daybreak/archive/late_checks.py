"""Checks that call functions, taken out of their tables' definitions: they are added when all rows are in.

A function may read another table, whose rows come later, and then the check refuses rows that production has. pg_dump
does not tell what a function reads; it keeps a check that is not validated apart for that reason, and so do we with
those that call a function of the archive.

Shapes  a table of contents goes in; the same comes out, or one with entries more behind it. Pure.
Errors  none: a definition that reads otherwise than pg_dump writes it stays as it is.
Source  PostgreSQL, src/bin/pg_dump/pg_dump.c: dumpTableSchema, dumpConstraint. Tables that inherit, or are inherited
        from, stay as they are: their checks are merged with those of their parents where they are attached.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from daybreak.archive.statements import IDENTIFIER, parse_attached, plain_name
from daybreak.archive.toc import BEHIND_ROWS, TABLE_DATA, Entry

CHECK: Final = "CHECK CONSTRAINT"
_TABLE: Final = "TABLE"
_PG_CONSTRAINT: Final = 2606
_COMMENT: Final = "COMMENT ON CONSTRAINT "
_QUALIFIED: Final = rf"{IDENTIFIER}\.{IDENTIFIER}"
_FUNCTION: Final = re.compile(rf"CREATE FUNCTION ({_QUALIFIED})\(")
_CALL: Final = re.compile(rf"({_QUALIFIED})\(")
_CREATED: Final = re.compile(rf"CREATE (?:UNLOGGED )?TABLE ({_QUALIFIED}) (?:OF {_QUALIFIED} )?\(\n")
_CHECK: Final = re.compile(rf"CONSTRAINT ({IDENTIFIER}) CHECK \(")
_PARENTS: Final = re.compile(r"\)\s*INHERITS \((.+)\)")
_TOKEN: Final = re.compile(r"""\bE'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|[(),]""", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Definition:
    """A table's definition, taken apart."""

    relation: str  # qualified and quoted
    head: str  # up to the first item
    items: tuple[str, ...]  # columns and constraints
    tail: str  # from the closing parenthesis on


def late_checks(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The entries, each check that calls a function of the archive as an entry of its own behind the others.

    Entries that stay as they are stay the same objects.
    """
    functions = {
        found[1] for one in entries if one.kind == "FUNCTION" and (found := _FUNCTION.match(one.definition or ""))
    }
    tables = [one for one in entries if one.kind == _TABLE and _calls(one.definition or "", functions)]
    family = _family(entries) if tables else set[str]()
    comments = [one for one in entries if tables and (one.definition or "").startswith(_COMMENT)]
    number = max((one.id for one in entries), default=0)
    changed: dict[int, Entry] = {}
    added: list[Entry] = []
    for table in tables:
        parts = _taken_apart(table.definition or "")
        if parts is None or parts.relation in family or "PARTITION BY" in parts.tail:
            continue
        late = [one for one in parts.items if _CHECK.match(one) and _calls(one, functions)]
        kept = [one for one in parts.items if one not in late]
        if not late or not kept:
            continue
        definition = parts.head + ",\n".join(f"    {one}" for one in kept) + f"\n{parts.tail}"
        changed[table.id] = replace(table, definition=definition)
        for check in late:
            number += 1
            entry = _entry(number, table, parts.relation, check)
            added.append(entry)
            said = f"{_COMMENT}{_named(check)} ON {parts.relation} IS "
            changed |= {one.id: _behind(one, entry) for one in comments if (one.definition or "").startswith(said)}
    return (*(changed.get(one.id, one) for one in entries), *added)


def behind_all_rows(entries: Sequence[Entry], late: Collection[int]) -> tuple[Entry, ...]:
    """The entries, those of the ids `late` waiting for the rows of all tables.

    pg_restore takes an entry behind the rows to lock all tables that it depends on, and runs nothing beside it that
    locks one of them: so two checks that read each other's table cannot wait for each other either.
    """
    data = tuple(one.id for one in entries if one.kind == TABLE_DATA)
    return tuple(replace(one, dependencies=(*one.dependencies, *data)) if one.id in late else one for one in entries)


def _calls(text: str, functions: Collection[str]) -> bool:
    return any(name in functions for name in _CALL.findall(text))


def _family(entries: Iterable[Entry]) -> set[str]:
    """The tables that inherit or are inherited from, partitions with them, as SQL writes them."""
    found: set[str] = set()
    for one in entries:
        text = one.definition or ""
        if one.kind == "TABLE ATTACH" and (attached := parse_attached(text)):
            found.add(attached)
        elif one.kind == _TABLE and (parents := _PARENTS.search(text)) and (created := _CREATED.match(text)):
            found |= {created[1], *re.findall(_QUALIFIED, parents[1])}
    return found


def _taken_apart(definition: str) -> _Definition | None:
    """The items between the outer parentheses; None for what pg_dump does not write."""
    created = _CREATED.match(definition)
    if created is None:
        return None
    items: list[str] = []
    depth, begin = 1, created.end()
    for token in _TOKEN.finditer(definition, begin):
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if depth == 0 or (depth == 1 and token[0] == ","):
            items.append(definition[begin : token.start()].strip())
            begin = token.end()
        if depth == 0:
            return _Definition(created[1], created[0], tuple(items), definition[token.start() :])
    return None


def _entry(number: int, table: Entry, relation: str, check: str) -> Entry:
    """The check as pg_dump writes one that stands apart."""
    return replace(
        table,
        id=number,
        table_oid=_PG_CONSTRAINT,
        oid=0,
        name=f"{table.name} {plain_name(_named(check))}",
        kind=CHECK,
        section=BEHIND_ROWS,
        definition=f"ALTER TABLE {relation}\n    ADD {check};\n",
        drop="",
        tablespace=None,
        access_method=None,
        relkind=0,
        dependencies=(table.id,),
    )


def _behind(comment: Entry, check: Entry) -> Entry:
    return replace(comment, section=BEHIND_ROWS, dependencies=(*comment.dependencies, check.id))


def _named(check: str) -> str:
    """The name of a check, as SQL writes it."""
    found = _CHECK.match(check)
    assert found is not None  # it was found by the same expression
    return found[1]
