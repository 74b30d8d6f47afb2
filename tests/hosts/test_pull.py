"""`daybreak pull`: a database of one's own gets the newest archive of a server, by ssh or from a repository."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sshd import Sshd, sshd

from installation import PROGRAM, Installation

if TYPE_CHECKING:
    from conftest import Server, Servers

_NUMBERS = itertools.count(1)


@dataclass(kw_only=True)
class Laptop:
    """A far server with a Daybreak of its own, and a laptop that may reach it by ssh alone."""

    far: Installation
    near: Installation
    vps: Sshd
    prod: Server
    prod_db: str
    local: Server
    local_db: str

    def pull(self, *words: str, expect: int = 0) -> dict[str, Any]:
        env = {"PATH": f"{self.vps.bin}:{os.environ['PATH']}"}
        return self.near.apart("pull", *words, "--to", "local", "--json", env=env).expect(expect)

    def data(self) -> str:
        return self.local.psql("SELECT string_agg(n::text, ',' ORDER BY n) FROM t", self.local_db)

    def beside(self) -> list[str]:
        names = self.local.psql("SELECT datname FROM pg_database ORDER BY 1").splitlines()
        return [name for name in names if name.startswith(self.local_db) and name != self.local_db]


@pytest.fixture(scope="module")
def vps(scratch: Path) -> Iterator[Sshd]:
    """A host whose `daybreak` reads the configuration that `far.toml` links to."""
    folder = scratch / "pull-vps"
    programs = scratch / "pull-programs"
    programs.mkdir()
    wrapper = programs / "daybreak"
    wrapper.write_text(f'#!/bin/sh\nexec {" ".join(map(str, PROGRAM))} "$@"\n')
    wrapper.chmod(0o755)
    env = {"PATH": f"{programs}:/usr/bin:/bin", "DAYBREAK_CONFIG": str(scratch / "far.toml")}
    with sshd(folder, env=env) as server:
        yield server


@pytest.fixture
def laptop(vps: Sshd, servers: Servers, dev_servers: Servers, tmp_path: Path, scratch: Path) -> Iterator[Laptop]:
    prod, local = servers[18], dev_servers[18]
    prod_db, local_db = prod.fresh(), f"laptop{next(_NUMBERS)}"
    prod.psql("CREATE TABLE t AS SELECT generate_series(1, 3) AS n", prod_db)
    local.create_database(local_db)
    local.psql("CREATE TABLE t AS SELECT 0 AS n", local_db)
    sites: list[Installation] = []
    for name in ("far", "near"):
        (tmp_path / name).mkdir()
        more = f'[hosts.vps]\nssh = "vps"\n[databases.local]\nurl = "{local.url(local_db)}"\nbin = "{local.bin}"\n'
        sites.append(
            Installation(
                folder=tmp_path / name, url=prod.url(prod_db), bin=prod.bin, more=more if name == "near" else ""
            )
        )
    far, near = sites
    link = scratch / "far.toml"
    link.unlink(missing_ok=True)
    link.symlink_to(far.file)
    found = Laptop(far=far, near=near, vps=vps, prod=prod, prod_db=prod_db, local=local, local_db=local_db)
    yield found
    for name in [local_db, *found.beside()]:
        local.drop_database(name)
    prod.drop_database(prod_db)


def test_the_newest_archive_comes_by_ssh(laptop: Laptop) -> None:
    archive = laptop.far.backup()["archive"]
    said = laptop.pull("--host", "vps", expect=4)
    assert "--first" in said["hint"]
    assert laptop.data() == "0"
    done = laptop.pull("--first")  # there is one host
    assert done["archive"]["id"] == archive["id"]
    assert (done["proof"]["different"], done["proof"]["equal"]) == (0, 1)
    assert laptop.data() == "1,2,3"
    laptop.prod.psql("INSERT INTO t VALUES (4)", laptop.prod_db)
    laptop.far.backup()
    laptop.pull("nightly")
    assert laptop.data() == "1,2,3,4"
    laptop.near.json("undo", "local")
    assert laptop.data() == "1,2,3"
    assert laptop.beside() == [f"{laptop.local_db}_previous"]
    assert laptop.near.leftovers() == []


def test_a_host_without_daybreak_and_a_path(laptop: Laptop, tmp_path: Path) -> None:
    laptop.far.backup()
    program = laptop.vps.folder.parent / "pull-programs" / "daybreak"
    program.rename(program.with_name("away"))
    try:
        said = laptop.pull("--first", expect=10)
        assert "vps has no daybreak" in said["message"]
        assert "--path" in said["hint"]
        done = laptop.pull("--first", "--path", str(laptop.far.archive))
    finally:
        program.with_name("away").rename(program)
    assert laptop.data() == "1,2,3"
    assert done["archive"]["sha256"] == laptop.far.manifest().sha256
    said = laptop.pull("--path", str(tmp_path / "none.dump"), expect=10)
    assert "none.dump" in said["message"]
    assert laptop.data() == "1,2,3"


@pytest.mark.parametrize(
    "said",
    [
        "",
        "warning: an old shell\n{}",
        "{}",
        '{"archives": [1]}',
        '{"archives": [{"state": "published"}]}',
        "[" * 99_999,
    ],
)
def test_a_host_whose_daybreak_says_something_else(laptop: Laptop, scratch: Path, said: str) -> None:
    program = scratch / "pull-programs" / "daybreak"
    real = program.read_bytes()
    (scratch / "said").write_text(said)
    try:
        program.write_text(f"#!/bin/sh\ncat {scratch / 'said'}\n")
        told = laptop.pull("--first", expect=10)
    finally:
        program.write_bytes(real)
    assert told["message"] == f"vps did not answer with its archives: {said[:200] or 'nothing'}"
    assert laptop.data() == "0"


def test_an_archive_that_is_not_its_manifest(laptop: Laptop) -> None:
    said = laptop.pull("--first", expect=10)
    assert "vps has no archive" in said["message"]
    laptop.far.backup()
    whole = laptop.far.archive.read_bytes()
    laptop.far.archive.chmod(0o600)
    for harm in (whole[:-100], whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]):
        laptop.far.archive.write_bytes(harm)
        said = laptop.pull("--first", expect=12)
        assert "not what its manifest says" in said["message"]
        assert said["hint"]
        assert laptop.data() == "0"
        assert laptop.beside() == []
        assert laptop.near.leftovers() == []


def test_production_is_never_pulled_into(laptop: Laptop) -> None:
    laptop.far.backup()
    for words in (("--to", "prod"), ("--to", "prod", "--from", "none")):
        assert laptop.near.call("pull", "--first", *words, "--json").code in {2, 4}
    laptop.near.more = laptop.near.more.replace(laptop.local.url(laptop.local_db), laptop.prod.url(laptop.prod_db))
    laptop.near.configure()
    before = laptop.prod.psql("SELECT count(*) FROM t", laptop.prod_db)
    said = laptop.pull("--first", expect=4)
    assert "protected" in said["message"]
    assert laptop.prod.psql("SELECT count(*) FROM t", laptop.prod_db) == before


def test_from_a_repository_without_any_host(laptop: Laptop, restic: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("not a secret\n")
    (tmp_path / "secret").chmod(0o600)
    table = {"url": str(tmp_path / "repo"), "password_file": str(tmp_path / "secret"), "restic": str(restic)}
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
    for site in (laptop.far, laptop.near):
        site.more += f"[repositories.away]\n{lines}"
        site.configure(plan={"repositories": ["away"]} if site is laptop.far else None)
    laptop.far.json("repository", "init", "away")
    laptop.far.backup()
    done = laptop.pull("nightly", "--from", "away", "--first")
    assert done["proof"]["different"] == 0
    assert laptop.data() == "1,2,3"
    said = laptop.pull("nightly", "--from", "away", "--host", "vps", expect=2)
    assert "--from" in said["message"]
