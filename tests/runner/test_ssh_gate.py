"""The gate: what it lets through, what it says, and which run it waits for."""

from __future__ import annotations

import getpass
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talk import Runner

from daybreak.errors import ConfigError, Refused
from daybreak.runner.client import LineBroke, NoRunner, ask
from daybreak.runner.gate import chosen
from daybreak.runner.words import Start
from installation import Answer, Installation, Started, wait_for

PLANS = {"backup": ("nightly", "hourly"), "refresh": ("weekly",)}
SCRIPTS = {
    "backup:nightly": Path("/opt/genji/scripts/backup_prod_db.sh"),
    "backup:hourly": Path("/opt/genji/scripts/hourly.sh"),
}
MAY = ("backup:nightly", "refresh:weekly")
NIGHTLY = Start(kind="backup", plan="nightly", slot="now")
WEEKLY = Start(kind="refresh", plan="weekly", slot="now")

Gate = Callable[..., Answer]


def test_a_verb_of_the_key_and_its_script_are_let_through() -> None:
    asked = {"backup:nightly": NIGHTLY, "refresh:weekly": WEEKLY, str(SCRIPTS["backup:nightly"]): NIGHTLY}
    for text, start in asked.items():
        assert chosen(MAY, text, plans=PLANS, scripts=SCRIPTS) == start


@pytest.mark.parametrize(
    "asked",
    [
        "backup:hourly",  # there is one, but not for this key
        "/opt/genji/scripts/hourly.sh",
        "/opt/genji/scripts/refresh_dev_from_prod.sh",  # stands for nothing here
        "/opt/genji/scripts/backup_prod_db.sh --fresh",
        "/opt/genji/scripts/backup_prod_db.sh; id",
        "/opt/genji/scripts/../scripts/backup_prod_db.sh",
        " backup:nightly",
        "backup:nightly\n",
        "backup:nightly refresh:weekly",
        "BACKUP:NIGHTLY",
        "nightly",
        "$(id)",
        "sh -c id",
        "scp -t /",
        "internal-sftp",
        "git-upload-pack '/x'",
        "\x1b[2J",
    ],
)
def test_everything_else_is_refused_with_what_is_possible(asked: str) -> None:
    with pytest.raises(Refused) as caught:
        chosen(MAY, asked, plans=PLANS, scripts=SCRIPTS)
    assert "is not what this key may ask for" in caught.value.message
    assert caught.value.message.isprintable()
    assert caught.value.hint == "this key may ask for: backup:nightly, refresh:weekly"


@given(st.text())
def test_no_other_text_gets_through(asked: str) -> None:
    if asked in {*MAY, str(SCRIPTS["backup:nightly"])}:
        return
    with pytest.raises(Refused):
        chosen(MAY, asked, plans=PLANS, scripts=SCRIPTS)


def test_there_is_no_shell() -> None:
    with pytest.raises(Refused, match="there is no shell here"):
        chosen(MAY, "", plans=PLANS, scripts=SCRIPTS)


@pytest.mark.parametrize("verb", ["backup:nihgtly", "refresh:nightly", "undo:weekly", "nightly", ""])
def test_a_forced_command_that_names_no_plan_is_a_fault_of_the_configuration(verb: str) -> None:
    with pytest.raises(ConfigError, match="daybreak gate"):
        chosen(("backup:nightly", verb), "backup:nightly", plans=PLANS, scripts=SCRIPTS)


@pytest.mark.postgres
def test_it_asks_the_runner_and_tells_how_it_went(runner: Runner, site: Installation, gate: Gate) -> None:
    answer = gate("backup:nightly")
    assert answer.code == 0, answer.err
    (run,) = site.json("runs")["runs"]
    assert run["trigger"] == f"{getpass.getuser()} through the runner"
    assert answer.err.splitlines()[0] == f"backup nightly: run {run['run']}, by the runner"
    assert "✓ dump" in answer.err
    said = dict(line.split(None, 1) for line in answer.out.splitlines())
    assert said["run"] == run["run"]
    assert said["state"] == "succeeded"
    assert said["archive"] == f"{run['archive']['id']}, checked"
    assert said["size"].endswith("500 rows in 1 table")
    assert said["age"].endswith(" s")
    assert runner.log


