"""The archives stand in a folder that this user may not look into: that is a finding or a fault, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from installation import PROGRAM

CONFIGURATION = """
timezone = "UTC"
state = "{0}/state"
[databases.prod]
url = "postgresql://u@127.0.0.1:9/x"
protected = true
[backups.nightly]
database = "prod"
archive = "{0}/closed/archives/x.dump"
schedule = "02:00"
"""
OTHER = 54321


@pytest.fixture
def folder() -> Iterator[Path]:
    """All of it is somebody else's, but what is closed; not below pytest's own folder, which is closed as well."""
    if os.geteuid() != 0:
        pytest.skip("becomes another user")
    with tempfile.TemporaryDirectory(prefix="daybreak-closed-") as name:
        made = Path(name)
        (made / "closed/archives").mkdir(parents=True)
        (made / "closed").chmod(0o700)
        (made / "state").mkdir()
        (made / "daybreak.toml").write_text(CONFIGURATION.format(made))
        for path in (made, made / "state", made / "daybreak.toml"):
            os.chown(path, OTHER, OTHER)
        yield made


def call(folder: Path, *words: str) -> dict[str, Any]:
    """What he is answered."""
    done = subprocess.run(
        ["/usr/bin/setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups", *PROGRAM, *words, "--json"],
        env={"PATH": "/usr/bin:/bin", "HOME": "/", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        | {"DAYBREAK_CONFIG": str(folder / "daybreak.toml")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode != 70, done.stderr + done.stdout
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("words", [("backup",), ("drill",)])
@pytest.mark.parametrize("deep", [False, True])
def test_a_verb_says_what_is_closed(folder: Path, words: tuple[str, ...], deep: bool) -> None:  # noqa: FBT001 -- both
    if deep:
        (folder / "closed").chmod(0o755)
        (folder / "closed/archives").chmod(0o700)
    said = call(folder, *words)
    assert f"{folder}/closed/archives" in said["message"]
    assert "group" in said["hint"]


def test_the_doctor_says_it_and_looks_at_the_rest(folder: Path) -> None:
    found = {one["id"]: one for one in call(folder, "doctor")["findings"]}
    assert "closed/archives cannot be looked at by 54321: Permission denied" in found["archive.folder"]["finding"]
    assert found["archive.folder"]["fix"].startswith(f"namei -l {folder}/closed/archives")
    assert found["state.room"]["severity"] == "ok"
    assert "backlog: permission denied" in found["plan.waiting"]["finding"]
    assert found["plan.last_success"]["finding"] == "has never succeeded"


def test_status_and_metrics_show_all_but_what_waits(folder: Path) -> None:
    """Closed above the archive, and closed at the backlog itself, which a glob would have found empty."""
    for opened in (False, True):
        if opened:
            (folder / "closed").chmod(0o755)
            (folder / "closed/archives/.daybreak/backlog").mkdir(parents=True)
            (folder / "closed/archives/.daybreak/backlog").chmod(0o700)
        (plan,) = call(folder, "status")["plans"]
        assert plan["state"] == "never run"
        assert plan["waiting"] is None
        assert "backlog: permission denied" in plan["attention"][0]
        assert "group" in plan["attention"][0]
        told = {one["name"] for one in call(folder, "metrics")["metrics"]}
        assert "daybreak_next_slot_timestamp_seconds" in told
