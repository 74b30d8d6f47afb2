"""The pass over a stream: what it sees, what it refuses, and how little memory it takes."""

from __future__ import annotations

import hashlib
import io
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import xxhash
from archive_samples import ENCODING, KINDS, OBJECTS, ROWS, build, entry, header, scan_bytes, table_entry
from hypothesis import given
from hypothesis import strategies as st

from daybreak.archive import (
    ArchiveWriter,
    Compression,
    Digest,
    LargeObjects,
    Progress,
    copy_data,
    digest_of,
    fill_offsets,
    read_archive,
    rewrite,
    scan,
)
from daybreak.archive import reader as reader_module
from daybreak.archive.toc import pack_toc
from daybreak.errors import ArchiveError, PublishError

every_kind = pytest.mark.parametrize(("minor", "compression"), KINDS)


def slow_digest(data: bytes) -> Digest:
    """The same by definition, row by row."""
    rows = [line + b"\n" for line in data.split(b"\n")]
    last = rows.pop()[:-1]
    rows += [last] if last else []
    total = sum(xxhash.xxh3_128_intdigest(row) for row in rows) % 2**128
    return Digest(
        rows=len(rows), size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), unordered=f"{total:032x}"
    )


@given(st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([b"\n", b"\r", b"\r\n", b"a\tb\n"]))))
def test_a_digest_does_not_depend_on_how_the_bytes_come(pieces: list[bytes]) -> None:
    want = slow_digest(b"".join(pieces))
    plain, found = digest_of(pieces), digest_of(pieces, unordered=True)
    assert plain == found == want
    assert (plain.unordered, found.unordered) == ("", want.unordered)


def test_a_large_update_is_the_same_as_many_small_ones() -> None:
    data = b"".join(b"%d\t%s\n" % (number, b"x" * (number % 700)) for number in range(5000))
    found, want = digest_of([data], unordered=True), slow_digest(data)
    assert (found, found.unordered) == (want, want.unordered)


@given(st.permutations([b"1\ta\n", b"2\tb\n", b"3\tc\n", b"3\tc\n"]))
def test_the_order_free_digest_is_free_of_order_only(rows: list[bytes]) -> None:
    found = digest_of(rows, unordered=True).unordered
    assert found == slow_digest(b"1\ta\n2\tb\n3\tc\n3\tc\n").unordered
    assert found != slow_digest(b"1\ta\n2\tb\n3\tc\n").unordered


@every_kind
def test_one_pass_sees_everything(minor: int, compression: Compression) -> None:
    raw = build(minor, compression)
    copied: list[bytes] = []
    found = scan(io.BytesIO(raw).read, write=copied.append)
    assert b"".join(copied) == raw
    assert (found.size_bytes, found.header.compression, found.header.format) == (len(raw), compression, f"1.{minor}")
    assert [(each.name, digest) for each, digest in found.tables] == [
        ("first", slow_digest(ROWS)),
        ("second", slow_digest(b"")),
    ]
    assert [(each.oid, each.size_bytes, each.sha256) for each in found.large_objects] == [
        (oid, len(content), hashlib.sha256(content).hexdigest()) for oid, content in OBJECTS
    ]
    assert found.body_digest == xxhash.xxh3_128(raw[found.toc_bytes :]).hexdigest()
    assert found.rows == 3
    assert found.data_bytes == len(ROWS) + sum(len(content) for _, content in OBJECTS)
    for each, block in found.blocks.items():
        assert raw[block.offset] in {1, 3}, each
    assert max(block.end for block in found.blocks.values()) == len(raw)


@every_kind
def test_every_cut_is_found(minor: int, compression: Compression) -> None:
    raw = build(minor, compression, objects=[(7, b"small")])
    for end in range(len(raw)):
        with pytest.raises(ArchiveError):
            scan_bytes(raw[:end])


@every_kind
def test_bytes_behind_the_end_are_found(minor: int, compression: Compression) -> None:
    with pytest.raises(ArchiveError, match="follow behind the end"):
        scan_bytes(build(minor, compression) + b"\n")


