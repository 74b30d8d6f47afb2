"""`archive read`: every table with rows, bytes and sha256, compared with FILE.json where that is there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from installation import Installation


@pytest.fixture(scope="module")
def _made(used: Installation) -> Path:
    return used.archive


@pytest.fixture
def copy(_made: Path, tmp_path: Path) -> Path:
    """A copy under another name, its manifest beside it."""
    path = tmp_path / "any name ☀.bin"
    shutil.copy(_made, path)
    shutil.copy(f"{_made}.json", f"{path}.json")
    return path


def test_a_good_one(used: Installation, copy: Path) -> None:
    told = used.json("archive", "read", str(copy))
    assert told["manifest"]["equal"] is True
    assert told["differences"] == []
    table = next(entry for entry in told["entries"] if entry["kind"] == "TABLE DATA")
    assert (table["schema"], table["name"], table["rows"]) == ("public", "account", 3000)
    assert len(table["sha256"]) == 64
    assert table["bytes"] > 3000 * 32
    assert "equal to its manifest" in used.call("archive", "read", str(copy)).out


def test_one_without_a_manifest(used: Installation, copy: Path) -> None:
    Path(f"{copy}.json").unlink()
    told = used.json("archive", "read", str(copy))
    assert told["manifest"] is None
    assert told["verdict"] == "structure only: not comparable"
    assert "structure only: not comparable" in used.call("archive", "read", str(copy)).out


def bad(used: Installation, copy: Path) -> str:
    """What it says of an archive that is not as it should be, as object and as text."""
    before = sorted(path.name for path in copy.parent.iterdir())
    told = used.json("archive", "read", str(copy), expect=12)
    assert told["code"] == "ArchiveError"
    assert told["hint"]
    said = used.call("archive", "read", str(copy))
    assert said.code == 12
    assert told["message"] in said.err
    assert sorted(path.name for path in copy.parent.iterdir()) == before
    return str(told["message"])


@pytest.mark.parametrize("lost", [1, 100, 20_000])
@pytest.mark.parametrize("manifest", [True, False])
def test_one_that_was_cut(used: Installation, copy: Path, lost: int, *, manifest: bool) -> None:
    if not manifest:
        Path(f"{copy}.json").unlink()
    copy.write_bytes(copy.read_bytes()[:-lost])
    assert bad(used, copy)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9999])
def test_one_with_a_flipped_bit(used: Installation, copy: Path, share: float) -> None:
    content = bytearray(copy.read_bytes())
    content[int(share * len(content))] ^= 4
    copy.write_bytes(content)
    assert bad(used, copy)


@pytest.mark.parametrize(
    "content", [b"", b"PGDMP", b"-- a plain dump\nCREATE TABLE a ();\n", b"\x1f\x8b\x08" + bytes(99)]
)
def test_foreign_files(used: Installation, copy: Path, content: bytes) -> None:
    copy.write_bytes(content)
    Path(f"{copy}.json").unlink()
    assert bad(used, copy)


def test_garbage_behind_it(used: Installation, copy: Path) -> None:
    copy.write_bytes(copy.read_bytes() + b"more")
    assert "bytes follow behind the end" in bad(used, copy)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff\xfe", b'{"format": 2}'])
def test_a_manifest_that_is_none(used: Installation, copy: Path, content: bytes) -> None:
    Path(f"{copy}.json").write_bytes(content)
    assert ".json" in bad(used, copy)


def test_the_manifest_of_another_archive(used: Installation, copy: Path) -> None:
    used.fake_dump('exec "$real" --exclude-table=nothing "$@"')
    used.configure(plan={"keep_local": 2})
    used.backup()
    used.real_dump()
    shutil.copy(f"{used.archive}.json", f"{copy}.json")
    if copy.read_bytes() != used.archive.read_bytes():
        assert "sha256 of the whole file" in bad(used, copy)
