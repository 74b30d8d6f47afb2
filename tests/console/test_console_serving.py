"""`daybreak serve` with its console as a real process: what it shows when nothing else can be."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import sqlite3
import subprocess
import time
from html import unescape
from pathlib import Path

import httpx
import pytest
import uvicorn
from console_guests import Served, resident_kb

from daybreak.catalog.store import FILE
from daybreak.console import listening
from daybreak.console.listening import Pages
from daybreak.console.people import Role
from daybreak.console.world import World
from daybreak.errors import ConfigError
from daybreak.web import Console
from installation import wait_for
from town import Town

pytestmark = pytest.mark.postgres
HEALTHY = {"configuration": True, "catalog": True, "runner": True}


def health(served: Served) -> dict[str, bool]:
    return httpx.get(f"{served.base}/healthz", timeout=30).json()


def test_it_tells_where_it_is_and_how_somebody_gets_in(served: Served) -> None:
    with served.up():
        assert health(served) == HEALTHY
        # It answers before it has said so.
        said = wait_for(lambda: served.said() if "sign in" in served.said() else "", within_s=10, what="its words")
        assert f"the console is at {served.base}" in said
        assert "nobody can sign in yet: `daybreak console first`" in said
        assert httpx.get(f"{served.base}/runs", timeout=30).headers["location"] == "/sign-in?to=%2Fruns"
    assert "stopped" in served.said()


def test_numbers_are_for_this_host_alone(served: Served) -> None:
    served.town.site.backup()
    with served.up():
        answer = httpx.get(f"{served.base}/metrics", timeout=30)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert 'daybreak_archive_rows{plan="nightly"} 501.0' in answer.text
        through = httpx.get(f"{served.base}/metrics", headers={"X-Forwarded-For": "192.0.2.7"}, timeout=30)
        assert through.status_code in {401, 303, 403}
        named = httpx.get(f"{served.base}/metrics", headers={"Host": "evil.example"}, timeout=30)
        assert named.status_code == 421


def test_it_is_small_also_after_people_came(served: Served) -> None:
    with served.up() as process:
        for name in ("ada", "bob", "eve"):
            guest = served.guest(name)
            for path in (
                "/",
                "/runs",
                "/archives",
                "/off-site",
                "/dev",
                "/schedule",
                "/settings",
                "/api/schema/openapi.json",
            ):
                assert guest.get(path).status_code == 200
        resident = resident_kb(process.process.pid)
    assert resident < 120_000, f"{resident} kB"


def test_a_configuration_with_faults_is_told_and_mended_without_a_restart(served: Served) -> None:
    good = served.town.site.file.read_text()
    served.person("ada", Role.ADMIN)
    served.town.site.file.write_text(good.replace('backup = "nightly"', 'backup = "nihgtly"'))
    with served.town.site.start("serve") as process:
        wait_for(lambda: "no schedule is kept" in process.err.read_text(), within_s=60, what="the fault")
        assert "did you mean" in process.err.read_text()
        assert process.process.poll() is None
        served.town.site.file.write_text(good)
        process.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "the schedule is kept" in process.err.read_text(), what="the schedule")
        process.process.terminate()
        assert process.end(30).code == 0


@pytest.mark.parametrize("fault", ["\n[refreshes.none]\n", "\n[broken\n"], ids=["meaning", "TOML"])
def test_with_a_faulty_file_the_console_is_where_the_file_says(served: Served, fault: str) -> None:
    good = served.town.site.file.read_text()
    own = served.town.site.folder / "own"
    text = good.replace("[console]\n", f"[console]\nstate = '{own}'\n")
    assert text != good
    served.town.site.file.write_text(text + fault)
    with served.town.site.start("serve") as process:
        wait_for(lambda: "console is at" in process.err.read_text(), within_s=60, what="the console")
        said = process.err.read_text()
        assert f"the console is at {served.base}\n" in said
        assert (own / "console.sqlite3").exists()
        assert "console first" not in said  # which would not take the file
        served.town.site.file.write_text(text)
        process.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "`daybreak console first` on this host" in process.err.read_text(), what="the way in")
        process.process.terminate()
        assert process.end(30).code == 0


def test_a_file_that_breaks_while_it_serves_counts_as_it_was_accepted(served: Served) -> None:
    good = served.town.site.file.read_text()
    with served.up() as process:
        ada = served.guest("ada")
        served.town.site.file.write_text(good + "\n[broken\n")
        process.process.send_signal(signal.SIGHUP)
        wait_for(lambda: health(served)["configuration"] is False, what="the fault")
        page = ada.get("/").text
        assert "what was accepted before counts until then" in page
        assert ada.get("/dev/weekly/plan").status_code == 200  # jobs have what was accepted
        served.town.site.file.write_text(good)
        process.process.send_signal(signal.SIGHUP)
        wait_for(lambda: health(served) == HEALTHY, what="health")


def test_a_file_that_nobody_read_yet_is_told_until_it_is(served: Served) -> None:
    good = served.town.site.file.read_text()
    with served.up() as process:
        ada, vera = served.guest("ada"), served.guest("vera", Role.VIEWER)
        assert "was changed since" not in ada.get("/settings").text
        served.town.site.file.unlink()
        told = unescape(ada.get("/").text)
        assert f"{served.town.site.file} is not there any more" in told
        back = re.search(r"\(`(cp [^`]+)` puts it back\)", told)
        assert back
        subprocess.run(shlex.split(back[1]), check=True)
        assert "not there any more" not in ada.get("/").text
        assert served.town.site.file.read_text() == good
        served.town.site.file.write_text(good + "\n# somebody thinks aloud\n")
        assert "was changed since `daybreak serve` read it" in unescape(ada.get("/settings").text)
        assert "systemctl reload daybreak" in ada.get("/schedule").text
        assert "was changed" not in vera.get("/").text
        assert health(served) == HEALTHY
        process.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "was changed since" not in ada.get("/settings").text, what="that it is read")


@pytest.mark.parametrize("revision", ["9999", "0001"])
def test_a_catalog_of_another_age_is_told_and_nothing_else_is_lost(served: Served, revision: str) -> None:
    served.town.site.json("runs")
    with sqlite3.connect(served.town.site.state / FILE) as catalog:
        catalog.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    catalog.close()
    with served.up("--only", "console", healthy=False) as process:
        ada = served.guest("ada")
        assert health(served)["catalog"] is False
        for path in ("/", "/runs", "/archives", "/off-site", "/dev", "/schedule", "/settings"):
            page = ada.get(path)
            assert page.status_code == 200, path
            assert "catalog" in page.text
        assert process.process.poll() is None


def test_a_console_alone_asks_a_runner_that_is_another_process(served: Served) -> None:
    with served.up("--only", "console", healthy=False):
        ada = served.guest("ada")
        assert health(served)["runner"] is False
        answer = ada.form("/backups/nightly/backup")
        assert answer.status_code == 503
        assert "the runner is not there" in answer.text
        with served.town.site.start("serve", "--only", "runner") as runner:
            wait_for(lambda: health(served) == HEALTHY, within_s=30, what="the runner")
            answer = ada.form("/backups/nightly/backup")
            assert answer.status_code == 303
            run = answer.headers["location"].removeprefix("/runs/")
            assert served.ended(run) == "succeeded"
            assert run in ada.get("/runs").text
            runner.process.terminate()
            assert runner.end(30).code == 0


def test_serve_may_go_and_come_while_a_run_goes_on(served: Served) -> None:
    """C6: the page picks the run up again, and the run is not hurt."""
    hold = served.town.site.folder / "hold"
    hold.touch()
    served.town.site.fake_dump(f'"$real" "$@" | (head -c 100; while [ -e {hold} ]; do sleep 0.05; done; cat)')
    with served.up():
        ada = served.guest("ada")
        run = ada.form("/backups/nightly/backup").headers["location"].removeprefix("/runs/")
    with served.up():
        assert ada.get(f"/runs/{run}").status_code == 200  # the session is there as well
        assert served.state(run) == "running"
        hold.unlink()
        assert served.ended(run) == "succeeded"
        assert "succeeded" in ada.get(f"/runs/{run}").text


def test_whoever_looks_gives_way_to_a_backup_and_no_backup_gives_way_to_him(served: Served) -> None:
    noted = served.town.site.folder / "nice"
    served.town.site.fake_dump(f'nice >{noted}; "$real" "$@"')
    with served.up() as serve:
        run = served.guest("ada").form("/backups/nightly/backup").headers["location"].removeprefix("/runs/")
        assert served.ended(run) == "succeeded"
        threads = [int(one.name) for one in Path(f"/proc/{serve.process.pid}/task").iterdir()]
        patience = {os.getpriority(os.PRIO_PROCESS, one) for one in threads}
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert patience == {ours, listening.NICE}
    assert int(noted.read_text()) == ours


def test_a_port_that_somebody_has_does_not_end_the_schedule(served: Served) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", served.port))
        taken.listen()
        with served.town.site.start("serve") as process:
            wait_for(lambda: "serving" in process.err.read_text(), within_s=60, what="serve")
            assert "nobody can look at the console" in process.err.read_text()
            process.process.terminate()
            assert process.end(30).code == 0
        alone = served.town.site.apart("serve", "--only", "console")
    assert alone.code == 3
    assert f"127.0.0.1:{served.port}" in alone.err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])  # noqa: S104 -- that is refused
def test_an_open_address_without_tls_before_it_is_refused(town: Town, host: str) -> None:
    console = Console(host=host, port=0)
    world = World(console=console, folder=town.site.state, settings=None, catalog=None)
    with pytest.raises(ConfigError, match="would show passwords to the network") as caught:
        Pages(world).start()
    assert "docs/console.md" in caught.value.hint


def test_a_busy_machine_that_does_not_start_it_is_told(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    def dawdle(server: uvicorn.Server, bound: socket.socket) -> None:
        while not server.should_exit:
            time.sleep(0.01)
        bound.close()

    monkeypatch.setattr(listening, "_STARTS_WITHIN_S", 0.1)
    monkeypatch.setattr(listening, "_give_way", dawdle)
    world = World(console=Console(port=0), folder=town.site.state, settings=None, catalog=None)
    with pytest.raises(listening.TimedOut, match="did not start"):
        Pages(world).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_with_no_more_than_the_group_can_show_and_ask(served: Served) -> None:
    """As the unit has it: reads the state folder, asks through the socket, writes its own folder alone."""
    site = served.town.site
    site.json("runs")
    own = site.state / "console"
    own.mkdir()
    os.chown(own, 65534, 0)
    for one in [*site.folder.parents[:3], site.folder]:
        one.chmod(0o755)
    with site.start("serve", "--only", "runner") as runner:
        wait_for(lambda: "serving" in runner.err.read_text(), within_s=60, what="the runner")
        drop = ("setpriv", "--reuid=65534", "--regid=0", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all")
        with site.start("serve", "--only", "console", wrap=drop) as process:
            served.process = process
            wait_for(
                lambda: f"console is at {served.base}" in served.said() or process.process.poll() is not None,
                within_s=60,
                what="the console",
            )
            assert process.process.poll() is None, served.said()
            assert health(served) == HEALTHY
            process.process.terminate()
            assert process.end(30).code == 0
        runner.process.terminate()
        runner.end(30)
