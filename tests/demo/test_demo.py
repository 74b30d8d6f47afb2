"""The demo as a person starts it, but small; and what it leaves behind: nothing."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daybreak.demo.client import Client
from daybreak.demo.stage import open_folder
from daybreak.embedded.scratch import scratch_folder
from daybreak.errors import ConfigError

pytestmark = [pytest.mark.postgres, pytest.mark.restic]

SMALL = (sys.executable, "-m", "daybreak.demo", "--scale", "0.02")
#: The first words of the lines of the table, in order.
LINES = (
    "production filled",
    "repository init",
    "nightly backup",
    "└ off-site",
    "day of changes",
    "weekly refresh",
    "└ backup",
    "└ restore",
    "└ proof",
    "└ swap",
    "└ off-site",
    "read by psql",
    "└ dev's own",
    "fetch latest",
    "└ archive read",
)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder for one demo that the servers' user can reach; its path is in the arguments of all that it starts."""
    with scratch_folder("dbdemo") as folder:
        yield folder / "play"


def processes_below(place: Path) -> list[str]:
    """The command lines that name `place`, of processes that live."""
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().replace(b"\0", b" ")
            if os.fsencode(place) in words:
                found.append(words.decode("utf-8", "replace"))
    return found


def require_nothing_left(place: Path) -> None:
    assert not place.exists()
    assert processes_below(place) == []


def wait_for(text: str, path: Path, demo: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while text not in path.read_text("utf-8"):
        assert demo.poll() is None, path.read_text("utf-8")
        assert time.monotonic() < until, path.read_text("utf-8")
        time.sleep(0.02)


def test_the_whole_path_and_nothing_left(place):
    done = subprocess.run(
        [*SMALL, "--folder", str(place)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env=os.environ | {"DAYBREAK_STATE": "/nowhere", "DAYBREAK_CONFIG": "/nowhere.toml", "PGHOST": "nowhere"},
    )
    assert done.returncode == 0, done.stderr
    header, *lines = done.stdout.strip().splitlines()
    assert header.split() == ["step", "time", "size", "rows", "what", "came", "of", "it"]
    assert len(lines) == len(LINES)
    for line, begins in zip(lines, LINES, strict=True):
        assert line.strip().startswith(begins)
    compared = re.search(r"(\d+) of (\d+) tables compared: (\d+) equal", done.stdout)
    assert compared
    assert int(compared[1]) >= 30
    assert compared[1] == compared[2] == compared[3]
    assert re.search(r"dev was away for [\d.]+ ms \(a client: \d+ ms, \d+ of [\d,]+ connections refused\)", done.stdout)
    assert done.stdout.count("the repository grew by") == 2
    assert "teahouse.environment=development" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "All of it took" in done.stderr
    require_nothing_left(place)


def test_a_terminal_gets_a_moving_line_and_a_drawn_table(place):
    seen = bytearray()
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": "120"}
        os.execv(SMALL[0], [*SMALL, "--folder", str(place)])  # noqa: S606 -- no shell is meant
    with contextlib.suppress(OSError):  # the end of a terminal is an error of its reader
        while chunk := os.read(terminal, 65536):
            seen += chunk
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    text = seen.decode("utf-8")
    assert os.waitstatus_to_exitcode(status) == 0, text
    assert "━" in text
    assert "of it took" in text
    assert "\x1b[2K" in text
    require_nothing_left(place)


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGHUP, "2. A production"),
        (signal.SIGTERM, "backup nightly: run"),
        (signal.SIGINT, "refresh weekly: run"),
    ],
)
def test_a_signal_in_the_middle_stops_everything(place, tmp_path, number, moment):
    heard = tmp_path / "stderr"
    with (
        heard.open("wb") as stderr,
        subprocess.Popen(
            [*SMALL, "--folder", str(place)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr
        ) as demo,
    ):
        wait_for(moment, heard, demo)
        assert processes_below(place)
        demo.send_signal(number)
        stdout, _ = demo.communicate(timeout=60)
    assert demo.returncode == 128 + number, heard.read_text("utf-8")
    assert stdout == b""
    assert "demo: stopped; nothing is left" in heard.read_text("utf-8")
    assert "Traceback" not in heard.read_text("utf-8")
    require_nothing_left(place)


def test_keep_leaves_it_running_until_somebody_stops_it(place, tmp_path):
    heard = tmp_path / "stderr"
    with (
        heard.open("wb") as stderr,
        subprocess.Popen(
            [*SMALL, "--folder", str(place), "--keep"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr
        ) as demo,
    ):
        wait_for("server.log", heard, demo)
        words = heard.read_text("utf-8")
        config = re.search(r"export DAYBREAK_CONFIG=(\S+)", words)
        assert config
        status = subprocess.run(
            [Path(sys.executable).with_name("daybreak"), "status"],
            env=os.environ | {"DAYBREAK_CONFIG": config[1]},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        queries = re.findall(r"^  (?:production|development|application) +(.*)$", words, re.MULTILINE)
        answers = [
            subprocess.run(
                ["/bin/sh", "-c", f"{query} -XAtc 'SELECT current_user'"],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            ).stdout
            for query in queries
        ]
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=60)
    assert status.returncode == 0, status.stderr
    assert "nightly" in status.stdout
    assert answers == ["postgres\n", "postgres\n", "teahouse_dev_app\n"]
    assert demo.returncode == 0
    require_nothing_left(place)


def test_a_fault_ends_with_its_words_and_code(place, tmp_path):
    empty = tmp_path / "bin"
    empty.mkdir()
    done = subprocess.run(
        [*SMALL, "--folder", str(place)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | {"DAYBREAK_TOOLS": str(empty), "PATH": str(empty)},
    )
    assert done.returncode == 3, done.stderr
    assert "is not" in done.stderr
    assert "  → " in done.stderr
    assert "everything is stopped and removed" in done.stderr
    assert "Traceback" not in done.stderr
    require_nothing_left(place)


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("precious")
    with pytest.raises(ConfigError, match="cannot be made"), open_folder(tmp_path):
        pass
    assert mine.read_text() == "precious"
    with pytest.raises(ConfigError, match="too long"), open_folder(tmp_path / ("x" * 90)):
        pass


def test_the_client_times_the_change_of_the_database_behind_a_name(servers):
    server = servers[18]
    for name in ("client_new", "client_now"):
        server.create_database(name)
    try:
        with Client(host=server.host, port=server.port, user=server.user, database="client_now") as client:
            while client.seen.answers < 5:
                time.sleep(0.01)
            assert client.seen.away_ms is None
            server.psql("ALTER DATABASE client_now ALLOW_CONNECTIONS false")
            time.sleep(0.3)
            for _ in range(50):  # a session that is just leaving may be in the way
                with contextlib.suppress(pytest.fail.Exception):
                    server.psql("ALTER DATABASE client_now RENAME TO client_old")
                    break
            server.psql("ALTER DATABASE client_new RENAME TO client_now")
            before = client.seen.answers
            while client.seen.answers < before + 2:
                time.sleep(0.01)
        seen = client.seen
    finally:
        for name in ("client_new", "client_now", "client_old"):
            server.drop_database(name)
    assert seen.refused > 0
    assert seen.away_ms is not None
    assert 300 <= seen.away_ms < 30_000
