"""Every pg_dump from 15 to 18 with every compression: what the reader says is what the server says."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
import xxhash
from archive_samples import MATRIX, CopyOut, Dump, Server, Servers, environment, manifest_of

from daybreak.archive import (
    Compression,
    TableRecord,
    check_archive,
    copy_data,
    large_objects,
    read_archive,
    rewrite,
    sequence_records,
    table_records,
)
from daybreak.archive.toc import pack_toc
from daybreak.errors import ArchiveError

pytestmark = pytest.mark.postgres
every_archive = pytest.mark.parametrize(("major", "compression"), MATRIX)
FORMATS = {15: "1.14", 16: "1.15", 17: "1.16", 18: "1.16"}
MAJORS = tuple(FORMATS)


@every_archive
def test_each_table_is_what_copy_to_stdout_prints(
    dump: Dump, servers: Servers, copy_out: CopyOut, major: int, compression: str
) -> None:
    dumped, server = dump(major, compression), servers[major]
    assert dumped.scan.header.format == FORMATS[major]
    assert dumped.scan.header.compression == compression
    assert dumped.scan.encoding == "UTF8"
    records = table_records(dumped.scan)
    leaves = {(record.schema, record.name): record for record in records}
    assert len(leaves) == len(records)
    for record in records:
        # a partition that is loaded through its root is printed from the partition itself
        statement = record.statement.copy_out
        if record.root:
            assert record.statement.relation == record.root
            asked = f"SELECT format('%I.%I', '{record.schema}', '{record.name}')"
            leaf = server.psql(asked, server.rich())
            statement = statement.replace(record.root, leaf, 1)
        assert copy_out(server, server.rich(), statement).result() == record.digest, record.label
    counted = server.psql(
        "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace NOT IN "
        "('pg_catalog'::regnamespace, 'information_schema'::regnamespace)",
        server.rich(),
    )
    assert len(records) == int(counted)


@every_archive
def test_large_objects_are_those_of_the_server(dump: Dump, servers: Servers, major: int, compression: str) -> None:
    dumped, server = dump(major, compression), servers[major]
    told = server.psql(
        "SELECT oid || ' ' || octet_length(lo_get(oid)) || ' ' || encode(sha256(lo_get(oid)), 'hex') "
        "FROM pg_largeobject_metadata ORDER BY oid",
        server.rich(),
    ).splitlines()
    assert [f"{each.oid} {each.size_bytes} {each.sha256}" for each in dumped.scan.large_objects] == told
    assert len(told) > 30


def test_sequences_have_their_values(dump: Dump, servers: Servers) -> None:
    server = servers[18]
    for record in sequence_records(dump(18, "zstd").scan):
        name = f'"{record.schema}"."{record.name}"'
        told = server.psql(f"SELECT last_value, is_called FROM {name}", server.rich())  # noqa: S608 -- names of our own
        assert told == f"{record.last_value}|{'t' if record.is_called else 'f'}"


def test_hash_partitions_on_an_enum_name_their_root(dump: Dump) -> None:
    for major in (15, 18):
        roots = {record.root for record in table_records(dump(major, "gzip").scan) if record.name.startswith("event_")}
        assert roots == {"shop.event"}


def test_materialized_views_and_triggers_are_entries_without_data(dump: Dump) -> None:
    entries = dump(18, "zstd").scan.entries
    kinds = {each.kind: each for each in entries}
    assert not kinds["MATERIALIZED VIEW DATA"].had_dumper
    assert not kinds["TRIGGER"].had_dumper


@every_archive
def test_what_was_read_is_written_again_byte_for_byte(dump: Dump, major: int, compression: str) -> None:
    dumped = dump(major, compression)
    packed = pack_toc(dumped.scan.header, dumped.scan.entries)
    assert packed == dumped.path.read_bytes()[: dumped.scan.toc_bytes]
    assert xxhash.xxh3_128(dumped.path.read_bytes()[dumped.scan.toc_bytes :]).hexdigest() == dumped.scan.body_digest


@every_archive
def test_filled_offsets_lead_to_each_table(dump: Dump, major: int, compression: str) -> None:
    dumped = dump(major, compression)
    found = read_archive(dumped.filled)
    assert found.blocks == dumped.scan.blocks
    assert found.body_digest == dumped.scan.body_digest
    assert found.sha256 == hashlib.sha256(dumped.filled.read_bytes()).hexdigest()
    for entry, digest in found.tables:
        content = b"".join(copy_data(dumped.filled, entry))
        assert (len(content), hashlib.sha256(content).hexdigest()) == (digest.size_bytes, digest.sha256)
    objects: dict[int, bytes] = {}
    for entry in found.entries:
        if entry.kind == "BLOBS":
            for oid, piece in large_objects(dumped.filled, entry):
                objects[oid] = objects.get(oid, b"") + piece
    assert {oid: hashlib.sha256(content).hexdigest() for oid, content in objects.items()} == {
        each.oid: each.sha256 for each in found.large_objects
    }


@every_archive
def test_a_dump_to_a_file_has_the_offsets_that_we_fill_in(
    dump: Dump, servers: Servers, tmp_path: Path, major: int, compression: str
) -> None:
    """pg_dump itself writes the offsets where it can seek; ours must be the same ones."""
    dumped, server = dump(major, compression), servers[major]
    path = tmp_path / "seekable.dump"
    argv = [server.bin / "pg_dump", "-Fc", f"-Z{'1' if compression == 'gzip' else compression if major > 15 else '0'}"]
    argv += ["-f", path, f"--dbname={server.conninfo(server.rich())}"]
    subprocess.run(argv, check=True, env=environment())
    theirs, ours = read_archive(path), read_archive(dumped.filled)
    where = {entry.label: entry.offset - theirs.toc_bytes for entry in theirs.entries if entry.had_dumper}
    if compression in {"none", "gzip"}:  # the others may cut their frames as their buffers happen to fill
        assert where == {entry.label: entry.offset - ours.toc_bytes for entry in ours.entries if entry.had_dumper}
    assert {each.label for each in theirs.entries if each.had_dumper} == set(where)


def restore(server: Server, path: Path, name: str) -> None:
    server.drop_database(name)
    server.create_database(name, template="template0")
    argv = [server.bin / "pg_restore", "-j2", "--exit-on-error", "--no-owner", "-d", server.conninfo(name), path]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "case",
    [
        (15, "none", None),
        (15, "gzip", None),
        (18, "zstd", None),
        (18, "lz4", None),
        (15, "gzip", "none"),
        (15, "none", "gzip"),
        (16, "zstd", "gzip"),
        (17, "lz4", "zstd"),
        (18, "none", "zstd"),
        (18, "zstd", "lz4"),
        (18, "gzip", "none"),
    ],
)
def test_pg_restore_reads_what_we_wrote(
    dump: Dump, servers: Servers, copy_out: CopyOut, tmp_path: Path, case: tuple[int, str, str | None]
) -> None:
    """Offsets filled in, or written again with another compression: one parallel restore, every table equal."""
    major, compression, target = case
    dumped, server = dump(major, compression), servers[major]
    path = dumped.filled
    if target is not None:
        path = tmp_path / "rewritten.dump"
        rewrite(dumped.path, path, compression=Compression(target))
        again = read_archive(path)
        assert again.header.compression == target
        assert [(e.id, d) for e, d in again.tables] == [(e.id, d) for e, d in dumped.scan.tables]
        assert again.large_objects == dumped.scan.large_objects
    name = f"archive_{compression}_{target or 'filled'}"
    restore(server, path, name)
    through_root: dict[str, list[TableRecord]] = {}
    for record in table_records(dumped.scan):
        if record.root is not None:
            through_root.setdefault(record.statement.select_out, []).append(record)
            continue
        found = copy_out(server, name, record.statement.copy_out).result()
        assert found == record.digest, record.label
    assert through_root
    for statement, records in through_root.items():  # rows may stand in other partitions now: one set
        found = copy_out(server, name, statement).result()
        assert found.rows == sum(record.digest.rows for record in records)
        assert int(found.unordered, 16) == sum(int(record.digest.unordered, 16) for record in records) % 2**128
    server.drop_database(name)


def test_format_1_14_cannot_have_zstd(dump: Dump, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"1\.14 cannot be compressed with zstd"):
        rewrite(dump(15, "gzip").path, tmp_path / "x.dump", compression=Compression.ZSTD)


@every_archive
def test_flips_and_cuts_are_found_against_the_manifest(
    dump: Dump, tmp_path: Path, major: int, compression: str
) -> None:
    dumped = dump(major, compression)
    raw = dumped.filled.read_bytes()
    side = tmp_path / "archive.json"
    side.write_bytes(manifest_of(dumped.scan, raw).to_json())
    target = tmp_path / "any name"
    target.write_bytes(raw)
    whole = check_archive(target, side)
    assert not whole.differences
    whole.require_equal()
    for number in range(12):
        at = (number * 2654435761 + major) % len(raw)
        flipped = bytearray(raw)
        flipped[at] ^= 1 << number % 8
        target.write_bytes(flipped)
        with pytest.raises(ArchiveError):
            check_archive(target, side).require_equal()
        target.write_bytes(raw[:at])
        with pytest.raises(ArchiveError):
            check_archive(target, side)


@pytest.mark.parametrize(
    ("major", "options"),
    [
        (15, ("--schema-only",)),
        (15, ("--data-only",)),
        (15, ("--load-via-partition-root",)),
        (16, ("--section=data", "--section=post-data")),
        (17, ("--no-large-objects", "--no-owner", "--no-privileges")),
        (17, ("--table=shop.*", "--create")),
        (18, ("--schema-only",)),
        (18, ("--statistics", "--clean", "--if-exists")),
        (18, ("--load-via-partition-root", "--compress=zstd:level=3,long")),
    ],
)
def test_what_other_options_leave_out_or_add_is_read(
    servers: Servers, tmp_path: Path, major: int, options: tuple[str, ...]
) -> None:
    server, path = servers[major], tmp_path / "a.dump"
    argv = [server.bin / "pg_dump", "-Fc", *options, "-f", path, f"--dbname={server.conninfo(server.rich())}"]
    subprocess.run(argv, check=True, env=environment())
    found = read_archive(path)
    assert pack_toc(found.header, found.entries) == path.read_bytes()[: found.toc_bytes]
    records = {record.label: record for record in table_records(found)}
    if "--schema-only" in options:
        assert not found.blocks
        return
    assert records["shop.mixed"].digest.rows > 3000
    assert records["shop.mixed"].created == ("--data-only" not in options and "--section=data" not in options)
    whole = "shop.orders" if "--load-via-partition-root" in options else None
    assert records["shop.orders_2024_h1"].root == whole
    assert bool(len(found.large_objects)) == (options[0] not in {"--no-large-objects", "--table=shop.*"})


def test_insert_statements_are_refused_by_name(servers: Servers, tmp_path: Path) -> None:
    server, path = servers[18], tmp_path / "a.dump"
    argv = [server.bin / "pg_dump", "-Fc", "--inserts", "-f", path, f"--dbname={server.conninfo(server.rich())}"]
    subprocess.run(argv, check=True, env=environment())
    with pytest.raises(ArchiveError, match="is INSERT statements, not COPY data"):
        read_archive(path)


@pytest.mark.parametrize(
    ("form", "message"), [("t", r"starts with 'toc\.dat"), ("p", "starts with '--"), ("d", "is a folder")]
)
def test_other_formats_of_pg_dump_are_refused_by_name(
    servers: Servers, tmp_path: Path, form: str, message: str
) -> None:
    server, path = servers[18], tmp_path / "a"
    argv = [server.bin / "pg_dump", f"-F{form}", "-f", path, f"--dbname={server.conninfo(server.rich())}"]
    subprocess.run(argv, check=True, env=environment())
    with pytest.raises(ArchiveError, match=message):
        read_archive(path)
    if form == "d":
        with pytest.raises(ArchiveError, match="tar or directory format"):
            read_archive(path / "toc.dat")


@pytest.mark.parametrize("major", MAJORS)
def test_a_dump_that_a_shell_redirected_is_whole(servers: Servers, major: int, tmp_path: Path) -> None:
    """`pg_dump -Fc > FILE` leaves the table of contents once more at the end; a byte more or less is a fault."""
    server = servers[major]
    path = tmp_path / "redirected.dump"
    with path.open("wb") as file:
        argv = [server.bin / "pg_dump", "-Fc", "-d", server.conninfo(server.rich())]
        subprocess.run(argv, stdout=file, check=True, timeout=120)
    content = path.read_bytes()
    found = read_archive(path)
    assert found.rows > 0
    assert found.size_bytes == len(content)
    for damaged in (content + b"\0", content[:-1], content[:-100] + bytes(100)):
        path.write_bytes(damaged)
        with pytest.raises(ArchiveError):
            read_archive(path)
