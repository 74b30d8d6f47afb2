"""The manifest: written and read again it is the same; what is wrong with one is said; every difference is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from archive_samples import OBJECTS, ROWS, build, manifest_of, scan_bytes

from daybreak.archive import (
    Compression,
    Entry,
    Globals,
    Manifest,
    SequenceRecord,
    check_archive,
    parse_manifest,
    read_manifest,
    table_records,
)
from daybreak.errors import ArchiveError

RAW = build()
GLOBALS = Globals(
    sha256="0" * 64, size_bytes=17, facts={"owner": "genji", "extensions": {"pg_trgm": "1.6"}, "acl": None}
)


def manifest() -> Manifest:
    return replace(manifest_of(scan_bytes(RAW), RAW), globals=GLOBALS)


def test_a_manifest_survives_writing_and_reading(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(manifest().to_json())
    assert read_manifest(path) == manifest()
    assert read_manifest(path).to_json() == path.read_bytes()
    assert path.read_bytes().endswith(b"}\n")
    bare = replace(manifest(), globals=None, taken_at=datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC))
    assert parse_manifest(bare.to_json(), "x") == bare
    rooted = change_table(root="public.whole", digest=replace(DIGEST, unordered="1" * 32))(manifest())
    assert [one.digest.unordered for one in parse_manifest(rooted.to_json(), "x").tables] == ["1" * 32, ""]


def test_a_manifest_says_what_the_archive_holds() -> None:
    found = json.loads(manifest().to_json())
    assert found["format"] == 1
    assert found["archive"]["format"] == "1.16"
    assert found["archive"]["size_bytes"] == len(RAW)
    assert [(each["schema"], each["name"], each["rows"], each["bytes"]) for each in found["tables"]] == [
        ("public", "first", 3, len(ROWS)),
        ("public", "second", 0, 0),
    ]
    assert found["sequences"] == [{"schema": "public", "name": "ids", "last_value": 77, "is_called": True}]
    assert found["large_objects"]["count"] == len(OBJECTS)
    assert found["globals"]["facts"]["extensions"] == {"pg_trgm": "1.6"}
    assert manifest().rows == 3
    assert manifest().data_bytes == len(ROWS) + sum(len(content) for _, content in OBJECTS)


def test_names_that_are_no_utf_8_survive() -> None:
    odd = b"na\xefve".decode("utf-8", "surrogateescape")

    def rename(entries: list[Entry]) -> list[Entry]:
        return [replace(each, name=odd) if each.id == 11 else each for each in entries]

    raw = build(change=rename)
    told = manifest_of(scan_bytes(raw), raw)
    assert parse_manifest(told.to_json(), "x").tables[0].name == odd


def test_a_table_that_an_extension_creates_is_known() -> None:
    raw = build(change=lambda entries: [each for each in entries if each.id != 12])
    assert [(each.name, each.created) for each in table_records(scan_bytes(raw))] == [
        ("first", True),
        ("second", False),
    ]


def edit(change: Callable[[dict[str, object]], object]) -> bytes:
    root = json.loads(manifest().to_json())
    change(root)
    return json.dumps(root).encode()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "it is not JSON"),
        (b"{", "it is not JSON"),
        (b"\xff\xfe\0", "it is not JSON"),
        (b"[" * 100000, "it is not JSON"),
        (b"[]", "the whole is not an object"),
        (b'{"version": 3}', "format is missing"),
        (b'{"format": "1"}', "format is not a whole number"),
        (b'{"format": true}', "format is not a whole number"),
        (b'{"format": 2}', "manifest of format 2; this Daybreak reads 1"),
        (edit(lambda root: root.pop("plan")), "plan is missing"),
        (edit(lambda root: root.update(extra=1)), "extra is not a field"),
        (edit(lambda root: root.update(tables={})), "tables is not a list"),
        (edit(lambda root: root.update(globals=[])), r"globals\. is not an object"),
        (edit(lambda root: root.update(taken_at="2026-11-22T08:00:00")), "taken_at is no instant"),
        (edit(lambda root: root["archive"].update(sha256="0" * 63)), r"archive\.sha256 is not 64 hexadecimal digits"),
        (edit(lambda root: root["archive"].update(sha256="G" * 64)), r"archive\.sha256 is not 64 hexadecimal digits"),
        (edit(lambda root: root["archive"].update(size_bytes=-1)), r"archive\.size_bytes is negative"),
        (edit(lambda root: root["archive"].update(size_bytes=1.5)), r"archive\.size_bytes is not a whole number"),
        (edit(lambda root: root["tables"][1].update(rows="7")), r"tables\[1\]\.rows is not a whole number"),
        (edit(lambda root: root["tables"][1].update(created=1)), r"tables\[1\]\.created is not true or false"),
        (edit(lambda root: root["tables"][1].update(copy="DROP TABLE x")), "not a COPY statement"),
        (edit(lambda root: root["tables"][0].update(unordered="7")), r"tables\[0\]\.unordered is not 32 hexadecimal"),
        (edit(lambda root: root["tables"][0].update(root="x", unordered=None)), r"tables\[0\]\.unordered is missing"),
        (edit(lambda root: root["tables"].append(5)), r"tables\[2\]\. is not an object"),
        (edit(lambda root: root["large_objects"].update(records="!")), r"large_objects\.records is damaged"),
        (edit(lambda root: root["large_objects"].update(records="AAAA")), r"large_objects\.records is damaged"),
        (edit(lambda root: root["large_objects"].update(count=4)), "does not agree"),
    ],
)
def test_what_is_no_manifest_is_refused_by_name(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(raw)
    with pytest.raises(ArchiveError, match=message):
        read_manifest(path)


def test_a_manifest_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="cannot be read: No such file"):
        read_manifest(tmp_path / "a.json")


def test_an_archive_without_a_manifest_is_not_comparable(tmp_path: Path) -> None:
    path = tmp_path / "a.dump"
    path.write_bytes(RAW)
    report = check_archive(path, None)
    shown = report.to_dict()
    assert (shown["manifest"], shown["verdict"]) == (None, "structure only: not comparable")
    report.require_equal()
    json.dumps(shown)


def test_an_archive_that_equals_its_manifest(tmp_path: Path) -> None:
    path, side = tmp_path / "a.dump", tmp_path / "elsewhere.json"
    path.write_bytes(RAW)
    side.write_bytes(manifest().to_json())
    report = check_archive(path, side)
    report.require_equal()
    shown = report.to_dict()
    assert shown["manifest"] == {"id": "a1", "equal": True}
    assert shown["sha256"] == manifest().sha256
    assert [each["rows"] for each in shown["entries"] if each["kind"] == "TABLE DATA"] == [3, 0]


def change_table(**fields: object) -> Callable[[Manifest], Manifest]:
    def change(told: Manifest) -> Manifest:
        return replace(told, tables=(replace(told.tables[0], **fields), *told.tables[1:]))

    return change


DIGEST = manifest().tables[0].digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda told: replace(told, sha256="1" * 64), "sha256 of the whole file"),
        (lambda told: replace(told, size_bytes=1), "size: "),
        (lambda told: replace(told, database="other"), "database: genjishimada, the manifest says other"),
        (lambda told: replace(told, compression="gzip"), "compression"),
        (lambda told: replace(told, entries=1), "entries"),
        (change_table(digest=replace(DIGEST, rows=4)), r"public\.first: 3 rows, the manifest says 4"),
        (change_table(digest=replace(DIGEST, sha256="1" * 64)), r"public\.first: other bytes in 3 rows"),
        (
            change_table(root="public.whole", digest=replace(DIGEST, unordered="1" * 32)),
            r"public\.first: its COPY statement or root differs",
        ),
        (change_table(name="third"), r"public\.third: missing in the archive; public\.first: not in the manifest"),
        (lambda told: replace(told, tables=told.tables * 2), "has its data twice"),
        (lambda told: replace(told, sequences=()), r"sequence public\.ids: not with this value"),
        (
            lambda told: replace(
                told, sequences=(*told.sequences, SequenceRecord(schema="a", name="b", last_value=1, is_called=False))
            ),
            r"sequence a\.b: not with the manifest's value",
        ),
        (
            lambda told: replace(
                told, large_objects=scan_bytes(build(objects=[(16401, b"x"), (5, b"")])).large_objects
            ),
            "large object 5: missing in the archive; large object 16401: other content; large object 16402: not in",
        ),
    ],
)
def test_every_difference_is_found(tmp_path: Path, change: Callable[[Manifest], Manifest], message: str) -> None:
    path, side = tmp_path / "a.dump", tmp_path / "a.json"
    path.write_bytes(RAW)
    side.write_bytes(change(manifest()).to_json())
    report = check_archive(path, side)
    with pytest.raises(ArchiveError, match=message) as caught:
        report.require_equal()
    assert caught.value.exit_code == 12
    assert report.to_dict()["manifest"] == {"id": "a1", "equal": False}
    assert report.verdict == f"{len(report.differences)} differences from its manifest".replace(
        "1 differences", "1 difference"
    )


def test_a_cut_archive_says_what_its_manifest_expected(tmp_path: Path) -> None:
    path, side = tmp_path / "a.dump", tmp_path / "a.json"
    path.write_bytes(RAW[:-3])
    side.write_bytes(manifest().to_json())
    with pytest.raises(ArchiveError, match="is cut") as caught:
        check_archive(path, side)
    assert f"{len(RAW) - 3} bytes, its manifest says {len(RAW)}" in caught.value.hint


def test_content_that_differs_is_found_where_every_checksum_of_the_format_agrees(tmp_path: Path) -> None:
    """The format has no checksum of its own without compression: only the manifest sees this."""
    raw = build(compression=Compression.NONE)
    path, side = tmp_path / "a.dump", tmp_path / "a.json"
    side.write_bytes(manifest_of(scan_bytes(raw), raw).to_json())
    path.write_bytes(raw.replace(b"1\tone\n", b"1\ttwo\n"))
    report = check_archive(path, side)
    assert len(report.differences) == 2
    assert report.differences[1] == "public.first: other bytes in 3 rows"
