"""What the disk does, and what dead runs leave on it: 13, the previous archive, and a next night that cleans up."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from daybreak.catalog import Catalog
from daybreak.errors import Cancelled
from daybreak.jobs import shelf as shelves
from installation import Installation, sessions, wait_for
from webhook import running_hook

if TYPE_CHECKING:
    from conftest import Server

MOUNT, UMOUNT = "/bin/mount", "/bin/umount"
NOT_ROOT = "this test mounts a small file system, which only root may: run the tests as root, as CI does"


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A file system in memory at `folder`."""
    if os.geteuid() != 0:
        pytest.fail(NOT_ROOT)
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([MOUNT, "-t", "tmpfs", "-o", options, "daybreak-test", folder], check=True, timeout=30)
    try:
        yield
    finally:
        subprocess.run([UMOUNT, "-l", folder], check=True, timeout=30)


def fill(folder: Path, leave_bytes: int) -> Path:
    """Use up the room of a file system but for so many bytes."""
    room = os.statvfs(folder)
    ballast = folder / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(room.f_bavail * room.f_frsize - leave_bytes, 1))
    return ballast


# -- no room -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_k1_the_disk_fills_up_while_dumping(slow: Installation, share: float) -> None:
    """K1: 13 with bytes, nothing partial, the previous archive."""
    with mounted(slow.backups, "size=64m,mode=2770"):
        size = slow.backup()["archive"]["size_bytes"]
        before = slow.fingerprint()
        with slow.catalog() as catalog:  # a last archive that was small: the forecast lets the dump begin
            record = catalog.archives.newest("nightly")
            assert record is not None
        _shrink(slow, record.archive.id)
        ballast = fill(slow.backups, int(size * share))
        told = slow.backup(expect=13)
        assert told["code"] == "PublishError"
        assert "the disk is full" in told["message"]
        assert " B" in told["message"] or "kB" in told["message"] or "MB" in told["message"]
        assert "make room" in told["hint"]
        assert slow.leftovers() == []
        ballast.unlink()
        assert slow.fingerprint() == before
        slow.backup()


def _shrink(site: Installation, archive: str) -> None:
    """Let the catalog believe that an archive was tiny."""
    import sqlite3  # noqa: PLC0415 -- only wanted here

    with contextlib.closing(sqlite3.connect(site.state / "catalog.sqlite3")) as connection, connection:
        connection.execute("UPDATE archives SET size_bytes = 1 WHERE id = ?", (archive,))


def test_k5_too_little_room_is_told_before_the_dump(slow: Installation) -> None:
    """K5: free < 1.3 times the last archive; production is not read at all."""
    with mounted(slow.backups, "size=64m,mode=2770"):
        size = slow.backup()["archive"]["size_bytes"]
        before = slow.fingerprint()
        ballast = fill(slow.backups, int(size * 1.2))
        told = slow.backup(expect=13)
        assert "free" in told["message"]
        assert "needs about" in told["message"]
        steps = slow.json("run", "show", told["run"])["steps"]
        assert [step["name"] for step in steps] == ["check"]
        ballast.unlink()
        assert slow.fingerprint() == before


def test_p3_the_folder_is_not_there(site: Installation) -> None:
    """P3: 13 before any load on production."""
    shutil.rmtree(site.backups)
    told = site.backup(expect=13)
    assert f"{site.backups} is not there" in told["message"]
    assert "install -d -m 2770" in told["hint"]
    assert not site.backups.exists()


@pytest.mark.parametrize("kind", ["link to a file", "link to nowhere", "folder"])
def test_p3_something_else_stands_under_the_name(site: Installation, kind: str) -> None:
    elsewhere = site.folder / "elsewhere.dump"
    if kind == "folder":
        site.archive.mkdir()
    else:
        site.archive.symlink_to(elsewhere)
        if kind == "link to a file":
            elsewhere.write_bytes(b"precious")
    told = site.backup(expect=13)
    assert str(site.archive) in told["message"]
    assert "remove it, or name another file" in told["hint"]
    if kind == "link to a file":
        assert elsewhere.read_bytes() == b"precious"


