"""PostgreSQL's custom archive format, read and written as a stream; the manifest beside it. Bytes only: no server.

    scan            one pass over a stream, while pg_dump writes it: header, entries, digests, completeness
    fill_offsets    the offsets that a piped pg_dump leaves empty
    read_archive    the same pass over a file; `check_archive` compares it with its manifest
    read_contents   the header and the table of contents alone
    copy_data       one table's COPY data by its offset, `table_data` by its name; `large_objects` likewise
    rewrite         the same archive with another compression
    read_restorable the entries to choose from for a restore; `write_restorable` the file for it
    TableDigest     for the other side of a proof: feed it what `COPY … TO STDOUT` prints

Errors  `ArchiveError` for everything that can be wrong with an archive or a manifest.
"""

from daybreak.archive.check import CheckReport, check_archive, differences
from daybreak.archive.codecs import Compression
from daybreak.archive.digest import Digest, LargeObject, LargeObjects, TableDigest, are_the_same, digest_of
from daybreak.archive.manifest import (
    Globals,
    Manifest,
    SequenceRecord,
    TableRecord,
    parse_manifest,
    read_manifest,
    sequence_records,
    table_records,
)
from daybreak.archive.primitives import OffsetState
from daybreak.archive.reader import (
    Block,
    Progress,
    Scan,
    copy_data,
    fill_offsets,
    large_objects,
    read_archive,
    read_contents,
    scan,
    table_data,
    with_offsets,
)
from daybreak.archive.restorable import freezable, read_restorable, write_restorable
from daybreak.archive.statements import (
    CopyStatement,
    parse_altered,
    parse_attached,
    parse_collation,
    parse_copy,
    parse_grantees,
    parse_hashed,
    parse_label_providers,
    parse_policy_roles,
    parse_settings,
)
from daybreak.archive.toc import Entry, Header
from daybreak.archive.writer import ArchiveWriter, rewrite

__all__ = [
    "ArchiveWriter",
    "Block",
    "CheckReport",
    "Compression",
    "CopyStatement",
    "Digest",
    "Entry",
    "Globals",
    "Header",
    "LargeObject",
    "LargeObjects",
    "Manifest",
    "OffsetState",
    "Progress",
    "Scan",
    "SequenceRecord",
    "TableDigest",
    "TableRecord",
    "are_the_same",
    "check_archive",
    "copy_data",
    "differences",
    "digest_of",
    "fill_offsets",
    "freezable",
    "large_objects",
    "parse_altered",
    "parse_attached",
    "parse_collation",
    "parse_copy",
    "parse_grantees",
    "parse_hashed",
    "parse_label_providers",
    "parse_manifest",
    "parse_policy_roles",
    "parse_settings",
    "read_archive",
    "read_contents",
    "read_manifest",
    "read_restorable",
    "rewrite",
    "scan",
    "sequence_records",
    "table_data",
    "table_records",
    "with_offsets",
    "write_restorable",
]
