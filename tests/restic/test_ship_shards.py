"""An archive goes off-site as shards and comes back: real restics, a real S3 server."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from offsite_samples import FIRST_NIGHT, HOST, Offsite, Shelf, night_archive

from daybreak.archive import check_archive, read_archive
from daybreak.archive import shards as parts
from daybreak.archive.shards import parse_shard_manifest
from daybreak.errors import ArchiveError, OffsiteError, Refused
from daybreak.jobs import pack
from daybreak.jobs.fetch import fetch
from daybreak.jobs.parcel import is_whole
from daybreak.jobs.ship import ship_all
from daybreak.model import Repository, ShipForm
from daybreak.process import Runner
from daybreak.restic import Restic

pytestmark = pytest.mark.restic


def local(offsite: Offsite, tmp_path: Path, *, version: int = 2, **more: object) -> Restic:
    """A client of a new repository in a folder: it answers sooner than the S3 server."""
    password = offsite.template.password
    repository = Repository(
        name="disk",
        url=str(tmp_path / f"repository-{version}"),
        password=password,
        restic=offsite.program,
        env=offsite.template.env,
        deadline=timedelta(minutes=5),
        **more,
    )
    if not Path(repository.url).exists():
        assert password.file is not None
        env = {"PATH": os.environ["PATH"], "RESTIC_PASSWORD_FILE": str(password.file), **repository.env}
        argv = [offsite.program, "--repo", repository.url, "init", f"--repository-version={version}"]
        subprocess.run(argv, env=env, check=True, capture_output=True, timeout=60)
    return Restic(repository, Runner(log=offsite.log.append))


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder: its inode and when it changed."""
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_ctime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_night_adds_little_and_what_is_known_stays_untouched(offsite: Offsite, shelf: Shelf, tmp_path: Path) -> None:
    restic = offsite.restic()
    folder = shelf.ship / "nightly"
    [first] = shelf.send(night_archive(shelf, 0), restic)
    before = files(folder)
    shards = parse_shard_manifest((folder / "manifest.json").read_bytes(), "m")

    [second] = shelf.send(night_archive(shelf, 1), restic)

    after = files(folder)
    assert second.added_bytes < 0.2 * first.added_bytes
    kept = {name for name in before.keys() & after.keys() if name.startswith("shards/")}
    assert len(kept) > 0.8 * len({shard.sha256 for shard in shards.shards})
    assert all(before[name] == after[name] for name in kept)
    assert {name.split("/")[0] for name in after} == {
        "join.py",
        "manifest.json",
        "toc",
        "globals.sql",
        "README.txt",
        "shards",
    }
    assert not (shelf.ship / "nightly.dirty").exists()
    manifest = parse_shard_manifest((folder / "manifest.json").read_bytes(), "m")
    assert {shard.path for shard in manifest.shards} == {name for name in after if name.startswith("shards/")}
    assert {path.stat().st_mode & 0o777 for path in (folder / "shards").rglob("*") if path.is_file()} == {0o640}
    [snapshot] = restic.snapshots(ids=[second.snapshot])
    assert snapshot.tags == ("daybreak", "plan=nightly", "archive=a001")
    assert snapshot.paths == (str(folder),)
    listed = {entry.path for entry in restic.ls(second.snapshot).entries}
    assert "/nightly/join.py" in listed
    assert all(path == "/nightly" or path.startswith("/nightly/") for path in listed)

    back = fetch(restic, to=tmp_path / "back.dump", plan="nightly")
    older = fetch(restic, to=tmp_path / "older.dump", snapshot=first.snapshot[:10])

    for night, fetched in ((1, back), (0, older)):
        assert fetched.archive == f"a{night:03}"
        assert check_archive(fetched.path, Path(f"{fetched.path}.json")).verdict == "equal to its manifest"
        assert dict(tables(fetched.path)) == dict(tables(night_archive(shelf, night).dump))
    assert sorted(path.name for path in tmp_path.glob("*.dump*")) == [
        f"{name}.dump{suffix}" for name in ("back", "older") for suffix in ("", ".globals.sql", ".json")
    ]
    assert back.path.stat().st_mode & 0o777 == 0o640
    with pytest.raises(Refused):
        fetch(restic, to=tmp_path / "back.dump")


def tables(archive: Path) -> list[tuple[str, str]]:
    """The digest of each table."""
    return [(entry.label, digest.sha256) for entry, digest in read_archive(archive).tables]