def test_p3_k4_the_folder_is_read_only(site: Installation) -> None:
    with mounted(site.backups, "size=8m,mode=2770"):
        site.backup()
        before = site.fingerprint()
        subprocess.run([MOUNT, "-o", "remount,ro", site.backups], check=True, timeout=30)
        told = site.backup(expect=13)
        assert "not writable: its file system is read-only" in told["message"]
        found = {one["id"]: one for one in site.json("doctor", expect=1)["findings"] if one["severity"] == "error"}
        assert "archive.lock" not in found
        finding = found["archive.folder"]
        assert "its file system is read-only" in finding["finding"]
        for said in (told["hint"], finding["fix"]):  # what it says to type does it
            command = re.search(r'mount -o remount,rw "\$\(.*?\)"', said)
            assert command is not None
            subprocess.run(["/bin/bash", "-ec", command[0]], check=True, timeout=30)
            subprocess.run([MOUNT, "-o", "remount,ro", site.backups], check=True, timeout=30)
        assert site.fingerprint() == before


def test_k4_read_only_all_of_a_sudden(slow: Installation) -> None:
    """K4: a file that is open for writing keeps a remount from happening; the room for files runs out instead."""
    with mounted(slow.backups, "size=64m,mode=2770,nr_inodes=60"):
        slow.backup()
        before = slow.fingerprint()
        crumbs = slow.backups / "crumbs"
        crumbs.mkdir()
        with contextlib.suppress(OSError):
            for number in range(60):
                (crumbs / str(number)).touch()
        told = slow.backup(expect=13)
        assert "no inodes left" in told["message"]
        shutil.rmtree(crumbs)
        assert slow.fingerprint() == before
        slow.backup()


def test_p4_the_staging_folder_is_on_another_file_system(site: Installation) -> None:
    """P4: 3; nothing is copied instead of renamed."""
    site.backup()
    before = site.fingerprint()
    with mounted(site.root / "staging", "size=8m"):
        told = site.backup(expect=3)
    assert "is on another file system" in told["message"]
    assert site.fingerprint() == before


def test_a_state_folder_that_cannot_be_written(site: Installation) -> None:
    site.backup()
    before = site.fingerprint()
    site.state.rename(site.folder / "old-state")
    with mounted(site.state, "size=1m,ro"):
        told = site.backup(expect=3)
    assert told["code"] == "ConfigError"
    assert str(site.state) in told["message"]
    assert told["hint"]
    assert site.fingerprint() == before


def test_k8_the_disk_of_state_and_logs_fills_up_during_a_run(slow: Installation) -> None:
    """K8: the backup succeeds all the same; a person is told; later the archive is known."""
    with mounted(slow.state, "size=8m,mode=2770"):
        slow.backup()
        slow.fake_dump(f'head -c 20000000 /dev/zero > {slow.state}/ballast 2>/dev/null; exec "$real" "$@"')
        answer = slow.apart("backup", "--json")
        told = answer.expect(0)
        assert slow.manifest().id == told["archive"]["id"] == told["run"]
        assert "the disk is full" in str(told.get("warnings", "")) + answer.err
        (slow.state / "ballast").unlink()
        slow.real_dump()
        assert slow.json("repair")["state"] == "succeeded"
        known = {one["id"]: one["state"] for one in slow.json("archives")["archives"]}
        assert known[told["run"]] == "published"
        assert slow.leftovers() == []


def test_k8_the_disk_of_state_and_logs_was_full_before(site: Installation) -> None:
    """K8: nothing can be written down, and the backup succeeds; the next one takes note of it."""
    with mounted(site.state, "size=4m,mode=2770"):
        first = site.backup()
        ballast = fill(site.state, 0)
        told = site.apart("backup", "--json")
        assert told.expect(0)["state"] == "succeeded"
        assert site.manifest().id == told.json["run"]
        assert "no room in" in told.err
        ballast.unlink()
        again = site.backup()
        assert again["state"] == "succeeded"
        known = {one["id"]: one["state"] for one in site.json("archives")["archives"]}
        assert set(known) >= {first["run"], told.json["run"], again["run"]}
        assert site.leftovers() == []


