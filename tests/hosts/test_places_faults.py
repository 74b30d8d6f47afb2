"""What can be wrong with a host or a container: told apart, right exit code, nothing changed."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from engines import SUDO, Box, Engine
from in_containers import PROD, ContainerSite
from sshd import Line, Sshd, sshd

from containers import ENTRY, IMAGE
from daybreak.errors import CommandError
from daybreak.hosts import Host, explain
from daybreak.model import Place, SshHost
from daybreak.process import Runner
from installation import Installation, wait_for

if TYPE_CHECKING:
    from conftest import Servers


@pytest.fixture
def site(podman_engine: Engine, box: Box, tmp_path: Path) -> ContainerSite:
    """Production is the container that everybody asks."""
    return ContainerSite(folder=tmp_path, engine=podman_engine, database={"container": box.name})


@pytest.fixture
def own(podman_engine: Engine, site: ContainerSite) -> Iterator[Box]:
    """A container that a test may stop, pause or rename."""
    made = podman_engine.start("shop-db")
    site.configure(database={"container": "shop-db"})
    yield made
    made.remove()


def refused(site: ContainerSite, *words: str, code: int = 10, env: dict[str, str] | None = None) -> str:
    """A backup that ends with `code` and says all `words`; nothing is published."""
    said = site.apart("backup", "--json", env=env).expect(code)
    text = f"{said['message']}\n{said['hint']}"
    for word in words:
        assert word in text
    assert site.fingerprint() == {}
    assert site.leftovers() == []
    return text


def test_d1_a_container_that_is_not_there(site: ContainerSite, box: Box) -> None:
    site.configure(database={"container": "boxx"})
    refused(site, "no container boxx", box.name, f"is {box.name} meant?", "podman ps -a")


def test_d1_one_that_was_stopped_paused_or_renamed(site: ContainerSite, own: Box) -> None:
    own.engine.call("pause", own.name)
    refused(site, "shop-db is paused", "podman unpause shop-db")
    own.engine.call("unpause", own.name)
    own.engine.call("rename", own.name, "shop-db-2")
    refused(site, "no container shop-db", "shop-db-2", "renamed")
    own.engine.call("rename", "shop-db-2", own.name)
    own.engine.call("stop", "-t", "5", own.name)
    refused(site, "shop-db is not running: exited", "podman start shop-db")


def test_one_that_restarts_is_waited_for(docker_engine: Engine, tmp_path: Path) -> None:
    """It ends again and again until somebody mends it; docker says `restarting` meanwhile."""
    flag = tmp_path / "flag"
    flag.mkdir(mode=0o777)
    words = ["run", "-d", "--name", "moody", "--network", "none", "--restart", "always", "-v", f"{flag}:/flag"]
    words += ["-v", f"{ENTRY}:/entrypoint.sh:ro", "-e", "POSTGRES_PASSWORD=x", "--entrypoint", "sh"]
    entry = "[ -e /flag/mended ] || exit 1; exec /entrypoint.sh"
    docker_engine.call(*words, IMAGE, "-c", entry)
    try:
        site = ContainerSite(folder=tmp_path, engine=docker_engine, database={"container": "moody"})

        def status() -> str:
            return docker_engine.call("inspect", "--format", "{{.State.Status}} {{.RestartCount}}", "moody")

        wait_for(
            lambda: status().startswith("restarting") and status().split()[1] >= "3", what="a container that restarts"
        )
        with site.start("backup", "--json") as going:
            wait_for(lambda: "docker inspect" in "".join(path.read_text() for path in site.state.glob("logs/*")))
            (flag / "mended").touch()
            going.end().expect(0)
    finally:
        docker_engine.call("rm", "-f", "-v", "moody", check=False)


def test_d6_the_daemon_is_down_and_the_socket_is_closed_to_us(site: ContainerSite, docker_engine: Engine) -> None:
    site.configure(database={"runtime": "docker", "container": PROD})
    env = {**docker_engine.environment(), "DOCKER_HOST": "unix:///nowhere/docker.sock"}
    refused(site, "the daemon of docker is down", "of the database nothing is known", env=env)


def test_d6_the_socket_belongs_to_others(site: ContainerSite, docker_engine: Engine, scratch: Path) -> None:
    """The real client, as a user who may not open the socket of the real daemon."""
    folder = scratch / "as-nobody"
    folder.mkdir()
    host = docker_engine.env["DOCKER_HOST"]
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", f"DOCKER_HOST={host}", "HOME=/tmp")
    words = " ".join([*SUDO, *nobody, str(docker_engine.bin / "docker")])
    (folder / "docker").write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    (folder / "docker").chmod(0o755)
    site.configure(database={"runtime": "docker", "container": PROD})
    env = {**docker_engine.environment(), "PATH": f"{folder}:{os.environ['PATH']}"}
    refused(site, "this user may not speak to docker", "usermod -aG docker", env=env)


def test_neither_runtime_is_installed(site: ContainerSite, tmp_path: Path) -> None:
    site.configure(database={"runtime": None})
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("sh", "setpriv"):
        (folder / name).symlink_to(f"/bin/{name}" if Path(f"/bin/{name}").exists() else f"/usr/bin/{name}")
    refused(site, "neither docker nor podman is installed here", env={"PATH": str(folder)})


def test_a_container_without_postgresql(site: ContainerSite, podman_engine: Engine) -> None:
    words = ("run", "-d", "--name", "plain", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit")
    podman_engine.call(*words, "nproc=512:512", "--entrypoint", "sleep", IMAGE, "1000")
    try:
        site.configure(database={"container": "plain", "bin": "/opt/none"})
        refused(site, "container plain has no pg_dump in /opt/none")
        site.configure(database={"bin": None})
        refused(site, "No such file or directory", "is the server running")
    finally:
        podman_engine.call("rm", "-f", "-t", "0", "plain")


def test_a_role_and_a_database_that_are_not_there(site: ContainerSite) -> None:
    site.configure(database={"user": "nobody_here"})
    refused(site, 'role "nobody_here" does not exist', "nobody_here@")
    site.configure(database={"user": None, "database": "nothing"})
    refused(site, 'database "nothing" does not exist')


def test_no_room_inside_for_the_archive(podman_engine: Engine, site: ContainerSite, box: Box) -> None:
    """The target's container does not mount the folder, and has no room for a copy."""
    box.psql("CREATE TABLE big AS SELECT g, md5(g::text) || md5((-g)::text) AS t FROM generate_series(1, 60000) g")
    tmpfs = [f"--tmpfs={folder}:size=1m,mode=1777" for folder in ("/var/tmp", "/tmp")]  # noqa: S108 -- in a container
    full = podman_engine.start("full-db", options=tmpfs)
    try:
        full.psql("CREATE TABLE mine ()")
        site.configure(dev={"container": "full-db"})
        said = site.refresh("--first", expect=15)
        assert "no room for a copy" in said["message"]
        assert "read-only" in said["hint"]
        assert full.psql("SELECT count(*) FROM mine") == "0"
        assert full.psql("SELECT datname FROM pg_database WHERE datname LIKE '%shadow%'") == ""
    finally:
        full.remove()
        box.psql("DROP TABLE big")