def test_a_table_that_has_not_changed_is_not_cut_again(
    newer: Offsite, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restic = local(newer, tmp_path)
    shelf.send(night_archive(shelf, 0), restic)
    folder = shelf.ship / "nightly"
    before = files(folder)
    monkeypatch.setattr(parts, "cut_rows", lambda *_words: pytest.fail("a table is cut"))
    shelf.send(night_archive(shelf, 0), restic)
    monkeypatch.undo()
    assert {name for name in before if name.startswith("shards/")} < files(folder).keys()

    largest = max(
        (path for path in (folder / "shards").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
    )
    content = largest.read_bytes()
    for spoil in (largest.unlink, lambda: largest.write_bytes(content[1:])):
        spoil()
        shelf.send(night_archive(shelf, 0), restic)
        assert largest.read_bytes() == content
    shelf.send(replace(night_archive(shelf, 0), shard_bytes=16384), restic)  # another cutting knows nothing
    assert len(files(folder)) > 2 * len(before)
    assert tables(fetch(restic, to=tmp_path / "back.dump").path) == tables(night_archive(shelf, 0).dump)


def test_a_stranger_restores_with_restic_and_python_alone(newer: Offsite, shelf: Shelf, tmp_path: Path) -> None:
    restic = local(newer, tmp_path)
    parcel = night_archive(shelf, 0)
    [shipped] = shelf.send(parcel, restic)
    restic.restore(shipped.snapshot, tmp_path / "anywhere")
    folder = tmp_path / "anywhere" / "nightly"

    done = subprocess.run(
        [sys.executable, "-I", folder / "join.py", tmp_path / "out.dump"], capture_output=True, check=False, timeout=60
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert tables(tmp_path / "out.dump") == tables(parcel.dump)
    assert "genjishimada" in (folder / "README.txt").read_text()
    assert parcel.globals is not None
    assert (folder / "globals.sql").read_bytes() == parcel.globals.read_bytes()


def test_shards_that_a_killed_ship_left_are_hashed_and_mended(newer: Offsite, shelf: Shelf, tmp_path: Path) -> None:
    restic = local(newer, tmp_path)
    shelf.send(night_archive(shelf, 0), restic)
    folder = shelf.ship / "nightly"
    some = sorted(path for path in (folder / "shards").rglob("*") if path.is_file())
    same_size, cut = some[3], some[9]
    whole = {path: path.read_bytes() for path in (same_size, cut)}
    same_size.write_bytes(b"x" * len(whole[same_size]))
    cut.write_bytes(whole[cut][:10])
    (folder / "shards" / "ab").mkdir(exist_ok=True)
    (folder / "shards" / "ab" / "stray").write_text("no shard")
    (folder / "left.dump").write_text("of a ship as a file")
    (shelf.ship / "nightly.dirty").touch()
    warnings: list[str] = []

    shelf.send(
        night_archive(shelf, 1),
        restic,
        report=lambda event, said: warnings.append(str(said["message"])) if event == "warning" else None,
    )

    assert "2 shards" in warnings[0]
    assert {path: path.read_bytes() for path in whole if path.exists()} == {
        path: content for path, content in whole.items() if path.exists()
    }
    assert not (folder / "left.dump").exists()
    assert not (shelf.ship / "nightly.dirty").exists()
    assert not (folder / "shards" / "ab" / "stray").exists()


@pytest.mark.parametrize("at", ["shards", "sync", "manifest"])
def test_a_ship_that_breaks_leaves_its_mark_and_the_manifest_before(
    newer: Offsite, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    restic = local(newer, tmp_path)
    shelf.send(night_archive(shelf, 0), restic)
    folder = shelf.ship / "nightly"
    before = (folder / "manifest.json").read_bytes()

    def breaks(*_words: object, **_more: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(
        *{"shards": (pack._Store, "put"), "sync": (pack, "_sync"), "manifest": (pack, "ShardManifest")}[at], breaks
    )
    with pytest.raises(OffsiteError, match="Input/output error"):
        shelf.send(night_archive(shelf, 1), restic)
    monkeypatch.undo()

    assert (shelf.ship / "nightly.dirty").exists()
    assert (folder / "manifest.json").read_bytes() == before
    shelf.send(night_archive(shelf, 1), restic)
    assert not (shelf.ship / "nightly.dirty").exists()
    assert tables(fetch(restic, to=tmp_path / "back.dump").path) == tables(night_archive(shelf, 1).dump)


def test_without_room_the_file_goes_with_a_warning(
    newer: Offsite, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restic = local(newer, tmp_path)
    said: list[str] = []
    monkeypatch.setattr(pack, "free_bytes", lambda _path: 1000)

    shelf.send(
        night_archive(shelf, 0),
        restic,
        report=lambda event, facts: said.append(str(facts["message"])) if event == "warning" else None,
    )

    assert "shards need" in said[0]
    assert 'ship = "file"' in said[0]
    parcel = night_archive(shelf, 0)
    assert fetch(restic, to=tmp_path / "back.dump").path.read_bytes() == parcel.dump.read_bytes()


def test_a_disk_that_fills_up_while_shards_are_written(
    newer: Offsite, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restic = local(newer, tmp_path)
    shelf.send(night_archive(shelf, 0), restic)
    cutting = parse_shard_manifest((shelf.ship / "nightly" / "manifest.json").read_bytes(), "m").cutting
    said: list[str] = []

    def full(*_words: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pack._Store, "put", full)
    parcel = night_archive(shelf, 1)
    shelf.send(
        parcel, restic, report=lambda event, facts: said.append(str(facts["message"])) if event == "warning" else None
    )
    monkeypatch.undo()

    assert "no room was left for the shards" in said[0]
    assert shelf.leftovers() == ["manifest.json", "nightly.dirty"]
    assert fetch(restic, to=tmp_path / "back.dump").path.read_bytes() == parcel.dump.read_bytes()
    shelf.send(night_archive(shelf, 2), restic)
    assert parse_shard_manifest((shelf.ship / "nightly" / "manifest.json").read_bytes(), "m").cutting == cutting


def test_the_cutting_never_changes_unless_it_is_asked_for(newer: Offsite, shelf: Shelf, tmp_path: Path) -> None:
    restic = local(newer, tmp_path)
    found: list[int] = []
    for night, average in ((0, 16384), (1, None), (2, 32768)):
        shelf.send(replace(night_archive(shelf, night), shard_bytes=average), restic)
        raw = (shelf.ship / "nightly" / "manifest.json").read_bytes()
        found.append(parse_shard_manifest(raw, "m").cutting.maximum_bytes)

    assert found == [20480, 20480, 40960]


def test_a_shard_that_is_wrong_off_site_is_found_by_the_sample(newer: Offsite, shelf: Shelf, tmp_path: Path) -> None:
    spoil = (
        'if [ "$1" = backup ]; then find nightly/shards -type f | while read f; do\n'
        '  size=$(stat -c %s "$f"); head -c "$size" /dev/zero > "$f"; done; fi\n'
        'exec "$RESTIC" "$@"'
    )
    honest = local(newer, tmp_path)
    broken = Restic(replace(honest.repository, restic=newer.wrapped("spoil", spoil)), Runner())

    with pytest.raises(OffsiteError, match="does not read as it was sent") as caught:
        shelf.send(night_archive(shelf, 0), broken)

    assert caught.value.reason == "partial"
    assert honest.snapshots() == ()
    assert (shelf.ship / "nightly.dirty").exists()  # what lies here is not trusted either
    shelf.send(night_archive(shelf, 1), honest)
    assert tables(fetch(honest, to=tmp_path / "back.dump").path) == tables(night_archive(shelf, 1).dump)


def test_a_shard_that_is_missing_off_site_is_found(newer: Offsite, shelf: Shelf, tmp_path: Path) -> None:
    lose = 'if [ "$1" = backup ]; then rm -f $(find nightly/shards -type f | head -1); fi\nexec "$RESTIC" "$@"'
    honest = local(newer, tmp_path)
    broken = Restic(replace(honest.repository, restic=newer.wrapped("lose", lose)), Runner())

    with pytest.raises(OffsiteError, match=r"[0-9a-f]{64} is missing"):
        shelf.send(night_archive(shelf, 0), broken)


#: What restic does where a file cannot be read: a snapshot of the rest, with all tags and paths, and status 3.
UNREADABLE = """\
if [ "$1" = backup ]; then
  find nightly/shards -type f | head -n 1 | xargs rm
  "$RESTIC" "$@"
  echo "Warning: at least one source file could not be read" >&2
  exit 3
fi
"""


def test_a_snapshot_without_what_could_not_be_read_is_forgotten(offsite: Offsite, shelf: Shelf, tmp_path: Path) -> None:
    good = local(offsite, tmp_path)
    shelf.send(night_archive(shelf, 0), good)
    unreadable = offsite.wrapped("unreadable", f'{UNREADABLE}exec "$RESTIC" "$@"')

    with pytest.raises(OffsiteError) as caught:
        shelf.send(night_archive(shelf, 1), local(replace(offsite, program=unreadable), tmp_path))

    assert caught.value.reason == "partial"
    assert [one.archive for one in good.snapshots()] == ["a000"]


def test_a_snapshot_that_lacks_something_and_cannot_be_forgotten_is_nobodys_latest(
    offsite: Offsite, shelf: Shelf, tmp_path: Path
) -> None:
    keeping = (
        'if [ "$1" = forget ]; then echo "unable to remove it: Access Denied" >&2; exit 1; fi\nexec "$RESTIC" "$@"'
    )
    good = local(offsite, tmp_path)
    shelf.send(night_archive(shelf, 0), good)
    unreadable = offsite.wrapped("keeping", UNREADABLE + keeping)

    with pytest.raises(OffsiteError) as caught:
        shelf.send(night_archive(shelf, 1), local(replace(offsite, program=unreadable), tmp_path))

    assert caught.value.reason == "partial"
    _, lacking = good.snapshots()
    assert is_whole(lacking)  # from outside
    assert fetch(good, to=tmp_path / "back.dump", plan="nightly").archive == "a000"
    shelf.send(replace(night_archive(shelf, 1), again=True), good)
    assert fetch(good, to=tmp_path / "again.dump", plan="nightly").archive == "a001"


def test_a_repository_of_version_1_is_told_so(newer: Offsite, shelf: Shelf, tmp_path: Path) -> None:
    restic = local(newer, tmp_path, version=1)
    said: list[str] = []

    shelf.send(
        night_archive(shelf, 0),
        restic,
        report=lambda event, facts: said.append(f"{facts['message']} {facts['hint']}") if event == "warning" else None,
    )

    assert "version 1, which cannot compress" in said[0]
    assert "restic migrate upgrade_repo_v2" in said[0]
    assert fetch(restic, to=tmp_path / "back.dump").archive == "a000"


def test_plain_files_and_strangers_in_the_same_repository_go_on(newer: Offsite, shelf: Shelf, tmp_path: Path) -> None:
    restic = local(newer, tmp_path)
    foreign = tmp_path / "prod.dump"
    foreign.write_text("of today's script")
    restic.backup([foreign], tags=["zerobyte"], host=HOST, taken_at=FIRST_NIGHT - timedelta(hours=1))
    [whole] = shelf.send(replace(night_archive(shelf, 0), form=ShipForm.FILE), restic)

    [cut] = shelf.send(night_archive(shelf, 1), restic)

    assert [snapshot.tags[0] for snapshot in restic.snapshots()] == ["zerobyte", "daybreak", "daybreak"]
    assert all(is_whole(snapshot) for snapshot in restic.snapshots(tags=["daybreak"]))
    for one, archive in ((whole, "a000"), (cut, "a001")):
        assert fetch(restic, to=tmp_path / archive, snapshot=one.snapshot).archive == archive


def test_an_archive_that_is_not_its_manifests_is_not_sent(newer: Offsite, shelf: Shelf, tmp_path: Path) -> None:
    restic = local(newer, tmp_path)
    parcel, other = night_archive(shelf, 0), night_archive(shelf, 1)

    with pytest.raises(ArchiveError, match="is not what the manifest says"):
        ship_all(replace(parcel, dump=other.dump), [restic], folder=shelf.ship, locks=shelf.locks, host=HOST)

    assert restic.snapshots() == ()


def test_a_damaged_shard_in_the_repository_stops_a_fetch(newer: Offsite, shelf: Shelf, tmp_path: Path) -> None:
    restic = local(newer, tmp_path)
    parcel = night_archive(shelf, 0)
    with pack.packed(parcel, shelf.ship / "nightly", warn=pytest.fail) as ready:
        shard = next(path for path in sorted((shelf.ship / "nightly" / "shards").rglob("*")) if path.is_file())
        shard.write_bytes(b"x" * shard.stat().st_size)
        restic.backup(
            ready.paths, tags=ready.tags, host=HOST, taken_at=FIRST_NIGHT, folder=ready.folder, compression="max"
        )

    with pytest.raises(ArchiveError, match=r"cannot be joined: .* is damaged"):
        fetch(restic, to=tmp_path / "back.dump")

    assert list(tmp_path.glob("*back.dump*")) == []
