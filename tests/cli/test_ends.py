"""How a call ends: with its code whatever becomes of its output, and after all that was to be done at its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

#: Streams with a buffer, as everywhere but where somebody said PYTHONUNBUFFERED.
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
DAYBREAK = Path(sys.executable).parent / "daybreak"
FULL = Path("/dev/full")


def call(*words: str, out: Path | None = None, err: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run it, its output into these files."""
    with (out or Path("/dev/null")).open("w") as stdout, (err or Path("/dev/null")).open("w") as stderr:
        return subprocess.run(
            [DAYBREAK, *words],
            stdout=stdout if out else subprocess.PIPE,
            stderr=stderr if err else subprocess.PIPE,
            text=True,
            check=False,
            env=BUFFERED,
        )


def test_an_answer_that_finds_no_room_is_no_bug() -> None:
    # More, and less, than the buffer holds; and what click says by itself.
    for words in (["config", "example"], ["--version"], ["--help"], ["backup", "-h"], [], ["config"]):
        done = call(*words, out=FULL)

        assert done.returncode == 13
        assert done.stderr.startswith("daybreak: the answer cannot be written: No space left on device\n  → what was ")
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr


def test_where_there_is_no_room_for_the_object_it_goes_to_stderr() -> None:
    for words in (["config", "example"], ["--version"]):
        done = call("--json", *words, out=FULL)

        assert done.returncode == 13
        assert json.loads(done.stderr)["code"] == "PublishError"


def test_a_fault_keeps_its_code_where_nobody_can_read_it(tmp_path: Path) -> None:
    words = ("--config", str(tmp_path / "none.toml"), "runs")

    assert call(*words, err=FULL).returncode == 3
    assert "none.toml" in call(*words, err=FULL).stdout  # better there than nowhere
    assert call(*words, out=FULL, err=FULL).returncode == 3
    assert call("--json", *words, out=FULL, err=FULL).returncode == 3


def test_closed_streams() -> None:
    done = subprocess.run(["/bin/sh", "-c", f"'{DAYBREAK}' config example >&- 2>&-"], check=False)

    assert done.returncode == 0


def test_a_reader_that_went_away_is_told_by_the_code() -> None:
    for words in ("config example", "--help", ""):
        done = subprocess.run(
            ["/bin/bash", "-c", f"'{DAYBREAK}' {words} | true; echo ${{PIPESTATUS[0]}}"],
            capture_output=True,
            text=True,
            check=False,
        )

        assert done.stdout.strip() in {"0", "141"}  # it may have been faster than its reader
        assert done.stderr == ""


def test_what_was_to_be_done_at_the_end_is_done() -> None:
    program = """
import atexit, threading, time
from daybreak.cli import main

def run(words):
    atexit.register(print, "told at the end")
    threading.Thread(target=lambda: (time.sleep(0.3), print("a thread ended"))).start()
    return 7

main.run = run
main.main([])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (7, "")
    assert done.stdout.splitlines() == ["a thread ended", "told at the end"]