# -- ssh ------------------------------------------------------------------------------------------


@pytest.fixture
def behind(site: ContainerSite, vps: Sshd) -> Iterator[ContainerSite]:
    """The same container, behind ssh; the host is as it was afterwards."""
    site.vps = vps
    site.configure()
    yield site
    vps.connect_to(vps.port)
    vps.know(vps.host_key)


def test_d3_a_server_that_is_newer_than_the_tools_there(vps: Sshd, servers: Servers, tmp_path: Path) -> None:
    host = json.dumps({"ssh": "vps"}).replace(":", " =")
    site = Installation(
        folder=tmp_path,
        url=servers[18].url(),
        bin=Path("/usr/lib/postgresql/15/bin"),
        database={"host": "vps"},
        more=f"[hosts]\nvps = {host}\n",
    )
    said = site.apart("backup", "--json", env={"PATH": f"{vps.bin}:{os.environ['PATH']}"}).expect(10)
    assert "is PostgreSQL 18.6, the tools on vps are 15" in said["message"]
    assert "postgresql-client-18" in said["hint"]
    assert site.fingerprint() == {}


def test_a_container_on_another_host_that_is_restarted_is_no_fault_of_ssh(
    behind: ContainerSite, own: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """podman says so with status 255, which ssh has for itself."""
    monkeypatch.setenv("PATH", behind.environment()["PATH"])
    place = Place(ssh=SshHost(name="vps", destination="vps"), container=own.name, runtime="podman")
    host = Host(place=place)
    runner = Runner()
    own.engine.call("stop", "-t", "1", own.name)
    with pytest.raises(CommandError) as caught:
        runner.run(host.command(("true",), deadline=timedelta(seconds=30)))
    away = explain(caught.value, host, runner)
    assert away is not None
    assert away.message.startswith("container shop-db on vps is not running: exited")
    own.engine.call("start", own.name)
    back = explain(caught.value, host, runner)
    assert back is not None
    assert back.message.startswith("container shop-db on vps runs, but did not take a command")
    assert "restarted?" in back.hint


def test_n3_a_changed_host_key(behind: ContainerSite, vps: Sshd) -> None:
    vps.know(vps.other_key)
    before = vps.log
    text = refused(behind, "HOST KEY MISMATCH", vps.fingerprint(vps.host_key), vps.fingerprint(vps.other_key))
    command = text.split("only then `")[1].split("`")[0]
    subprocess.run(command.split(), check=True, timeout=30)
    assert vps.known_hosts.read_text() == ""  # it was the right file
    assert "Accepted publickey" not in vps.log.removeprefix(before)


def test_n3_a_host_key_that_was_never_seen(behind: ContainerSite, vps: Sshd) -> None:
    vps.know(None)
    refused(behind, "host key of vps", "not known here", "by hand")
    assert vps.known_hosts.read_text() == ""


def test_n3_a_changed_host_key_of_a_jump_host(behind: ContainerSite, vps: Sshd) -> None:
    """Nothing is said against the key of the host behind it."""
    config = vps.folder / "config"
    lines = config.read_text().replace("HostKeyAlias vps", "HostKeyAlias jump").replace("Host vps", "Host bastion")
    config.write_text(f"{config.read_text()}  ProxyJump bastion\n{lines}")
    own = vps.host_key.with_suffix(".pub").read_text()
    vps.known_hosts.write_text(f"vps {own}jump {vps.other_key.with_suffix('.pub').read_text()}")
    text = refused(behind, "HOST KEY MISMATCH: jump, by which vps (vps) is reached", vps.fingerprint(vps.other_key))
    command = text.split("only then `")[1].split("`")[0]
    subprocess.run(command.split(), check=True, timeout=30)
    assert vps.known_hosts.read_text() == f"vps {own}"
    refused(behind, "or of a jump host before it, is not known here", "`ssh vps`")


def test_n1_a_host_that_cannot_be_reached(behind: ContainerSite, vps: Sshd) -> None:
    vps.connect_to(1)
    refused(behind, "vps", "Connection refused", "is sshd running there")
    config = vps.folder / "config"
    config.write_text(config.read_text().replace("127.0.0.1", "no-such-host.invalid"))
    refused(behind, "Could not resolve hostname", "hosts.vps.ssh")


def test_n1_a_key_that_nobody_there_knows(behind: ContainerSite, vps: Sshd) -> None:
    config = vps.folder / "config"
    config.write_text(config.read_text().replace(str(vps.folder / "client"), str(vps.other_key)))
    refused(behind, "Permission denied", "authorized_keys")


def test_a_login_that_talks(behind: ContainerSite, podman_engine: Engine, scratch: Path) -> None:
    """A greeting on standard output would stand at the head of every dump."""
    force = "sh -c 'echo Welcome to the machine; eval \"$SSH_ORIGINAL_COMMAND\"'"
    with sshd(scratch / "talking", env=podman_engine.environment(), force=force) as talking:
        behind.vps = talking
        refused(behind, "Welcome to the machine", "standard output", "[ -t 1 ]")


@pytest.mark.parametrize("how", ["reset", "fall_silent"])
def test_d17_the_line_is_cut_in_the_middle_of_a_dump(behind: ContainerSite, vps: Sshd, box: Box, how: str) -> None:
    """With RST, and in silence: over within 90 s on both sides."""
    box.psql(
        "CREATE TABLE IF NOT EXISTS wide AS SELECT repeat(md5(g::text), 300) AS t FROM generate_series(1, 40000) g"
    )
    box.psql("ALTER TABLE wide ALTER t SET STORAGE EXTERNAL")
    with Line(vps.port) as line:
        vps.connect_to(line.port)
        before = line.passed
        with behind.start("backup", "--json") as going:
            while line.passed - before < 300_000 and going.process.poll() is None:
                time.sleep(0.01)
            began = time.monotonic()
            getattr(line, how)()
            said = going.end(120).expect(11)
        assert time.monotonic() - began < 90
        assert "cut" in said["hint"] or "line" in said["hint"]
        while box.ours() and time.monotonic() - began < 90:
            time.sleep(0.5)
        assert box.ours() == []
    assert behind.fingerprint() == {}
    vps.connect_to(vps.port)
    behind.json("backup")
    box.psql("DROP TABLE wide")
