"""`daybreak repository …` from the command line: add with its password, forget, check, prune, unlock, stats."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.restic
CONFIG = """# our servers
state = "{state}"
restic = "{restic}"

[databases.prod]
url = "dbname=prod"   # never a target
protected = true

[backups.nightly]
database = "prod"
archive = "{archive}"
repositories = []  # none yet
"""


@pytest.fixture
def config(tmp_path: Path, restic: Path) -> Path:
    file = tmp_path / "daybreak.toml"
    file.write_text(CONFIG.format(state=tmp_path / "state", restic=restic, archive=tmp_path / "archives" / "a.dump"))
    file.chmod(0o640)
    return file


def daybreak(config: Path, *words: str, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "daybreak.cli.main", "--config", str(config), *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=120,
        env={**os.environ, **(env or {}), "RESTIC_CACHE_DIR": str(config.parent / "cache")},
    )
    return done.returncode, done.stdout, done.stderr


def on_a_terminal(config: Path, *words: str, answer: str) -> tuple[int, str]:
    """Run with a terminal, and answer each question; `answer` may name {last}, the password's last block."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "daybreak.cli.main", "--config", str(config), *words])  # noqa: S606 -- our own program, in the child that has the terminal
    said, answered, until = "", 0, time.monotonic() + 90
    while time.monotonic() < until:
        ready, _, _ = select.select([terminal], [], [], 1)
        if not ready:
            continue
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        said += chunk.decode()
        if said.count("from what you wrote") > answered:
            answered += 1
            shown = re.search(r"(?:[0-9a-z]{5}-){7}([0-9a-z]{5})", said)
            assert shown
            os.write(terminal, (answer.format(last=shown[1]) + "\n").encode())
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said


def test_a_new_repository_with_a_password_that_was_typed_back(config: Path, tmp_path: Path) -> None:
    url = str(tmp_path / "r")

    code, said = on_a_terminal(config, "repository", "add", "usb", "--url", url, "--backup", "nightly", answer="{last}")

    assert code == 0, said
    [password] = set(re.findall(r"(?:[0-9a-z]{5}-){7}[0-9a-z]{5}", said))  # shown once
    file = tmp_path / "usb.password"
    assert file.read_text() == password + "\n"
    assert file.stat().st_mode & 0o777 == 0o600
    text = config.read_text()
    assert text.startswith("# our servers\n")
    assert 'url = "dbname=prod"   # never a target' in text
    assert 'repositories = ["usb"]  # none yet' in text
    assert f'[repositories.usb]\nurl = "{url}"\ncheck = "Sun 05:00"\nprune = "Sun 06:00"\n' in text
    assert config.stat().st_mode & 0o777 == 0o640
    assert password not in text
    state = b"".join(one.read_bytes() for one in (tmp_path / "state").rglob("*") if one.is_file())
    assert password.encode() not in state
    assert (tmp_path / "r" / "config").exists()
    code, out, _ = daybreak(config, "repository", "snapshots", "usb", "--json")
    assert (code, json.loads(out)) == (0, {"snapshots": []})
    code, out, _ = daybreak(config, "status", "--json")
    plans = {(one["kind"], one["plan"]): one for one in json.loads(out)["plans"]}
    assert plans["check", "usb-check"]["next_at"]
    assert plans["prune", "usb-prune"]["next_at"]


def test_a_password_that_nobody_wrote_down_changes_nothing(config: Path, tmp_path: Path) -> None:
    before = config.read_text()
    words = ("repository", "add", "usb", "--url", str(tmp_path / "r"))

    code, said = on_a_terminal(config, *words, answer="no")
    assert (code, said.count("from what you wrote")) == (4, 3)
    code, out, err = daybreak(config, *words)
    assert (code, out) == (4, "")
    assert "was not written down, and nothing was changed" in err
    assert "--written-down" in err

    assert config.read_text() == before
    assert not (tmp_path / "usb.password").exists()
    assert not (tmp_path / "r").exists()