@pytest.mark.parametrize("left_bytes", [16384, 40960, 81920])
def test_k8_a_backup_that_cannot_take_its_slot_for_lack_of_room_is_made(site: Installation, left_bytes: int) -> None:
    """K8: how much room is left decides at which word the catalog finds the disk full."""
    site.configure(plan={"schedule": "* * * * *"})
    with mounted(site.state, "size=4m,mode=2770"):
        site.backup()
        ballast = fill(site.state, left_bytes)
        told = site.apart("backup", "--json", "--slot", "now")
        assert told.expect(0)["state"] == "succeeded"
        assert site.manifest().id == told.json["run"]
        assert "cannot be used: " in told.err
        ballast.unlink()
        assert site.backup()["state"] == "succeeded"


def test_k8_how_a_run_ended_is_known_later_where_the_disk_was_full_at_its_end(site: Installation) -> None:
    """K8: it was recorded as lost, although its archive stood published; and on a full disk the next run failed."""
    with mounted(site.state, "size=4m,mode=2770"):
        site.backup()
        site.fake_dump(f'head -c 20000000 /dev/zero > {site.state}/ballast 2>/dev/null; exec "$real" "$@"')
        told = site.apart("backup", "--json")
        assert told.expect(0)["state"] == "succeeded"
        assert "could not be recorded" in told.err
        assert "it is kept, and recorded when there is room" in told.err
        site.real_dump()
        still = site.apart("backup", "--json")
        assert still.expect(0)["state"] == "succeeded"
        (site.state / "ballast").unlink()
        shown = site.json("run", "show", told.json["run"])
        assert (shown["state"], shown["archive"]) == ("succeeded", told.json["archive"])
        assert "lost" not in {one["state"] for one in site.json("runs")["runs"]}
        assert not list((site.state / "runs").glob("*.end"))


def test_k8_a_run_that_died_is_lost_and_leaves_no_file(slow: Installation) -> None:
    slow.fake_dump('sleep 30; exec "$real" "$@"')
    with slow.start("backup") as running:
        wait_for(slow.staged, what="the dump")
        assert list((slow.state / "runs").glob("*.end"))
        running.kill(group=True)
    assert [one["state"] for one in slow.json("runs")["runs"]] == ["lost"]
    assert not list((slow.state / "runs").iterdir())


def test_k8_a_password_is_handed_over_without_a_disk(site: Installation, prod: tuple[Server, str]) -> None:
    server, name = prod
    server.create_role("without_disk", password="canary-no-disk", options="LOGIN SUPERUSER")
    secret = site.folder / "password"
    secret.write_text("canary-no-disk\n")
    secret.chmod(0o600)
    site.configure(database={"url": server.url(name, user="without_disk"), "password_file": str(secret)})
    with mounted(site.state, "size=4m,mode=2770"):
        site.backup()
        private = site.state / "private"
        with mounted(private, "size=64k,nr_inodes=1,mode=2770"):
            told = site.apart("backup", "--json")
        assert told.expect(0)["state"] == "succeeded"
        log = (site.state / "logs" / f"{told.json['run']}.log").read_text()
        assert "the tools get it in their environment" in log
        assert "canary-no-disk" not in log + told.out + told.err


def test_a_failure_that_is_not_recorded_leads_to_no_run_and_spoils_no_metrics(site: Installation) -> None:
    hook_url, metrics = site.folder / "hook.url", site.folder / "daybreak.prom"
    hook_url.touch(0o600)
    with running_hook() as hook, mounted(site.state, "size=4m,mode=2770"):
        hook_url.write_text(hook.url())
        site.more += f'[alerts.here]\nurl_file = "{hook_url}"\n'
        site.configure()
        site.file.write_text(f'metrics_file = "{metrics}"\n{site.file.read_text()}')
        site.backup()
        before = metrics.read_text()
        ballast = fill(site.state, 0)
        site.backups.rename(site.folder / "away")
        told = site.apart("backup")
        ballast.unlink()
    assert told.code == 13
    assert "no room in" in told.err
    assert "run show" not in told.err
    assert hook.titles == ["nightly failed"]
    assert "run show" not in hook.text
    assert metrics.read_text() == before


