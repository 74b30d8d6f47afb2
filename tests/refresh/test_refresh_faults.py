"""Everything that goes wrong before the swap leaves dev exactly as it was, and nothing behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from couples import Couple, chance, contents, oid_of, properties
from daybreak.errors import SourceError
from daybreak.jobs import refresh as refreshing
from daybreak.jobs import shelf as shelves
from daybreak.jobs.rebuild import Rebuild
from daybreak.postgres import cron
from daybreak.postgres.client import Postgres
from installation import processes, wait_for

if TYPE_CHECKING:
    from conftest import Coupling, Servers


def state_of(site: Couple) -> object:
    return oid_of(site.dev, site.dev_db), contents(site.dev, site.dev_db), site.beside()


def cut(site: Couple) -> None:
    with site.archive.open("r+b") as file:
        file.truncate(site.archive.stat().st_size - 1)


def flip(site: Couple) -> None:
    content = bytearray(site.archive.read_bytes())
    content[len(content) // 2] ^= 0x10
    site.archive.write_bytes(content)


def replace_by_another(site: Couple) -> None:
    site.archive.unlink()
    site.archive.write_bytes(b"PGDMP somebody else's")


def replace_by_an_older_one(site: Couple) -> None:
    older = site.archive.read_bytes()
    stored = {path: path.read_bytes() for path in (site.root / "manifests").iterdir()}
    site.backup()
    for path, content in stored.items():
        path.write_bytes(content)
    site.archive.unlink()
    site.archive.write_bytes(older)


@pytest.mark.parametrize("harm", [cut, flip, replace_by_another, replace_by_an_older_one])
def test_case_14_an_archive_that_is_not_what_was_published(harm: Callable[[Couple], None], refreshed: Couple):
    harm(refreshed)
    before = state_of(refreshed)
    said = refreshed.refresh(expect=12)
    assert said["hint"]
    assert state_of(refreshed) == before
    assert refreshed.clean() == []
    refreshed.refresh("--fresh")


@pytest.mark.parametrize("harm", [cut, flip, replace_by_another])
def test_case_14_an_archive_is_harmed_between_its_own_backup_and_the_restore(
    harm: Callable[[Couple], None], refreshed: Couple, monkeypatch: pytest.MonkeyPatch
):
    real = refreshing.backup

    def harmed(*given: Any, **more: Any) -> None:
        real(*given, **more)
        harm(refreshed)

    monkeypatch.setattr(refreshing, "backup", harmed)
    before = state_of(refreshed)
    assert refreshed.refresh("--fresh", expect=12)["hint"]
    assert state_of(refreshed) == before
    assert refreshed.clean() == []
    monkeypatch.undo()
    refreshed.refresh("--fresh")


def test_an_archive_is_read_through_once_by_the_run_that_made_it(
    refreshed: Couple, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it read back a moment ago it does not hash again; what another run made it does."""
    hashed: list[str] = []
    real = shelves.sha256_of

    def hash_it(path: Path, **named: Any) -> str:
        hashed.append(path.parent.name)
        return real(path, **named)

    monkeypatch.setattr(shelves, "sha256_of", hash_it)
    refreshed.refresh("--fresh")
    assert hashed == [refreshed.archive.parent.name]  # the older one, before the new one is made
    refreshed.refresh()
    assert hashed[1:] == ["pins"]


def test_v4_an_extension_that_the_target_lacks_is_named(couple: Coupling, servers: Servers):
    prod = servers[15]  # whose contrib modules the other cluster may lack: here one that nobody has elsewhere
    name = prod.fresh()
    prod.psql("CREATE EXTENSION hstore; CREATE TABLE t (h hstore); INSERT INTO t VALUES ('a=>1')", name)
    site = couple(name, majors=(15, 18))
    before = state_of(site)
    site.fake_tool(
        "pg_restore",
        "echo 'pg_restore: error: could not execute query: ERROR:  extension \"hstore\" is not available' >&2; exit 1",
    )
    said = site.refresh(expect=15)
    assert "hstore" in said["message"]
    assert state_of(site) == before
    assert site.clean() == []
    prod.drop_database(name)


@pytest.mark.parametrize("after_s", [0.0, 0.15])
def test_r1_pg_restore_is_killed(after_s: float, refreshed: Couple):
    before = state_of(refreshed)
    refreshed.fake_tool(
        "pg_restore", f'"$real" "$@" & child=$!\nsleep {after_s}\nkill -9 $child\nwait $child\nexit 137'
    )
    said = refreshed.refresh(expect=15)
    assert "pg_restore" in said["message"]
    assert state_of(refreshed) == before
    refreshed.wait_until_clean()


def test_r14_the_tools_of_the_target_are_missing(refreshed: Couple, servers: Servers):
    refreshed.retarget({"bin": str(servers[17].bin)})
    before = state_of(refreshed)
    said = refreshed.refresh(expect=15)
    assert "18" in said["message"]
    assert state_of(refreshed) == before


