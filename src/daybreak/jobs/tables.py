"""Single tables out of an archive: which of its entries they need, and what is left behind. Pure.

A table comes with its rows, defaults, sequences, indexes, constraints, statistics and comments, a partitioned one with
its partitions, and with the types, functions and extensions that these need. What acts on its own (triggers, rules),
guards (policies, privileges) or leads to a table that is not wanted (foreign keys, INHERITS) is left out and told.

Errors  `UsageError` for a name that is none of a table in the archive, with the nearest; `RefreshError` for one that
        needs what is left out.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from daybreak.archive import Entry, LargeObjects, Manifest
from daybreak.archive.toc import PREAMBLE
from daybreak.errors import RefreshError, UsageError
from daybreak.jobs.selection import LeftOut, Selection
from daybreak.jobs.verdicts import in_utf8
from daybreak.postgres.sql import identifier, qualified

#: A table as somebody writes it: with its schema, quoted where SQL wants it.
NAME: Final = re.compile(r'("(?:[^"]|"")+"|[^".]+)\.("(?:[^"]|"")+"|[^".]+)')
#: What belongs to the one table that it depends on.
_PARTS: Final = {
    "TABLE DATA",
    "DEFAULT",
    "SEQUENCE",
    "CONSTRAINT",
    "CHECK CONSTRAINT",
    "INDEX",
    "STATISTICS",
}
#: Whose comments stay: the schema is another one, an extension its server's, a parent not wanted itself.
_UNSAID: Final = {"SCHEMA", "EXTENSION", "TABLE"}
#: What ties tables together: it comes along where all of them do.
_TIES: Final = {"FK CONSTRAINT", "TABLE ATTACH", "INDEX ATTACH"}
#: What a table does by itself, or for whom: it stays behind.
_BEHAVIOUR: Final = {"TRIGGER", "RULE", "POLICY", "ROW SECURITY", "SECURITY LABEL"}
_RELATIONS: Final = {"TABLE", "CONSTRAINT", "INDEX"}
_OWNED_BY: Final = re.compile(r'OWNED BY ((?:"(?:[^"]|"")+"|[^\s".]+)\.(?:"(?:[^"]|"")+"|[^\s".]+))\.')
#: Constraints whose index mostly takes its operators from an extension; pg_dump does not say that they need it.
_MAYBE_BTREE_GIST: Final = re.compile(r"EXCLUDE USING gist .*WITH (?!&&)|WITHOUT OVERLAPS", re.DOTALL)
_BTREE_GIST: Final = "btree_gist"
_WITH_SCHEMA: Final = re.compile(r'WITH SCHEMA ("(?:[^"]|"")+"|[^\s;]+);')
_CREATED: Final = re.compile(r'CREATE (?:UNLOGGED )?TABLE ((?:"(?:[^"]|"")+"|[^\s".(]+)\.(?:"(?:[^"]|"")+"|[^\s".(]+))')
_BODY: Final = "\n    AS "  # of a routine; what one without it (BEGIN ATOMIC) calls, PostgreSQL knows
_CALL: Final = re.compile(r'(?:("(?:[^"]|"")+"|[\w$]+)\s*\.\s*)?("(?:[^"]|"")+"|[\w$]+)\s*\(')
_NAMED: Final = re.compile(r'("(?:[^"]|"")+"|[\w$]+)\s*\.\s*("(?:[^"]|"")+"|[\w$]+)')
#: Columns whose values are names of what lies in a schema.
_OF_NAMES: Final = re.compile(
    r'^ +(?:"(?:[^"]|"")+"|\S+) reg(?:class|collation|config|dictionary|oper|operator|proc|procedure|type)\b',
    re.MULTILINE,
)
_INHERITS: Final = re.compile(r"^\)\s*INHERITS \((.+)\)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescue:
    """What is taken out of an archive."""

    selection: Selection
    tables: tuple[tuple[str, str], ...]  # (schema, name) as the archive has them, partitions included
    names: tuple[tuple[str, str], ...]  # the same as text, whatever the archive's encoding
    asked: tuple[str, ...]  # as they are written in the archive, `schema.name`, as text
    extensions: Mapping[str, str]  # that these tables need -> the schema that it is in
    by_name: tuple[str, ...]  # routines whose text names what comes along, which stays where it was for them
    of_names: tuple[str, ...]  # tables whose rows name what lies in a schema, as text


def narrow(selection: Selection, wanted: Sequence[str], *, codec: str = "utf-8") -> Rescue:
    """Choose the entries that the wanted tables need. `wanted`: schema.table, quoted where SQL wants it.

    `codec` is that of the names in the archive.
    """
    entries = selection.restored
    tables = {_key(one, codec): one for one in entries if one.kind == "TABLE"}
    asked = [_find(name, tables, selection, codec) for name in wanted]
    names = tuple(".".join(_key(one, codec)) for one in asked)
    picking = _Picking(entries, {one.id for one in asked})
    picking.all()
    if missing := [in_utf8(one, codec) for one in picking.missing()]:
        raise RefreshError(
            f"{', '.join(names)} cannot do without another table, whose row "
            f"is the type of a column or stands in a function: {', '.join(missing)}",
            hint=f"restore them together: add {' '.join(f'--table {shlex.quote(one)}' for one in missing)}",
        )
    for label, cast in picking.casts():
        raise RefreshError(
            f"{in_utf8(label, codec)} needs {in_utf8(cast, codec)}: a cast belongs to no schema, and only one "
            "schema is made",
            hint="restore all of the archive beside: --new NAME",
        )
    chosen = [one for one in entries if one.id in picking.chosen or one.kind in PREAMBLE]
    picked = {key: one for key, one in tables.items() if one.id in picking.tables}
    return Rescue(
        selection=Selection(
            restored=tuple(chosen),
            deferred=(),
            left_out=tuple(picking.left_out()),
            has_cron=False,
            no_data={},
            unknown=selection.unknown,
        ),
        tables=tuple((one.schema or "", one.name) for one in picked.values()),
        names=tuple(picked),
        asked=names,
        extensions={one.name: _extension_schema(one) for one in chosen if one.kind == "EXTENSION"},
        by_name=tuple(one.label for one in chosen if picking.names_what_comes(one)),
        of_names=tuple(".".join(key) for key, one in picked.items() if _OF_NAMES.search(one.definition or "")),
    )


def _key(table: Entry, codec: str) -> tuple[str, str]:
    return in_utf8(table.schema or "", codec), in_utf8(table.name, codec)


def _find(name: str, tables: Mapping[tuple[str, str], Entry], selection: Selection, codec: str) -> Entry:
    match = NAME.fullmatch(name)
    if match is None:
        raise UsageError(
            f"--table {name}: not a schema and a table",
            hint="say schema.table, and quote what SQL wants quoted: --table '\"My Schema\".orders'",
        )
    parts = [(_plain(word) if word[0] == '"' else word, _plain(word)) for word in match.groups()]
    (schema, lower_schema), (table, lower_table) = parts
    found = tables.get((schema, table)) or tables.get((lower_schema, lower_table))
    if found is not None:
        return found
    for one in selection.left_out:
        if in_utf8(one.label, codec) in {f"TABLE {schema}.{table}", f"FOREIGN TABLE {schema}.{table}"}:
            raise RefreshError(f"{schema}.{table} cannot be restored here: {one.why}", hint="restore the whole archive")
    there = [f"{one_schema}.{one_table}" for one_schema, one_table in tables]
    near = difflib.get_close_matches(f"{schema}.{table}", there, n=3, cutoff=0.75)
    raise UsageError(
        f"the archive has no table {schema}.{table}",
        hint=f"did you mean {' or '.join(near)}?" if near else "`daybreak archive read FILE` lists what it has",
    )


class _Picking:
    """Follows the dependencies of a table of contents from some tables on."""

    def __init__(self, entries: Sequence[Entry], tables: set[int]) -> None:
        self.entries = entries
        self.by_id = {one.id: one for one in entries}
        self.tables = tables
        self.chosen: set[int] = set()
        named = {(one.schema, one.name): one.id for one in entries if one.kind == "TABLE"}
        self.routines: dict[str, list[Entry]] = {}
        for one in entries:
            if one.kind in {"FUNCTION", "PROCEDURE"}:
                self.routines.setdefault(one.name.partition("(")[0], []).append(one)
        #: partition -> the table that it is one of
        self.roots: dict[int, int] = {}
        for one in entries:
            if one.kind == "TABLE ATTACH":
                child = named.get((one.schema, one.name), 0)
                self.roots[child] = next((other for other in one.dependencies if other != child), 0)

    def all(self) -> None:
        """Everything that the tables need."""
        while more := {child for child, root in self.roots.items() if root in self.tables} - self.tables:
            self.tables |= more
        for table in self.tables:
            self._take(table)
        size = -1
        while size != len(self.chosen):
            size = len(self.chosen)
            for one in self.entries:
                if one.id not in self.chosen and self._belongs(one):
                    self._take(one.id)

    def _belongs(self, one: Entry) -> bool:
        if one.kind in _PARTS:
            # A check that is not validated may be one of a domain.
            return any(
                other in self.tables or (other in self.chosen and self._kind(other) == "DOMAIN")
                for other in one.dependencies
            )
        if one.kind == "COMMENT":
            return any(
                other in self.tables or (other in self.chosen and self._kind(other) not in _UNSAID)
                for other in one.dependencies
            )
        if one.kind in _TIES:
            relations = [other for other in one.dependencies if self._kind(other) in _RELATIONS]
            return all(
                (other in self.chosen and self._kind(other) != "TABLE") or other in self.tables for other in relations
            )
        if one.kind == "SEQUENCE SET":
            return any(other in self.chosen for other in one.dependencies)
        if one.kind == "SEQUENCE OWNED BY":
            owner = _OWNED_BY.search(one.definition or "")
            return owner is not None and owner[1] in self._relations()
        return False

    def _take(self, number: int) -> None:
        """An entry and what it needs; what a partition or an index has above it, it can do without."""
        waiting = [number]
        while waiting:
            one = self.by_id[waiting.pop()]
            if one.id in self.chosen:
                continue
            self.chosen.add(one.id)
            for other in (*one.dependencies, *self._unsaid(one)):
                above = other == self.roots.get(one.id) or (
                    one.kind in _PARTS | _TIES and self._kind(other) in _RELATIONS
                )
                if not above and other in self.by_id:
                    waiting.append(other)

    def _unsaid(self, one: Entry) -> Iterable[int]:
        """What an entry needs without depending on it."""
        if one.kind in {"FUNCTION", "PROCEDURE"}:
            return self._called(one)
        if one.kind != "CONSTRAINT" or not _MAYBE_BTREE_GIST.search(one.definition or ""):
            return ()
        return (other.id for other in self.entries if other.kind == "EXTENSION" and other.name == _BTREE_GIST)

    def _called(self, one: Entry) -> Iterable[int]:
        """The routines that the body of one calls, by their names, as far as they need no further table."""
        body = (one.definition or "").partition(_BODY)[2]
        for schema, name in {(_plain(schema), _plain(name)) for schema, name in _CALL.findall(body)}:
            found = [each for each in self.routines.get(name, ()) if not schema or each.schema == schema]
            if len({each.schema for each in found}) == 1:  # else nobody knows which is meant
                yield from (each.id for each in found if self._is_alone(each.id))

    def _is_alone(self, number: int) -> bool:
        """Whether an entry needs no relation but the wanted tables."""
        seen: set[int] = set()
        waiting = [number]
        while waiting:
            one = waiting.pop()
            if one not in seen and one in self.by_id and one not in self.tables:
                seen.add(one)
                waiting += self.by_id[one].dependencies
        return not any("TABLE" in self._kind(one) or "VIEW" in self._kind(one) for one in seen)

    def names_what_comes(self, one: Entry) -> bool:
        """Whether a routine's text calls one that comes along, or names a wanted table with its schema."""
        if one.kind not in {"FUNCTION", "PROCEDURE"}:
            return False
        body = (one.definition or "").partition(_BODY)[2]
        named = {(_plain(schema), _plain(name)) for schema, name in _NAMED.findall(body)}
        return any(other in self.chosen for other in self._called(one)) or any(
            (self.by_id[table].schema, self.by_id[table].name) in named for table in self.tables
        )

    def _kind(self, number: int) -> str:
        return self.by_id[number].kind if number in self.by_id else ""

    def _relations(self) -> set[str]:
        """The tables as pg_dump writes them in statements."""
        found = (_CREATED.search(self.by_id[one].definition or "") for one in self.tables)
        return {one[1] for one in found if one}

    def missing(self) -> list[str]:
        """Tables that what comes along cannot do without, as SQL writes them; a child can do without its parent."""
        found: set[str] = set()
        for one in (self.by_id[number] for number in self.chosen):
            if one.kind in _PARTS | _TIES:
                continue
            inherits = _INHERITS.search(one.definition or "")
            parents = f" {inherits[1]}," if inherits else ""
            for other in set(one.dependencies) & self.chosen - self.tables:
                created = _CREATED.search(self.by_id[other].definition or "")
                if self._kind(other) == "TABLE" and created and f" {created[1]}," not in parents:
                    found.add(created[1])
        return sorted(found)

    def casts(self) -> Iterable[tuple[str, str]]:
        """What comes along and needs a cast, with that: it depends on the cast's function, and does not call it."""
        casts = {
            other: one.name for one in self._casts() for other in one.dependencies if self._kind(other) == "FUNCTION"
        }
        for one in (self.by_id[number] for number in sorted(self.chosen)):
            for other in casts.keys() & set(one.dependencies):
                name = self.by_id[other].name.partition("(")[0]
                if name not in {_plain(called) for _, called in _CALL.findall(one.definition or "")}:
                    yield one.label, casts[other]

    def _casts(self) -> list[Entry]:
        """The casts that have to do with what comes along."""
        ours = {number for number in self.chosen if self._kind(number) != "EXTENSION"}
        return [one for one in self.entries if one.kind == "CAST" and ours.intersection(one.dependencies)]

    def left_out(self) -> Iterable[LeftOut]:
        """What a person should know."""
        for one in self.entries:
            if one.id in self.chosen or not any(other in self.tables for other in one.dependencies):
                continue
            if one.kind == "FK CONSTRAINT" and self._is_of(one):
                yield LeftOut(label=one.label, why="it leads to a table that is not restored")
            elif one.kind in _BEHAVIOUR:
                yield LeftOut(label=one.label, why="a rescued table keeps its rows, not what it does by itself")
        for one in self._casts():
            yield LeftOut(label=one.name, why="a cast belongs to no schema, and only one schema is made")
        for number in self.chosen - self.tables:
            if self._kind(number) == "TABLE":
                yield LeftOut(label=self.by_id[number].label, why="its columns come along, the table itself does not")

    def _is_of(self, one: Entry) -> bool:
        """Whether a foreign key is one of a wanted table, and does not lead to one."""
        relations = self._relations()
        return any(f"ALTER TABLE ONLY {relation}\n" in (one.definition or "") for relation in relations) or any(
            f"ALTER TABLE {relation}\n" in (one.definition or "") for relation in relations
        )


