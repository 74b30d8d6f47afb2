"""Drills on real servers: what is proven, what is told, what is left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from drills import folders, left, server_pid, spoil, steps

from daybreak.embedded.binaries import tools_folder
from daybreak.systemd.units import Installed, scheduler_units
from daybreak.units import show_instant
from installation import Installation, wait_for

if TYPE_CHECKING:
    from conftest import RichDatabase, Server, Servers


def test_a_drill_proves_the_archive_and_leaves_nothing(site: Installation):
    told = site.json("drill")
    assert (told["kind"], told["state"], told["source"], told["fetch_s"]) == ("drill", "succeeded", "local", None)
    assert told["proof"]["equal"] == told["proof"]["tables"] == 1
    assert told["restore_s"] > 0
    assert told["proof_s"] > 0
    assert steps(site, told) == ["archive", "server", "rehearse", "shadow", "restore", "proof", "drop"]
    assert left() == site.leftovers() == []
    (archive,) = site.json("archives")["archives"]
    assert archive["proven_at"] is not None
    (plan,) = site.json("status")["plans"]
    assert plan["proven"] is True
    assert plan["newest_proven"]["archive"] == archive["id"] == told["archive"]["id"]
    assert plan["newest_proven"]["source"] == "drill local"
    assert plan["newest_proven"]["restore_s"] == told["restore_s"]
    text = site.call("status").out
    for before, at in (("taken ", plan["newest_proven"]["taken_at"]), ("  ", plan["last_success_at"])):
        assert f"{before}{show_instant(datetime.fromisoformat(at))}" in text
    assert "by drill local" in text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to be taken away")
def test_a_drill_has_what_it_needs_of_root_where_the_service_begins_it(site: Installation):
    """Its server belongs to another user: the unit took the right to become one away."""
    unit, _ = scheduler_units(Installed(program=("/bin/true",), config=site.file, folders=()))
    left = " ".join(re.findall(r"^CapabilityBoundingSet=(.+)$", unit.text, re.MULTILINE))
    names = ",".join(f"+{one.removeprefix('CAP_').lower()}" for one in left.split())
    told = site.apart("drill", "--json", wrap=("setpriv", "--no-new-privs", f"--bounding-set=-all,{names}"))
    assert told.expect(0)["state"] == "succeeded"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to be taken away")
@pytest.mark.parametrize("without", ["setuid", "setgid", "chown"])
def test_a_root_that_may_not_become_another_user_is_told_so(site: Installation, without: str):
    """In a container, or by a unit of somebody's own."""
    told = site.apart("drill", "--json", wrap=("setpriv", f"--bounding-set=-{without}"))
    said = told.expect(3)
    assert "root may not become the user" in said["message"]
    assert "CAP_SETUID" in said["hint"]
    assert left() == site.leftovers() == []


@pytest.mark.parametrize("major", [15, 18])
def test_a_rich_database_is_proven_whole(
    major: int, servers: Servers, rich_database: RichDatabase, tmp_path: Path
) -> None:
    server = servers[major]
    site = Installation(folder=tmp_path, url=server.url(rich_database(server)), bin=server.bin)
    site.backup()
    told = site.json("drill")
    assert f"PostgreSQL from {server.bin}" in told["server"]
    proof = told["proof"]
    assert (proof["different"], proof["skipped"]) == (0, sum(one["result"] == "skipped" for one in proof["details"]))
    assert proof["compared"] > 10
    assert left() == []
    said = site.call("drill").out
    taken = show_instant(datetime.fromisoformat(told["archive"]["taken_at"]))
    assert f"taken {taken}, is proven (from local)" in said


