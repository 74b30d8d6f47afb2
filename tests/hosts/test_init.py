"""`daybreak init`: finds the servers of this host, writes a configuration that works, and overwrites nothing."""

from __future__ import annotations

import json
import os
import pty
import resource
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from engines import Box, Engine

from daybreak import config
from daybreak.errors import ConfigError, UsageError
from daybreak.hosts.search import Server as Found
from daybreak.jobs import begin
from daybreak.model import Place
from installation import PROGRAM

if TYPE_CHECKING:
    from conftest import Servers


@pytest.fixture(scope="module")
def boxes(podman_engine: Engine, scratch: Path) -> Iterator[tuple[Box, Box, Path]]:
    """A container of production that sees a folder as /backups, and one of dev."""
    folder = scratch / "init-backups"
    folder.mkdir()
    folder.chmod(0o2770)
    made = [
        podman_engine.start("shop-db", mounts=[f"{folder}:/backups"]),
        podman_engine.start("shop-db-dev", mounts=[f"{folder}:/backups:ro"]),
    ]
    yield made[0], made[1], folder
    for box in made:
        box.remove()


@pytest.fixture
def env(podman_engine: Engine, tmp_path: Path) -> dict[str, str]:
    """A host that knows podman alone, with a state folder of its own, and none of the other tests' containers."""
    engine = podman_engine.environment()
    real = podman_engine.bin / podman_engine.runtime
    wrapper = tmp_path / "bin" / "podman"
    wrapper.parent.mkdir()
    wrapper.write_text(
        f'#!/bin/sh\nif [ "$1" = ps ]; then shift; set -- ps --filter name=^shop-db "$@"; fi\nexec {real} "$@"\n'
    )
    wrapper.chmod(0o755)
    found = {**os.environ, **engine, "DAYBREAK_STATE": str(tmp_path / "state")}
    return {**found, "PATH": f"{wrapper.parent}:{engine['PATH']}", "DOCKER_HOST": "unix:///nowhere"}


def call(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*PROGRAM, *words], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120
    )
    assert "canary" not in done.stdout + done.stderr
    return done


def test_containers_are_found_and_the_first_backup_works(
    boxes: tuple[Box, Box, Path], env: dict[str, str], tmp_path: Path
) -> None:
    boxes[0].psql("CREATE TABLE IF NOT EXISTS thing AS SELECT 1 AS id")
    file = tmp_path / "daybreak.toml"
    done = call(env, "init", "--yes", "--config", str(file), "--timezone", "America/Chicago", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["production"], told["development"]) == ("shop-db", "shop-db-dev")
    assert told["archive_folder"] == str(boxes[2])
    assert "database.reachable" in {one["id"] for one in told["findings"]}
    assert [one for one in told["findings"] if one["severity"] == "error"] == []
    settings = config.check(file)
    assert settings.databases["prod"].place == Place(container="shop-db", runtime="podman")
    assert settings.databases["prod"].protected
    assert settings.refreshes["weekly"].schedule is not None
    assert settings.refreshes["weekly"].schedule.timezone == "America/Chicago"
    assert "# " in file.read_text()
    assert file.stat().st_mode & 0o007 == 0
    before = file.read_bytes()
    again = call(env, "init", "--yes", "--config", str(file), "--json")
    assert again.returncode == 4
    assert file.read_bytes() == before
    backup = call(env, "backup", "--config", str(file), "--json")
    assert backup.returncode == 0, backup.stderr
    assert (boxes[2] / "genjishimada-prod.dump").exists()


@pytest.mark.usefixtures("boxes")
def test_a_docker_that_is_podman_shows_nothing_twice(env: dict[str, str], tmp_path: Path) -> None:
    """The package podman-docker; the unit that is written for docker would not let podman work."""
    shim = tmp_path / "bin" / "docker"
    shim.write_text(f'#!/bin/sh\nexec {tmp_path}/bin/podman "$@"\n')
    shim.chmod(0o755)
    file = tmp_path / "daybreak.toml"
    done = call(env, "init", "--yes", "--config", str(file), "--json")
    assert done.returncode == 0, done.stdout
    assert config.check(file).databases["prod"].place == Place(container="shop-db", runtime="podman")


@pytest.mark.usefixtures("boxes")
def test_what_is_refused_leaves_nothing_in_the_way(env: dict[str, str], tmp_path: Path) -> None:
    file, folder = tmp_path / "daybreak.toml", tmp_path / "archives"
    words = ("init", "--yes", "--config", str(file), "--folder", str(folder), "--json", "--timezone")
    done = call(env, *words, "Mars/Phobos")
    assert "Mars/Phobos" in done.stdout
    assert (done.returncode, file.exists(), folder.exists()) == (3, False, False)
    assert call(env, *words, "UTC").returncode == 0


def test_a_terminal_is_asked_and_offered_the_first_backup(
    boxes: tuple[Box, Box, Path], env: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "daybreak.toml"
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, "init", "--config", str(file)],
        env=env,
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    os.close(slave)
    os.write(master, f"{tmp_path}/archives\nUTC\ny\ny\n".encode())
    out, _ = process.communicate(timeout=120)
    os.close(master)
    assert process.returncode == 0, out
    assert "found shop-db: podman container" in out
    assert (tmp_path / "archives" / "genjishimada-prod.dump").exists()
    assert boxes[2].exists()