@pytest.mark.postgres
def test_without_a_runner_it_does_the_same_itself(site: Installation, gate: Gate) -> None:
    answer = gate("backup:nightly", words=("--json",))
    document = answer.expect(0)
    assert document["trigger"] == f"{getpass.getuser()} through the gate"
    assert document["archive"]["rows"] == 500
    assert "by this account" in answer.err
    # and where a runner was killed and its socket stands there still
    (site.state / "runner.sock").touch()
    assert gate("backup:nightly").code == 0


@pytest.mark.postgres
def test_the_exit_code_is_the_runs(runner: Runner, site: Installation, gate: Gate) -> None:
    site.fake_dump("echo broken >&2; exit 3")
    answer = gate("backup:nightly")
    assert answer.code == 11
    said = dict(line.split(None, 1) for line in answer.out.splitlines())
    assert said["state"] == "failed"
    assert "broken" in said["why"]
    assert said["archive"] == "there is none"
    assert runner.log


@pytest.mark.postgres
def test_a_refusal_starts_nothing(runner: Runner, site: Installation, gate: Gate) -> None:
    answer = gate("id; reboot")
    assert answer.code == 4
    assert "'id; reboot' is not what this key may ask for" in answer.err
    assert "no shell" in gate(None).err
    assert site.json("runs")["runs"] == []
    assert runner.log == []


@pytest.mark.postgres
def test_when_the_line_breaks_the_run_goes_on_and_the_next_call_waits_for_it(
    runner: Runner, site: Installation
) -> None:
    (site.folder / "wait").touch()
    first = site.start("gate", "backup:nightly", env={"SSH_ORIGINAL_COMMAND": "backup:nightly"})
    wait_for(lambda: "run " in first.err.read_text(), within_s=60, what="the run")
    first.kill(group=True)  # as sshd does it
    second = site.start("gate", "backup:nightly", env={"SSH_ORIGINAL_COMMAND": "backup:nightly"})
    wait_for(lambda: "already" in second.err.read_text(), within_s=60, what="the second call")
    (site.folder / "wait").unlink()
    assert second.end().code == 0
    (run,) = site.json("runs")["runs"]
    assert run["state"] == "succeeded"
    # A call that was killed while it asked how the run goes leaves half a request, which is refused: not counted.
    assert sum("asked for" in line for line in runner.log) == 2


@pytest.mark.postgres
def test_when_the_runner_goes_away_the_gate_waits_on(runner_apart: Callable[[], Started], site: Installation) -> None:
    (site.folder / "wait").touch()
    process = runner_apart()
    call = site.start("gate", "backup:nightly", env={"SSH_ORIGINAL_COMMAND": "backup:nightly"})
    wait_for(lambda: "run " in call.err.read_text(), within_s=60, what="the run")
    time.sleep(1)  # so that it follows
    process.kill()
    (site.folder / "wait").unlink()
    answer = call.end()
    assert answer.code == 0, answer.err
    assert answer.err.count("✓ dump") == 1


@pytest.mark.postgres
def test_a_gate_that_is_told_to_end_says_that_the_run_goes_on(site: Installation) -> None:
    (site.folder / "wait").touch()
    call = site.start("gate", "backup:nightly", env={"SSH_ORIGINAL_COMMAND": "backup:nightly"})
    wait_for(lambda: "run " in call.err.read_text(), within_s=60, what="the run")
    call.process.send_signal(signal.SIGTERM)
    answer = call.end()
    assert answer.code == 143
    assert "goes on" in answer.err
    (site.folder / "wait").unlink()
    wait_for(lambda: site.json("runs")["runs"][0]["state"] == "succeeded", within_s=60, what="the end of the run")


@pytest.mark.parametrize("answer", [b"", b"not JSON\n", b"[]\n", b'{"run": "20261122-'], ids=repr)
def test_a_runner_that_answers_nonsense_is_one_that_went_away(tmp_path: Path, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "runner.sock"))
        listening.listen()

        def serve() -> None:
            caller, _ = listening.accept()
            with caller:
                caller.recv(4096)
                caller.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(LineBroke):
            list(ask(tmp_path, NIGHTLY))
        thread.join()
    with pytest.raises(NoRunner):  # the name is there, and nobody behind it
        list(ask(tmp_path, NIGHTLY))
