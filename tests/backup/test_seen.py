"""What was read through a moment ago is not read again, unless anybody wrote to it since."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from daybreak import files
from daybreak.files import Seen, sha256_file


def read(path: Path, seen: Seen) -> str:
    """Read a file through and note it."""
    sha256 = sha256_file(path)
    seen.note(path.stat(), sha256)
    return sha256


def test_a_file_is_known_by_every_name_that_it_gets(tmp_path: Path) -> None:
    seen = Seen()
    path = tmp_path / "a"
    path.write_bytes(b"an archive")
    sha256 = read(path, seen)

    (tmp_path / "b").hardlink_to(path)
    path.rename(tmp_path / "c")
    (tmp_path / "c").chmod(0o600)

    assert seen.sha256(tmp_path / "b") == seen.sha256(tmp_path / "c") == sha256


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"!")


def turn_a_byte(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"A")


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"An archive")
    before = path.stat()
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def copied(path: Path) -> None:
    """The same bytes: only nobody has read these from the disk."""
    content = path.read_bytes()
    path.unlink()
    path.with_name("spacer").write_bytes(b"takes the number that became free")
    path.write_bytes(content)


@pytest.mark.parametrize("change", [append, turn_a_byte, replaced, copied])
def test_a_file_that_is_another_one_is_not_known(tmp_path: Path, change: Callable[[Path], None]) -> None:
    seen = Seen()
    path = tmp_path / "a"
    path.write_bytes(b"an archive")
    os.utime(path, ns=(0, 10**18))
    read(path, seen)

    change(path)

    assert seen.sha256(path) is None


def test_after_a_while_it_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen()
    path = tmp_path / "a"
    path.write_bytes(b"an archive")
    sha256 = read(path, seen)
    monkeypatch.setattr(files, "_SEEN_S", 60.0)
    assert seen.sha256(path) == sha256
    monkeypatch.setattr(files, "_SEEN_S", 0.0)
    assert seen.sha256(path) is None


def test_of_a_file_that_is_not_there_nothing_is_known(tmp_path: Path) -> None:
    assert Seen().sha256(tmp_path / "a") is None
