"""Several at once, ended early, followed from elsewhere: every run has an end that is known."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from daybreak import files
from daybreak.catalog.runs import Runs
from daybreak.errors import ArchiveError, ConfigError
from daybreak.jobs import shelf as shelves
from daybreak.jobs.shelf import Shelf
from daybreak.model import RunState
from installation import PROGRAM, Installation, processes, wait_for

if TYPE_CHECKING:
    from conftest import Server


def running(site: Installation) -> str:
    """The run that is dumping now, once a part of the dump is there."""
    staged = wait_for(site.staged, what="a staged file")
    wait_for(lambda: not staged.exists() or staged.stat().st_size > 200_000, what="a part of the dump")
    return staged.name.removeprefix(f"{site.name}.").removesuffix(".partial")


def states(site: Installation) -> list[str]:
    return [run["state"] for run in site.json("runs")["runs"]]


def snail(site: Installation, seconds: float = 2.0) -> None:
    """Let each dump stop for a while in its middle."""
    site.fake_dump(f'"$real" "$@" | (head -c 300000; sleep {seconds}; cat)')


@pytest.mark.parametrize("offset_s", [0.0, 0.4, 1.2])
def test_l1_two_at_once_make_one_or_two_whole_dumps(slow: Installation, offset_s: float) -> None:
    """L1: both end with 0, whoever was first."""
    with slow.start("backup", "--json") as one:
        time.sleep(offset_s)
        with slow.start("backup", "--json") as two:
            told = [one.end().expect(0), two.end().expect(0)]
    made = {one["archive"]["id"] for one in told}
    assert slow.manifest().id in made
    assert all(one["state"] == "succeeded" or one["archive"]["id"] in made for one in told)
    assert slow.leftovers() == []


def test_a_running_dump_that_began_before_the_request_is_not_taken(slow: Installation) -> None:
    """A person asks for the data of now; two who wait may share one dump, unless one says --fresh."""
    snail(slow)
    with slow.start("backup", "--json") as first:
        running(slow)
        with (
            slow.start("backup", "--json") as second,
            slow.start("backup", "--json") as third,
            slow.start("backup", "--fresh", "--json") as fresh,
        ):
            told = [call.end().expect(0) for call in (first, second, third, fresh)]
    own = {one["run"] for one in told if one["state"] == "succeeded"}
    assert {told[0]["run"], told[3]["run"]} <= own
    for one in told[1:3]:
        assert one["archive"]["id"] != told[0]["run"]
        assert one["archive"]["id"] in own
        if one["state"] == "skipped":
            assert "was begun after this was asked for" in one["reason"]
            assert one["exit_code"] == 0
    assert len(own) in {2, 3, 4}


def test_a_run_whose_beginning_could_not_be_written_is_no_lost_one(site: Installation, monkeypatch: pytest.MonkeyPatch):
    """The catalog was locked, or its disk full, for that moment."""
    real = Runs.set_state

    def set_state(self: Runs, run: str, state: RunState, **how: Any) -> bool:
        if state is RunState.RUNNING:
            raise ConfigError("the catalog cannot be used: database is locked")
        return real(self, run, state, **how)

    with monkeypatch.context() as patch:
        patch.setattr(Runs, "set_state", set_state)
        told = site.backup()
    assert "locked" in str(told["warnings"])
    assert states(site) == ["succeeded"]
    (run,) = site.json("runs")["runs"]
    assert run["requested_at"] == run["started_at"] < run["ended_at"]
    site.backup()
    assert states(site) == ["succeeded", "succeeded"]


def test_a_run_that_was_taken_for_dead_says_so(site: Installation, monkeypatch: pytest.MonkeyPatch):
    """Somebody had removed its lock file, say."""
    monkeypatch.setattr(files, "is_locked", lambda _path: False)
    real = Shelf.publish

    def publish(self: Shelf, *args: Any, **how: Any) -> Any:
        with site.catalog() as catalog:
            for run in catalog.runs.open_runs():
                catalog.runs.set_state(run.id, RunState.LOST, at=datetime.now(UTC), reason="dead")
        return real(self, *args, **how)

    monkeypatch.setattr(Shelf, "publish", publish)
    answer = site.call("backup", "--json")
    assert answer.code == 0
    assert "the catalog has it as ended already" in answer.err
    assert list(site.state.glob("runs/*.lock")) == []


@pytest.mark.parametrize("verb", ["backup", "repair"])
def test_what_a_dead_run_left_under_a_name_that_is_no_text_is_removed_and_told(site: Installation, verb: str):
    site.backup()
    left = site.root / "staging" / os.fsdecode(b".a\xff.partial")
    for words in [(), ("--json",)]:
        left.touch()
        os.utime(left, (0, 0))
        answer = site.apart(verb, *words, env={"PYTHONIOENCODING": "utf-8:strict"})
        assert answer.code == 0
        assert not left.exists()
        assert verb == "backup" or r".a\udcff.partial" in answer.out.replace(r"\\", "\\")


def test_who_waits_too_long_is_told_who_holds_it(slow: Installation) -> None:
    snail(slow, 4.0)
    slow.configure(plan={"wait": "1s"})
    with slow.start("backup", "--json") as first:
        holder = running(slow)
        told = slow.backup(expect=5)
        assert told["code"] == "Busy"
        assert holder in told["message"]
        first.end().expect(0)


def test_l3_l5_a_lock_file_without_a_living_holder_holds_nobody(site: Installation) -> None:
    """L3, L5: what stands in a lock file is for people; only the lock itself counts."""
    site.backup()
    lock = site.root / "locks" / "prod.dump.lock"
    lock.write_text("run 20200101-000000-dead, process 1")
    site.configure(plan={"wait": "0s"})
    site.backup()


def test_a_dead_run_is_recorded_as_lost_by_whoever_looks_next(slow: Installation) -> None:
    snail(slow)
    night = slow.start("backup")
    run = running(slow)
    wait_for(slow.staged, what="the dump")
    assert "… dump" in (going := slow.call("run", "show", run).out), going
    night.kill()
    shown = slow.call("run", "show", run).out
    assert "✗ dump" in shown, shown
    assert "broke off" in shown
    told = slow.json("run", "show", run)
    assert told["state"] == "lost"
    assert "its process died before the end" in told["reason"]
    assert told["ended_at"] is not None
    assert slow.json("status")["plans"][0]["state"] == "lost"
    assert list((slow.state / "runs").iterdir()) == []


@pytest.mark.parametrize("by_service", [False, True], ids=["by address", "by service"])
def test_l6_the_sessions_of_a_dead_run_are_ended_before_the_next_dump(
    slow: Installation, large: tuple[Server, str], monkeypatch: pytest.MonkeyPatch, *, by_service: bool
) -> None:
    """L6: found by their application name, and only if that run is ours and dead."""
    server, name = large
    if by_service:
        slow.configure(database={"url": "postgresql:///?service=prod"})
        (slow.folder / ".pg_service.conf").write_text(
            f"[prod]\nhost={server.host}\nport={server.port}\nuser=postgres\ndbname={name}\n"
        )
        monkeypatch.setenv("HOME", str(slow.folder))
    night = slow.start("backup")
    run = running(slow)
    night.kill(group=True)
    others = [f"daybreak:{run}", "daybreak:20200101-000000-beef", "app"]
    sessions = [
        subprocess.Popen(
            [server.bin / "psql", "-XAtqc", "SELECT pg_sleep(60)", "-d", server.conninfo(name)],
            env={"PGAPPNAME": one},
            stderr=subprocess.DEVNULL,
        )
        for one in others
    ]
    asleep = "FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'"
    try:
        wait_for(lambda: server.psql(f"SELECT count(*) {asleep}") == "3", what="three sessions")
        told = slow.backup()
        wait_for(lambda: sessions[0].poll() is not None)
        assert [session.poll() is None for session in sessions] == [False, True, True]
        check = slow.json("run", "show", told["run"])["steps"][0]
        assert check["facts"]["ended_backends"] >= 1
    finally:
        server.psql(f"SELECT pg_terminate_backend(pid, 5000) {asleep}")
        for session in sessions:
            session.kill()
            session.wait()


def test_cancel_from_another_process_ends_a_run_within_seconds(slow: Installation) -> None:
    slow.backup()
    before = slow.fingerprint()
    snail(slow, 60.0)
    with slow.start("backup", "--json") as night:
        run = running(slow)
        began = time.monotonic()
        asked = slow.json("run", "cancel", run[:17])
        assert asked == {"run": run, "state": "running", "cancel": "requested"}
        answer = night.end()
    assert time.monotonic() - began < 10
    told = answer.expect(130)
    assert (told["state"], told["code"], told["run"]) == ("cancelled", "Cancelled", run)
    assert told["reason"].startswith("cancelled by ")
    assert slow.fingerprint() == before
    assert slow.leftovers() == []
    assert processes(str(slow.folder), "pg_dump") == []
    assert "has ended already" in slow.json("run", "cancel", run, expect=2)["message"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_run_in_order(slow: Installation, number: signal.Signals, code: int) -> None:
    snail(slow, 60.0)
    with slow.start("backup", "--json") as night:
        run = running(slow)
        night.process.send_signal(number)
        answer = night.end(20)
    assert answer.expect(code)["state"] == "cancelled"
    assert slow.json("run", "show", run)["state"] == "cancelled"
    assert slow.leftovers() == []


def test_a_run_goes_on_when_nobody_reads_what_it_says_any_more(site: Installation) -> None:
    """As when the ssh session of a workflow breaks."""
    read, write = os.pipe()
    os.close(read)
    argv = [*PROGRAM, "--config", str(site.file), "backup"]
    with os.fdopen(write, "wb") as nobody:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=nobody, stderr=nobody, check=False, timeout=120)
    assert done.returncode in {0, 128 + signal.SIGPIPE}  # which nobody sees
    (run,) = site.json("runs")["runs"]
    assert run["state"] == "succeeded"
    assert site.manifest().tables
    assert site.leftovers() == []


def test_who_waits_for_the_lock_can_be_cancelled_too(slow: Installation) -> None:
    snail(slow, 4.0)
    with slow.start("backup", "--json") as first:
        running(slow)
        with slow.start("backup", "--json") as second:
            waiting = wait_for(lambda: [run for run in slow.json("runs")["runs"] if run["state"] == "waiting"])
            slow.json("run", "cancel", waiting[0]["run"])
            assert second.end(15).expect(130)["state"] == "cancelled"
            assert "→" not in slow.call("run", "show", waiting[0]["run"]).out  # there is nothing to do
        first.end().expect(0)


def test_run_show_follow_goes_on_until_the_end(slow: Installation) -> None:
    snail(slow)
    with slow.start("backup", "--json") as night:
        run = running(slow)
        shown = slow.apart("run", "show", run, "--follow")
        assert night.process.poll() is not None or night.end().code == 0
    assert shown.code == 0
    assert "succeeded" in shown.out
    assert "✓ dump" in shown.err
    followed = slow.json("run", "show", run, "--follow")
    assert (followed["state"], followed["run"]) == ("succeeded", run)


def test_progress_is_there_for_everybody(slow: Installation) -> None:
    snail(slow, 3.0)
    with slow.start("backup", "--json") as night:
        run = running(slow)

        def progress() -> Any:
            with slow.catalog() as catalog:
                return catalog.runs.progress(run)

        found = wait_for(progress, what="progress in the catalog")
        assert found.step == "dump"
        assert datetime.now(UTC) - found.at < timedelta(seconds=30)
        night.end().expect(0)


def test_what_a_living_process_writes_beside_is_not_swept(site: Installation) -> None:
    site.backup()
    mine = site.root / f".CACHEDIR.TAG.{os.getpid()}.partial"
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    dead = [site.root / f".CACHEDIR.TAG.{gone.pid}.partial", site.root / "manifests" / ".x.json.odd.partial"]
    for one in (mine, *dead):
        one.touch()
    site.backup()
    assert [one for one in (mine, *dead) if one.exists()] == [mine]
    mine.unlink()


def test_a_number_that_came_back_does_not_keep_what_its_first_holder_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container gives the same few numbers after every start, so what a killed run left would stay for ever."""
    with subprocess.Popen(["/bin/true"]) as last:
        pass
    behind = range(300, 1300)  # where Linux begins again after the largest number
    for number in (*range(last.pid + 1, last.pid + 2000), *behind):
        (tmp_path / f".x.{number}.partial").touch()
    time.sleep(1)
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as came_back:
        left = tmp_path / f".x.{came_back.pid}.partial"
        assert left.exists(), "two thousand numbers were taken within a second"
        assert files.is_running(came_back.pid)
        assert files.is_being_written(left)  # a file server's clock may be that late
        monkeypatch.setattr(files, "_CLOCKS_APART_S", 0.1)
        assert not files.is_being_written(left)
        left.touch()
        assert files.is_being_written(left)


