"""Where a drill's server runs when none here takes the archive: a container, a database beside a target."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from drills import left, opened

from containers import IMAGE, LIMITS, Podman
from daybreak.catalog import ids
from installation import Installation, wait_for

if TYPE_CHECKING:
    from conftest import RichDatabase, Server, Servers


@pytest.fixture
def podman_path(podman: Podman, tmp_path: Path) -> str:
    """A PATH whose podman is the tests' own, within the limits that a container may have here, and no docker."""
    folder = tmp_path / "runtime"
    folder.mkdir()
    (folder / "podman").write_text(
        f'#!/bin/sh\ncase "$1" in run) shift; set -- run {" ".join(LIMITS)} "$@";; esac\n'
        f'exec {podman.path / "podman"} "$@"\n'
    )
    (folder / "podman").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.fixture
def rich_site(servers: Servers, rich_database: RichDatabase, tmp_path: Path) -> Installation:
    """A backup of the rich database on 15."""
    server = servers[15]
    folder = tmp_path / "site"
    folder.mkdir()
    site = Installation(folder=folder, url=server.url(rich_database(server)), bin=server.bin)
    site.backup()
    return site


def containers(podman: Podman) -> list[str]:
    return [name for name in podman("ps", "-a", "--format", "{{.Names}}").split() if "daybreak-throwaway" in name]


