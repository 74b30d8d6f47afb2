"""The header and the table of contents of an archive: read, written, understood.

Shapes  `Header` and `Entry` hold exactly the fields of the format, so that reading and writing again gives the same
        bytes; everything derived from them is a property.
Errors  `ArchiveError` for another format or version, each named, and for values that pg_dump never writes.
Source  PostgreSQL, src/bin/pg_dump/pg_backup_archiver.c: ReadHead, WriteHead, ReadToc, WriteToc;
        pg_backup_custom.c: _WriteExtraToc.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from daybreak.archive.codecs import ALGORITHMS, Compression
from daybreak.archive.primitives import (
    OffsetState,
    Source,
    damaged,
    pack_int,
    pack_offset,
    pack_text,
    shown,
)
from daybreak.archive.statements import parse_copy, parse_encoding, parse_root, parse_setval
from daybreak.errors import ArchiveError

MAGIC: Final = b"PGDMP"
#: The newest pg_dump that writes each format, by the format's second number.
WRITERS: Final = {14: "pg_dump 12 to 15", 15: "pg_dump 16", 16: "pg_dump 17 and 18"}
#: More entries than any database has; each one takes more than 100 bytes of the file anyway.
ENTRIES: Final = 20_000_000
#: The largest table of contents that we hold in memory: some 200 times that of a database with 1000 tables.
TOC_BYTES: Final = 2**30

TABLE_DATA: Final = "TABLE DATA"
BLOBS: Final = "BLOBS"
SEQUENCE_SET: Final = "SEQUENCE SET"
#: What the planner knew of a relation, as calls of functions that a server has since 18.
STATISTICS: Final = "STATISTICS DATA"
#: How a session has to be set for the statements of the entries.
PREAMBLE: Final = frozenset({"ENCODING", "STDSTRINGS", "SEARCHPATH"})
#: The section of what is made when the rows are in: indexes, constraints, triggers.
BEHIND_ROWS: Final = 4

_FORMATS: Final = {1: "custom", 3: "tar or directory", 4: "plain", 5: "directory"}
_INT_SIZE: Final = 4
_OFFSET_SIZE: Final = 8
_ALGORITHM_SINCE: Final = 15
_RELKIND_SINCE: Final = 16
_LEVELS: Final = range(-1, 10)
_SECTIONS: Final = range(1, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The first bytes of an archive."""

    minor: int  # of the format's version 1.x-0
    compression: Compression
    level: int = 0  # only format 1.14 keeps one: 0 none, -1 zlib's default, else 1 to 9
    created: tuple[int, int, int, int, int, int, int]  # C's struct tm: sec, min, hour, mday, mon, year, isdst
    database: str
    server_version: str
    dump_version: str

    @property
    def format(self) -> str:
        """The format's version, as `1.16`."""
        return f"1.{self.minor}"

    @property
    def created_at(self) -> datetime:
        """When pg_dump began to write, in the local time of its machine (naive: the zone is not recorded)."""
        second, minute, hour, day, month, year, _ = self.created
        return datetime(year + 1900, month + 1, day, hour, minute, min(second, 59))  # noqa: DTZ001 -- no zone recorded

    def to_bytes(self) -> bytes:
        """The header as the format writes it."""
        parts = [MAGIC, bytes((1, self.minor, 0, _INT_SIZE, _OFFSET_SIZE, 1))]
        if self.minor >= _ALGORITHM_SINCE:
            parts.append(bytes((ALGORITHMS.index(self.compression),)))
        else:
            parts.append(pack_int(self.level))
        parts += map(pack_int, self.created)
        parts += map(pack_text, (self.database, self.server_version, self.dump_version))
        return b"".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of the table of contents; the fields stand in the order of the format."""

    id: int
    had_dumper: bool  # it has a block of data
    table_oid: int  # of the catalogue that the object stands in
    oid: int
    name: str  # pg_dump's tag: the object's name, with arguments for a function
    kind: str  # TABLE, TABLE DATA, INDEX, …
    section: int  # 1 none, 2 pre-data, 3 data, 4 post-data
    definition: str | None
    drop: str | None
    copy: str | None
    schema: str | None
    tablespace: str | None
    access_method: str | None
    relkind: int = 0  # since format 1.16, a letter's number; 0 for what is no relation
    owner: str | None
    dependencies: tuple[int, ...]
    state: OffsetState
    offset: int = 0

    @property
    def label(self) -> str:
        """The entry as people call it, for messages and progress."""
        full = f"{self.schema}.{self.name}" if self.schema else self.name
        return shown(full if self.kind == TABLE_DATA else f"{self.kind} {full}")

    @property
    def root(self) -> str | None:
        """The partitioned table that this data is loaded through, qualified and quoted, where pg_dump says so."""
        return parse_root(self.definition or "")

    @property
    def sequence_state(self) -> tuple[int, bool] | None:
        """Of a sequence's entry: its last value and whether it was given out. None for other entries."""
        if self.kind != SEQUENCE_SET:
            return None
        found = parse_setval(self.definition or "")
        if found is None:
            raise damaged(f"the value of {self.label} cannot be read")
        return found

    def to_bytes(self, minor: int) -> bytes:
        """The entry as format 1.`minor` writes it."""
        parts = [pack_int(self.id), pack_int(self.had_dumper)]
        parts += map(pack_text, (str(self.table_oid), str(self.oid), self.name, self.kind))
        parts.append(pack_int(self.section))
        texts = (self.definition, self.drop, self.copy, self.schema, self.tablespace, self.access_method)
        parts += map(pack_text, texts)
        if minor >= _RELKIND_SINCE:
            parts.append(pack_int(self.relkind))
        parts += map(pack_text, (self.owner, "false", *map(str, self.dependencies), None))
        parts.append(pack_offset(self.state, self.offset))
        return b"".join(parts)