def test_without_a_terminal_the_password_is_in_its_file_and_nowhere_else(config: Path, tmp_path: Path) -> None:
    code, out, err = daybreak(
        config, "repository", "add", "usb", "--url", str(tmp_path / "r"), "--written-down", "--json"
    )

    assert code == 0, err
    said: dict[str, Any] = json.loads(out)
    password = (tmp_path / "usb.password").read_text().strip()
    assert said == {
        "repository": "usb",
        "id": said["id"],
        "config": str(config),
        "password_file": str(tmp_path / "usb.password"),
        "made_password": True,
    }
    assert password not in out + err


def test_a_password_that_is_there_is_used_as_it_is(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "own"
    file.touch(0o600)
    file.write_text("our own words\n")
    add = ("--url", str(tmp_path / "r"), "--password-file", str(file), "--prune", "never")

    code, out, err = daybreak(config, "repository", "add", "usb", *add)

    assert code == 0, err
    assert "nothing is sent to it yet" in out
    assert file.read_text() == "our own words\n"
    assert 'prune = "never"' in config.read_text()
    code, _, err = daybreak(config, "repository", "add", "usb", *add)
    assert code == 4
    assert "has a repository usb already" in err
    file.chmod(0o644)
    code, _, err = daybreak(config, "repository", "add", "usb2", *add)
    assert code == 3
    assert "open to every user" in err
    assert "usb2" not in config.read_text()


def test_an_address_that_cannot_be_used_leaves_nothing_behind(config: Path, tmp_path: Path) -> None:
    code, _, err = daybreak(config, "repository", "add", "usb", "--url", str(tmp_path / "r"), "--written-down")
    assert code == 0, err
    before = config.read_bytes()

    add = ("repository", "add", "other", "--backup", "nightly", "--written-down", "--url")
    code, _, err = daybreak(config, *add, str(tmp_path / "r"))
    assert (code, "the configured password is not its password" in err) == (4, True), err
    code, _, err = daybreak(config, *add, "sftp://nobody@127.0.0.1:1//r")  # by http restic would try again for a minute
    assert code == 14, err

    assert config.read_bytes() == before
    assert not (tmp_path / "other.password").exists()
    # One that its password opens can be used from now on, and that is what is said.
    code, _, err = daybreak(config, *add, str(tmp_path / "r"), "--password-file", str(tmp_path / "usb.password"))
    assert (code, "nothing is to be done" in err) == (4, True), err
    assert (tmp_path / "usb.password").exists()
    code, out, err = daybreak(config, "repository", "snapshots", "other", "--json")
    assert (code, json.loads(out)) == (0, {"snapshots": []})


def test_a_repository_that_cannot_be_made_can_be_made_later(config: Path, tmp_path: Path) -> None:
    away = tmp_path / "restic"
    real = re.search(r'restic = "(.*)"', config.read_text())
    assert real
    away.write_text(f'#!/bin/sh\ncase "$*" in *init*) echo "Fatal: no room" >&2; exit 1;; esac\nexec {real[1]} "$@"\n')
    away.chmod(0o755)
    config.write_text(config.read_text().replace(real[1], str(away)))

    code, _, err = daybreak(config, "repository", "add", "usb", "--url", str(tmp_path / "r"), "--written-down")

    assert code == 14, err
    assert "`daybreak repository init usb` makes it" in err
    config.write_text(config.read_text().replace(str(away), real[1]))
    code, _, err = daybreak(config, "repository", "init", "usb")
    assert code == 0, err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--url", "rest:https://me:canary@host/"), "holds a password"),
        (("--url", "/r", "--check", "someday"), "is not a schedule"),
        (("--url", "/r", "--backup", "hourly"), "there is no [backups.hourly]"),
    ],
)
def test_what_would_spoil_the_configuration_is_refused(
    config: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    before = config.read_text()

    code, _, err = daybreak(config, "repository", "add", "usb", *words, "--written-down")

    assert code == 3
    assert said in err
    assert "canary" not in err
    assert config.read_text() == before
    assert not (tmp_path / "usb.password").exists()


def test_the_verbs_of_a_repository_answer_in_words_and_in_json(config: Path, tmp_path: Path) -> None:
    code, _, err = daybreak(config, "repository", "add", "usb", "--url", str(tmp_path / "r"), "--written-down")
    assert code == 0, err
    code, out, _ = daybreak(config, "repository", "check", "usb", "--json")
    checked = json.loads(out)
    assert (code, checked["kind"], checked["plan"], checked["state"]) == (0, "check", "usb-check", "succeeded")
    assert [one["part"] for one in checked["parts"]] == ["1/4"]
    assert checked["damage"]["words"] == ""
    code, out, _ = daybreak(config, "repository", "check")
    assert (code, out) == (0, "repository usb: no fault found in part 2/4; 0 snapshots, 0 B\n")
    code, out, _ = daybreak(config, "repository", "prune", "--json")
    assert (code, json.loads(out)["kind"]) == (0, "prune")
    code, out, _ = daybreak(config, "repository", "unlock", "--json")
    assert (code, json.loads(out)) == (0, {"repository": "usb", "removed": []})
    code, out, _ = daybreak(config, "repository", "stats")
    assert (code, out) == (0, "repository usb: 0 B, 0 snapshots\n")
    code, _, err = daybreak(config, "repository", "forget")
    assert code == 4
    assert "has no rules" in err
    code, out, _ = daybreak(config, "repository", "forget", "--dry-run", "--plan", "nightly", "--host", "db2", "--json")
    [plan] = json.loads(out)["plans"]
    assert (code, plan["host"], plan["snapshots"]) == (0, "db2", [])
    code, out, _ = daybreak(config, "runs", "--json")
    assert {one["kind"] for one in json.loads(out)["runs"]} == {"check", "prune", "forget"}


def test_a_check_takes_its_slot_once(config: Path, tmp_path: Path) -> None:
    due = (datetime.now(UTC) - timedelta(minutes=5)).strftime("%H:%M")
    words = ("--url", str(tmp_path / "r"), "--written-down", "--check", due, "--prune", "never")
    code, _, err = daybreak(config, "repository", "add", "usb", *words)
    assert code == 0, err
    slot = ("--slot", "now", "--trigger", "timer", "--json")

    code, first, err = daybreak(config, "repository", "check", "usb", *slot)
    again, second, _ = daybreak(config, "repository", "check", "usb", *slot)

    assert (code, again) == (0, 0), err
    assert [json.loads(one)["state"] for one in (first, second)] == ["succeeded", "skipped"]
    assert json.loads(first)["trigger"] == "timer"
    code, out, _ = daybreak(config, "schedule", "--json")
    assert code == 0
    assert "usb-check" in out
    assert "usb-prune" not in out
    units = tmp_path / "units"
    units.mkdir()
    code, _, err = daybreak(config, "systemd", "install", "--to", str(units), "--timers")
    assert code == 0, err
    service = (units / "daybreak-check-usb-check.service").read_text()
    assert "repository check usb --slot now --trigger timer" in service


@pytest.mark.parametrize("part", ["3/2", "9", "0%", "101%", "0M", "1/1000000"])
def test_a_part_that_is_none_is_refused_before_there_is_a_run(config: Path, part: str) -> None:
    config.write_text(config.read_text() + '[repositories.usb]\nurl = "/nowhere"\npassword_file = "/nowhere"\n')
    code, out, _ = daybreak(config, "repository", "check", "--read", part, "--json")
    assert (code, json.loads(out)["message"]) == (2, f"'{part}' is no part of a repository")
    code, out, _ = daybreak(config, "runs", "--json")
    assert json.loads(out)["runs"] == []


@pytest.mark.parametrize("name", ["bad/name", "../up", "a b", "", "r" * 64])
def test_a_name_that_is_none_is_refused_as_the_word_that_it_is(config: Path, tmp_path: Path, name: str) -> None:
    before = config.read_text()
    code, out, _ = daybreak(config, "repository", "add", name, "--url", str(tmp_path / "r"), "--written-down", "--json")
    said = json.loads(out)
    assert (code, said["message"]) == (2, f"{name!r} cannot be the name of a repository")
    assert "letters, digits, _ and -" in said["hint"]
    assert config.read_text() == before
    assert not (tmp_path / "r").exists()
