"""The one place that starts programs: what it starts ends, says what went wrong, and tells no secret."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from daybreak.command import Command, WithoutRows
from daybreak.errors import Cancelled, CommandError, ConfigError, DaybreakError, TimedOut
from daybreak.process import TAIL_LINES, Runner
from daybreak.secret import Secret
from installation import processes, wait_for

if TYPE_CHECKING:
    from conftest import Server

MINUTE = timedelta(minutes=1)
SOON = timedelta(seconds=0.5)


def read_all(command: Command, runner: Runner | None = None) -> None:
    """Read a stream to its end and throw everything away."""
    with (runner or Runner()).stream(command) as stream:
        while stream.read():
            pass


def sh(script: str, *words: str, deadline: timedelta = MINUTE, **more: Any) -> Command:
    """A command for the shell; `words` are its arguments."""
    return Command(argv=("/bin/sh", "-c", script, "sh", *words), deadline=deadline, **more)


def test_a_program_that_ends_well_gives_its_output_and_its_last_words() -> None:
    done = Runner().run(sh("echo out; echo err >&2"))
    assert (done.status, done.stdout, done.stderr) == (0, b"out\n", ("err",))
    assert 0 <= done.seconds < 10


def test_lines_are_handed_over_one_by_one_and_the_last_one_without_its_end_too() -> None:
    heard: list[str] = []
    done = Runner().run(sh("printf 'a\\nb\\n\\nlast'"), on_line=heard.append)
    assert heard == ["a", "b", "", "last"]
    assert done.stdout == b""


def test_a_bad_exit_status_names_the_program_and_its_last_words() -> None:
    with pytest.raises(CommandError) as caught:
        Runner().run(sh("echo first >&2; echo 'no such thing' >&2; exit 7", env={"PGAPPNAME": "daybreak:x y"}))
    fault = caught.value
    assert (fault.status, fault.tail) == (7, ("first", "no such thing"))
    assert fault.message == "sh failed (exit status 7): no such thing"
    assert "PGAPPNAME='daybreak:x y'" in fault.shown


def test_an_exit_status_that_the_caller_expects_is_no_fault() -> None:
    assert Runner().run(sh("exit 3", ok=frozenset({0, 3}))).status == 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_an_end_by_a_signal_is_told_as_such(number: signal.Signals) -> None:
    with pytest.raises(CommandError) as caught:
        Runner().run(sh(f"kill -{number.value} $$; sleep 9"))
    assert caught.value.status == -number
    assert f"ended by signal {number.value}" in caught.value.message


def test_only_the_last_lines_of_stderr_are_kept() -> None:
    done = Runner().run(sh("for n in $(seq 1 1000); do echo line $n >&2; done"))
    assert len(done.stderr) == TAIL_LINES
    assert done.stderr[-1] == "line 1000"


def test_every_line_of_stderr_is_heard() -> None:
    heard: list[str] = []
    Runner().run(sh("for n in $(seq 1 1000); do echo $n >&2; done; printf unended >&2"), on_stderr=heard.append)
    assert heard == [*map(str, range(1, 1001)), "unended"]


def test_a_program_that_talks_much_on_both_pipes_does_not_stop() -> None:
    size = 40 * 2**20
    script = (
        f"head -c {size} /dev/zero; head -c 3000000 /dev/zero | tr '\\0' 'e' | fold -w 200 >&2; head -c 5 /dev/zero"
    )
    assert len(Runner().run(sh(script)).stdout) == size + 5


def test_more_output_than_anybody_asked_for_ends_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daybreak.process.CAPTURE_BYTES", 2**20)
    began = time.monotonic()
    with pytest.raises(DaybreakError, match="said more than 1048576 bytes"):
        Runner().run(sh("cat /dev/zero"))
    assert time.monotonic() - began < 8


def test_a_deadline_ends_a_silent_program_and_its_whole_family() -> None:
    mark = f"600.{os.getpid()}1"
    began = time.monotonic()
    with pytest.raises(TimedOut, match="was not done after") as caught:
        Runner().run(sh('sleep "$1" & sleep "$1"', mark, deadline=SOON))
    assert time.monotonic() - began < 8
    assert caught.value.exit_code == 30
    assert wait_for(lambda: not processes("sleep", mark))  # the kernel takes a moment for what was killed


def test_a_deadline_ends_a_program_that_never_stops_talking() -> None:
    began = time.monotonic()
    with pytest.raises(TimedOut):
        read_all(sh("cat /dev/zero", deadline=SOON))
    assert time.monotonic() - began < 8


def test_a_deadline_holds_for_a_program_that_closed_its_output_and_goes_on() -> None:
    with pytest.raises(TimedOut):
        Runner().run(sh("exec >&-; sleep 600", deadline=SOON))


def test_a_program_that_ignores_term_is_killed() -> None:
    mark = f"600.{os.getpid()}2"
    began = time.monotonic()
    with pytest.raises(TimedOut):
        Runner().run(sh('trap "" TERM; while :; do sleep "$1"; done', mark, deadline=SOON))
    assert time.monotonic() - began < 14
    assert wait_for(lambda: not processes("sleep", mark))  # the kernel takes a moment for what was killed


def test_a_program_that_says_nothing_for_too_long_counts_as_hung() -> None:
    with pytest.raises(TimedOut, match="said nothing for"):
        Runner().run(sh("echo one; sleep 600", idle=SOON))


def test_words_now_and_then_are_enough_not_to_count_as_hung() -> None:
    done = Runner().run(sh("for n in 1 2 3 4; do echo $n; sleep 0.4; done", idle=timedelta(seconds=0.9)))
    assert done.stdout == b"1\n2\n3\n4\n"


@pytest.mark.parametrize("script", ["sleep 600", "cat /dev/zero"])
def test_a_wish_to_cancel_ends_a_program_within_seconds(script: str) -> None:
    cancel = threading.Event()
    timer = threading.Timer(0.4, cancel.set)
    timer.start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        read_all(sh(script), Runner(cancel=cancel))
    assert time.monotonic() - began < 5


def test_an_exception_in_the_block_ends_the_program_and_goes_on() -> None:
    mark = f"600.{os.getpid()}3"

    def broken() -> None:
        with Runner().stream(sh('sleep "$1"', mark)):
            assert wait_for(lambda: processes("sleep", mark))
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert wait_for(lambda: not processes("sleep", mark))  # the kernel takes a moment for what was killed


def test_a_held_program_lives_as_long_as_the_block() -> None:
    mark = f"600.{os.getpid()}4"
    with Runner().hold(sh('echo ready; sleep "$1"', mark)) as held:
        assert held.read() == b"ready\n"
        assert wait_for(lambda: processes("sleep", mark))
    assert wait_for(lambda: not processes("sleep", mark))  # the kernel takes a moment for what was killed


def test_the_end_of_stdout_is_not_success() -> None:
    heard: list[bytes] = []

    def listen() -> None:
        with Runner().stream(sh("echo all of it; exit 1")) as stream:
            heard.extend([stream.read(), stream.read()])

    with pytest.raises(CommandError):
        listen()
    assert heard == [b"all of it\n", b""]


_PARENT = """
import sys
from datetime import timedelta
from daybreak.command import Command
from daybreak.process import Runner
Runner().run(Command(argv=("/bin/sh", "-c", sys.argv[1], "sh", sys.argv[2]), deadline=timedelta(hours=1)))
"""


@pytest.mark.parametrize(
    "script", ['sleep "$1"', 'trap "" TERM; while :; do sleep "$1"; done', 'while :; do echo "$1"; sleep 0.05; done']
)
def test_who_loses_the_killed_parent_is_gone_within_seconds(script: str) -> None:
    mark = f"600.{os.getpid()}5"
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, script, mark], start_new_session=True)
    try:
        assert wait_for(lambda: [pid for pid in processes(mark) if pid != parent.pid])
        time.sleep(0.3)
    finally:
        parent.kill()
        parent.wait()
    assert wait_for(lambda: not processes(mark), within_s=9)


def test_a_child_inherits_no_setting_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = {
        "PGHOST": "elsewhere",
        "PGOPTIONS": "-c x=y",
        "PGSERVICE": "s",
        "AWS_PROFILE": "p",
        "RESTIC_PASSWORD": "r",
    }
    for name, value in (
        hostile | {"DATABASE_URL": "u", "http_proxy": "http://proxy", "PATH": os.environ["PATH"]}
    ).items():
        monkeypatch.setenv(name, value)
    said = Runner().run(sh("env", env={"PGAPPNAME": "daybreak:1"})).stdout.decode()
    names = {line.partition("=")[0] for line in said.splitlines()}
    assert not names & {*hostile, "DATABASE_URL", "http_proxy"}
    assert {"PATH", "PGAPPNAME", "LC_ALL"} <= names


def test_a_child_cannot_ask_a_question() -> None:
    done = Runner().run(sh("read answer && echo got $answer; tty; exit 0"))
    assert b"got" not in done.stdout
    assert b"not a tty" in done.stdout


def test_a_child_has_none_of_our_files(tmp_path: Path) -> None:
    with (tmp_path / "ours").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        said = Runner().run(sh("ls -l /proc/$$/fd")).stdout.decode()
    assert str(tmp_path) not in said


@pytest.mark.parametrize("name", ["daybreak-no-such-program", "/nowhere/pg_dump"])
def test_a_missing_program_is_told_with_what_to_do(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Runner().run(Command(argv=(name,), deadline=MINUTE))
    assert name in caught.value.message
    assert "install it" in caught.value.hint


def test_a_secret_reaches_the_child_and_nobody_else() -> None:
    secret = Secret("canary-7f3a9 with'quote")
    log: list[str] = []
    command = sh('echo "$TOKEN"; echo "it is $TOKEN" >&2; exit 1', env={"TOKEN": secret}, ok=frozenset({0}))
    assert "TOKEN=***" in command.shown()
    with pytest.raises(CommandError) as caught:
        Runner(log=log.append).run(command)
    assert caught.value.tail == ("it is ***",)
    told = "\n".join([*log, command.shown(), caught.value.message, repr(command), *caught.value.tail])
    assert "canary" not in told
    assert Runner().run(sh('echo "$TOKEN"', env={"TOKEN": secret})).stdout == b"canary-7f3a9 with'quote\n"


def test_a_secret_in_an_argument_is_masked_when_shown() -> None:
    secret = Secret("canary-in-argv-5150")
    assert "canary" not in sh("true", secret.reveal()).shown()


def test_each_start_and_end_is_one_line_of_the_log() -> None:
    log: list[str] = []
    Runner(log=log.append).run(sh("true"))
    assert len(log) == 2
    assert log[0].startswith("run /bin/sh -c true")
    assert "end sh status 0" in log[1]


def test_the_log_has_the_last_lines_of_a_program_that_failed_or_was_ended() -> None:
    log: list[str] = []
    runner = Runner(log=log.append)
    secret = Secret("hunter2-in-the-log")
    with pytest.raises(CommandError):
        runner.run(sh('echo why >&2; echo "$P" >&2; exit 3', env={"P": secret}))
    assert log[-2:] == ["sh said: why", "sh said: ***"]
    with pytest.raises(TimedOut):
        runner.run(sh("echo so far >&2; sleep 60", deadline=SOON))
    assert "sh said: so far" in log
    runner.run(sh("echo fine >&2"))
    assert not any("fine" in line for line in log[1:] if line.startswith("sh said"))


@pytest.mark.parametrize(
    ("line", "logged"),
    [
        ('CONTEXT:  COPY people, line 3: "7\tbob@example.org"', "CONTEXT:  COPY people, line 3: …"),
        ('CONTEXT:  COPY people, line 3, column age: "x"', "CONTEXT:  COPY people, line 3, column age: …"),
        ("DETAIL:  Key (email)=(bob@example.org) already exists.", "DETAIL:  Key (email)=…"),
        ("DETAIL:  Failing row contains (7, bob@example.org).", "DETAIL:  Failing row contains …"),
        ("DETAIL:  There are 2 other sessions.", "DETAIL:  There are 2 other sessions."),
        ('pg_restore: error: could not execute query: ERROR:  type "x" does not exist',) * 2,
    ],
)
def test_a_line_for_the_log_quotes_no_row(line: str, logged: str) -> None:
    assert WithoutRows()(line) == [logged]


#: Each quotes a row in another way; what is secret says so in every line of its own.
_QUOTES_ROWS = r"""
CREATE TABLE person (id int CHECK (id > 0), mail text, "a:b" int, doc json);
CREATE FUNCTION refuse(text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'no such relation'; END $$;
CREATE TABLE refused (id int, mail text CHECK (refuse(mail)));
CREATE TABLE part (id int, mail text) PARTITION BY LIST (mail);
CREATE TYPE mood AS ENUM ('good');
CREATE TABLE felt (mail text, mood mood);
INSERT INTO person VALUES (-1, E'secret\nsecret too\nsecret as well');
INSERT INTO part VALUES (1, E'secret\nsecret too');
INSERT INTO person VALUES (1, E'secret\nsecret too'), (2, E'secret\nsecret too');
CREATE UNIQUE INDEX ON person (mail);
COPY refused FROM stdin;
1	secret
\.
COPY person FROM stdin;
1	x	secret	{}
\.
COPY person FROM stdin;
1	x	1	{"secret": secret}
\.
COPY person FROM stdin;
secret\nsecret too	x	1	{}
\.
COPY felt FROM stdin;
x	secret
\.
COPY person FROM stdin;
99999999999secret	x	1	{}
\.
COPY person FROM stdin;
88888888888	x	1	{}
\.
\set ON_ERROR_STOP 1
SELECT no_such_column;
"""


def test_whatever_way_postgresql_quotes_a_row_the_log_has_none(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daybreak.process.TAIL_LINES", 1000)
    script = tmp_path / "script.sql"
    script.write_text(_QUOTES_ROWS)
    log: list[str] = []
    said: list[str] = []
    psql = (str(server.bin / "psql"), "-Xq", "-d", server.conninfo(server.fresh()), "-f", "-")
    with pytest.raises(CommandError):
        Runner(log=log.append).run(Command(argv=psql, deadline=MINUTE, feed=script), on_stderr=said.append)
    quoted = [line for line in said if "secret" in line or "88888888888" in line]
    assert len(quoted) > 15, said
    assert not [line for line in log if "secret" in line or "88888888888" in line]
    told = [line for line in said if "ERROR:" in line]
    assert len([line for line in log if "ERROR:" in line]) == len(told)
    assert 'column "no_such_column" does not exist' in "".join(log)
    assert any("CONTEXT:  PL/pgSQL function refuse(text) line 1 at RAISE" in line for line in log)


def test_many_programs_at_once_keep_to_themselves() -> None:
    said: dict[int, bytes] = {}

    def one(number: int) -> None:
        said[number] = Runner().run(sh(f"for n in $(seq 1 300); do echo {number}; done")).stdout

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == {number: f"{number}\n".encode() * 300 for number in range(8)}


def test_an_orphan_that_speaks_when_its_program_is_gone_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daybreak.process.GRACE_S", 0.2)
    threads = set(threading.enumerate())
    orphan = "until [ -e $0 ]; do sleep 0.05; done; echo late >&2"
    assert Runner().run(sh(f"setsid sh -c '{orphan}' $1 >/dev/null &", str(tmp_path / "now"))).status == 0
    (left,) = set(threading.enumerate()) - threads
    (tmp_path / "now").touch()
    left.join(10)  # one that ends by an error is told by pytest
    assert not left.is_alive()
