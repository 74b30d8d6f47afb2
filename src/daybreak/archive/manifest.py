"""The manifest beside an archive: what it holds, so that every later copy can be compared.

Shapes  `Manifest.from_scan` makes one, `to_json` and `read_manifest` write and read it as JSON, `"format": 1`.
Units   sizes in bytes; instants are aware; sha256 is 64 hexadecimal digits, `unordered` (order-free) is 32.
Errors  `ArchiveError` for a manifest that is missing, damaged, of another format, or not a manifest at all.
Source  the design: "On disk, beside the archive"; `docs/archive.md` has every field.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from daybreak.archive.digest import Digest, LargeObjects
from daybreak.archive.fields import Fields, JsonValue, bad_manifest
from daybreak.archive.primitives import shown
from daybreak.archive.reader import Scan
from daybreak.archive.statements import CopyStatement, parse_copy
from daybreak.archive.toc import SEQUENCE_SET, TABLE_DATA
from daybreak.errors import ArchiveError, UnreadableError
from daybreak.units import rfc3339

FORMAT: Final = 1
#: A manifest with more is not one of ours: a table takes some 500 bytes, a large object 60.
MANIFEST_BYTES: Final = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRecord:
    """The data of one table."""

    schema: str
    name: str
    copy: str  # the COPY statement of the table of contents, as pg_dump wrote it
    root: str | None  # the partitioned table that it is loaded through, qualified and quoted
    created: bool  # the archive creates the table; False: an extension does, and may put rows of its own into it
    digest: Digest

    @property
    def statement(self) -> CopyStatement:
        """The parts of `copy`, and the statement that prints the same columns."""
        return parse_copy(self.copy)

    @property
    def label(self) -> str:
        """`schema.name`, for people."""
        return shown(f"{self.schema}.{self.name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceRecord:
    """The state of one sequence."""

    schema: str
    name: str
    last_value: int
    is_called: bool

    @property
    def label(self) -> str:
        """`schema.name`, for people."""
        return shown(f"{self.schema}.{self.name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Globals:
    """What belongs to the archive but stands outside: roles in a file of their own, the database's properties."""

    sha256: str
    size_bytes: int
    facts: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])  # owner, locale, acl, lc_monetary …


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What one archive holds."""

    id: str
    plan: str
    run: str
    taken_at: datetime  # just before the dump's snapshot began
    finished_at: datetime  # when the archive was complete and read back
    sha256: str  # of the whole file
    size_bytes: int
    archive_format: str  # 1.14, 1.15, 1.16
    compression: str
    dump_version: str
    server_version: str
    database: str
    encoding: str  # the client encoding of the dump
    entries: int
    tables: tuple[TableRecord, ...]
    sequences: tuple[SequenceRecord, ...]
    large_objects: LargeObjects
    globals: Globals | None = None

    @property
    def major(self) -> int:
        """The version of the server that it comes from: `15.13 (Debian 15.13-0+deb12u1)` is 15."""
        return int(re.split(r"\D", self.server_version, maxsplit=1)[0])

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.digest.rows for table in self.tables)

    @property
    def data_bytes(self) -> int:
        """Bytes of all tables' COPY data and all large objects, decompressed."""
        return sum(table.digest.size_bytes for table in self.tables) + self.large_objects.size_bytes

    @property
    def facts(self) -> Mapping[str, JsonValue]:
        """The database's own properties; none where the globals are missing."""
        return self.globals.facts if self.globals is not None else {}

    @classmethod
    def from_scan(
        cls,
        scan: Scan,
        *,
        id: str,  # noqa: A002 -- the field's name
        plan: str,
        run: str,
        taken_at: datetime,
        finished_at: datetime,
        sha256: str,
        size_bytes: int,
        globals: Globals | None = None,  # noqa: A002 -- the field's name
    ) -> Self:
        """The manifest of an archive that was read; sha256 and size are those of the finished file."""
        return cls(
            id=id,
            plan=plan,
            run=run,
            taken_at=taken_at,
            finished_at=finished_at,
            sha256=sha256,
            size_bytes=size_bytes,
            archive_format=scan.header.format,
            compression=str(scan.header.compression),
            dump_version=scan.header.dump_version,
            server_version=scan.header.server_version,
            database=scan.header.database,
            encoding=scan.encoding,
            entries=len(scan.entries),
            tables=table_records(scan),
            sequences=sequence_records(scan),
            large_objects=scan.large_objects,
            globals=globals,
        )

    def to_json(self) -> bytes:
        """The file's bytes: sorted keys, ASCII, a newline at the end; the same manifest gives the same bytes."""
        root: dict[str, JsonValue] = {
            "format": FORMAT,
            "id": self.id,
            "plan": self.plan,
            "run": self.run,
            "taken_at": rfc3339(self.taken_at),
            "finished_at": rfc3339(self.finished_at),
            "archive": {
                "sha256": self.sha256,
                "size_bytes": self.size_bytes,
                "format": self.archive_format,
                "compression": self.compression,
                "dump_version": self.dump_version,
                "server_version": self.server_version,
                "database": self.database,
                "encoding": self.encoding,
                "entries": self.entries,
            },
            "tables": [_table_json(table) for table in self.tables],
            "sequences": [
                {"schema": each.schema, "name": each.name, "last_value": each.last_value, "is_called": each.is_called}
                for each in self.sequences
            ],
            "large_objects": {
                "count": len(self.large_objects),
                "bytes": self.large_objects.size_bytes,
                "sha256": self.large_objects.sha256,
                "records": base64.b64encode(zlib.compress(self.large_objects.packed, 1)).decode(),
            },
            "globals": None
            if self.globals is None
            else {
                "sha256": self.globals.sha256,
                "size_bytes": self.globals.size_bytes,
                "facts": dict(self.globals.facts),
            },
        }
        return json.dumps(root, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"


def table_records(scan: Scan) -> tuple[TableRecord, ...]:
    """The tables of an archive, in the order of their data."""
    created = {entry.id for entry in scan.entries if entry.kind != TABLE_DATA and entry.section != _DATA_SECTION}
    return tuple(
        TableRecord(
            schema=entry.schema or "",
            name=entry.name,
            copy=entry.copy or "",
            root=entry.root,
            created=any(number in created for number in entry.dependencies),
            digest=digest,
        )
        for entry, digest in scan.tables
    )


#: The section of entries that hold data, and so create nothing.
_DATA_SECTION: Final = 3


def sequence_records(scan: Scan) -> tuple[SequenceRecord, ...]:
    """The sequences of an archive with the values that a restore gives them."""
    found: list[SequenceRecord] = []
    for entry in scan.entries:
        state = entry.sequence_state
        if entry.kind == SEQUENCE_SET and state is not None:
            schema = entry.schema or ""
            found.append(SequenceRecord(schema=schema, name=entry.name, last_value=state[0], is_called=state[1]))
    return tuple(found)


def _table_json(table: TableRecord) -> JsonValue:
    digest = table.digest
    return {
        "schema": table.schema,
        "name": table.name,
        "copy": table.copy,
        "root": table.root,
        "created": table.created,
        "rows": digest.rows,
        "bytes": digest.size_bytes,
        "sha256": digest.sha256,
        "unordered": digest.unordered or None,
    }


def parse_manifest(raw: bytes, name: str) -> Manifest:
    """Read a manifest's bytes; `name` is the file's, for messages. Raise ArchiveError."""
    try:
        value: JsonValue = json.loads(raw)
    except (ValueError, RecursionError) as fault:
        raise bad_manifest(name, f"it is not JSON ({fault})") from None
    root = Fields(value, name)
    number = root.count("format")
    if number != FORMAT:
        raise ArchiveError(
            f"{name} is a manifest of format {number}; this Daybreak reads 1", hint="use a newer Daybreak"
        )
    about = root.inner("archive")
    manifest = Manifest(
        id=root.text("id"),
        plan=root.text("plan"),
        run=root.text("run"),
        taken_at=root.instant("taken_at"),
        finished_at=root.instant("finished_at"),
        sha256=about.digits("sha256", 64),
        size_bytes=about.count("size_bytes"),
        archive_format=about.text("format"),
        compression=about.text("compression"),
        dump_version=about.text("dump_version"),
        server_version=about.text("server_version"),
        database=about.text("database"),
        encoding=about.text("encoding"),
        entries=about.count("entries"),
        tables=tuple(_parse_table(table) for table in root.each("tables")),
        sequences=tuple(_parse_sequence(sequence) for sequence in root.each("sequences")),
        large_objects=_parse_objects(root.inner("large_objects")),
        globals=_parse_globals(root.inner("globals")) if root.has("globals") else None,
    )
    about.done()
    root.done()
    return manifest


def read_manifest(path: Path) -> Manifest:
    """Read a manifest. Raise UnreadableError where it is missing, ArchiveError for one that is damaged or none."""
    try:
        if path.stat().st_size > MANIFEST_BYTES:
            raise bad_manifest(str(path), "it is too large for one")
        raw = path.read_bytes()
    except OSError as fault:
        raise UnreadableError(f"the manifest {path} cannot be read: {fault.strerror}", hint="check the path") from fault
    return parse_manifest(raw, str(path))


def _parse_table(table: Fields) -> TableRecord:
    record = TableRecord(
        schema=table.text("schema"),
        name=table.text("name"),
        copy=table.text("copy"),
        root=table.text("root") if table.has("root") else None,
        created=table.flag("created"),
        digest=Digest(
            rows=table.count("rows"),
            size_bytes=table.count("bytes"),
            sha256=table.digits("sha256", 64),
            unordered=table.digits("unordered", 32) if table.has("unordered") else "",
        ),
    )
    if record.root is not None and not record.digest.unordered:
        raise table.bad("unordered", "is missing, and without it rows behind a partition root cannot be compared")
    table.done()
    _ = record.statement
    return record


def _parse_sequence(sequence: Fields) -> SequenceRecord:
    record = SequenceRecord(
        schema=sequence.text("schema"),
        name=sequence.text("name"),
        last_value=sequence.number("last_value"),
        is_called=sequence.flag("is_called"),
    )
    sequence.done()
    return record


def _parse_objects(objects: Fields) -> LargeObjects:
    try:
        packed = base64.b64decode(objects.text("records"), validate=True)
        records = LargeObjects(zlib.decompressobj().decompress(packed, MANIFEST_BYTES))
    except (ValueError, zlib.error, ArchiveError) as fault:
        raise objects.bad("records", f"is damaged ({fault})") from None
    told = (objects.count("count"), objects.count("bytes"), objects.digits("sha256", 64))
    if told != (len(records), records.size_bytes, records.sha256):
        raise objects.bad("records", "does not agree with the fields beside it")
    objects.done()
    return records


def _parse_globals(about: Fields) -> Globals:
    found = Globals(
        sha256=about.digits("sha256", 64), size_bytes=about.count("size_bytes"), facts=about.inner("facts").values
    )
    about.done()
    return found