def test_l7_what_somebody_reads_stays_while_it_is_replaced(site: Installation, prod: tuple[Server, str]) -> None:
    """L7: a pin keeps the bytes and the manifest, whatever the night replaces and forgets."""
    server, name = prod
    first = site.backup()["archive"]["sha256"]
    reader = "20260101-000000-feed"
    with (
        files.lock(site.state / "runs" / f"{reader}.lock", wait=timedelta(0)),
        Shelf(site.archive).pin(site.archive, reader) as pinned,
    ):
        server.psql("INSERT INTO nothing VALUES (1)", name)
        site.backup()
        assert site.manifest(pinned.path).sha256 == first == files.sha256_file(pinned.path)
        assert not (site.root / "manifests" / f"{first}.json").exists()  # the pin has its own
    assert list((site.root / "pins").iterdir()) == []


def test_l7_an_archive_that_is_replaced_while_it_is_being_pinned(
    site: Installation, prod: tuple[Server, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest of what was linked is still there when its sha256 is known at last."""
    server, name = prod
    first = site.backup()["archive"]["sha256"]
    reader = "20260101-000000-feed"
    real = shelves.sha256_of

    def slowly(path: Path, **named: Any) -> str:
        if path.parent.name == "pins":
            monkeypatch.setattr(shelves, "sha256_of", real)
            server.psql("INSERT INTO nothing VALUES (1)", name)
            site.backup()
        return real(path, **named)

    monkeypatch.setattr(shelves, "sha256_of", slowly)
    with (
        files.lock(site.state / "runs" / f"{reader}.lock", wait=timedelta(0)),
        Shelf(site.archive).pin(site.archive, reader) as pinned,
    ):
        assert pinned.manifest.sha256 == first


def test_v3_what_was_replaced_by_somebody_is_never_read_from(site: Installation) -> None:
    """V3: the pin is checked, not the name."""
    site.backup()
    content = bytearray(site.archive.read_bytes())
    content[-50] ^= 1
    other = site.folder / "other"
    other.write_bytes(content)
    other.replace(site.archive)
    with pytest.raises(ArchiveError, match="is not what its manifest says"), Shelf(site.archive).pin(site.archive, "x"):
        pass
    assert list((site.root / "pins").iterdir()) == []


def test_the_log_of_a_run_tells_its_commands_and_its_end(site: Installation) -> None:
    told = site.backup()
    log = (site.state / "logs" / f"{told['run']}.log").read_text()
    assert "step dump" in log
    assert "--lock-wait-timeout=60000" in log
    assert f"run {told['run']} succeeded" in log


def test_a_bar_on_a_terminal(slow: Installation) -> None:
    """Step, table, rows, bytes, rate, time left; stdout stays clean."""
    slow.backup()
    snail(slow)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, "--config", slow.file, "backup"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "140"},
    )
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # EIO: the other end is closed
        while chunk := os.read(ours, 65536):
            said += chunk
    os.close(ours)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    text = said.decode()
    assert re.search(r"dump +[━─]{24} +\d+ %  public\.heavy · [\d,]+ rows · .*B · .*B/s · about .* left", text), text
    assert "\x1b[" in text
    assert b"\x1b" not in out
