"""The log of one run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from daybreak.jobs.log import RunLog
from daybreak.secret import Secret


def test_a_line_of_text_has_its_instant_and_no_secret(tmp_path: Path) -> None:
    secret = Secret("canary-4711")
    with RunLog(tmp_path / "run.log", run="r1", plan="nightly") as log:
        log.write(f"connecting with {secret.reveal()}")
    (line,) = (tmp_path / "run.log").read_text("utf-8").splitlines()
    assert line.endswith("connecting with ***")
    assert line[:4].isdigit()


def test_a_line_of_json_is_one_object_with_run_and_plan(tmp_path: Path) -> None:
    secret = Secret("canary-4712")
    with RunLog(tmp_path / "run.log", run="r1", plan="nightly", json=True) as log:
        log.write(f"first {secret.reveal()}")
        log.step = "dump"
        log.write('second "quoted", ünïcode')
    first, second = (json.loads(line) for line in (tmp_path / "run.log").read_text("utf-8").splitlines())
    assert (first["run"], first["plan"], first["event"]) == ("r1", "nightly", "first ***")
    assert "step" not in first
    assert (second["step"], second["event"]) == ("dump", 'second "quoted", ünïcode')
    assert second["timestamp"].endswith("Z")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_name_that_is_no_text_is_written_all_the_same(tmp_path: Path, as_json: bool) -> None:  # noqa: FBT001 -- a parameter
    name = os.fsdecode(b"a.\xff.partial")
    with RunLog(tmp_path / "run.log", run="r1", plan="nightly", json=as_json) as log:
        log.write(f"removed {name}")
    text = (tmp_path / "run.log").read_text("utf-8")
    assert r"removed a.\udcff.partial" in text
    if as_json:
        assert json.loads(text)["event"] == f"removed {name}"


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    with RunLog(tmp_path / "missing" / "run.log", run="r1", plan="nightly") as log:
        log.write("nobody hears this")
    with RunLog(Path("/dev/full"), run="r1", plan="nightly") as log:
        log.write("the disk is full")
        log.write("and stays so")