def test_without_a_terminal_it_says_what_to_give(env: dict[str, str], tmp_path: Path) -> None:
    done = call(env, "init", "--config", str(tmp_path / "x.toml"), "--json")
    assert done.returncode == 2
    assert "--yes" in json.loads(done.stdout)["hint"]
    assert not (tmp_path / "x.toml").exists()


def test_local_servers_are_found_behind_their_sockets(servers: Servers, env: dict[str, str], tmp_path: Path) -> None:
    server = servers[18]
    name = server.create_database("local_shop")
    answer = call(
        {**env, "USER": server.user, "LOGNAME": server.user, "PATH": f"{server.bin}:{env['PATH']}"},
        *("init", "--yes", "--config", str(tmp_path / "x.toml"), "--json"),
        *("--prod", name, "--no-dev", "--sockets", str(server.socket_folder), "--folder", str(tmp_path / "archives")),
    )
    server.drop_database(name)
    assert answer.returncode == 0, answer.stderr + answer.stdout
    assert (tmp_path / "archives").stat().st_mode & 0o7777 == 0o2770
    settings = config.check(tmp_path / "x.toml")
    assert settings.databases["prod"].conninfo["dbname"] == name
    assert settings.databases["prod"].conninfo["host"] == str(server.socket_folder)
    assert settings.refreshes == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_user_without_a_name_is_no_bug(tmp_path: Path) -> None:
    """As in a container that was started with --user 54321; nor is a folder that he may not look into."""
    tmp_path.chmod(0o700)
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "HOME": "/"}
    words = ["init", "--yes", "--config", str(tmp_path / "x.toml"), "--json"]
    done = subprocess.run(
        ["/usr/bin/setpriv", "--reuid=54321", "--clear-groups", *PROGRAM, *words],
        env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert "a bug of Daybreak" not in done.stdout + done.stderr
    assert "no PostgreSQL was found" in json.loads(done.stdout)["message"]


# -- what is pure -------------------------------------------------------------------------------------------------

SHOP = Found(name="shop-db", dbname="shop", place=Place(container="shop-db", runtime="docker"))


@pytest.mark.parametrize("name", ["shop-db-dev", "dev_shop", "staging", "shop.test", "dev2"])
def test_dev_is_known_by_its_name(name: str) -> None:
    one = replace(SHOP, name=name)
    assert begin.candidates([one, SHOP]) == ([SHOP], [one])


@pytest.mark.parametrize("name", ["shop", "devices", "contest"])
def test_other_names_are_not_taken_for_dev(name: str) -> None:
    assert begin.candidates([replace(SHOP, name=name)])[1] == []


def test_what_is_not_clear_is_asked_for() -> None:
    two = [SHOP, replace(SHOP, name="other-db")]
    with pytest.raises(UsageError, match="which one is prod: shop-db, other-db"):
        begin.pick_server(two, None, "prod")
    with pytest.raises(UsageError, match="no server 'gone'"):
        begin.pick_server(two, "gone", "prod")
    assert begin.pick_server(two, "other-db", "prod") == two[1]
    assert begin.pick_server([], None, "dev") is None


def test_half_a_file_is_not_in_the_way_of_the_next_call(tmp_path: Path) -> None:
    file = tmp_path / "daybreak.toml"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))  # as a disk that is full after ten bytes
    try:
        with pytest.raises(ConfigError, match=r"daybreak\.toml cannot be written"):
            begin.place_file(file, "x" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    begin.place_file(file, "x" * 100)
    assert file.read_text() == "x" * 100


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_the_command_for_a_folder_that_cannot_be_made_makes_one_that_can_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    folder = tmp_path / "with a blank" / "archives"
    os.seteuid(54321)
    try:
        with pytest.raises(ConfigError, match="archives cannot be made: Permission denied") as caught:
            begin.make_folder(folder)
    finally:
        os.seteuid(0)
    sudo, *words = shlex.split(caught.value.hint)
    assert sudo == "sudo"
    subprocess.run(words, check=True, timeout=30)
    assert (folder.stat().st_uid, folder.stat().st_mode & 0o7777) == (54321, 0o2770)


def test_two_databases_of_one_local_server_may_share_it(tmp_path: Path) -> None:
    prod = Found(name="shop", dbname="shop", socket=Path("/run/postgresql"), user="o'neil")
    choice = begin.Choice(
        production=prod, development=replace(prod, name="shop_dev", dbname="shop_dev"), folder=tmp_path, timezone="UTC"
    )
    file = tmp_path / "daybreak.toml"
    begin.place_file(file, config.written(begin.tables_of(choice), {"timezone": "UTC"}))
    settings = config.check(file)
    assert settings.databases["dev"].shares_cluster_with == "prod"
    assert settings.databases["dev"].conninfo["user"] == "o'neil"


def test_the_zone_of_a_host(tmp_path: Path) -> None:
    assert begin.host_zone(tmp_path) == "UTC"
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/localtime").symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    assert begin.host_zone(tmp_path) == "Europe/Berlin"
    (tmp_path / "etc/timezone").write_text("America/Chicago\n")
    assert begin.host_zone(tmp_path) == "America/Chicago"
