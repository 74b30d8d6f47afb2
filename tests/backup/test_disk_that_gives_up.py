"""A disk that an error makes read-only while a run uses it (ext4's errors=remount-ro), and one without inodes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from daybreak.embedded.cluster import passfile_of
from daybreak.embedded.scratch import server_user
from daybreak.errors import CommandError
from daybreak.secret import Secret
from installation import Installation
from webhook import running_hook

UMOUNT = "/bin/umount"


@contextlib.contextmanager
def disk(folder: Path, *, inodes: int = 400, megabytes: int = 64) -> Iterator[str]:
    """A small ext4 at `folder`; what is given is a shell command that breaks it."""
    if os.geteuid() != 0:
        pytest.fail("this test mounts a small file system, which only root may: run the tests as root, as CI does")
    folder.mkdir(parents=True, exist_ok=True)
    image = folder.with_name(f"{folder.name}.img")
    with image.open("wb") as file:
        file.truncate(megabytes * 2**20)
    mkfs = ["/sbin/mkfs.ext4", "-q", "-m", "0", "-N", str(inodes), "-e", "remount-ro", str(image)]
    subprocess.run(mkfs, check=True, timeout=30)
    subprocess.run(["/bin/mount", "-o", "loop", image, folder], check=True, timeout=30)
    try:
        folder.chmod(0o2770)
        device = subprocess.run(
            ["/bin/findmnt", "-no", "SOURCE", folder], check=True, timeout=30, capture_output=True, text=True
        ).stdout.strip()
        yield f"echo 1 > /sys/fs/ext4/{Path(device).name}/trigger_fs_error"
    finally:
        subprocess.run([UMOUNT, "-l", folder], check=True, timeout=30)


def use_up_inodes(folder: Path, *, leave: int = 0) -> Path:
    crumbs = folder / "crumbs"
    crumbs.mkdir()
    for number in range(os.statvfs(folder).f_favail - leave):
        (crumbs / str(number)).touch()
    return crumbs


@pytest.fixture
def asked(site: Installation) -> Installation:
    """Production asks for a password, as it does mostly: its passfile lies in the state folder."""
    secret = site.folder / "prod.password"
    secret.write_text("canary-password-4711\n")
    secret.chmod(0o600)
    site.configure(database={"password_file": str(secret)})
    return site


def test_k4_the_disk_of_the_archives_gives_up_during_the_dump(site: Installation) -> None:
    """K4: it was a bug (70), since the unfinished dump could not be removed either."""
    with disk(site.backups) as gives_up:
        site.backup()
        before = site.fingerprint()
        site.fake_dump(f'{gives_up}; exec "$real" "$@"')
        told = site.backup(expect=13)
        assert "the file system is read-only" in told["message"]
        assert site.fingerprint() == before
        site.real_dump()
        assert "its file system is read-only" in site.backup(expect=13)["message"]


def test_k8_the_disk_of_state_and_logs_gives_up_during_the_dump(asked: Installation) -> None:
    """K8: a good dump was thrown away as a bug (70), since the passfile could not be removed."""
    with disk(asked.state) as gives_up:
        asked.backup()
        asked.fake_dump(f'{gives_up}; exec "$real" "$@"')
        answer = asked.apart("backup", "--json")
        told = answer.expect(0)
        assert asked.manifest().id == told["archive"]["id"] == told["run"]
        assert "the run goes on without it" in answer.err
        asked.real_dump()
        look = asked.apart("status", "--json")  # to look needs nothing written
        assert look.expect(0)["plans"][0]["plan"] == "nightly"
        assert "is on a file system that is read-only" in look.err
        assert "is on a file system that is read-only" in asked.apart("backup", "--json").expect(3)["message"]


@pytest.mark.parametrize("how", ["read-only", "full"])
def test_a_failure_that_could_not_be_recorded_is_told(asked: Installation, how: str) -> None:
    with running_hook() as hook, disk(asked.state) as gives_up:
        address = asked.folder / "here.url"
        address.write_text(hook.url() + "\n")
        address.chmod(0o600)
        asked.more = f'[alerts.here]\nurl_file = "{address}"\n'
        asked.configure()
        asked.backup()
        fills_up = f"head -c 80000000 /dev/zero > {asked.state}/ballast 2>/dev/null"
        asked.fake_dump(f"{gives_up if how == 'read-only' else fills_up}; echo 'the server went away' >&2; exit 1")
        answer = asked.apart("backup", "--json")
        answer.expect(11)
        assert "could not be recorded" in answer.err
        assert hook.titles == ["nightly failed"]
        assert "exit code 11" in json.dumps(hook.received)


def test_k4_a_disk_of_the_archives_without_inodes(site: Installation) -> None:
    with disk(site.backups) as _:
        site.backup()
        before = site.fingerprint()
        crumbs = use_up_inodes(site.backups)
        told = site.backup(expect=13)
        assert "the disk has no inodes left" in told["message"]
        assert "df -i" in told["hint"]
        assert site.fingerprint() == before
        found = {one["id"]: one for one in site.json("doctor", expect=1)["findings"]}
        assert "no inodes left" in found["archive.folder"]["finding"]
        subprocess.run(["/bin/rm", "-r", crumbs], check=True)
        site.backup()


@pytest.mark.parametrize("leave", [0, 1])
def test_k8_a_disk_of_state_and_logs_without_inodes(site: Installation, leave: int) -> None:
    """K8: "its files cannot be opened", exit 3, and no backup; a full one never kept anybody from it."""
    with disk(site.state) as _:
        site.backup()
        use_up_inodes(site.state, leave=leave)
        answer = site.apart("backup", "--json")
        assert site.manifest().id == answer.expect(0)["run"]
        assert "the disk has no inodes left" in answer.err


def test_the_disk_of_a_throw_away_server_gives_up(
    site: Installation, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended with the last words of some program, or as a bug of Daybreak (70)."""
    site.backup()
    temporary = scratch / "gives-up"
    with disk(temporary, megabytes=600, inodes=8000) as gives_up:
        temporary.chmod(0o1777)
        monkeypatch.setenv("TMPDIR", str(temporary))
        site.fake_dump(f"{gives_up}; exit 1", tool="pg_restore")
        told = site.apart("drill", "--json").expect(13)
        assert f"no server can work in {temporary}/" in told["message"]
        assert "the file system is read-only" in told["message"]