def test_v4_pg_cron_is_left_out_by_entry_and_told(cron_server: Callable[[str], Server], tmp_path: Path):
    prod = cron_server("genji")
    prod.create_database("genji")
    prod.psql(
        "CREATE EXTENSION pg_cron; CREATE TABLE own AS SELECT 7 AS n;"
        "CREATE VIEW planned AS SELECT jobname FROM cron.job; SELECT cron.schedule('beat', '* * * * *', 'SELECT 1')",
        "genji",
    )
    site = Installation(folder=tmp_path, url=prod.url("genji"), bin=prod.bin)
    site.backup()
    told = site.json("drill")
    assert any("EXTENSION pg_cron" in one for one in told["left_out"])
    assert any("VIEW public.planned" in one for one in told["left_out"])
    assert told["proof"]["equal"] == 1
    assert {one["result"] for one in told["proof"]["details"]} == {"skipped"}
    assert left() == []


@pytest.fixture
def with_extension(site: Installation, servers: Servers, small: str) -> Installation:
    """A backup whose database says that it has an extension which no server here knows."""
    server = servers[18]
    share = subprocess.run(
        [server.bin / "pg_config", "--sharedir"], capture_output=True, text=True, check=True, timeout=30
    ).stdout.strip()
    files = [Path(share) / "extension" / name for name in ("db_secret_sauce.control", "db_secret_sauce--1.0.sql")]
    files[0].write_text("default_version = '1.0'\nrelocatable = true\n")
    files[1].write_text("CREATE FUNCTION sauce() RETURNS int LANGUAGE sql AS 'SELECT 1';")
    try:
        server.psql("CREATE EXTENSION db_secret_sauce", small)
        site.backup()
    finally:
        for file in files:
            file.unlink()
    return site


def test_v4_any_other_missing_extension_is_named(with_extension: Installation):
    told = with_extension.json("drill", expect=12)
    assert told["code"] == "ArchiveError"
    assert "db_secret_sauce 1.0" in told["message"]
    assert "--image" in told["hint"]
    assert "proof" not in told
    assert left() == []
    (plan,) = with_extension.json("status")["plans"]
    assert plan["newest_proven"] is None
    assert any("db_secret_sauce" in one for one in plan["attention"])


def test_a_damaged_archive_ends_a_drill_and_pauses_forget(site: Installation):
    with site.archive.open("r+b") as file:
        file.seek(-20, os.SEEK_END)
        file.write(b"damage")
    told = site.json("drill", expect=12)
    assert "not what its manifest says" in told["message"]
    assert left() == []
    (plan,) = site.json("status")["plans"]
    assert any("nothing is forgotten off-site" in one for one in plan["attention"])
    site.backup()
    site.json("drill")
    (plan,) = site.json("status")["plans"]
    assert plan["attention"] == []


def test_a_proof_that_differs_is_told_and_unpublishes_nothing(site: Installation):
    site.json("drill")
    before = site.fingerprint()
    spoil(site)
    told = site.json("drill", expect=18)
    assert "public.account" in told["message"]
    assert "stays published" in told["hint"]
    assert set(site.fingerprint()) == set(before)
    assert site.fingerprint()["prod.dump"] == before["prod.dump"]
    (archive,) = site.json("archives")["archives"]
    assert (archive["state"], archive["proven_at"]) == ("published", None)
    (plan,) = site.json("status")["plans"]
    assert plan["newest_proven"] is None
    assert any(archive["id"] in one and "did not pass" in one for one in plan["attention"])
    assert left() == []


def test_a_server_of_a_newer_version_takes_the_archive(servers: Servers, tmp_path: Path, monkeypatch):
    server = servers[16]
    name = server.fresh()
    server.psql("CREATE TABLE one AS SELECT 1 AS n", name)
    tools = tmp_path / "client"
    tools.mkdir()
    for program in server.bin.iterdir():
        if program.name not in {"postgres", "initdb"}:
            (tools / program.name).symlink_to(program)
    site = Installation(folder=tmp_path, url=server.url(name), bin=tools)
    site.backup()
    real, fake = tools_folder(), tmp_path / "tools"
    (fake / "postgresql").mkdir(parents=True)
    (fake / "postgresql" / "18").symlink_to(real / "postgresql" / "18")
    monkeypatch.setenv("DAYBREAK_TOOLS", str(fake))
    told = site.json("drill")
    assert "(18." in told["server"]
    assert told["proof"]["equal"] == 1