def test_a_missing_and_a_doubled_block_are_named() -> None:
    raw = build(compression=Compression.NONE)
    found = scan_bytes(raw)
    first, second = found.blocks[11], found.blocks[13]
    plain = replace(
        found, entries=tuple(replace(each, state=1, offset=0) if each.had_dumper else each for each in found.entries)
    )
    head = pack_toc(plain.header, plain.entries)
    tail = raw[second.end :]
    assert scan_bytes(head + raw[found.toc_bytes :]).blocks == found.blocks
    with pytest.raises(ArchiveError, match=r"data of public\.first is missing"):
        scan_bytes(head + raw[second.offset :])
    with pytest.raises(ArchiveError, match="entry 11 begins, a second time"):
        scan_bytes(head + raw[first.offset : first.end] * 2 + raw[second.offset :])
    with pytest.raises(ArchiveError, match="entry 77 begins, that no entry has"):
        scan_bytes(head + b"\1\0\x4d\0\0\0\0\0\0\0\0" + raw[first.offset :])
    with pytest.raises(ArchiveError, match="no block of data begins"):
        scan_bytes(head + b"\2" + tail)
    with pytest.raises(ArchiveError, match=r"public\.first begins as that of BLOBS"):
        scan_bytes(head + b"\3" + raw[first.offset + 1 :])


def test_an_offset_that_is_not_true_is_found() -> None:
    raw = build()
    found = scan_bytes(raw)
    lying = tuple(replace(each, offset=each.offset + 1) if each.id == 13 else each for each in found.entries)
    with pytest.raises(ArchiveError, match=r"public\.second stands at byte \d+, its entry says \d+"):
        scan_bytes(pack_toc(found.header, lying) + raw[found.toc_bytes :])


def test_a_large_object_that_comes_twice_is_found() -> None:
    with pytest.raises(ArchiveError, match="large object 7 is there twice"):
        scan_bytes(build(objects=[(7, b"a"), (8, b"b"), (7, b"a")]))


def test_large_objects_are_kept_by_oid() -> None:
    records = [LargeObjects.pack(oid, oid, bytes(32)) for oid in (300, 2, 4_000_000_000)]
    assert [each.oid for each in LargeObjects(b"".join(records))] == [2, 300, 4_000_000_000]
    assert LargeObjects(b"".join(records)) == LargeObjects(b"".join(reversed(records)))
    with pytest.raises(ArchiveError, match="is cut"):
        LargeObjects(records[0][:-1])


def test_data_without_its_terminator_is_cut() -> None:
    raw = build(compression=Compression.NONE, tables={"first": [ROWS]}, objects=[])
    assert raw.count(b"\\.\n\n\n") == 1
    with pytest.raises(ArchiveError, match=r"public\.first does not end as pg_dump ends it"):
        scan_bytes(raw.replace(b"\\.\n\n\n", b"\\.\n\n "))
    with pytest.raises(ArchiveError, match="does not end as pg_dump ends it"):
        scan_bytes(build(tables={"first": [b"1\tno newline"]}))


@pytest.mark.parametrize("compression", ["gzip", "lz4", "zstd"])
def test_compressed_data_that_goes_on_or_stops_is_found(compression: str) -> None:
    raw = build(15, Compression(compression), tables={"first": [ROWS]}, objects=[])
    block = scan_bytes(raw).blocks[11]
    chunk, end = block.offset + 6, raw.index(b"\0\0\0\0\0", block.end - 11)
    length = int.from_bytes(raw[chunk + 1 : chunk + 5], "little")
    data = raw[chunk + 5 : chunk + 5 + length]
    for changed, message in (
        (data + b"more", "goes on behind its end"),
        (data[:-2], "is cut"),
        (b"\0" + data, "cannot be decompressed"),
    ):
        again = raw[:chunk] + b"\0" + len(changed).to_bytes(4, "little") + changed + raw[chunk + 5 + length :]
        assert end >= chunk
        with pytest.raises(ArchiveError, match=message):
            scan_bytes(again)


def pieces_of_one_row(size_bytes: int) -> Iterator[bytes]:
    yield b"1\t"
    for _ in range(size_bytes >> 20):
        yield b"x" * 2**20
    yield b"\n2\ty\n"


@pytest.mark.parametrize("compression", ["none", "gzip", "lz4", "zstd"])
def test_a_row_of_any_size_takes_little_memory(tmp_path: Path, compression: str) -> None:
    """100 MB in one row; with zstd some 10 kB in the file, so that a single chunk unpacks to all of it."""
    path, size = tmp_path / "large.dump", 100 * 2**20
    with path.open("wb") as file:
        table = table_entry(11, "large")
        writer = ArchiveWriter(file, header(16, Compression(compression)), [ENCODING, table])
        writer.table(table, pieces_of_one_row(size))
        writer.close()
    tracemalloc.start()
    found = read_archive(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.rows, found.data_bytes) == (2, size + 7)
    assert peak < 16 * 2**20


