"""The runner's socket: what it starts and tells, who it lets in, and that nobody can hold it up."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import signal
import socket
import stat
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from talk import Runner

from daybreak.cli.progress import Silent
from daybreak.errors import Busy, ConfigError
from daybreak.runner import server
from daybreak.runner.acts import Acts
from daybreak.runner.server import RunnerSocket
from daybreak.runner.words import Start
from daybreak.site import open_site
from installation import Installation, Started, processes, wait_for

pytestmark = pytest.mark.postgres
START = {"kind": "backup", "plan": "nightly", "slot": "now"}


def ended(runner: Runner, run: str) -> dict:
    *_, last = runner.ask("follow", run=run)
    assert last["event"] == "ended"
    return last


def test_a_backup_is_started_followed_and_known_by_who_asked(runner: Runner, site: Installation) -> None:
    (begun,) = runner.ask("start", **START)
    assert begun["joined"] is False
    events = runner.ask("follow", run=begun["run"])
    assert next(one["name"] for one in events if one["event"] == "step") == "check"
    last = events[-1]
    assert (last["event"], last["state"], last["exit_code"]) == ("ended", "succeeded", 0)
    assert last["archive"]["rows"] == 500
    assert last["archive"]["proven"] is False
    assert 0 <= last["archive"]["age_s"] < 60
    (state,) = runner.ask("state", run=begun["run"])
    assert state["state"] == "succeeded"
    assert state["trigger"] == f"{getpass.getuser()} through the runner"
    assert site.manifest().rows == 500
    assert any(
        f"{getpass.getuser()} asked for backup nightly: run {begun['run']} started" in line for line in runner.log
    )


def test_a_run_that_does_it_already_is_joined(runner: Runner, site: Installation) -> None:
    wait = site.folder / "wait"
    wait.touch()
    (first,) = runner.ask("start", **START)
    (second,) = runner.ask("start", **START)
    assert (second["run"], second["joined"]) == (first["run"], True)
    wait.unlink()
    assert ended(runner, first["run"])["state"] == "succeeded"
    assert len(site.json("runs")["runs"]) == 1


def test_the_run_goes_on_when_the_runner_is_killed_and_the_next_one_finds_it(
    runner_apart: Callable[[], Started], site: Installation
) -> None:
    talk = Runner(site=site)
    wait = site.folder / "wait"
    wait.touch()
    first = runner_apart()
    (begun,) = talk.ask("start", **START)
    first.kill(group=True)  # which the job is not in: it has a session of its own
    assert talk.path.exists()  # as a dead process leaves it
    runner_apart()
    (again,) = talk.ask("start", **START)
    assert (again["run"], again["joined"]) == (begun["run"], True)
    wait.unlink()
    assert ended(talk, begun["run"])["state"] == "succeeded"


def test_a_runner_that_is_told_to_stop_lets_its_followers_go(
    runner_apart: Callable[[], Started], site: Installation
) -> None:
    talk = Runner(site=site)
    (site.folder / "wait").touch()
    process = runner_apart()
    (begun,) = talk.ask("start", **START)
    with talk.connect() as line:
        line.sendall(json.dumps({"ask": "follow", "run": begun["run"]}).encode() + b"\n")
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(60) == 0
        with line.makefile("rb") as answers:
            assert not any(json.loads(one)["event"] == "ended" for one in answers)
    assert not talk.path.exists()
    (site.folder / "wait").unlink()
    wait_for(lambda: site.json("runs")["runs"][0]["state"] == "succeeded", what="the end of the run")


def test_a_run_is_cancelled(runner: Runner, site: Installation) -> None:
    (site.folder / "wait").touch()
    (begun,) = runner.ask("start", **START)
    (answer,) = runner.ask("cancel", run=begun["run"])
    assert answer["cancel"] == "requested"
    last = ended(runner, begun["run"])
    assert (last["state"], last["exit_code"]) == ("cancelled", 130)
    assert last["reason"] == f"cancelled by {getpass.getuser()}"
    assert "ended already" in runner.fault("cancel", run=begun["run"])["message"]


def test_a_database_is_held_and_released(runner: Runner, site: Installation) -> None:
    site.more = '[databases.dev]\nurl = "dbname=dev"\n'
    site.configure()
    runner.ask("hold", database="dev", until="2099-01-01T00:00:00Z", why="the demo")
    (hold,) = site.json("status")["holds"]
    assert (hold["database"], hold["why"], hold["by"]) == ("dev", "the demo", getpass.getuser())
    assert runner.ask("release", database="dev") == [{"database": "dev", "released": True}]
    assert site.json("status")["holds"] == []
    assert runner.fault("hold", database="prod", until="", why="x")["exit_code"] == 2


def test_names_that_are_not_there_are_refused_in_words(runner: Runner, site: Installation) -> None:
    fault = runner.fault("start", kind="backup", plan="nihgtly", slot="now")
    assert (fault["code"], fault["hint"]) == ("UsageError", "did you mean nightly?")
    assert runner.fault("start", kind="refresh", plan="nightly", slot="now")["exit_code"] == 2
    assert "no run begins" in runner.fault("state", run="20200101-000000-0000")["message"]
    assert site.json("runs")["runs"] == []
    assert any("was refused: there is no backup 'nihgtly'" in line for line in runner.log)


def test_a_configuration_that_broke_meanwhile_is_told(runner: Runner, site: Installation) -> None:
    site.file.write_text("[databases")
    assert runner.fault("start", **START)["exit_code"] == 3
    site.configure()
    (begun,) = runner.ask("start", **START)
    assert ended(runner, begun["run"])["state"] == "succeeded"


def test_a_daybreak_that_ends_before_its_run_tells_why(site: Installation) -> None:
    """What it is started with is not what the runner has read: the file was broken in between."""
    with open_site(site.file, Silent()) as opened:
        acts = Acts(lambda: contextlib.nullcontext(opened), through="the test")
        site.file.write_text("[databases")
        with pytest.raises(ConfigError, match=str(site.file)):
            list(acts.answer(Start(**START), "ada", threading.Event()))
        acts.close()


def test_of_a_plan_with_slots_the_run_that_took_the_slot_is_joined_and_no_other(
    runner: Runner, site: Installation
) -> None:
    due = datetime.now(UTC) - timedelta(minutes=5)
    site.configure(plan={"schedule": f"{due:%H:%M}", "timezone": "UTC"})
    (site.folder / "wait").touch()
    with site.start("backup"):  # a person's, out of turn: no slot is done by it
        wait_for(lambda: site.json("runs")["runs"], within_s=60, what="the person's run")
        (first,) = runner.ask("start", **START)
        assert first["joined"] is False
        wait_for(lambda: runner.ask("start", **START)[0]["joined"], within_s=60, what="the slot is taken")
        (site.folder / "wait").unlink()
        assert ended(runner, first["run"])["slot"] == f"{due:%Y-%m-%d %H:%M}"
    (late,) = runner.ask("start", **START)
    last = ended(runner, late["run"])
    assert (last["state"], last["exit_code"]) == ("skipped", 0)
    assert last["reason"].startswith("already done for slot")
    assert last["archive"]["rows"] == 500


def test_the_socket_is_the_groups_and_nobody_elses(runner: Runner, site: Installation) -> None:
    status = runner.path.stat()
    assert stat.S_IMODE(status.st_mode) == 0o660
    assert status.st_gid == site.state.stat().st_gid
    assert stat.S_ISSOCK(status.st_mode)


def test_there_is_one_runner_for_a_folder(runner: Runner, site: Installation) -> None:
    second = RunnerSocket(lambda: open_site(site.file, Silent()), site.state)
    with pytest.raises(Busy, match="another runner listens"):
        second.start()
    second.stop()
    assert runner.path.exists()
    assert runner.fault("state", run="20200101-000000-0000")


def test_a_folder_whose_name_is_too_long_for_a_socket_is_named(site: Installation) -> None:
    folder = site.state / ("x" * 100)
    folder.mkdir()
    with pytest.raises(ConfigError, match="too long"):
        RunnerSocket(lambda: open_site(site.file, Silent()), folder).start()


def test_whoever_is_silent_reads_nothing_or_comes_in_crowds_holds_nobody_up(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_ASKS_WITHIN_S", 1.0)
    lines = [runner.connect() for _ in range(server._MOST_CALLERS)]
    crowd = wait_for(lambda: next(iter(_answers(runner)), None), what="a no")
    assert "callers" in crowd["fault"]["message"]
    assert crowd["fault"]["exit_code"] == 5
    lines[0].close()  # one leaves without a word
    for line in lines[1:]:
        with line, line.makefile("rb") as answers:
            assert "within" in json.loads(answers.readline())["fault"]["message"]
    (begun,) = wait_for(lambda: [one for one in runner.ask("start", **START) if "run" in one], what="room")
    assert ended(runner, begun["run"])["state"] == "succeeded"
    assert not any("bug" in line for line in runner.log)


def _answers(runner: Runner) -> list[dict]:
    try:
        return runner.send(b"x\n")
    except ConnectionResetError:  # closed in the moment of asking
        return []


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"\0\0\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"x" * 100_000,
        b"[" * 4000 + b"\n",
        b'{"ask":"state"}\n{"ask":"state"}\n',
        b'{"ask": "start", "kind": "backup", "plan": "nightly", "slot": "now", "config": "/tmp/x"}\n',
    ],
    ids=lambda data: repr(data[:10]),
)
def test_nonsense_is_answered_in_words(runner: Runner, site: Installation, data: bytes) -> None:
    with runner.connect() as line:
        try:
            line.sendall(data)
            line.shutdown(socket.SHUT_WR)
        except OSError:  # it was enough already
            return
        with line.makefile("rb") as answers:
            try:
                (fault,) = [json.loads(one)["fault"] for one in answers]
            except ConnectionResetError:  # closed while more was on its way
                return
    assert fault["exit_code"] == 2
    assert site.json("runs")["runs"] == []


def test_nothing_is_left_of_what_it_started(runner: Runner, site: Installation) -> None:
    before = _zombies_of_ours()  # what an earlier test has not looked after yet
    (begun,) = runner.ask("start", **START)
    ended(runner, begun["run"])
    wait_for(lambda: not processes("backup", str(site.file)), what="the end of the process")
    wait_for(lambda: _zombies_of_ours() <= before, what="a look of the runner")


def _zombies_of_ours() -> set[str]:
    names = os.listdir("/proc")  # noqa: PTH208 -- names alone
    return {place for place in names if place.isdigit() and _is_zombie_of_ours(place)}


def _is_zombie_of_ours(pid: str) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 -- read at once
            state, parent = file.read().rsplit(")", 1)[1].split()[:2]
    except OSError:
        return False
    return state == "Z" and int(parent) == os.getpid()