def pack_toc(header: Header, entries: tuple[Entry, ...]) -> bytes:
    """Header and table of contents, everything in front of the data."""
    return b"".join([header.to_bytes(), pack_int(len(entries)), *(entry.to_bytes(header.minor) for entry in entries)])


def encoding_of(entries: tuple[Entry, ...]) -> str:
    """The client encoding in which the dump was made, as PostgreSQL spells it. Raise ArchiveError for none."""
    for entry in entries:
        if entry.kind == "ENCODING":
            found = parse_encoding(entry.definition or "")
            if found is not None:
                return found
    raise damaged("the table of contents does not say which encoding the dump is in")


def read_header(source: Source) -> Header:
    """Read the header. Raise ArchiveError for anything but custom format 1.14 to 1.16."""
    start = source.peek(512)
    if not start.startswith(MAGIC):
        raise _foreign(source, start)
    what = "the header"
    source.take(len(MAGIC), what)
    major, minor, revision, int_size, offset_size, kind = source.take(6, what)
    if major != 1 or minor not in WRITERS or revision:
        raise ArchiveError(
            f"an archive of format {major}.{minor}-{revision}; this Daybreak reads 1.14, 1.15 and 1.16",
            hint="it reads what pg_dump 12 to 18 write; a newer pg_dump needs a newer Daybreak",
        )
    if kind != 1:
        name = _FORMATS.get(kind, f"number {kind}")
        raise ArchiveError(f"an archive in {name} format; only the custom format is read", hint="dump with -Fc")
    if int_size != _INT_SIZE or offset_size != _OFFSET_SIZE:
        raise ArchiveError(
            f"an archive with integers of {int_size} and offsets of {offset_size} bytes; 4 and 8 are read",
            hint="it was made on another kind of machine, or it is damaged",
        )
    compression, level = _read_compression(source, minor, what)
    second, minute, hour, day, month, year, dst = (source.take_int(what) for _ in range(7))
    texts = [source.take_text(what) for _ in range(3)]
    database, server_version, dump_version = (text or "" for text in texts)
    if None in texts:
        raise damaged("the header does not name the database and the versions")
    header = Header(
        minor=minor,
        compression=compression,
        level=level,
        created=(second, minute, hour, day, month, year, dst),
        database=database,
        server_version=server_version,
        dump_version=dump_version,
    )
    try:
        _ = header.created_at
    except (ValueError, OverflowError):
        raise damaged("the header's date is none") from None
    return header


def _read_compression(source: Source, minor: int, what: str) -> tuple[Compression, int]:
    if minor >= _ALGORITHM_SINCE:
        number = source.take_byte(what)
        if number >= len(ALGORITHMS):
            raise damaged(f"compression number {number} is unknown")
        return ALGORITHMS[number], 0
    level = source.take_int(what)
    if level not in _LEVELS:
        raise damaged(f"compression level {level} is unknown")
    return (Compression.GZIP if level else Compression.NONE), level


