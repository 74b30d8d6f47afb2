"""`daybreak open`: an archive in a server of its own, for a person or a program, gone when they leave."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from drills import folders, left, opened, server_pid, spoil

from installation import PROGRAM, Installation, wait_for

if TYPE_CHECKING:
    from conftest import Servers


def test_an_archive_is_open_until_standard_input_ends(site: Installation, servers: Servers, small: str):
    psql = servers[18].bin / "psql"
    servers[18].psql(f"ALTER DATABASE {small} SET search_path = 'some schema', public", small)
    servers[18].psql("CREATE MATERIALIZED VIEW public.counted AS SELECT count(*) FROM public.account", small)
    site.backup()
    with opened(site) as one:
        assert one.told["database"] == small
        for url in ("url", "tcp_url"):
            assert one.query("SELECT count(*) FROM public.account", psql, url) == "2000"
        assert one.query("SELECT * FROM public.counted", psql) == "2000"
        assert one.query("SHOW search_path", psql) == '"some schema", public'
        assert one.query("SELECT count(*) > 0 FROM pg_stats WHERE tablename = 'account'", psql) == "t"
        assert one.query("UPDATE account SET token = '' RETURNING 1", psql).startswith("1")  # it is one's own
        assert one.told["proof"]["different"] == 0
        assert one.leave() == 0
    assert left() == site.leftovers() == []
    (plan,) = site.json("status")["plans"]
    assert plan["newest_proven"]["source"] == "open"
    assert servers[18].psql("SELECT count(*) FROM account WHERE token <> ''", small) == "2000"


def test_only_this_user_reaches_it_and_the_password_stands_nowhere(site: Installation, servers: Servers):
    psql = servers[18].bin / "psql"
    with opened(site) as one:
        (folder,) = folders()
        assert stat.S_IMODE((folder / "server").stat().st_mode) == 0o700
        secret_file = Path(re.search(r"passfile=(\S+)", one.told["tcp_url"])[1])
        assert stat.S_IMODE(secret_file.stat().st_mode) == 0o600
        assert stat.S_IMODE(secret_file.parent.stat().st_mode) == 0o700
        secret = secret_file.read_text().strip().rpartition(":")[2]
        bare = one.told["tcp_url"].partition("?")[0]
        env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
        argv = [psql, "-wXAtc", "SELECT 1", bare]
        refused = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=30)
        assert refused.returncode == 2
        assert "no password supplied" in refused.stderr
        for place in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                assert secret.encode() not in place.read_bytes()
            except OSError:
                continue
        assert secret not in str(one.told)
        for path in site.state.rglob("*"):
            assert not path.is_file() or secret.encode() not in path.read_bytes()
        one.leave()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(site: Installation, number: signal.Signals):
    with opened(site, "nightly") as one:
        one.process.send_signal(number)
        assert one.process.wait(60) == 0
    assert left() == site.leftovers() == []
    assert site.json("runs")["runs"][0]["state"] == "succeeded"


def test_kill_9_leaves_no_server_and_the_next_run_no_folder(site: Installation):
    with opened(site) as one:
        pid = server_pid()
        one.process.kill()
        one.process.wait(10)
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), within_s=20, what="the end of the server")
    assert folders()
    site.json("drill")
    wait_for(lambda: not left(), within_s=20, what="a clean place")
    assert site.leftovers() == []
    assert [one["state"] for one in site.json("runs")["runs"]][:2] == ["succeeded", "lost"]


def test_two_are_open_at_once_and_do_not_disturb_each_other(site: Installation, servers: Servers):
    psql = servers[18].bin / "psql"
    with opened(site) as one, opened(site) as other:
        assert one.told["url"] != other.told["url"]
        assert one.leave() == 0
        assert other.query("SELECT count(*) FROM account", psql) == "2000"
        assert other.leave() == 0
    assert left() == []


def test_a_command_finds_it_and_gives_its_status(site: Installation, servers: Servers):
    script = site.folder / "look"
    psql = servers[18].bin / "psql"
    lines = ["#!/bin/sh", f"psql={psql}", 'query() { echo "SELECT $1 FROM account" | $psql -XAt $2; }']
    lines += ['query "count(*)" "$DATABASE_URL"', 'query "max(id)"', "exit 7"]
    script.write_text("\n".join(lines))
    script.chmod(0o755)
    said = site.apart("open", "--command", str(script))
    assert (said.code, said.out.split()) == (7, ["2000", "2000"])
    assert re.search(r"server +\d.* s  PostgreSQL from /", said.err)
    assert left() == site.leftovers() == []
    assert site.apart("open", "--command", "sh -c 'kill -9 $$'").code == 128 + signal.SIGKILL  # as a shell says it
    assert left() == []
    before = site.json("runs")["runs"]
    missing = site.apart("open", "--command", "no-such-program-here")
    assert (missing.code, "the program no-such-program-here is not there" in missing.err) == (3, True)
    assert site.json("runs")["runs"] == before  # nothing was restored for it


def test_a_terminal_gets_psql(site: Installation):
    pid, terminal = pty.fork()
    if pid == 0:
        words = [*PROGRAM, "--config", str(site.file), "open"]
        os.execve(PROGRAM[0], words, {**os.environ, "PSQL_PAGER": "cat"})  # noqa: S606 -- in a terminal of its own
    said = b""
    until = time.monotonic() + 90
    waiting = [b"\\q\n", b"SELECT 'rows: ' || count(*) FROM account;\n"]
    prompts = 0
    while time.monotonic() < until:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            said += os.read(terminal, 4096)
        except OSError:  # nobody has the other end any more
            break
        if said.count(b"=# ") > prompts and waiting:
            prompts += 1
            os.write(terminal, waiting.pop())
    else:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    text = said.decode("utf-8", "replace")
    assert "rows: 2000" in text, text
    assert "postgresql:///" in text
    assert os.waitstatus_to_exitcode(status) == 0
    assert left() == []


def test_a_file_with_its_manifest_is_opened_wherever_it_lies(site: Installation, servers: Servers, tmp_path: Path):
    own = tmp_path / "elsewhere.dump"
    for suffix in ("", ".json"):
        shutil.copy(f"{site.archive}{suffix}", f"{own}{suffix}")
    with opened(site, str(own)) as one:
        assert one.query("SELECT count(*) FROM account", servers[18].bin / "psql") == "2000"
        one.leave()
    with own.open("r+b") as file:
        file.seek(-20, os.SEEK_END)
        file.write(b"damage")
    assert "not what its manifest says" in site.json("open", str(own), expect=12)["message"]
    assert left() == []


def test_what_differs_is_opened_with_a_warning(site: Installation, servers: Servers):
    spoil(site)
    with opened(site) as one:
        assert one.told["proof"]["different"] == 1
        assert one.query("SELECT count(*) FROM account", servers[18].bin / "psql") == "2000"
        assert one.leave() == 0
    assert any("not equal to the manifest" in said for said in site.json("runs")["runs"][0]["warnings"])


def test_options_that_exclude_each_other(site: Installation):
    for words in (("--command", "true", "--url"), ("--command", "'"), ("--command", ""), ("--command", "''")):
        assert site.call("open", *words).code == 2
    assert site.json("open", "nobody", expect=2)["code"] == "UsageError"