def test_the_target_does_not_answer(refreshed: Couple):
    refreshed.retarget({"url": f"postgresql://postgres@127.0.0.1:1/{refreshed.dev_db}"})
    assert "Connection refused" in refreshed.refresh(expect=15)["message"]


def test_a_cancel_while_the_restore_runs(refreshed: Couple):
    before = state_of(refreshed)
    refreshed.fake_tool("pg_restore", 'sleep 60; exec "$real" "$@"')
    with refreshed.start("refresh", "--json") as run:
        wait_for(lambda: len(refreshed.beside()) == 2 and processes("pg_restore", refreshed.dev_db), what="a restore")
        started = time.monotonic()
        os.kill(run.process.pid, signal.SIGINT)
        said = run.end().expect(130)
    assert time.monotonic() - started < 20
    assert said["state"] == "cancelled"
    assert state_of(refreshed) == before
    refreshed.wait_until_clean()


def test_c1_kill_9_at_random_instants(refreshed: Couple):
    """Dev always answers with whole data, nothing of ours is left running, and the next run is green."""
    instants = chance()
    refreshed.prod.psql("UPDATE version SET n = 2", refreshed.prod_db)
    began = time.monotonic()
    refreshed.apart("refresh", "--fresh", "--json").expect(0)
    whole_s = time.monotonic() - began
    for turn in range(3, 11):
        refreshed.prod.psql("UPDATE version SET n = n + 1", refreshed.prod_db)
        with refreshed.start("refresh", "--fresh", "--json") as run:
            time.sleep(instants.random() * whole_s)
            run.kill(group=bool(instants.getrandbits(1)))
        wait_for(lambda: properties(refreshed.dev, refreshed.dev_db)["open"], within_s=5, what="an open dev")
        found = int(refreshed.dev.psql("SELECT n FROM version", refreshed.dev_db))
        assert 2 <= found <= turn
        assert refreshed.dev.psql("SELECT count(*) FROM account", refreshed.dev_db) == "2000"
    wait_for(lambda: not processes(str(refreshed.folder)), within_s=15, what="the end of every process")
    refreshed.refresh("--fresh")
    assert refreshed.dev.psql("SELECT n FROM version", refreshed.dev_db) == "10"
    refreshed.wait_until_clean()
    assert refreshed.beside() == [f"{refreshed.dev_db}_previous"]


def test_l1_nightly_and_weekly_at_the_same_instant(refreshed: Couple):
    instants = chance()
    refreshed.retarget(weekly={"max_age": "0s"})
    for turn in range(2, 6):
        refreshed.prod.psql("UPDATE version SET n = n + 1", refreshed.prod_db)
        offsets = sorted((0.0, instants.random() * 1.5))
        names = ["backup", "refresh"]
        instants.shuffle(names)
        with refreshed.start(names[0], "--json") as one:
            time.sleep(offsets[1])
            with refreshed.start(names[1], "--json") as other:
                one.end().expect(0)
                other.end().expect(0)
        assert refreshed.dev.psql("SELECT n FROM version", refreshed.dev_db) == str(turn)
        refreshed.manifest()
    refreshed.wait_until_clean()


def test_l1_a_refresh_takes_the_archive_of_a_backup_that_runs(refreshed: Couple):
    refreshed.retarget(weekly={"max_age": "0s"})  # by the time it is published, it is older than that
    refreshed.fake_dump('sleep 2; exec "$real" "$@"')
    with refreshed.start("backup", "--json") as backup:
        wait_for(refreshed.staged, what="a dump")
        said = refreshed.refresh()
        made = backup.end().expect(0)
    assert said["archive"]["id"] == made["archive"]["id"]


def test_l1_a_refresh_takes_its_own_where_the_running_backup_fails(refreshed: Couple):
    refreshed.retarget(weekly={"max_age": "0s"})
    refreshed.fake_dump(
        '[ -e once ] || { sleep 2; exit 3; }; exec "$real" "$@"'.replace("once", str(refreshed.folder / "once"))
    )
    with refreshed.start("backup", "--json") as backup:
        wait_for(refreshed.staged, what="a dump")
        threading.Timer(1, (refreshed.folder / "once").touch).start()
        refreshed.refresh()
        backup.end().expect(11)
    assert refreshed.clean() == []


def test_r15_a_backup_publishes_while_the_refresh_restores(refreshed: Couple):
    refreshed.fake_tool(
        "pg_restore",
        f'touch {refreshed.folder}/at; while [ ! -e {refreshed.folder}/go ]; do sleep 0.05; done; exec "$real" "$@"',
    )
    refreshed.prod.psql("UPDATE version SET n = 2", refreshed.prod_db)
    with refreshed.start("refresh", "--json") as run:
        wait_for((refreshed.folder / "at").exists, what="the restore")
        made = refreshed.backup()
        (refreshed.folder / "go").touch()
        said = run.end().expect(0)
    assert said["archive"]["id"] != made["archive"]["id"]
    assert refreshed.dev.psql("SELECT n FROM version", refreshed.dev_db) == "1"  # what was pinned
    assert refreshed.clean() == []