def _foreign(source: Source, start: bytes) -> ArchiveError:
    """Say what a stream without our magic looks like."""
    if not start:
        return ArchiveError("not a PGDMP archive (it is empty)", hint="pg_dump wrote nothing; see its messages")
    shown = start[:40].decode("utf-8", "backslashreplace")
    hint = "only the custom format of pg_dump (-Fc) is read"
    if start.startswith((b"--\n-- PostgreSQL database", b"-- PostgreSQL")):
        hint = "this is a plain SQL dump; dump with -Fc"
    elif start.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"BZh", b"\xfd7zXZ")):
        hint = "this is a compressed file; unpack it first"
    elif start[257:262] == b"ustar":
        hint = "this is a tar file; dump with -Fc"
    elif MAGIC in source.peek(2**16):
        hint = "text stands in front of the archive: a login banner or a profile script prints to standard output"
    return ArchiveError(f"not a PGDMP archive (starts with {shown!r})", hint=hint)


def read_toc(source: Source, header: Header) -> tuple[Entry, ...]:
    """Read the table of contents. Raise ArchiveError where it is cut, damaged or of an unknown kind."""
    count = source.take_int("the table of contents")
    if not 0 <= count <= ENTRIES:
        raise damaged(f"the table of contents claims {count} entries")
    entries: list[Entry] = []
    seen: set[int] = set()
    for number in range(1, count + 1):
        entry = _read_entry(source, header.minor, f"entry {number} of the table of contents")
        if entry.id in seen:
            raise damaged(f"the table of contents has entry {entry.id} twice")
        _check_size(source)
        seen.add(entry.id)
        entries.append(entry)
    return tuple(entries)


def _read_entry(source: Source, minor: int, what: str) -> Entry:
    number = source.take_int(what)
    if number <= 0:
        raise damaged(f"the id {number} of {what} is out of range")
    had_dumper = source.take_int(what)
    table_oid, oid = _take_number(source, what), _take_number(source, what)
    name, kind = source.take_text(what), source.take_text(what)
    section = source.take_int(what)
    if had_dumper not in {0, 1} or name is None or not kind or section not in _SECTIONS:
        raise damaged(f"{what} (id {number}) is none that pg_dump writes")
    definition, drop, copy, schema, tablespace, access_method = (source.take_text(what) for _ in range(6))
    relkind = source.take_int(what) if minor >= _RELKIND_SINCE else 0
    owner = source.take_text(what)
    if source.take_text(what) != "false":
        raise damaged(f"{what} (id {number}) asks for OIDs in tables, which pg_dump 12 and later never do")
    dependencies = tuple(_take_dependencies(source, what))
    state, offset = source.take_offset(what)
    entry = Entry(
        id=number,
        had_dumper=bool(had_dumper),
        table_oid=table_oid,
        oid=oid,
        name=name,
        kind=kind,
        section=section,
        definition=definition,
        drop=drop,
        copy=copy,
        schema=schema,
        tablespace=tablespace,
        access_method=access_method,
        relkind=relkind,
        owner=owner,
        dependencies=dependencies,
        state=state,
        offset=offset,
    )
    _check_data(entry)
    return entry


def _check_data(entry: Entry) -> None:
    """Refuse, by name, an entry whose data we would not understand."""
    if entry.had_dumper != (entry.state is not OffsetState.NO_DATA):
        raise damaged(f"the table of contents contradicts itself about the data of {entry.label}")
    if not entry.had_dumper:
        return
    if entry.kind not in {TABLE_DATA, BLOBS}:
        raise ArchiveError(
            f"entry {entry.id} is {shown(entry.kind)!r} with data, which this Daybreak does not know",
            hint="it reads what pg_dump 12 to 18 write; a newer pg_dump needs a newer Daybreak",
        )
    if entry.kind == TABLE_DATA:
        if not entry.copy:
            raise ArchiveError(
                f"the data of {entry.label} is INSERT statements, not COPY data",
                hint="dump without --inserts, --column-inserts and --rows-per-insert",
            )
        _ = parse_copy(entry.copy)


def _check_size(source: Source) -> None:
    if source.position > TOC_BYTES:
        raise damaged(f"the table of contents goes on behind byte {TOC_BYTES}")


def _take_number(source: Source, what: str) -> int:
    text = source.take_text(what)
    return _number(text, what)


def _number(text: str | None, what: str) -> int:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 10 or str(int(text)) != text:  # noqa: PLR2004 -- digits of 2**32
        raise damaged(f"{shown(text or '')!r} in {what} is no number")
    return int(text)


def _take_dependencies(source: Source, what: str) -> list[int]:
    found: list[int] = []
    while (text := source.take_text(what)) is not None:
        found.append(_number(text, what))
        _check_size(source)
    return found