def test_without_any_server_the_message_says_what_to_install(site: Installation, tmp_path: Path, monkeypatch):
    tools = tmp_path / "client"
    tools.mkdir()
    for program in site.bin.iterdir():
        if program.name not in {"postgres", "initdb"}:
            (tools / program.name).symlink_to(program)
    site.configure(database={"bin": str(tools)})
    monkeypatch.setenv("DAYBREAK_TOOLS", str(tmp_path / "nothing"))
    told = site.json("drill", expect=3)
    assert "PostgreSQL 18 or newer" in told["message"]
    for way in ("apt install postgresql-18", "--image postgres:18", "--on"):
        assert way in told["hint"]


def test_too_little_room_is_said_before_anything_is_made(site: Installation):
    path = site.archive.with_name(site.archive.name + ".json")
    stored = site.root / "manifests" / f"{site.manifest().sha256}.json"
    told = json.loads(path.read_text())
    told["globals"]["facts"]["size_bytes"] = 10**16
    for name in (path, stored):
        name.write_text(json.dumps(told))
    said = site.json("drill", expect=13)
    assert "10.0 PB" in said["message"] or "10000.0 TB" in said["message"]
    assert "TMPDIR" in said["hint"]
    assert left() == []


def test_roles_of_policies_are_made_where_they_are_needed(servers: Servers, site: Installation, small: str):
    server = servers[18]
    server.create_role("policy reader", options="NOLOGIN")
    server.psql('CREATE POLICY few ON account TO "policy reader" USING (id > 3)', small)
    site.backup()
    assert site.json("drill")["proof"]["different"] == 0


@pytest.mark.parametrize("instant", ["restore", "proof"])
def test_kill_9_leaves_no_server_and_the_next_run_no_folder(site: Installation, instant: str):
    slow = site.folder / "slow"
    slow.mkdir()
    for program in site.bin.iterdir():
        (slow / program.name).symlink_to(program)
    tool = {"restore": "pg_restore", "proof": "psql"}[instant]
    wait = f"{{ touch {slow}/began; sleep 60; }}"
    when = {"restore": f'[ "$1" = --version ] || {wait}', "proof": f'case "$*" in *COPY*) {wait};; esac'}[instant]
    (slow / tool).unlink()
    (slow / tool).write_text(f'#!/bin/sh\n{when}\nexec {site.bin / tool} "$@"\n')
    (slow / tool).chmod(0o755)
    site.configure(database={"bin": str(slow)})
    with site.start("drill") as started:
        pid = server_pid()
        wait_for((slow / "began").exists, within_s=60, what=instant)
        started.kill()
    assert folders()
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), within_s=20, what="the end of the server")
    site.configure(database={"bin": str(site.bin)})
    done = site.json("repair")["done"]
    assert any("throw-away server" in one for one in done)
    wait_for(lambda: not left(), within_s=20, what="a clean place")
    assert site.leftovers() == []


def test_a_cancelled_drill_ends_in_order(site: Installation):
    slow = site.folder / "slow"
    slow.mkdir()
    for program in site.bin.iterdir():
        (slow / program.name).symlink_to(program)
    (slow / "pg_restore").unlink()
    (slow / "pg_restore").write_text(
        f'#!/bin/sh\n[ "$1" = --version ] || {{ touch {slow}/began; sleep 60; }}\nexec {site.bin / "pg_restore"} "$@"\n'
    )
    (slow / "pg_restore").chmod(0o755)
    site.configure(database={"bin": str(slow)})
    with site.start("drill") as started:
        wait_for((slow / "began").exists, within_s=60, what="the restore")
        started.process.send_signal(signal.SIGTERM)
        assert started.end().code == 143
    assert left() == site.leftovers() == []
