"""An archive as shards: what a snapshot holds, and its manifest.

    <plan>/join.py  manifest.json  toc  globals.sql  README.txt  shards/ab/<sha256>

Shapes  `cut_archive` reads an archive, hands over each shard and gives the `ShardManifest`; `join` (a program of its
        own, for it travels in every snapshot) makes an archive of them again, whose manifest is `joined`.
        A shard is named by the sha256 of its bytes; a table's shards joined are its COPY data, an entry of large
        objects' what stands in an uncompressed block. `toc` is the head of an uncompressed archive without offsets.
Errors  `ArchiveError` for an archive that is not its manifest's, and for a manifest that cannot be used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from daybreak.archive.codecs import Compression
from daybreak.archive.cutting import Cutting, cut_objects, cut_rows
from daybreak.archive.fields import Fields, JsonValue, bad_manifest
from daybreak.archive.manifest import Manifest, parse_manifest
from daybreak.archive.primitives import OffsetState, damaged, pack_int, pack_offset
from daybreak.archive.reader import copy_data, large_objects, read_contents
from daybreak.archive.toc import TABLE_DATA, Entry, Header
from daybreak.archive.writer import with_compression
from daybreak.errors import ArchiveError
from daybreak.units import show_count

FORMAT: Final = 1
KIND: Final = "daybreak shards"
#: The files of a snapshot beside its shards.
MANIFEST: Final = "manifest.json"
TOC: Final = "toc"
GLOBALS: Final = "globals.sql"
JOIN: Final = "join.py"
README: Final = "README.txt"
SHARDS: Final = "shards"

_NO_CHECKSUM: Final = "0" * 64
_DIGITS: Final = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of a snapshot, or one below `shards/`."""

    sha256: str
    size_bytes: int

    @classmethod
    def of(cls, data: bytes) -> Shard:
        """The name that these bytes get."""
        return cls(hashlib.sha256(data).hexdigest(), len(data))

    @property
    def path(self) -> str:
        """Where it stands in the snapshot's folder, if it is one of the shards."""
        return f"{SHARDS}/{self.sha256[:2]}/{self.sha256}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardBlock:
    """The data of one entry."""

    id: int
    kind: str
    label: str
    toc_at: int  # where in `toc` the entry's offset is to be written
    sha256: str  # of all its shards, joined
    shards: tuple[Shard, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardManifest:
    """What a snapshot holds."""

    archive: Manifest
    cutting: Cutting
    files: Mapping[str, Shard]  # toc, globals.sql
    blocks: tuple[ShardBlock, ...]

    @property
    def shards(self) -> Iterator[Shard]:
        """Every shard, in the order of the archive; the same one may come more than once."""
        for block in self.blocks:
            yield from block.shards

    def to_json(self) -> bytes:
        """The file's bytes; the checksum in it is of these bytes with a checksum of zeros."""
        root: dict[str, JsonValue] = {
            "kind": KIND,
            "format": FORMAT,
            "checksum": _NO_CHECKSUM,
            "archive": json.loads(self.archive.to_json()),
            "cutting": {
                "minimum_bytes": self.cutting.minimum_bytes,
                "maximum_bytes": self.cutting.maximum_bytes,
            },
            "files": {name: [file.sha256, file.size_bytes] for name, file in self.files.items()},
            "blocks": [
                {
                    "id": block.id,
                    "kind": block.kind,
                    "label": block.label,
                    "toc_at": block.toc_at,
                    "sha256": block.sha256,
                    "shards": [f"{shard.sha256} {shard.size_bytes}" for shard in block.shards],
                }
                for block in self.blocks
            ],
        }
        # The checksum comes before the archive's: the first text of zeros is its place, and nobody else's sha256.
        raw = json.dumps(root, indent=0, allow_nan=False).encode() + b"\n"
        return raw.replace(_NO_CHECKSUM.encode(), hashlib.sha256(raw).hexdigest().encode(), 1)


def parse_shard_manifest(raw: bytes, name: str) -> ShardManifest:
    """Read a snapshot's manifest; `name` is the file's, for messages. Raise ArchiveError."""
    try:
        value: JsonValue = json.loads(raw)
    except (ValueError, RecursionError) as fault:
        raise bad_manifest(name, f"it is not JSON ({fault})") from None
    root = Fields(value, name)
    kind, number = root.text("kind"), root.count("format")
    if (kind, number) != (KIND, FORMAT):
        raise ArchiveError(f"{name} is a manifest of shards of format {number}", hint="use a newer Daybreak")
    told = root.digits("checksum", 64)
    if hashlib.sha256(raw.replace(told.encode(), _NO_CHECKSUM.encode(), 1)).hexdigest() != told:
        raise bad_manifest(name, "it has not its own checksum")
    cutting = root.inner("cutting")
    found = ShardManifest(
        archive=parse_manifest(json.dumps(root.inner("archive").values).encode(), name),
        cutting=Cutting(minimum_bytes=cutting.count("minimum_bytes"), maximum_bytes=cutting.count("maximum_bytes")),
        files={key: _parse_file(name, value) for key, value in root.inner("files").values.items()},
        blocks=tuple(_parse_block(name, block) for block in root.each("blocks")),
    )
    root.done()
    return found


def _parse_file(name: str, value: JsonValue) -> Shard:
    match value:
        case [str(sha256), int(size)]:
            return Shard(sha256, size)
        case _:
            raise bad_manifest(name, "a file in it is not a sha256 and a size")


def _parse_block(name: str, block: Fields) -> ShardBlock:
    return ShardBlock(
        id=block.count("id"),
        kind=block.text("kind"),
        label=block.text("label"),
        toc_at=block.count("toc_at"),
        sha256=block.digits("sha256", 64),
        shards=tuple(_parse_shard(name, line) for line in block.texts("shards")),
    )


def _parse_shard(name: str, line: str) -> Shard:
    sha256, _, size = line.partition(" ")
    if len(sha256) != len(_NO_CHECKSUM) or not _DIGITS.issuperset(sha256) or not size.isdecimal():
        raise bad_manifest(name, f"{line[:80]!r} is not a sha256 and a size")
    return Shard(sha256, int(size))


def _never(_sha256: str) -> None:
    """No table is known."""


def cut_archive(
    path: Path,
    manifest: Manifest,
    cutting: Cutting,
    put: Callable[[Shard, bytes], None],
    *,
    known: Callable[[str], tuple[Shard, ...] | None] = _never,
) -> tuple[tuple[ShardBlock, ...], bytes]:
    """Cut the archive that `manifest` belongs to; `put` gets each shard. The blocks, and the bytes of `toc`.

    `known` may give the shards of a table's data by its sha256, from a cutting with the same parameters: the same bytes
    are always cut in the same way, so that table is not read.
    Raise ArchiveError where a table's data is not what the manifest says; faults of `put` pass through.
    """
    header, entries = read_contents(path)
    contents, places = _contents(header, entries)
    tables = {(table.schema, table.name): table.digest for table in manifest.tables}
    blocks: list[ShardBlock] = []
    for entry in entries:
        if not entry.had_dumper:
            continue
        told = tables.pop((entry.schema or "", entry.name), None) if entry.kind == TABLE_DATA else None
        shards = known(told.sha256) if told is not None else None
        if told is not None and shards is not None:
            sha256 = told.sha256
        else:
            sha256, shards = _cut(path, entry, cutting, put)
        if entry.kind == TABLE_DATA and (told is None or told.sha256 != sha256):
            raise damaged(f"the data of {entry.label} is not what the manifest says")
        blocks.append(
            ShardBlock(
                id=entry.id,
                kind=entry.kind,
                label=entry.label,
                toc_at=places[entry.id],
                sha256=sha256,
                shards=shards,
            )
        )
    if tables:
        raise damaged(f"{show_count(len(tables), 'table')} of the manifest without data in the archive")
    return tuple(blocks), contents


def _cut(
    path: Path, entry: Entry, cutting: Cutting, put: Callable[[Shard, bytes], None]
) -> tuple[str, tuple[Shard, ...]]:
    """Cut the data of one entry; its sha256 and its shards."""
    whole = hashlib.sha256()
    shards: list[Shard] = []
    for data in _shards_of(path, entry, cutting):
        shard = Shard.of(data)
        whole.update(data)
        shards.append(shard)
        put(shard, data)
    return whole.hexdigest(), tuple(shards)


def _shards_of(path: Path, entry: Entry, cutting: Cutting) -> Iterator[bytes]:
    if entry.kind == TABLE_DATA:
        return cut_rows(copy_data(path, entry), cutting)
    return cut_objects(large_objects(path, entry), cutting)


def _contents(header: Header, entries: tuple[Entry, ...]) -> tuple[bytes, dict[int, int]]:
    """The head of an uncompressed archive with no offset filled in, and where each offset's place is."""
    plain = with_compression(header, Compression.NONE)
    parts = [plain.to_bytes(), pack_int(len(entries))]
    width = len(pack_offset(OffsetState.NOT_SET, 0))
    at = sum(map(len, parts))
    places: dict[int, int] = {}
    for entry in entries:
        if entry.had_dumper:
            entry = replace(entry, state=OffsetState.NOT_SET, offset=0)  # noqa: PLW2901 -- the same entry, unplaced
        packed = entry.to_bytes(plain.minor)
        parts.append(packed)
        at += len(packed)
        places[entry.id] = at - width  # an entry ends with its offset
    return b"".join(parts), places


def joined(manifest: Manifest, *, sha256: str, size_bytes: int) -> Manifest:
    """The manifest of an archive that was joined from shards: the same archive in another file."""
    return replace(manifest, sha256=sha256, size_bytes=size_bytes, compression=str(Compression.NONE))