def narrow_manifest(manifest: Manifest, rescue: Rescue) -> Manifest:
    """The manifest of the rescued tables alone."""
    tables = set(rescue.tables)
    sequences = {(one.schema, one.name) for one in rescue.selection.restored if one.kind == "SEQUENCE SET"}
    known = manifest.globals
    if known is not None:  # the size of all of it says nothing here
        known = replace(known, facts={key: value for key, value in known.facts.items() if key != "size_bytes"})
    return replace(
        manifest,
        tables=tuple(one for one in manifest.tables if (one.schema, one.name) in tables),
        sequences=tuple(one for one in manifest.sequences if (one.schema, one.name) in sequences),
        large_objects=LargeObjects(),
        globals=known,
    )


def moved(manifest: Manifest, schema: str) -> Manifest:
    """The same tables, looked for in another schema."""

    def copy(name: str, columns: str | None) -> str:
        return f"COPY {qualified(schema, name)} {f'({columns}) ' if columns else ' '}FROM stdin;\n"

    return replace(
        manifest,
        tables=tuple(
            replace(
                one,
                schema=schema,
                copy=copy(one.name, one.statement.columns),
                root=None if one.root is None else f"{identifier(schema)}.{_last(one.root)}",
            )
            for one in manifest.tables
        ),
        sequences=tuple(replace(one, schema=schema) for one in manifest.sequences),
    )


def _plain(word: str) -> str:
    """A name as the catalogue has it."""
    return word[1:-1].replace('""', '"') if word.startswith('"') else word.lower()


def _extension_schema(one: Entry) -> str:
    """The schema that an extension is made in; empty where it has none of its own."""
    found = _WITH_SCHEMA.search(one.definition or "")
    return _plain(found[1]) if found else ""


def _last(relation: str) -> str:
    """The table's name in `schema.table`, quoted as it is there."""
    found = NAME.fullmatch(relation)
    return found[2] if found else relation
