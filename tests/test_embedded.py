"""The throw-away servers themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from daybreak.embedded.binaries import find_server, tools_folder
from daybreak.embedded.cluster import Cluster
from daybreak.embedded.scratch import scratch_folder, server_user, sweep
from daybreak.errors import ConfigError

pytestmark = pytest.mark.postgres


def test_every_server_has_the_rich_database(server, rich_database):
    name = rich_database(server)
    assert server.psql("SHOW server_version_num")[:2] == str(server.major)
    assert server.psql("SELECT count(*) FROM shop.customer", name) == "500"
    assert server.psql("SELECT count(*) FROM pg_largeobject_metadata", name) == "33"
    assert (
        server.psql('SELECT count(*) FROM "Odd ""Schema"" ☀"."Table with ""quotes"", blanks. and dots"', name) == "40"
    )


def test_production_and_development_are_two_clusters(servers, dev_servers):
    ask = "SELECT system_identifier FROM pg_control_system()"
    assert servers[18].psql(ask) != dev_servers[18].psql(ask)


def test_a_member_of_needs_password_needs_it(servers):
    server = servers[18]
    server.create_role("with_password", password="canary-4711")
    assert server.psql("SELECT current_user", user="with_password", password="canary-4711") == "with_password"
    for password in ("wrong", ""):
        with pytest.raises(pytest.fail.Exception, match="password"):
            server.psql("SELECT 1", user="with_password", password=password)


def test_a_server_stops_and_starts_on_its_port(scratch):
    with Cluster(scratch / "again", find_server(18)) as cluster:
        port = cluster.port
        cluster.stop()
        assert not (cluster.data / "postmaster.pid").exists()
        # What a session was told when the server went is no word about its next start.
        with cluster.log.open("a") as log:
            log.write("FATAL:  terminating connection due to administrator command\n")
        cluster.start()
        assert cluster.port == port
    assert not (scratch / "again").exists()


def test_a_server_that_cannot_start_says_why(scratch):
    cluster = Cluster(scratch / "never", find_server(18), settings={"shared_buffers": "nonsense"})
    with pytest.raises(ConfigError, match="shared_buffers"), cluster:
        pass
    cluster.remove()


def test_servers_die_with_whoever_started_them_and_their_folder_goes_next_time(tmp_path):
    program = tmp_path / "start.py"
    program.write_text(
        "import sys, time\n"
        "from daybreak.embedded.binaries import find_server\n"
        "from daybreak.embedded.cluster import Cluster\n"
        "from daybreak.embedded.scratch import scratch_folder\n"
        "with scratch_folder('daybreak-killed') as folder, Cluster(folder / 'one', find_server(18)) as cluster:\n"
        "    print(folder, (cluster.data / 'postmaster.pid').read_text().splitlines()[0], flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True) as child:
        folder, pid = child.stdout.readline().split()
        base = Path(folder).parent
        assert sweep(base, "daybreak-killed") == []  # in use
        child.send_signal(signal.SIGKILL)
    until = time.monotonic() + 15
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert not Path(f"/proc/{pid}").exists()
    with scratch_folder("daybreak-killed"):
        assert not Path(folder).exists()


def test_a_missing_server_is_a_clear_fault(monkeypatch, tmp_path):
    monkeypatch.setenv("DAYBREAK_TOOLS", str(tmp_path))
    assert tools_folder() == tmp_path
    with pytest.raises(ConfigError, match="no PostgreSQL 18") as fault:
        find_server(18)
    assert "./run servers" in fault.value.hint


def test_root_does_not_run_servers():
    assert server_user().uid != 0
    assert bool(server_user().drop) == (os.geteuid() == 0)


@pytest.mark.restic
def test_restic_reaches_the_s3_server(restics, s3, tmp_path):
    for version, program in restics.items():
        said = subprocess.run([program, "version"], capture_output=True, text=True, check=True, timeout=30).stdout
        assert said.startswith("restic 0.14.") == (version == "0.14")
        env = {**os.environ, **s3.env, "RESTIC_PASSWORD": "canary", "RESTIC_CACHE_DIR": str(tmp_path)}
        url = s3.bucket_url("embedded") + f"/{program.parent.name}"
        subprocess.run([program, "-r", url, "init"], env=env, check=True, timeout=60, capture_output=True)
        wrong = env | {"AWS_SECRET_ACCESS_KEY": "wrong"}
        with pytest.raises((subprocess.TimeoutExpired, subprocess.CalledProcessError)):
            subprocess.run([program, "-r", url, "snapshots"], env=wrong, check=True, timeout=4, capture_output=True)
