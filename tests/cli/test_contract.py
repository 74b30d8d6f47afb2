"""What scripts may rely on: one object on stdout, its fields, the numbers, the words."""

from __future__ import annotations

import re
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from daybreak.cli import main
from installation import Installation

RUN = ("run", "plan", "state", "exit_code", "reason")


def instants(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Every `…_at` in a document."""
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in instants(item, key)]
    if isinstance(value, list):
        return [found for item in value for found in instants(item, name)]
    return [(name, value)] if name.endswith("_at") and value is not None else []


def test_a_backup_has_the_promised_fields(used: Installation) -> None:
    told = used.backup()
    assert all(field in told for field in RUN)
    assert (told["plan"], told["state"], told["exit_code"]) == ("nightly", "succeeded", 0)
    assert set(told["archive"]) == {"id", "path", "size_bytes", "sha256", "tables", "rows"}
    assert told["snapshots"] == []


def test_a_failed_backup_has_the_run_and_the_fault_in_one_object(used: Installation) -> None:
    failed = next(run for run in used.json("runs")["runs"] if run["state"] == "failed")
    assert failed["exit_code"] == 11
    shown = used.json("run", "show", failed["run"])
    assert all(field in shown for field in (*RUN, "code", "message", "hint"))
    assert shown["reason"]


def test_status_has_the_promised_fields(used: Installation) -> None:
    plan = used.json("status")["plans"][0]
    assert plan["plan"] == "nightly"
    assert plan["state"] in {"succeeded", "failed"}
    assert plan["age_s"] >= 0
    assert datetime.fromisoformat(plan["last_success_at"]).tzinfo is not None
    assert datetime.fromisoformat(plan["next_at"]) > datetime.fromisoformat(plan["last_success_at"])


@pytest.mark.parametrize("words", [("status",), ("runs",), ("archives",), ("backup",), ("repair",)])
def test_every_instant_has_its_offset(used: Installation, words: tuple[str, ...]) -> None:
    found = instants(used.json(*words))
    assert found
    for name, text in found:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", text), (name, text)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--json", "--config", "FILE", "status"], 0),
        (["status", "--json", "--config", "FILE"], 0),
        (["--json", "status", "--config", "FILE"], 0),
        (["--config", "FILE", "run", "show", "--json", "nothing"], 2),
        (["--json", "--config", "/nowhere.toml", "status", "--config", "FILE"], 0),  # the later one counts
        (["--json"], 2),
        (["archive", "--json"], 2),
        (["--json", "archive"], 2),
        (["no-such-verb", "--json"], 2),
        (["status", "--no-such-option", "--json"], 2),
        (["--json", "accept"], 2),
        (["--json", "runs", "--limit", "0", "--config", "FILE"], 2),
        (["--json", "backup", "a", "b"], 2),
        (["--json", "--config", "/nowhere.toml", "status"], 3),
        (["--json", "archive", "read", "/nowhere.dump"], 12),
        (["--json", "archive", "read", "/"], 12),
        (["--json", "archive", "read", "."], 12),
        (["--json", "config", "example"], 0),
        (["--json", "config", "schema"], 0),
        (["--json", "config", "show", "--config", "FILE"], 0),
        (["--json", "config", "check", "--config", "FILE"], 0),
        (["--json", "config", "check", "--connect", "--config", "FILE"], 0),
    ],
)
def test_json_is_exactly_one_object_on_stdout(
    used: Installation, words: list[str], code: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(used.folder / "backups")
    ended = main.run([str(used.file) if word == "FILE" else word for word in words])
    said = capfd.readouterr()
    import json  # noqa: PLC0415 -- only wanted here

    told = json.loads(said.out)
    assert said.out.count("\n") == 1
    assert isinstance(told, dict)
    assert ended == code, told
    if code:
        assert told["exit_code"] == code
        assert told["code"]
        assert told["message"]
        assert isinstance(told["hint"], str)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["backup", "nightl"], "did you mean nightly?"),
        (["backup", "zzz"], "there is: nightly"),
        (["refresh"], "the configuration has no refresh"),
        (["undo"], "the configuration has no target database"),
        (["repository", "check"], "the configuration has no repository"),
        (["ship"], "has no repository"),
        (["run", "show", "2"], "more than one run begins with"),
        (["run", "cancel", "nothing"], "no run begins with"),
        (["accept", "nothing"], "there is no archive nothing"),
    ],
)
def test_a_name_that_nobody_knows(used: Installation, words: list[str], says: str) -> None:
    told = used.json(*words, expect=2)
    assert re.search(says, f"{told['message']} {told['hint']}"), told


def test_a_name_may_be_left_out_where_there_is_one_only(used: Installation) -> None:
    other = used.folder / "others" / "prod.dump"
    used.more = f"[backups.weekly]{used.file.read_text().partition('[backups.nightly]')[2]}"
    used.more = used.more.replace(str(used.archive), str(other))
    used.configure()
    try:
        told = used.json("backup", expect=2)
        assert "which backup? There is: nightly, weekly" in told["message"]
    finally:
        used.more = ""
        used.configure()
    assert used.json("backup")["plan"] == "nightly"


def test_every_fault_of_the_file_at_once(used: Installation, tmp_path: Path) -> None:
    site = Installation(folder=tmp_path, url="postgresql://u:pw@h/db", bin=used.bin)
    site.configure(plan={"keep_locl": 3, "database": "prd", "idle": "soon"})
    told = site.json("backup", expect=3)
    assert told["code"] == "ConfigError"
    text = "\n".join(told["problems"])
    for word in ("databases.prod.url", "keep_locl", 'did you mean "keep_local"', "idle", "backups.nightly.database"):
        assert word in text, text
    assert not site.state.exists()
    assert "pw@" not in text


def test_without_a_configuration_it_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAYBREAK_CONFIG", raising=False)
    import subprocess  # noqa: PLC0415 -- only wanted here

    done = subprocess.run(
        [sys.executable, "-m", "daybreak.cli.main", "backup"], capture_output=True, text=True, check=False, timeout=60
    )
    if Path("/etc/daybreak/daybreak.toml").exists():
        pytest.fail("this machine has a configuration of its own")
    assert done.returncode == 3
    assert str(tmp_path / "daybreak.toml") in done.stderr
    assert "daybreak config example" in done.stderr


def test_a_fault_for_a_person_is_three_lines_on_stderr(used: Installation) -> None:
    used.fake_dump("echo 'pg_dump: error: out of luck' >&2; exit 1")
    said = used.call("backup")
    used.real_dump()
    assert said.code == 11
    assert said.out == ""
    lines = said.err.splitlines()[-3:]
    assert lines[0].startswith("daybreak: pg_dump of prod")
    assert lines[1].startswith("  → ")
    assert re.fullmatch(r"  run (\S+): daybreak run show \1", lines[2])


def test_plain_lines_without_a_terminal(used: Installation) -> None:
    said = used.call("backup")
    assert "\x1b" not in said.err + said.out
    assert [line.split()[1] for line in said.err.splitlines() if line.startswith("  ✓")] == [
        "check",
        "dump",
        "globals",
        "read",
        "publish",
    ]
    assert "3,000 rows in 1 table" in said.out


def test_a_bug_is_a_sentence_and_a_file(used: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a slip")

    monkeypatch.setattr("daybreak.jobs.backup.adopting", broken)
    told = used.backup(expect=70)
    assert told["code"] == "Bug"
    assert "ZeroDivisionError: a slip" in told["message"]
    trace = Path(told["hint"].rpartition(" ")[2])
    assert "Traceback" in trace.read_text()
    trace.unlink()
    monkeypatch.undo()
    run = used.json("runs")["runs"][0]
    assert (run["state"], run["exit_code"]) == ("failed", 70)


def test_a_reader_that_goes_away_is_no_bug(used: Installation) -> None:
    import os  # noqa: PLC0415 -- only wanted here
    import subprocess  # noqa: PLC0415 -- only wanted here

    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [sys.executable, "-m", "daybreak.cli.main", "--config", used.file, "config", "example"],
        stdout=theirs,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    os.close(theirs)
    assert done.returncode == 141
    assert b"Traceback" not in done.stderr


def test_every_database_is_looked_at_whatever_the_others_say(site: Installation) -> None:
    site.more = (
        '[databases.away]\nurl = "postgresql://postgres@127.0.0.1:1/away"\n'
        f'[databases.locked]\nurl = "{site.url}"\npassword_file = "{site.folder}/no such file"\n'
        f'[databases.last]\nurl = "{site.url}"\nbin = "{site.bin}"\n'
    )
    site.configure(database={"url": "postgresql://postgres@127.0.0.1:2/prod"})
    told = site.json("config", "check", "--connect", expect=3)
    assert list(told["databases"]) == ["last"]
    assert {name: fault["exit_code"] for name, fault in told["faults"].items()} == {"prod": 10, "away": 10, "locked": 3}
    assert (told["code"], told["exit_code"], told["message"]) == (
        "ConfigError",
        3,
        f"locked: {site.folder}/no such file is not there",
    )
    said = site.call("config", "check", "--connect")
    assert said.code == 3
    assert "last is " in said.out
    assert "is good" in said.out
    assert said.err.count("daybreak: ") == 3
    assert said.err.count("is the port of databases.away right?") == 1