def test_progress_says_what_comes_by(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = build(tables={"first": [ROWS] * 50000, "second": [ROWS]})
    told: list[Progress] = []
    scan(io.BytesIO(raw).read, on_progress=told.append)
    assert 2 <= len(told) < 30
    assert told[-1].done == told[-1].blocks == 3
    assert told[-1].total_rows == 150003
    assert told[-1].read_bytes == len(raw)
    monkeypatch.setattr(reader_module, "PROGRESS_S", 0.0)
    told.clear()
    scan(io.BytesIO(raw).read, on_progress=told.append)
    assert {each.label for each in told} == {"public.first", "public.second", "BLOBS BLOBS"}
    assert [each.total_rows for each in told] == sorted(each.total_rows for each in told)
    assert [each.total_bytes for each in told] == sorted(each.total_bytes for each in told)
    assert any(0 < each.rows < 150000 for each in told)


def test_faults_of_the_caller_pass_through() -> None:
    def full(_: bytes) -> None:
        raise PublishError("no room")

    with pytest.raises(PublishError):
        scan(io.BytesIO(build()).read, write=full)


def test_offsets_are_only_filled_into_the_archive_that_was_read(tmp_path: Path) -> None:
    path = tmp_path / "a.dump"
    raw = build()
    found = scan_bytes(raw)
    path.write_bytes(raw[:-1])
    with pytest.raises(ArchiveError, match="not the one that was read"):
        fill_offsets(path, found)
    path.write_bytes(build(minor=15))
    with pytest.raises(ArchiveError, match="not the one that was read"):
        fill_offsets(path, found)
    with pytest.raises(ArchiveError, match="cannot be opened"):
        fill_offsets(tmp_path / "none", found)


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="is a folder") as caught:
        read_archive(tmp_path)
    assert "directory format" in caught.value.hint
    with pytest.raises(ArchiveError, match="No such file"):
        read_archive(tmp_path / "none")


def test_data_is_found_by_its_offset_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.dump"
    path.write_bytes(build())
    found = read_archive(path)
    first = next(each for each, _ in found.tables)
    assert b"".join(copy_data(path, first)) == ROWS
    with pytest.raises(ArchiveError, match="does not begin"):
        list(copy_data(path, replace(first, id=13)))
    with pytest.raises(ArchiveError, match="cannot be found by its offset"):
        list(copy_data(path, entry(5, "TABLE", "t")))


rows = st.lists(
    st.lists(st.text(st.characters(exclude_characters="\r\n\\", exclude_categories=["Cs"])), min_size=1).map("\t".join)
)


@given(rows, st.lists(st.binary(max_size=3000), max_size=3), st.sampled_from(KINDS), st.sampled_from(Compression))
def test_rewriting_changes_nothing_but_the_compression(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[str],
    contents: list[bytes],
    kind: tuple[int, Compression],
    target: Compression,
) -> None:
    minor, compression = kind
    folder = tmp_path_factory.mktemp("rewrite")
    before, after = folder / "before", folder / "after"
    lines = [row.encode() + b"\n" for row in rows]
    before.write_bytes(build(minor, compression, {"first": lines}, enumerate(contents, 1)))
    if minor == 14 and target in {Compression.LZ4, Compression.ZSTD}:
        with pytest.raises(ArchiveError, match=r"1\.14 cannot be compressed"):
            rewrite(before, after, compression=target)
        return
    rewrite(before, after, compression=target)
    old, new = read_archive(before), read_archive(after)
    assert new.header.compression == target
    assert [digest for _, digest in new.tables] == [digest for _, digest in old.tables]
    assert new.large_objects == old.large_objects
    assert [replace(each, offset=0) for each in new.entries] == [replace(each, offset=0) for each in old.entries]
    assert b"".join(copy_data(after, new.entries[2])) == b"".join(lines)


def test_an_archive_is_not_rewritten_onto_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.dump"
    raw = build()
    path.write_bytes(raw)
    with pytest.raises(ArchiveError, match="onto itself"):
        rewrite(path, path, compression=Compression.NONE)
    assert path.read_bytes() == raw


def test_a_writer_wants_all_data() -> None:
    table = table_entry(11, "t")
    writer = ArchiveWriter(io.BytesIO(), header(), [ENCODING, table])
    with pytest.raises(ArchiveError, match=r"data of public\.t was not written"):
        writer.close()