def test_no_record_works_where_the_state_folder_does_not(site: Installation) -> None:
    """A person's backup without the state folder: whole, under the archive's lock; known to the next ordinary one."""
    site.backup()
    site.state.rename(site.folder / "old-state")
    site.state.write_text("no folder")
    assert site.backup(expect=3)["code"] == "ConfigError"
    told = site.backup("--no-record")
    assert told["state"] == "succeeded"
    assert site.manifest().id == told["run"]
    assert site.state.read_text() == "no folder"
    site.state.unlink()
    (site.folder / "old-state").rename(site.state)
    site.backup()
    known = {one["id"]: one["state"] for one in site.json("archives")["archives"]}
    assert told["run"] in known
    assert site.leftovers() == []


def test_no_record_waits_for_the_lock_of_the_archive_and_removes_nobodys_pins(slow: Installation) -> None:
    slow.backup()
    slow.configure(plan={"wait": "1s"})
    slow.fake_dump('sleep 30; exec "$real" "$@"')
    with slow.start("backup") as running:
        wait_for(slow.staged, what="the dump")
        assert slow.backup("--no-record", expect=5)["code"] == "Busy"
        running.kill(group=True)
    slow.real_dump()
    pin = slow.root / "pins" / "20260101-000000-somebody.dump"
    pin.write_bytes(b"in use by a run that this one cannot know")
    assert slow.backup("--no-record")["state"] == "succeeded"
    assert pin.exists()


def test_k8_a_log_that_cannot_be_written_changes_nothing(site: Installation) -> None:
    site.backup()
    logs = site.state / "logs"
    with mounted(logs, "size=64k"):
        fill(logs, 0)
        told = site.backup()
        assert told["state"] == "succeeded"
        assert site.manifest().id == told["run"]


# -- damage ------------------------------------------------------------------------------------------------------


def test_p2_a_kill_between_rename_and_manifest_is_mended(site: Installation, prod: tuple[Server, str]) -> None:
    """P2: the name is given the manifest that was stored under the archive's sha256."""
    server, name = prod
    site.backup()
    kept = {suffix: Path(f"{site.archive}{suffix}").read_bytes() for suffix in (".json", ".globals.sql")}
    server.psql("INSERT INTO nothing VALUES (1)", name)
    second = site.backup()["archive"]["id"]
    for suffix, content in kept.items():  # the manifest of the one before
        Path(f"{site.archive}{suffix}").unlink()
        Path(f"{site.archive}{suffix}").write_bytes(content)
    assert site.json("archive", "read", str(site.archive), expect=12)["message"]
    assert site.json("repair")["state"] == "succeeded"
    assert site.manifest().id == second


@pytest.mark.parametrize("lost", ["manifest", "record", "both"])
def test_p2_an_archive_without_manifest_or_record_is_adopted(
    site: Installation, prod: tuple[Server, str], lost: str
) -> None:
    server, name = prod
    site.configure(plan={"keep_local": 2})
    first = site.backup()["archive"]["id"]
    if lost != "record":
        Path(f"{site.archive}.json").unlink()
    if lost != "manifest":
        shutil.rmtree(site.state)
    server.psql("INSERT INTO nothing VALUES (1)", name)
    second = site.backup()["archive"]["id"]
    assert site.manifest(site.backups / f"prod-{first}.dump").id == first
    assert [one["id"] for one in site.json("archives")["archives"]] == [second, first]