def test_an_archive_from_the_future_is_not_taken_for_a_young_one(refreshed: Couple):
    with refreshed.catalog() as catalog, catalog._store.write() as connection:
        connection.exec_driver_sql("UPDATE archives SET taken_at = '2099-01-01T00:00:00.000Z'")
    before = refreshed.json("archives")["archives"][0]["id"]
    assert refreshed.refresh()["archive"]["id"] != before


def test_what_fails_before_the_swap_does_not_wait_for_the_checkpoint(
    refreshed: Couple, monkeypatch: pytest.MonkeyPatch
):
    began = threading.Event()

    def slow(_work: Rebuild, server: Postgres) -> None:
        began.set()
        server.execute("SELECT pg_sleep(100)", dbname=server.maintenance_db, deadline=timedelta(minutes=5))

    monkeypatch.setattr(Rebuild, "_flush", slow)
    refreshed.retarget(weekly={"checks": [{"name": "c", "sql": "SELECT false"}]})
    before, started = state_of(refreshed), time.monotonic()
    assert "c" in refreshed.refresh(expect=15)["message"]
    assert began.is_set()
    assert time.monotonic() - started < 50
    assert state_of(refreshed) == before
    assert refreshed.clean() == []


def test_a_role_that_is_no_superuser(modest: Couple):
    modest.prod.psql(
        "CREATE EXTENSION pg_trgm; CREATE EXTENSION hstore; CREATE SCHEMA s; CREATE TABLE s.t ()", modest.prod_db
    )
    modest.refresh()
    modest.refresh()  # there is a previous database now, and no right to ask for a checkpoint
    assert contents(modest.dev, modest.dev_db) == contents(modest.prod, modest.prod_db)
    modest.json("undo")
    assert modest.clean() == []


def test_a_role_that_is_no_superuser_and_an_extension_that_wants_one(modest: Couple):
    modest.prod.psql("CREATE EXTENSION pg_visibility", modest.prod_db)
    before = state_of(modest)
    said = modest.refresh(expect=15)
    assert "pg_visibility" in said["message"]
    assert state_of(modest) == before
    assert modest.clean() == []


def test_v5_what_a_dead_run_leaves_between_any_two_statements_is_mended(refreshed: Couple):
    """Every state of a shadow and its record that a kill can leave."""
    from datetime import UTC, datetime  # noqa: PLC0415 -- used once

    from daybreak.catalog.records import Role  # noqa: PLC0415 -- used once

    cluster = refreshed.dev.psql("SELECT system_identifier FROM pg_control_system()")
    for number in range(5):  # recorded, created, commented, known, announced
        run = f"20260101-00000{number}-abcd"
        name = f"{refreshed.dev_db}_shadow_{run}"
        with refreshed.catalog() as catalog:
            creation = catalog.databases.add_creation(
                target="dev", system_identifier=cluster, database=name, run=run, role=Role.SHADOW, at=datetime.now(UTC)
            )
            if number >= 1:
                refreshed.dev.create_database(name, template="template0")
            if number >= 2:
                refreshed.dev.psql(f"COMMENT ON DATABASE \"{name}\" IS 'daybreak shadow: run={run} target=dev'")
            if number >= 3:
                catalog.databases.set_oid(creation.id, oid_of(refreshed.dev, name))
            if number >= 4:
                catalog.databases.announce_next("dev", oid_of(refreshed.dev, name), run)
    refreshed.dev.psql(f'ALTER DATABASE "{refreshed.dev_db}" ALLOW_CONNECTIONS false')
    done = refreshed.json("repair")["done"]
    assert sum("dropped" in one for one in done) == 4
    assert any("opened" in one for one in done)
    assert refreshed.clean() == []
    with refreshed.catalog() as catalog:
        assert [one.role for one in catalog.databases.open_creations("dev")] == [Role.PREVIOUS]
    refreshed.refresh()


def test_a_target_that_somebody_else_closed_stays_closed(refreshed: Couple):
    refreshed.dev.psql(f'ALTER DATABASE "{refreshed.dev_db}" ALLOW_CONNECTIONS false')
    said = refreshed.refresh(expect=4)
    assert "not by Daybreak" in said["message"]
    assert not properties(refreshed.dev, refreshed.dev_db)["open"]


def test_a_target_that_cannot_be_asked_is_not_told_to_lack_pg_cron(refreshed: Couple, monkeypatch: pytest.MonkeyPatch):
    def full(_server: object, _name: str) -> bool:
        raise SourceError("dev: sorry, too many clients already")

    monkeypatch.setattr(cron, "has_aside", full)
    assert refreshed.refresh().get("warnings") is None


def test_undo_without_a_previous_database(site: Couple):
    assert "no previous" in site.json("undo", expect=15)["message"]
