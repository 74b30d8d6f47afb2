"""`daybreak serve` as a real process, on a real server: begun, killed, reloaded, and three that come for one slot."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from daybreak.model import Schedule, SlotState, Timed
from daybreak.serving import _signals
from installation import PROGRAM, Installation, Started, processes, wait_for

if TYPE_CHECKING:
    from conftest import Server, Servers

TRIGGERS = int(os.environ.get("DAYBREAK_TRIGGERS", "5"))


@pytest.fixture
def prod(servers: Servers) -> Iterator[tuple[Server, str]]:
    """A small database on PostgreSQL 18."""
    server = servers[18]
    name = server.fresh()
    server.psql("CREATE TABLE account AS SELECT n AS id FROM generate_series(1, 2000) AS n", name)
    yield server, name
    server.drop_database(name)


@pytest.fixture
def site(prod: tuple[Server, str], tmp_path: Path) -> Iterator[Installation]:
    """An installation whose backup was due a minute ago, and is watched since yesterday."""
    made = due_now(tmp_path, prod)
    yield made
    for pid in processes("daybreak.cli.main", str(made.state)):
        os.kill(pid, signal.SIGKILL)


def due_now(folder: Path, prod: tuple[Server, str]) -> Installation:
    server, name = prod
    now = datetime.now(UTC)
    spec = f"{now - timedelta(minutes=1):%H:%M}"
    made = Installation(folder=folder, url=server.url(name), bin=server.bin, plan={"schedule": spec})
    nightly = Timed(kind="backup", plan="nightly", schedule=Schedule(spec=spec, timezone="UTC"))
    with made.catalog() as catalog:
        catalog.slots.watch(nightly, since=now - timedelta(days=1, minutes=-5), at=now - timedelta(days=1))
    return made


def stopped(site: Installation) -> Path:
    """Let each dump stop in its middle for as long as this file is there."""
    hold = site.folder / "hold"
    hold.touch()
    site.fake_dump(f'"$real" "$@" | (head -c 100; while [ -e {hold} ]; do sleep 0.05; done; cat)')
    return hold


def said(serve: Started, text: str) -> bool:
    return text in serve.err.read_text()


def states(site: Installation) -> list[str]:
    return [one["state"] for one in site.json("runs")["runs"]]


def end(serve: Started, expect: int = 0) -> str:
    serve.process.terminate()
    answer = serve.end(30)
    assert answer.code == expect, answer.err
    return answer.err


def test_what_is_due_is_begun_and_a_kill_of_serve_does_not_harm_it(site: Installation) -> None:
    """C6: the job is a process of its own; the next scheduler finds what it did."""
    hold = stopped(site)
    with site.start("serve") as serve:
        wait_for(site.staged, what="the dump of a job that serve began")
        serve.kill()
    with site.start("serve") as again:
        wait_for(lambda: said(again, "serving"), what="the second serve")
        assert states(site) == ["running"]
        hold.unlink()
        wait_for(lambda: states(site) == ["succeeded"], within_s=30, what="the end of the job")
        time.sleep(1)
        end(again)
    assert states(site) == ["succeeded"]
    assert site.manifest().plan == "nightly"
    (plan,) = site.json("schedule")["plans"]
    assert plan["last"][-1]["state"] == "claimed"
    assert plan["last"][-1]["run_state"] == "succeeded"
    assert plan["last"][-1]["trigger"] == "scheduler"


def test_a_clean_stop_says_what_goes_on(site: Installation) -> None:
    hold = stopped(site)
    with site.start("serve", "--json") as serve:
        wait_for(site.staged, what="the dump")
        text = end(serve)
        assert serve.out.read_text() == '{"state": "stopped"}\n'
    assert "stopped; what was begun goes on: backup nightly (process" in text
    assert states(site) == ["running"]
    hold.unlink()
    wait_for(lambda: states(site) == ["succeeded"], within_s=30, what="the end of the job")


def test_three_come_for_one_slot_and_one_does_it(prod: tuple[Server, str], tmp_path: Path) -> None:
    """L8: GitHub, a timer and the scheduler within five seconds."""
    chance = random.Random(8)  # noqa: S311 -- a choice of instants, no secret
    for number in range(TRIGGERS):
        (tmp_path / str(number)).mkdir()
        site = due_now(tmp_path / str(number), prod)
        who = [("serve",), ("backup", "--slot", "now", "--trigger", "github", "--json")]
        who.append(("backup", "nightly", "--slot", "now", "--trigger", "timer", "--json"))
        chance.shuffle(who)
        started: dict[str, Started] = {}
        for words in who:
            started["serve" if words == ("serve",) else words[-2]] = site.start(*words)
            time.sleep(chance.choice([0, 0, chance.uniform(0, 1.5)]))
        answers = {name: started[name].end() for name in ("github", "timer")}
        serve = started["serve"]
        wait_for(lambda: said(serve, "serving"), what="serve")  # noqa: B023 -- used at once
        wait_for(lambda: not {"running", "waiting"} & set(states(site)), what="the end")  # noqa: B023 -- used at once
        time.sleep(1.0)
        end(serve)
        found = states(site)
        assert found.count("succeeded") == 1, found
        assert set(found) <= {"succeeded", "skipped"}
        for answer in answers.values():
            document = answer.expect(0)
            if document["state"] == "skipped":
                assert "already done for slot" in document["reason"] or "is doing the slot" in document["reason"]
        with site.catalog() as catalog:
            assert len(catalog.archives.list()) == 1


def test_a_person_always_gets_a_dump(site: Installation) -> None:
    first = site.backup("--slot", "now")
    assert first["state"] == "succeeded"
    assert first["slot"].endswith(str(site.plan["schedule"]))
    again = site.backup("--slot", "now")
    assert (again["state"], again["exit_code"], again["slot"]) == ("skipped", 0, first["slot"])
    assert again["reason"] == f"already done for slot {first['slot']}, by run {first['run']}"
    assert site.backup("--slot", first["slot"])["state"] == "skipped"
    assert site.backup()["state"] == "succeeded"
    text = site.call("schedule").out
    assert f"run {first['run']} by cli, succeeded" in text
    assert "UTC" in text


def test_a_slot_of_years_ago_is_not_done_and_begins_no_years_of_missed_ones(site: Installation) -> None:
    with site.catalog() as catalog:
        catalog.slots.watch_only([])  # nobody watches the plan
    long_ago = f"2019-01-01 {site.plan['schedule']}"
    first, again = (site.backup("--slot", long_ago) for _ in range(2))
    assert first["reason"].startswith("the slots of backup nightly count from now on; the next one is ")
    assert again["reason"].startswith(
        f"the slot {long_ago} of backup nightly was due more than 12 h 00 m ago (catch_up)"
    )
    assert states(site) == ["skipped", "skipped"]
    site.backup("--slot", "now")
    with site.catalog() as catalog:
        (slot,) = catalog.slots.list(
            Timed(kind="backup", plan="nightly", schedule=Schedule(spec="00:00", timezone="UTC")),
            until=datetime.now(UTC),
            limit=10,
        )
    assert slot.state is SlotState.CLAIMED


def test_a_slot_without_a_schedule_and_a_trigger_that_is_no_word_are_refused(site: Installation) -> None:
    assert "is no slot" in site.backup("--slot", "soon", expect=2)["message"]
    assert "word" in site.backup("--trigger", "a b", expect=2)["message"]
    del site.plan["schedule"]
    site.configure()
    assert "has no schedule" in site.backup("--slot", "now", expect=2)["message"]
    assert states(site) == []


def test_a_second_scheduler_is_refused(site: Installation) -> None:
    with site.start("serve") as serve:
        wait_for(lambda: said(serve, "serving"), what="serve")
        other = site.apart("serve")
        assert other.code == 5
        assert f"daybreak serve, process {serve.process.pid}" in other.err
        end(serve)


def test_a_reload_takes_a_good_file_and_leaves_a_broken_one(site: Installation) -> None:
    """Q4, and a file that is broken when a slot is due stops no backup."""
    good = site.file.read_text()
    spec = str(site.plan["schedule"])
    site.file.write_text(good.replace(f'"{spec}"', '"Sun 04:00"'))
    with site.start("serve") as serve:
        wait_for(lambda: said(serve, "serving"), what="serve")
        site.file.write_text(good.replace("archive =", "archiv ="))
        serve.process.send_signal(signal.SIGHUP)
        wait_for(lambda: said(serve, "not taken, the one before counts"), what="the reload of a broken file")
        wait_for(lambda: said(serve, "is not a key of Daybreak"), what="the fault in words")
        assert serve.process.poll() is None
        next_minute = f"{datetime.now(UTC) + timedelta(seconds=75):%H:%M}"  # in 15 s at least
        site.file.write_text(good.replace(f'"{spec}"', f'"{next_minute}"'))
        serve.process.send_signal(signal.SIGHUP)
        wait_for(lambda: said(serve, "was read again: next: backup nightly at"), what="the reload of a good file")
        site.file.write_text("this is broken")
        wait_for(lambda: said(serve, "ended with 0"), within_s=120, what="the job of the file that was accepted")
        end(serve)
    site.file.write_text(good)
    assert states(site) == ["succeeded"]


def test_systemd_hears_that_it_is_ready_alive_and_stopping(site: Installation, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(20)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1500000"}
        with site.start("serve", env=env) as serve:
            told = [listening.recv(4096).decode() for _ in range(6)]
            serve.process.send_signal(signal.SIGHUP)
            while not told[-1].startswith("RELOADING=1"):
                told.append(listening.recv(4096).decode())
            assert listening.recv(4096).decode().startswith("READY=1")
            end(serve)
            while not told[-1].startswith("STOPPING=1"):
                told.append(listening.recv(4096).decode())
    assert told[0].startswith("READY=1\nSTATUS=next: backup nightly")
    assert [one.startswith("WATCHDOG=1") for one in told[1:6]] == [True] * 5  # every half second, a third of 1.5 s


@pytest.mark.parametrize(
    ("zone", "path"), [("America/Chicagoo", None), ("America/Chicago", "/nowhere"), ("UTC", "/nowhere")]
)
def test_a_zone_that_is_not_known_here_is_a_fault_at_the_start(site: Installation, zone: str, path: str | None) -> None:
    """T7: exit 3; never UTC instead."""
    site.configure(plan={"timezone": zone})
    env = dict(os.environ)
    code = "import sys; from daybreak.cli.main import main; main(sys.argv[1:])"
    if path is not None:  # neither the host's zone data nor the package that Daybreak brings
        env["PYTHONTZPATH"] = path
        code = f"import sys; sys.modules['tzdata'] = None; {code}"
    done = subprocess.run(
        [sys.executable, "-c", code, "--config", site.file, "serve", "--only", "runner"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 3, done.stderr
    assert ("is not a time zone" if path is None else "install tzdata") in done.stderr


def test_serve_is_small(site: Installation) -> None:
    with site.start("serve") as serve:
        wait_for(lambda: said(serve, "serving"), what="serve")
        status = Path(f"/proc/{serve.process.pid}/status").read_text()
        resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
        end(serve)
    assert resident < 120_000, f"{resident} kB"


def test_the_config_of_the_host_decides_not_its_zone(site: Installation) -> None:
    """T8."""
    with_zone = site.apart("schedule", "--at", "2026-11-22T00:00Z", env={"TZ": "Asia/Tokyo"})
    assert with_zone.code == 0
    assert with_zone.out == site.apart("schedule", "--at", "2026-11-22T00:00Z", env={"TZ": "UTC"}).out
    assert PROGRAM[0] == sys.executable


def test_a_signal_is_heard_also_where_no_python_runs() -> None:
    """One that comes between the last step of Python and the wait would else be heard when the wait is over."""
    found: list[tuple[set[int], float]] = []
    with _signals() as heard:

        def send() -> None:
            time.sleep(0.1)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGHUP)
            found.append((heard(timedelta(seconds=60)), time.monotonic()))

        thread = threading.Thread(target=send)
        thread.start()
        hashlib.pbkdf2_hmac("sha256", b"x", b"y", 4_000_000)  # the main thread is long where no handler can run
        busy_until = time.monotonic()
        thread.join()
    assert found[0][0] == {signal.SIGHUP}
    assert found[0][1] < busy_until