def test_a_previous_archive_that_the_disk_does_not_give_back_does_not_stop_the_night(
    site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.backup()

    def broken(path: Path, **_named: object) -> str:
        raise OSError(5, f"Input/output error at {path.name}")

    monkeypatch.setattr(shelves, "sha256_from_disk", broken)
    told = site.backup()
    assert f"cannot be read: Input/output error at {site.archive.name}" in told["warnings"][0]
    site.manifest()


def test_the_previous_archive_is_read_beside_the_dump(slow: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    slow.backup()
    real = shelves.sha256_from_disk

    def patient(path: Path, **named: Any) -> str:
        wait_for(slow.staged, what="the dump")
        return real(path, **named)

    monkeypatch.setattr(shelves, "sha256_from_disk", patient)
    assert "warnings" not in slow.backup()


def test_a_dump_that_fails_waits_for_no_previous_archive(site: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    before = site.backup()["archive"]["id"]
    ended: list[bool] = []

    def endless(path: Path, *, stop: Callable[[], bool]) -> str:
        wait_for(stop, what="the end of the dump")
        ended.append(True)
        raise Cancelled(f"{path} is not read any more")

    monkeypatch.setattr(shelves, "sha256_from_disk", endless)
    site.fake_dump("exit 1")
    site.backup(expect=11)
    assert ended == [True]
    assert site.manifest().id == before


def test_who_cancels_does_not_wait_for_the_previous_archive(
    site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = site.backup()["archive"]["id"]

    def endless(path: Path, *, stop: Callable[[], bool]) -> str:
        with Catalog.open(site.state) as catalog:
            run = catalog.runs.list(limit=1)[0].id
            assert catalog.runs.request_cancel(run, by="a person", at=datetime.now(UTC))
        wait_for(stop, what="the wish to cancel")
        raise Cancelled(f"the run was cancelled while {path} was read")

    monkeypatch.setattr(shelves, "sha256_from_disk", endless)
    site.backup(expect=130)
    assert site.manifest().id == before
    assert site.staged() is None


def test_a_previous_archive_that_was_damaged_meanwhile_is_found_and_not_kept(
    site: Installation, prod: tuple[Server, str]
) -> None:
    server, name = prod
    site.configure(plan={"keep_local": 3})
    site.backup()
    content = bytearray(site.archive.read_bytes())
    content[-50] ^= 1
    site.archive.write_bytes(content)
    server.psql("INSERT INTO nothing VALUES (1)", name)
    told = site.backup()
    assert "has changed since it was published" in told["warnings"][0]
    assert site.manifest().id == told["archive"]["id"]
    assert [one["id"] for one in site.json("archives")["archives"] if one["state"] == "published"] == [
        told["archive"]["id"]
    ]


def test_p1_what_dead_runs_left_is_swept_and_logged(site: Installation) -> None:
    """P1: staged files, pins, unfinished manifests; foreign files stay."""
    site.backup()
    dead = "20200101-000000-dead"
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    lefts = [
        site.root / "staging" / f"prod.dump.{dead}.partial",
        site.root / "pins" / f"{dead}.dump",
        site.root / "pins" / f"{dead}.dump.json",
        site.root / "pins" / f".{dead}.dump.json.{gone.pid}.partial",
        site.root / "manifests" / f".abc.json.{gone.pid}.partial",
        site.backups / f".prod.dump.json.{gone.pid}.partial",
        site.backups / f".prod-{dead}.dump.{gone.pid}.partial",
        site.state / "private" / dead,
    ]
    for left in lefts[:-1]:
        left.write_bytes(b"left")
    lefts[-1].mkdir()
    (lefts[-1] / "pgpass-x").write_text("secret")
    foreign = site.backups / ".mine.partial"
    foreign.write_bytes(b"mine")
    told = site.backup()
    assert [left for left in lefts if left.exists()] == []
    assert foreign.exists()
    assert f"unfinished dump prod.dump.{dead}.partial" in (site.state / "logs" / f"{told['run']}.log").read_text()


def test_repair_says_what_it_did_and_the_second_time_that_there_is_nothing(site: Installation) -> None:
    site.backup()
    (site.root / "staging" / "prod.dump.20200101-000000-dead.partial").write_bytes(b"left")
    told = site.json("repair")
    assert told["done"] == ["removed unfinished dump prod.dump.20200101-000000-dead.partial"]
    assert site.json("repair")["done"] == []
    assert "there was nothing to do" in site.call("repair").out


# -- kills at named instants ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [True, False])
def test_p1_a_kill_in_the_middle_of_a_dump(slow: Installation, large: tuple[Server, str], group: bool) -> None:  # noqa: FBT001 -- a parameter
    """P1, L3, I6: the old archive stands, the run is recorded as lost, nothing is left."""
    server, _ = large
    slow.backup()
    before = slow.fingerprint()
    night = slow.start("backup", "--json")
    staged = wait_for(slow.staged, what="a staged file")
    wait_for(lambda: staged.stat().st_size > 1_000_000, what="a part of the dump")
    night.kill(group=group)
    assert slow.fingerprint() == before
    run = staged.name.removeprefix("prod.dump.").removesuffix(".partial")
    wait_for(lambda: not sessions(server, run), within_s=15, what="the end of the run's sessions")
    began = time.monotonic()
    told = slow.backup()
    assert time.monotonic() - began < 60
    assert slow.leftovers() == []
    lost = slow.json("run", "show", run)
    assert lost["state"] == "lost"
    assert "its process died before the end" in lost["reason"]
    assert slow.manifest().id == told["run"]


_KILLED_AT = """
import os, signal, sys
from pathlib import Path
from daybreak import files
from daybreak.jobs import backup, shelf
from daybreak.catalog import archives
from daybreak.cli import main

def die(*_a, **_k):
    os.kill(os.getpid(), signal.SIGKILL)

def after(owner, name):
    real = getattr(owner, name)
    def then_die(*a, **k):
        real(*a, **k)
        die()
    setattr(owner, name, then_die)

where = sys.argv[1]
{
    "before the read back": lambda: setattr(backup, "read_back", die),
    "before the manifest is stored": lambda: setattr(shelf.Shelf, "store_manifest", die),
    "after the manifest is stored": lambda: after(shelf.Shelf, "store_manifest"),
    "before the rename": lambda: setattr(shelf.Shelf, "publish", die),
    "after the rename": lambda: setattr(shelf.Shelf, "_name_manifest", die),
    "after the name of the manifest": lambda: after(shelf.Shelf, "publish"),
    "before the record": lambda: setattr(archives.Archives, "add", die),
    "after the record": lambda: after(archives.Archives, "add"),
    "after the older ones are gone": lambda: after(backup, "tidy"),
}[where]()
main.main(sys.argv[2:])
"""


@pytest.mark.parametrize(
    "where",
    [
        "before the read back",
        "before the manifest is stored",
        "after the manifest is stored",
        "before the rename",
        "after the rename",
        "after the name of the manifest",
        "before the record",
        "after the record",
        "after the older ones are gone",
    ],
)
def test_c1_a_kill_at_every_instant_of_publishing(site: Installation, prod: tuple[Server, str], where: str) -> None:
    """C1: a whole archive under the name at every instant; the next run is green and leaves nothing behind."""
    import sys  # noqa: PLC0415 -- only wanted here

    server, name = prod
    site.configure(plan={"keep_local": 2})
    first = site.backup()["archive"]
    server.psql("INSERT INTO nothing VALUES (1)", name)
    done = subprocess.run(
        [sys.executable, "-c", _KILLED_AT, where, "--config", site.file, "backup", "--json"],
        check=False,
        timeout=60,
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done
    from daybreak.archive import read_archive  # noqa: PLC0415 -- only wanted here

    standing = read_archive(site.archive)
    assert standing.rows in {2500, 2501}
    if standing.rows == 2500:
        assert standing.sha256 == first["sha256"]
    server.psql("INSERT INTO nothing VALUES (2)", name)
    third = site.backup()["archive"]
    assert site.leftovers() == []
    assert site.manifest().id == third["id"]
    assert [one["state"] for one in site.json("runs")["runs"]] == ["succeeded", "lost", "succeeded"]
    published = [one for one in site.json("archives")["archives"] if one["state"] == "published"]
    assert {one["path"] for one in published} == {str(path) for path in site.backups.glob("*.dump")}
    for one in published:
        assert site.manifest(Path(one["path"])).id == one["id"]
    wanted = {one["sha256"] for one in published}
    assert {path.name.partition(".")[0] for path in (site.root / "manifests").iterdir()} == wanted
