"""What the tests of archives share: small archives of our own making, and the shapes of the fixtures."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from hypothesis import strategies as st

from daybreak.archive import (
    ArchiveWriter,
    Compression,
    Entry,
    Header,
    Manifest,
    OffsetState,
    Scan,
    TableDigest,
    join,
    read_archive,
    scan,
)
from daybreak.archive.cutting import Cutting
from daybreak.archive.shards import Shard, ShardManifest, cut_archive

#: Any bytes that a text of an archive may hold, as we keep them.
texts = (
    st.binary(max_size=200).filter(lambda raw: b"\0" not in raw).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
)

#: What each pg_dump can do: the value of its option -Z.
COMPRESSIONS = {
    15: {"none": "0", "gzip": "1"},
    16: {"none": "none", "gzip": "gzip:1", "lz4": "lz4", "zstd": "zstd:1"},
    17: {"none": "none", "gzip": "gzip:1", "lz4": "lz4", "zstd": "zstd:1"},
    18: {"none": "none", "gzip": "gzip:1", "lz4": "lz4", "zstd": "zstd:1"},
}
#: Formats and what may compress their data.
KINDS = [
    (14, Compression.NONE),
    (14, Compression.GZIP),
    *((minor, compression) for minor in (15, 16) for compression in Compression),
]
MATRIX = [(major, name) for major, names in COMPRESSIONS.items() for name in names]

#: What changes the text of values, pinned on both sides.
PINNED = (
    "-c TimeZone=UTC -c bytea_output=hex -c DateStyle=ISO -c IntervalStyle=postgres -c extra_float_digits=3 "
    "-c synchronize_seqscans=off"
)


def environment() -> dict[str, str]:
    """Ours, and the settings that both sides share."""
    return os.environ | {"PGOPTIONS": PINNED, "PGCLIENTENCODING": "UTF8"}


class Server(Protocol):
    """What these tests use of a server."""

    @property
    def bin(self) -> Path: ...
    def conninfo(self, dbname: str = ...) -> str: ...
    def rich(self) -> str: ...
    def psql(self, sql: str, dbname: str = ...) -> str: ...
    def create_database(self, name: str, *, template: str = ...) -> str: ...
    def drop_database(self, name: str) -> None: ...


Servers = Mapping[int, Server]


@dataclass(kw_only=True)
class Dumped:
    """An archive as a piped pg_dump wrote it, and what the pass over the pipe saw."""

    major: int
    compression: str
    path: Path
    scan: Scan
    filled: Path  # a copy with its offsets filled in


Dump = Callable[[int, str], Dumped]
CopyOut = Callable[[Server, str, str], TableDigest]

ROWS = b"1\tone\n2\t\\N\n3\tback\\\\slash\n"
OBJECTS = ((16401, b"first" * 1000), (16402, b""), (4000000000, b"\0\xff" * 70000))


def header(minor: int = 16, compression: Compression = Compression.ZSTD) -> Header:
    """A header such as pg_dump writes."""
    level = 1 if minor == 14 and compression is Compression.GZIP else 0
    return Header(
        minor=minor,
        compression=compression,
        level=level,
        created=(59, 30, 2, 22, 10, 126, 0),
        database="genjishimada",
        server_version="17.5",
        dump_version="17.5",
    )


def entry(number: int, kind: str, name: str, **fields: object) -> Entry:
    """An entry with everything else as pg_dump would have it."""
    has_data = kind in {"TABLE DATA", "BLOBS"}
    plain = Entry(
        id=number,
        had_dumper=has_data,
        table_oid=0,
        oid=0,
        name=name,
        kind=kind,
        section=3 if has_data or kind == "SEQUENCE SET" else 2,
        definition="",
        drop="",
        copy="",
        schema="public",
        tablespace=None,
        access_method=None,
        owner="postgres",
        dependencies=(),
        state=OffsetState.NOT_SET if has_data else OffsetState.NO_DATA,
    )
    return replace(plain, **fields)  # pyright: ignore[reportArgumentType] -- the tests name fields of Entry


def table_entry(number: int, name: str) -> Entry:
    """The entry of a table's data."""
    return entry(
        number, "TABLE DATA", name, copy=f"COPY public.{name} (id, note) FROM stdin;\n", dependencies=(number - 1,)
    )


ENCODING = entry(1, "ENCODING", "ENCODING", definition="SET client_encoding = 'UTF8';\n", schema=None)
SEQUENCE = entry(
    9, "SEQUENCE SET", "ids", definition="SELECT pg_catalog.setval('public.ids', 77, true);\n", dependencies=(8,)
)


def build(
    minor: int = 16,
    compression: Compression = Compression.ZSTD,
    tables: Mapping[str, Iterable[bytes]] | None = None,
    objects: Iterable[tuple[int, bytes]] = OBJECTS,
    change: Callable[[list[Entry]], list[Entry]] = lambda entries: entries,
) -> bytes:
    """An archive with these tables and large objects."""
    tables = {"first": [ROWS], "second": []} if tables is None else tables
    entries = [ENCODING]
    data: dict[int, Iterable[bytes]] = {}
    for number, (name, pieces) in enumerate(tables.items()):
        at = 10 + 2 * number
        entries += [
            entry(at, "TABLE", name, definition=f"CREATE TABLE public.{name} ();\n", access_method="heap"),
            table_entry(at + 1, name),
        ]
        data[at + 1] = pieces
    large = entry(900, "BLOBS", "BLOBS", schema=None)
    entries += [SEQUENCE, large]
    entries = change(entries)
    file = io.BytesIO()
    writer = ArchiveWriter(file, header(minor, compression), entries)
    for number, pieces in data.items():
        writer.table(next(each for each in entries if each.id == number), pieces)
    writer.objects(large, objects)
    writer.close()
    return file.getvalue()


def scan_bytes(raw: bytes) -> Scan:
    """Read an archive from memory."""
    return scan(io.BytesIO(raw).read)


def manifest_of(found: Scan, raw: bytes) -> Manifest:
    """The manifest of an archive with these bytes."""
    return Manifest.from_scan(
        found,
        id="a1",
        plan="nightly",
        run="r1",
        taken_at=datetime(2026, 11, 22, 8, tzinfo=UTC),
        finished_at=datetime(2026, 11, 22, 8, 1, tzinfo=UTC),
        sha256=sha256(raw).hexdigest(),
        size_bytes=len(raw),
    )


def pack(archive: Path, folder: Path, cutting: Cutting) -> ShardManifest:
    """The folder of a snapshot with this archive in it, as a ship makes it."""
    found = read_archive(archive)
    manifest = manifest_of(found, archive.read_bytes())

    def put(shard: Shard, data: bytes) -> None:
        path = folder / shard.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    folder.mkdir(exist_ok=True)
    blocks, toc = cut_archive(archive, manifest, cutting, put)
    files = {"toc": toc, "globals.sql": b"CREATE ROLE genji;\n"}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    made = ShardManifest(
        archive=manifest,
        cutting=cutting,
        files={name: Shard.of(content) for name, content in files.items()},
        blocks=blocks,
    )
    (folder / "manifest.json").write_bytes(made.to_json())
    shutil.copyfile(join.__file__, folder / "join.py")
    return made
