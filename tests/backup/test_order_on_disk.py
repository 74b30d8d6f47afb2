"""W1, W3: what must be on the disk is there before a name says so."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from daybreak.catalog.archives import Archives
from installation import Installation

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Server

Event = tuple[str, str]


def path_of(fd: int) -> str:
    return str(Path(f"/proc/self/fd/{fd}").readlink())


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """Every fsync, rename, link and mkdir in the order they happen, and the record of the archive."""
    seen: list[Event] = []

    def listen(name: str, told: Callable[..., str]) -> None:
        real = getattr(os, name)

        def heard(*args: Any, **more: Any) -> Any:
            answer = real(*args, **more)
            seen.append((name, told(*args)))
            return answer

        monkeypatch.setattr(os, name, heard)

    listen("fsync", path_of)
    listen("pwrite", lambda fd, *_: path_of(fd))
    listen("replace", lambda _, target: str(target))
    listen("rename", lambda _, target: str(target))
    listen("link", lambda _, target: str(target))
    listen("mkdir", lambda path, *_: str(path))
    add = Archives.add

    def record(self: Archives, *args: Any) -> None:
        seen.append(("record", ""))
        add(self, *args)

    monkeypatch.setattr(Archives, "add", record)
    return seen


def last(events: list[Event], event: Event) -> int:
    """Where an event happened for the last time; the test fails where it never did."""
    assert event in events, event
    return len(events) - 1 - events[::-1].index(event)


def test_w1_bytes_then_manifest_then_name_then_folder_then_record(site: Installation, events: list[Event]) -> None:
    site.backup()
    events.clear()
    told = site.backup()
    staged = next(path for name, path in events if name == "fsync" and path.endswith(".partial") and "staging" in path)
    stored = str(site.root / "manifests" / f"{told['archive']['sha256']}.json")
    written = last(events, ("pwrite", staged))
    on_disk = last(events, ("fsync", staged))
    manifest = last(events, ("replace", stored))
    manifest_on_disk = next(
        at for at in range(manifest, len(events)) if events[at] == ("fsync", str(site.root / "manifests"))
    )
    renamed = last(events, ("replace", str(site.archive)))
    rename_on_disk = next(at for at in range(renamed, len(events)) if events[at] == ("fsync", str(site.backups)))
    named = last(events, ("replace", f"{site.archive}.json"))
    name_on_disk = next(at for at in range(named, len(events)) if events[at] == ("fsync", str(site.backups)))
    recorded = last(events, ("record", ""))
    order = [
        written, on_disk, manifest, manifest_on_disk, renamed, rename_on_disk, named, name_on_disk, recorded
    ]  # fmt: skip
    assert order == sorted(order)
    assert len(set(order)) == len(order)
    assert events[manifest - 1][0] == "fsync"  # the manifest's own bytes, before it has a name


def test_w3_folders_that_this_run_made_are_durable_before_anything_is_in_them(
    site: Installation, events: list[Event]
) -> None:
    site.backup()
    made = [path for name, path in events if name == "mkdir" and path.startswith(str(site.root))]
    assert str(site.root) in made
    assert str(site.root / "staging") in made
    for folder in made:
        at = events.index(("mkdir", folder))
        assert events[at + 1] == ("fsync", str(Path(folder).parent))


def test_a_sync_that_fails_publishes_nothing(site: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """K2, K3: an fsync that failed is never tried again on the same file; the disk is named."""
    site.backup()
    before = site.fingerprint()
    real, calls = os.fsync, list[str]()

    def fails(fd: int) -> None:
        path = path_of(fd)
        if "staging" in path:
            calls.append(path)
            raise OSError(5, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", fails)
    told = site.backup(expect=13)
    monkeypatch.undo()
    assert "the disk may be failing" in told["message"]
    assert len(calls) == 1
    assert site.fingerprint() == before
    assert site.leftovers() == []


def test_bytes_that_came_back_changed_publish_nothing(site: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """K3: what the disk gives back is compared with what pg_dump wrote."""
    site.backup()
    before = site.fingerprint()
    real = os.posix_fadvise

    def rot(fd: int, *words: int) -> None:
        real(fd, *words)
        os.pwrite(fd, b"\xff", os.fstat(fd).st_size - 100)

    monkeypatch.setattr(os, "posix_fadvise", rot)
    told = site.backup(expect=12)
    assert "is not what pg_dump wrote" in told["message"]
    assert "suspect the disk" in told["hint"]
    assert site.fingerprint() == before
    assert site.leftovers() == []


def test_p7_whoever_copies_the_folder_at_any_step_finds_only_whole_archives(
    site: Installation, prod: tuple[Server, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """P7, I3: what ends in .dump is complete, and its sha256 is one of the stored manifests', at every step."""
    server, name = prod
    site.configure(plan={"keep_local": 2})
    site.backup()
    steps = 0

    def look() -> None:
        nonlocal steps
        steps += 1
        stored = {path.name.partition(".")[0] for path in (site.root / "manifests").glob("*.json")}
        for path in site.backups.rglob("*.dump"):
            assert sha256(path.read_bytes()).hexdigest() in stored, path
        assert site.archive.exists()

    def watch(word: str) -> None:
        real = getattr(os, word)

        def looked(*args: Any, **more: Any) -> Any:
            look()
            answer = real(*args, **more)
            look()
            return answer

        monkeypatch.setattr(os, word, looked)

    for word in ("replace", "link", "fsync", "pwrite", "unlink"):
        watch(word)
    for _ in range(2):
        server.psql("INSERT INTO nothing VALUES (1)", name)
        site.backup()
    assert steps > 50