def test_what_cannot_be_removed_does_not_take_the_place_of_how_it_ended(tmp_path: Path) -> None:
    def fails() -> None:
        with passfile_of(Secret("x"), tmp_path, server_user()) as path:
            path.unlink()
            path.mkdir()
            raise CommandError("initdb", 1, (), program="initdb")

    with pytest.raises(CommandError):
        fails()


def test_a_fetch_to_a_disk_without_inodes(site: Installation) -> None:
    """It said "There were 1418 errors", and to check the repository, in which nothing was wrong."""
    secret = site.folder / "r.password"
    secret.write_text("canary-password-4711\n")
    secret.chmod(0o600)
    site.more = (
        f'[repositories.r]\nurl = "{site.folder}/repository"\npassword_file = "{secret}"\nkeep = {{ daily = 7 }}\n'
    )
    site.configure(plan={"repositories": ["r"]})
    site.json("repository", "init")
    site.backup()
    with disk(site.folder / "elsewhere") as _:
        crumbs = use_up_inodes(site.folder / "elsewhere", leave=2)
        told = site.json("fetch", "latest", "--to", str(site.folder / "elsewhere" / "prod.dump"), expect=13)
        assert "the disk has no inodes left" in told["message"]
        assert [one.name for one in (site.folder / "elsewhere").iterdir() if one.name != "lost+found"] == [crumbs.name]
