"""Reads an archive and compares it with its manifest: what `daybreak archive read` shows.

Shapes  `check_archive` gives a `CheckReport`; `differences` has every difference in words, none when they are equal.
Errors  `ArchiveError` where the archive cannot be read to its end or the manifest cannot be read;
        `require_equal` raises it for differences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from daybreak.archive.digest import Digest, LargeObjects
from daybreak.archive.fields import JsonValue
from daybreak.archive.manifest import Manifest, TableRecord, read_manifest, sequence_records, table_records
from daybreak.archive.primitives import shown
from daybreak.archive.reader import Progress, Scan, read_archive
from daybreak.errors import ArchiveError
from daybreak.units import show_count

#: How many differences stand in an error's text; the report has all.
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What an archive holds and how it differs from its manifest."""

    path: Path
    scan: Scan
    manifest: Manifest | None
    differences: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """In words: equal, different, or not comparable."""
        if self.manifest is None:
            return "structure only: not comparable"
        if self.differences:
            return f"{len(self.differences)} difference{'s' * (len(self.differences) > 1)} from its manifest"
        return "equal to its manifest"

    def require_equal(self) -> None:
        """Raise ArchiveError where there are differences."""
        if self.differences:
            shown = "; ".join(self.differences[:_SHOWN])
            more = f"; and {len(self.differences) - _SHOWN} more" if len(self.differences) > _SHOWN else ""
            raise ArchiveError(
                f"{self.path} is not what its manifest says: {shown}{more}",
                hint="do not restore from it; take an older one or fetch a copy from off-site",
            )

    def to_dict(self) -> dict[str, JsonValue]:
        """The report as it stands in `--json`; `manifest` is null where there is none."""
        scan = self.scan
        return {
            "path": str(self.path),
            "size_bytes": scan.size_bytes,
            "sha256": scan.sha256,
            "format": scan.header.format,
            "compression": str(scan.header.compression),
            "database": scan.header.database,
            "server_version": scan.header.server_version,
            "dump_version": scan.header.dump_version,
            "rows": scan.rows,
            "entries": [_entry_dict(scan, number) for number in range(len(scan.entries))],
            "large_objects": {
                "count": len(scan.large_objects),
                "bytes": scan.large_objects.size_bytes,
                "sha256": scan.large_objects.sha256,
            },
            "manifest": None if self.manifest is None else {"id": self.manifest.id, "equal": not self.differences},
            "differences": list(self.differences),
            "verdict": self.verdict,
        }


def _entry_dict(scan: Scan, number: int) -> JsonValue:
    entry = scan.entries[number]
    block = scan.blocks.get(entry.id)
    digest = block.digest if block else None
    return {
        "id": entry.id,
        "kind": entry.kind,
        "schema": entry.schema,
        "name": entry.name,
        "rows": digest.rows if digest else None,
        "bytes": digest.size_bytes if digest else None,
        "sha256": digest.sha256 if digest else None,
    }


def check_archive(
    path: Path, manifest_path: Path | None, *, on_progress: Callable[[Progress], None] | None = None
) -> CheckReport:
    """Read the archive to its end and compare it with the manifest, if one is named."""
    manifest = read_manifest(manifest_path) if manifest_path is not None else None
    try:
        scan = read_archive(path, on_progress=on_progress)
    except ArchiveError as fault:
        if manifest is not None and path.is_file() and path.stat().st_size != manifest.size_bytes:
            size = f"the file has {path.stat().st_size} bytes, its manifest says {manifest.size_bytes}"
            raise ArchiveError(fault.message, hint=f"{size}; {fault.hint}") from fault
        raise
    found = tuple(differences(scan, manifest)) if manifest is not None else ()
    return CheckReport(path=path, scan=scan, manifest=manifest, differences=found)


def differences(scan: Scan, manifest: Manifest) -> Iterator[str]:
    """Every difference between an archive that was read from a file and a manifest, in words."""
    for name, found, told in (
        ("size", scan.size_bytes, manifest.size_bytes),
        ("sha256 of the whole file", scan.sha256, manifest.sha256),
        ("format", scan.header.format, manifest.archive_format),
        ("compression", str(scan.header.compression), manifest.compression),
        ("pg_dump version", scan.header.dump_version, manifest.dump_version),
        ("server version", scan.header.server_version, manifest.server_version),
        ("database", scan.header.database, manifest.database),
        ("encoding", scan.encoding, manifest.encoding),
        ("entries", len(scan.entries), manifest.entries),
    ):
        if found != told:
            yield f"{name}: {shown(str(found))}, the manifest says {shown(str(told))}"
    yield from _compare_tables(table_records(scan), manifest.tables)
    sequences, told_sequences = Counter(sequence_records(scan)), Counter(manifest.sequences)
    for sequence in sequences - told_sequences:
        yield f"sequence {sequence.label}: not with this value in the manifest"
    for sequence in told_sequences - sequences:
        yield f"sequence {sequence.label}: not with the manifest's value in the archive"
    yield from _compare_objects(scan.large_objects, manifest.large_objects)


def _compare_tables(found: tuple[TableRecord, ...], told: tuple[TableRecord, ...]) -> Iterator[str]:
    there = {(table.schema, table.name): table for table in found}
    expected = {(table.schema, table.name): table for table in told}
    if len(there) != len(found) or len(expected) != len(told):
        yield "a table has its data twice"
    for key, table in expected.items():
        other = there.get(key)
        if other is None:
            yield f"{table.label}: missing in the archive"
        elif other.digest != table.digest:
            yield f"{table.label}: {_compare_digest(other.digest, table.digest)}"
        elif other != table:
            yield f"{table.label}: its COPY statement or root differs"
    for key, table in there.items():
        if key not in expected:
            yield f"{table.label}: not in the manifest"


def _compare_digest(found: Digest, told: Digest) -> str:
    if found.rows != told.rows:
        return f"{show_count(found.rows, 'row')}, the manifest says {show_count(told.rows)}"
    return f"other bytes in {show_count(found.rows, 'row')}"


def _compare_objects(found: LargeObjects, told: LargeObjects) -> Iterator[str]:
    if found == told:
        return
    there = {each.oid: each for each in found}
    for each in told:
        other = there.pop(each.oid, None)
        if other is None:
            yield f"large object {each.oid}: missing in the archive"
        elif other != each:
            yield f"large object {each.oid}: other content"
    for oid in there:
        yield f"large object {oid}: not in the manifest"
