"""A repository that is a folder of this host: what stands in it is seen there, and restic is asked for the rest."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from offsite_samples import FIRST_NIGHT, Offsite, Shelf, noise

from daybreak.errors import OffsiteError
from daybreak.model import Repository
from daybreak.restic import client
from daybreak.restic.folder import folder_of, names_in

pytestmark = pytest.mark.restic


def in_a_folder(offsite: Offsite, folder: Path, **changes: object) -> Repository:
    """A new repository in `folder`."""
    shutil.copytree(offsite.where(offsite.template), folder)
    for name in ("data", "index", "locks", "snapshots"):  # `restic init` makes them; a storage has no empty folders
        (folder / name).mkdir(exist_ok=True)
    return replace(offsite.template, name="disk", url=str(folder), env_file=None, keep=None, **changes)


def size_of(repository: Repository, pack: str) -> int:
    return (Path(repository.url) / "data" / pack[:2] / pack).stat().st_size


def send(shelf: Shelf, offsite: Offsite, repository: Repository, night: int) -> None:
    content = noise(200_000, seed=700 + night)
    shelf.send(shelf.parcel(content, night=night), offsite.restic(repository))


@pytest.mark.parametrize("reason", ["full", "readonly"])
def test_a_disk_that_takes_nothing_is_told_as_that_and_at_once(
    offsite: Offsite, shelf: Shelf, tmp_path: Path, reason: str
) -> None:
    if os.geteuid() != 0:
        pytest.fail("this test mounts a small file system, which only root may: run the tests as root, as CI does")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=8m", "daybreak-test", disk], check=True, timeout=30)
    try:
        repository = in_a_folder(offsite, disk / "repository")
        if reason == "full":
            room = os.statvfs(disk)
            with (disk / "ballast").open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize)
        else:
            subprocess.run(["/bin/mount", "-o", "remount,ro", disk], check=True, timeout=30)
        began = time.monotonic()
        with pytest.raises(OffsiteError) as caught:
            send(shelf, offsite, repository, 0)
        assert time.monotonic() - began < 20  # restic 0.14 alone tries for 15 minutes
        assert caught.value.reason == reason
        assert f"{disk}/repository/" in caught.value.message
        assert ("no space left on device" if reason == "full" else "read-only file system") in caught.value.message
        assert ("make room" if reason == "full" else "mount it for writing") in caught.value.hint
    finally:
        subprocess.run(["/bin/umount", "-l", disk], check=True, timeout=30)


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("/srv/backup", "/srv/backup"),
        ("local:/srv/backup", "/srv/backup"),
        ("/srv/a:b", "/srv/a:b"),
        ("backup", None),
        ("./backup", None),
        ("local:backup", None),
        ("s3:https://storage.example.com/bucket", None),
        ("sftp:user@host:/srv/backup", None),
        ("rest:http://127.0.0.1:8000/", None),
        ("rclone:remote:/srv/backup", None),
        ("", None),
    ],
)
def test_which_addresses_are_folders(url: str, folder: str | None) -> None:
    assert folder_of(url) == (None if folder is None else Path(folder))


def test_the_folder_says_what_restic_says_and_needs_no_key(
    offsite: Offsite, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = in_a_folder(offsite, tmp_path / "repository")
    send(shelf, offsite, repository, 0)
    restic = offsite.restic(repository)
    shelf.send(shelf.parcel(noise(200_000, seed=701), night=1), restic)
    half = tmp_path / "repository/data/00"  # as a backup leaves it that goes on, or was killed
    half.mkdir(exist_ok=True)
    (half / f"{'0' * 64}-tmp-123").write_bytes(b"half")
    offsite.log.clear()

    seen = restic.indexes(), restic.packs()

    assert offsite.log == []
    monkeypatch.setattr(client, "names_in", lambda _folder, _kind: None)
    assert seen == (restic.indexes(), restic.packs())
    assert len(offsite.log) == 4  # two calls, a line for the beginning and the end of each
    assert len(seen[0]) == 2
    assert len(seen[1]) >= 2


def test_a_night_asks_restic_for_less(newer: Offsite, shelf: Shelf, tmp_path: Path) -> None:
    repository = in_a_folder(newer, tmp_path / "repository")
    send(shelf, newer, repository, 0)
    newer.log.clear()

    send(shelf, newer, repository, 1)

    begun = [line for line in newer.log if line.startswith("run ")]
    assert not [line for line in begun if " list index" in line or " list packs" in line]
    assert [line for line in begun if " list locks" in line]  # access is proven as ever
    assert sum(" cat index" in line for line in begun) == 1


def test_a_disk_that_took_a_pack_and_has_none(newer: Offsite, shelf: Shelf, tmp_path: Path) -> None:
    """The night fails that finds it, and the next one sends again what is missing."""
    repository = in_a_folder(newer, tmp_path / "repository")
    send(shelf, newer, repository, 0)
    restic = newer.restic(repository)
    before = names_in(tmp_path / "repository", "packs") or frozenset()
    theirs = shelf.folder / "theirs"
    theirs.write_bytes(noise(200_000, seed=701))  # what we send next
    restic.backup([theirs], tags=["theirs"], host="elsewhere", taken_at=FIRST_NIGHT)
    lost = max(restic.packs() - before, key=lambda one: size_of(repository, one))
    (tmp_path / "repository/data" / lost[:2] / lost).unlink()

    with pytest.raises(OffsiteError, match="does not hold what was sent") as caught:
        send(shelf, newer, repository, 2)

    assert "the storage took a pack and has none" in caught.value.message
    assert caught.value.reason == "partial"
    send(shelf, newer, repository, 1)
    restic.forget([one.id for one in restic.snapshots(tags=["theirs"])])
    assert restic.check(read_data_subset="100%").sound
    assert len(restic.snapshots()) == 2


def test_a_folder_that_does_not_tell_is_asked_for(newer: Offsite, tmp_path: Path) -> None:
    """Restic says in its own words what is wrong with it, or knows where the repository really is."""
    folder = tmp_path / "repository"
    repository = in_a_folder(newer, folder)
    restic = newer.restic(repository)
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"theirs")
    restic.backup([theirs], tags=["theirs"], host="elsewhere", taken_at=FIRST_NIGHT)
    newer.log.clear()
    assert restic.indexes()
    assert newer.log == []
    assert names_in(folder, "locks") is None  # they are read by restic, which proves access
    (folder / "index").rename(folder / "away")
    assert names_in(folder, "index") is None
    assert restic.indexes() == frozenset()
    assert [line for line in newer.log if " list index" in line]

    shutil.rmtree(folder)
    with pytest.raises(OffsiteError) as caught:
        restic.packs()
    assert caught.value.reason == "missing"


def test_a_restic_that_means_another_place_is_asked_for_everything(
    newer: Offsite, shelf: Shelf, tmp_path: Path
) -> None:
    """As one in a container does, whose path has something else on this host: even another repository."""
    real, decoy = tmp_path / "real", tmp_path / "repository"
    in_a_folder(newer, real)
    inside = newer.wrapped("inside", f'export RESTIC_REPOSITORY={real}; exec "$RESTIC" "$@"')
    repository = in_a_folder(newer, decoy, restic=inside)
    for night in range(2):
        newer.log.clear()
        send(shelf, newer, repository, night)
        begun = [line for line in newer.log if line.startswith("run ")]
        assert [line for line in begun if " list index" in line]
        assert [line for line in begun if " list packs" in line]
    assert len(list((real / "snapshots").iterdir())) == 2
    assert list((decoy / "snapshots").iterdir()) == []