def test_a_drill_in_a_container_of_an_image(
    rich_site: Installation, podman: Podman, podman_path: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", podman_path)
    told = rich_site.json("drill", "--image", IMAGE)
    asked = [
        line
        for line in (rich_site.state / "logs" / f"{told['run']}.log").read_text().splitlines()
        if "pg_isready" in line
    ]
    assert len(asked) == 1, "a container that is young is waited for, a minute, until a server answers where it listens"
    assert told["server"].startswith(f"a container of {IMAGE} (15.")
    assert told["proof"]["different"] == 0
    assert told["proof"]["compared"] > 10
    assert containers(podman) == left() == rich_site.leftovers() == []
    missing = rich_site.json("drill", "--image", "localhost/no-such-image:1", expect=3)
    assert "localhost/no-such-image:1" in missing["message"]
    assert left() == []


def test_a_cancel_does_not_wait_for_the_pull_of_an_image(site: Installation, tmp_path: Path):
    site.backup()
    for name in ("docker", "podman"):
        (tmp_path / name).write_text(
            f"#!/bin/sh\ncase $1 in pull) touch {tmp_path}/pulls; exec sleep 40;; esac\nexit 125\n"
        )
        (tmp_path / name).chmod(0o755)
    with site.start(
        "drill", "--image", "postgres:99", "--json", env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    ) as run:
        wait_for((tmp_path / "pulls").exists, what="the pull")
        began = time.monotonic()
        os.kill(run.process.pid, signal.SIGINT)
        run.end().expect(130)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("verb", ["drill", "open"])
@pytest.mark.parametrize("image", ["--json", "-v", ""])
def test_what_podman_would_take_for_an_option_is_no_image(site: Installation, verb: str, image: str):
    before = site.json("runs")
    told = site.json(verb, f"--image={image}", expect=2)
    assert told["message"] == f"{image!r} is no container image"
    assert site.json("runs") == before


def test_open_in_a_container_is_reached_by_its_socket_and_dies_with_us(
    rich_site: Installation, podman: Podman, podman_path: str, servers: Servers
):
    env = {"PATH": podman_path}
    with opened(rich_site, "--image", IMAGE, env=env) as one:
        assert one.told["tcp_url"] is None
        assert one.query("SELECT count(*) FROM shop.customer", servers[15].bin / "psql") == "500"
        (name,) = containers(podman)
        assert podman("inspect", "--format", "{{.HostConfig.NetworkMode}}", name).strip() == "none"
        os.kill(one.process.pid, signal.SIGKILL)
        one.process.wait(10)
    wait_for(lambda: not containers(podman), within_s=30, what="the end of the container")
    rich_site.json("repair")
    assert left() == []


def test_what_a_dead_run_left_in_podman_is_removed_and_nothing_else(
    rich_site: Installation, podman: Podman, podman_path: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", podman_path)
    names = {"daybreak-throwaway-20260101-000000-0000": rich_site.state, "daybreak-throwaway-other": "/elsewhere"}
    for name, state in names.items():
        podman("create", "--name", name, *LIMITS, f"--label=daybreak.state={state}", IMAGE, "true")
    try:
        done = rich_site.json("repair")["done"]
        assert done == ["removed container daybreak-throwaway-20260101-000000-0000"]
        assert containers(podman) == ["daybreak-throwaway-other"]
    finally:
        podman("rm", "--force", *names, ok=False)


# -- beside a target ---------------------------------------------------------------------------------


@pytest.fixture
def beside(site: Installation, dev_servers: Servers) -> Iterator[tuple[Installation, Server, str]]:
    """The backup of a small database, and a dev whose server takes drills."""
    dev = dev_servers[18]
    name = dev.fresh()
    dev.psql("CREATE TABLE own AS SELECT 1 AS n", name)
    site.more = f'\n[databases.dev]\nurl = "{dev.url(name)}"\nbin = "{dev.bin}"\n'
    site.configure()
    yield site, dev, name
    for found in databases(dev, name):
        dev.drop_database(found)


def databases(server: Server, beginning: str) -> list[str]:
    names = server.psql("SELECT datname FROM pg_database ORDER BY 1").splitlines()
    return [one for one in names if one.startswith(beginning)]


def test_a_drill_beside_a_target_leaves_it_as_it_was(beside: tuple[Installation, Server, str]):
    site, dev, name = beside
    told = site.json("drill", "--on", "dev")
    assert told["server"].startswith("a database on dev")
    assert told["proof"]["equal"] == 1
    assert databases(dev, name) == [name]
    assert dev.psql("SELECT n FROM own", name) == "1"
    assert site.leftovers() == []


def test_never_beside_production(beside: tuple[Installation, Server, str]):
    site, _, _ = beside
    before = site.json("runs")
    assert site.json("drill", "--on", "prod", expect=4)["code"] == "Refused"
    assert site.json("runs") == before  # what was not begun is no drill that failed
    site.configure(plan={"drill_on": "prod"})
    assert "no drill writes there" in site.json("drill", expect=3)["message"]


def test_v5_a_foreign_database_of_the_drills_name_is_never_touched(
    beside: tuple[Installation, Server, str], monkeypatch: pytest.MonkeyPatch
):
    site, dev, name = beside
    run = "20260101-000000-0abc"
    foreign = f"{name}_shadow_{run}"
    dev.create_database(foreign)
    dev.psql("CREATE TABLE theirs AS SELECT 42 AS n", foreign)
    drawn = iter([run])
    monkeypatch.setattr("daybreak.jobs.naming.new_run_id", lambda *asked: next(drawn, "") or ids.new_run_id(*asked))
    told = site.json("drill", "--on", "dev", expect=4)
    assert foreign in told["message"]
    site.json("drill", "--on", "dev")
    site.json("repair")
    assert dev.psql("SELECT n FROM theirs", foreign) == "42"


def test_where_the_server_here_lacks_something_the_next_way_is_taken(beside: tuple[Installation, Server, str]):
    """The server here lacks the locale's provider in the archive's manifest; dev is asked next, and said to as well."""
    site, _, _ = beside
    import json  # noqa: PLC0415 -- only wanted here

    path = site.archive.with_name(site.archive.name + ".json")
    told = json.loads(path.read_text())
    told["globals"]["facts"]["lc_collate"] = "xx_XX.UTF-8"
    for file in (path, site.root / "manifests" / f"{told['archive']['sha256']}.json"):
        file.write_text(json.dumps(told))
    site.configure(plan={"drill_on": "dev"})
    said = site.json("drill", expect=12)
    lines = said["message"].splitlines()
    assert "PostgreSQL 18 in" in lines[1]
    assert "a database beside dev" in lines[2]
    assert left() == []
