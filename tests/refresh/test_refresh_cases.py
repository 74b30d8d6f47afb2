"""Cases of `docs/refresh-cases.md` that need a server, a locale, a disk or a size of their own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from couples import OWNER, Couple, Onlooker, contents, databases, oid_of, properties
from installation import wait_for

if TYPE_CHECKING:
    from conftest import Coupling, Server, Servers

Own = Callable[..., "Server"]
BOTH = pytest.mark.parametrize("major", [15, 18])


def on(dev: Server, prod: Server, prod_db: str, folder: Path) -> Couple:
    """A couple whose dev is on a server of its own."""
    dev.create_database("app", template="template0")
    return Couple(folder=folder, url=prod.url(prod_db), bin=dev.bin, prod=prod, prod_db=prod_db, dev=dev, dev_db="app")


def state_of(site: Couple) -> object:
    return oid_of(site.dev, site.dev_db), properties(site.dev, site.dev_db), contents(site.dev, site.dev_db)


# -- 5: logical slots ---------------------------------------------------------------------------------


@BOTH
def test_case_05_a_slot_or_subscription_that_comes_while_the_restore_runs_stops_the_swap(
    major: int, own_server: Own, servers: Servers, tmp_path: Path
) -> None:
    prod, name = servers[major], servers[major].fresh()
    prod.psql("CREATE TABLE version AS SELECT 1 AS n", name)
    dev = own_server(major, wal_level="logical")
    site = on(dev, prod, name, tmp_path)
    site.refresh()
    before = state_of(site)
    sub = (
        "CREATE SUBSCRIPTION sub CONNECTION 'host=127.0.0.1 port=1 password=hush' PUBLICATION p WITH (connect = false)"
    )
    for come, go, word in (
        (
            "SELECT pg_create_logical_replication_slot('kept', 'pgoutput')",
            ("SELECT pg_drop_replication_slot('kept')",),
            "slot kept",
        ),
        (sub, ("ALTER SUBSCRIPTION sub SET (slot_name = NONE)", "DROP SUBSCRIPTION sub"), "subscription sub"),
    ):
        psql = f"{dev.bin}/psql -Xqd '{dev.conninfo('app')}' -c"
        site.fake_tool("pg_restore", f'"$real" "$@" && {psql} "{come}" >/dev/null')
        said = site.refresh(expect=15)
        assert "logical replication would be left behind" in said["message"]
        assert word in said["message"]
        assert state_of(site) == before
        for statement in go:
            dev.psql(statement, "app")
    site.real_tools()
    site.refresh()
    assert b"hush" not in b"".join(path.read_bytes() for path in site.state.rglob("*") if path.is_file())
    prod.drop_database(name)


def test_case_05_an_active_slot_is_named_and_goes_on(own_server: Own, small: str, servers: Servers, tmp_path: Path):
    dev = own_server(18, wal_level="logical")
    site = on(dev, servers[18], small, tmp_path)
    dev.psql("SELECT pg_create_logical_replication_slot('live', 'pgoutput')", "app")
    dev.psql("CREATE PUBLICATION p FOR ALL TABLES", "app")
    argv = [str(dev.bin / "pg_recvlogical"), "-d", dev.conninfo("app"), "-S", "live", "--start", "-f", "-"]
    argv += ["-o", "proto_version=1", "-o", "publication_names=p"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as reader:
        active = "SELECT active_pid FROM pg_replication_slots WHERE active"
        pid = wait_for(lambda: dev.psql(active), what="an active slot")
        said = site.refresh(expect=15)
        assert "replication slot live of app is in use" in said["message"]
        assert dev.psql(active) == pid  # its reader noticed nothing
        reader.terminate()
    wait_for(lambda: not dev.psql(active), what="an inactive slot")
    dev.psql("SELECT pg_drop_replication_slot('live')", "app")
    site.refresh()


# -- 8: what reconnects ---------------------------------------------------------------------------------


@BOTH
def test_case_08_what_comes_back_every_5_ms_does_not_stop_the_swap(
    major: int, couple: Coupling, servers: Servers
) -> None:
    """In place of a scheduler of TimescaleDB, which ends and starts again at once: superuser, busy, never tired."""
    prod, name = servers[major], servers[major].fresh()
    prod.psql("CREATE TABLE version AS SELECT 1 AS n", name)
    site = couple(name, majors=(major, major))
    site.refresh()
    stop = threading.Event()

    def come_back() -> None:
        while not stop.wait(0.005):
            with contextlib.suppress(psycopg.Error), psycopg.connect(site.dev.conninfo(site.dev_db)) as session:
                session.execute("SELECT pg_sleep(600)")

    workers = [threading.Thread(target=come_back) for _ in range(4)]
    for worker in workers:
        worker.start()
    try:
        for turn in range(2, 5):
            prod.psql("UPDATE version SET n = n + 1", name)
            busy = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{site.dev_db}' AND query ~ 'pg_sleep'"  # noqa: S608 -- ours
            wait_for(lambda busy=busy: int(site.dev.psql(busy)) > 0, what="somebody in dev")
            done = site.refresh("--fresh")
            assert done["sessions_ended"] > 0
            assert site.dev.psql("SELECT n FROM version", site.dev_db) == str(turn)
    finally:
        stop.set()
        end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{site.dev_db}'"  # noqa: S608 -- ours
        while any(worker.is_alive() for worker in workers):
            site.dev.psql(end)
            time.sleep(0.05)
    prod.drop_database(name)


# -- 16: locales --------------------------------------------------------------------------------------

ICU = "ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'sv-SE' LOCALE 'C.UTF-8' TEMPLATE template0"


def junk(dev: Server) -> None:
    """What a template should not have, and a collation version that is not that of the system."""
    dev.psql("CREATE TABLE version (junk text); CREATE SCHEMA junk; CREATE TABLE junk.t ()", "template1")
    dev.psql("UPDATE pg_database SET datcollversion = '0.1' WHERE datname = 'template1'")


def test_case_16_junk_in_template1_and_productions_own_collation(
    own_server: Own, servers: Servers, tmp_path: Path
) -> None:
    """On 15, whose build has ICU."""
    prod, dev = servers[15], own_server(15)
    name = prod.fresh()
    prod.drop_database(name)
    prod.psql(f'CREATE DATABASE "{name}" {ICU}')
    prod.psql(
        "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level1', deterministic = false);"
        "CREATE TABLE version AS SELECT 1 AS n; CREATE TABLE word (w text, l text COLLATE loose UNIQUE);"
        "INSERT INTO word VALUES ('z', 'z'), ('ö', 'ö'), ('a', 'A'), ('å', 'x')",
        name,
    )
    junk(dev)
    site = on(dev, prod, name, tmp_path)
    done = site.refresh()
    assert done["proof"]["different"] == 0
    order = "SELECT string_agg(w, '' ORDER BY w) FROM word"
    assert dev.psql(order, "app") == prod.psql(order, name) == "azåö"  # as in Swedish
    assert dev.psql("SELECT count(*) FROM pg_namespace WHERE nspname = 'junk'", "app") == "0"
    with pytest.raises(psycopg.errors.UniqueViolation), psycopg.connect(dev.conninfo("app")) as session:
        session.execute("INSERT INTO word VALUES ('', 'Ö'), ('', 'o')")  # one word in that collation
    assert site.clean() == []
    prod.drop_database(name)


def test_case_16_the_builtin_provider_of_17_and_a_target_that_lacks_it(
    couple: Coupling, own_server: Own, servers: Servers, tmp_path: Path
) -> None:
    prod = servers[18]
    name = prod.fresh()
    prod.drop_database(name)
    prod.psql(f"CREATE DATABASE \"{name}\" LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' TEMPLATE template0")
    prod.psql("CREATE TABLE version AS SELECT 1 AS n", name)
    dev = own_server(18)
    junk(dev)
    site = on(dev, prod, name, tmp_path)
    site.refresh()
    assert dev.psql("SELECT datlocprovider, datlocale FROM pg_database WHERE datname = 'app'") == "b|C.UTF-8"
    assert dev.psql("SELECT count(*) FROM pg_namespace WHERE nspname = 'junk'", "app") == "0"
    older = couple(name, majors=(18, 16))
    before = databases(older.dev, "")
    said = older.refresh(expect=15)
    assert "locale C.UTF-8 is PostgreSQL's own, and the target is of version 16" in said["message"]
    assert databases(older.dev, "") == before
    prod.drop_database(name)


# -- 26: row-level security ---------------------------------------------------------------------------


@BOTH
def test_case_26_policies_hold_for_devs_roles_and_the_application_sees_its_rows(
    major: int, couple: Coupling, servers: Servers
) -> None:
    prod, name = servers[major], servers[major].fresh()
    site = couple(name, majors=(major, major))
    for server in (prod, site.dev):
        server.create_role("tenant app")
    prod.psql(
        "CREATE TABLE doc AS SELECT n AS id, CASE WHEN n % 4 = 0 THEN 'a' ELSE 'b' END AS tenant"
        " FROM generate_series(1, 400) AS n; ALTER TABLE doc ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
        """CREATE POLICY own ON doc TO "tenant app" USING (tenant = current_setting('app.tenant'));"""
        """GRANT SELECT ON doc TO "tenant app" """,
        name,
    )
    site.dev.psql("""CREATE TABLE doc (); GRANT SELECT ON doc TO "tenant app" """, site.dev_db)
    done = site.refresh()
    assert done["proof"]["equal"] == 1
    with psycopg.connect(site.dev.conninfo(site.dev_db, user="tenant app")) as session:
        for tenant, rows in (("a", 100), ("b", 300), ("c", 0)):
            session.execute("SELECT set_config('app.tenant', %s, false)", (tenant,))
            assert session.execute("SELECT count(*) FROM doc").fetchone() == (rows,)
    # A dump that would leave out hidden rows is no backup; dev is not even looked at.
    prod.create_role("reader", options="LOGIN")
    prod.psql('GRANT pg_read_all_data TO "reader"')
    site.url = prod.url(name, user="reader")
    site.configure()
    before = state_of(site)
    said = site.refresh("--fresh", expect=11)
    assert "BYPASSRLS" in said["hint"]
    assert state_of(site) == before
    prod.drop_database(name)


# -- 30: too little of something ----------------------------------------------------------------------


@pytest.fixture
def tiny_disk(scratch: Path) -> Iterator[Path]:
    """A file system of 40 MB, for a tablespace."""
    folder = scratch / "tiny"
    folder.mkdir()
    folder.chmod(0o777)
    subprocess.run(["/usr/bin/mount", "-t", "tmpfs", "-o", "size=40m,mode=0777", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["/usr/bin/umount", "-l", folder], check=True)
    folder.rmdir()


@pytest.fixture
def cramped(own_server: Own, servers: Servers, small: str, tiny_disk: Path, tmp_path: Path) -> Iterator[Couple]:
    """A couple whose dev server has a tablespace `tiny`."""
    dev = own_server(18)
    inside = tiny_disk / "space"
    inside.mkdir()
    owner = dev.cluster.data.stat()
    os.chown(inside, owner.st_uid, owner.st_gid)
    dev.psql(f"CREATE TABLESPACE tiny LOCATION '{inside}'")
    site = on(dev, servers[18], small, tmp_path)
    yield site
    site.drop()
    dev.psql("DROP TABLESPACE tiny")


def test_case_30_the_disk_of_the_target_fills_up(cramped: Couple, monkeypatch: pytest.MonkeyPatch) -> None:
    site, prod, dev, small = cramped, cramped.prod, cramped.dev, cramped.prod_db
    site.refresh()
    dev.psql("ALTER DATABASE app SET TABLESPACE tiny")
    prod.psql("CREATE TABLE big AS SELECT n, repeat(md5(n::text), 20) AS t FROM generate_series(1, 60000) AS n", small)
    before = state_of(site)
    with Onlooker(site) as client:
        said = site.refresh("--fresh", expect=15)  # forecast: nothing is made
        assert "free" in said["message"]
        assert state_of(site) == before
        # Somebody else takes the room after the forecast.
        monkeypatch.setattr("daybreak.jobs.obstacles._disk", lambda _case: iter(()))
        said = site.refresh(expect=15)
    assert "No space left on device" in said["message"]
    assert client.noticed() == []
    assert client.answers
    assert state_of(site) == before
    assert site.clean() == []
    dev.psql("ALTER DATABASE app SET TABLESPACE pg_default")
    site.refresh()


def test_case_30_a_small_disk_beside_tablespaces_on_a_large_one(cramped: Couple, scratch: Path) -> None:
    """What lies in a tablespace that both have needs no room on the disk of the database itself."""
    site, prod, dev, small = cramped, cramped.prod, cramped.dev, cramped.prod_db
    for server in (prod, dev):
        folder = scratch / f"cold-{server.port}"
        folder.mkdir()
        owner = server.cluster.data.stat()
        os.chown(folder, owner.st_uid, owner.st_gid)
        server.psql(f"CREATE TABLESPACE cold LOCATION '{folder}'")
    prod.psql(
        "CREATE TABLE big TABLESPACE cold AS SELECT n, repeat(md5(n::text), 20) AS t FROM generate_series(1, 60000) n",
        small,
    )
    dev.psql("ALTER DATABASE app SET TABLESPACE tiny")
    site.refresh()
    there = "SELECT spcname FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace WHERE relname = 'big'"
    assert dev.psql(there, "app") == "cold"
    # One that is missing sends everything to the default one, and there it has no room.
    space = scratch / f"cold-{prod.port}" / "gone"
    space.mkdir()
    owner = prod.cluster.data.stat()
    os.chown(space, owner.st_uid, owner.st_gid)
    prod.psql(f"CREATE TABLESPACE gone LOCATION '{space}'")
    prod.psql("CREATE TABLE other TABLESPACE gone AS SELECT 1 AS n", small)
    said = site.refresh("--fresh", expect=15)
    assert "tiny/space, and" in said["message"]
    outlook = site.json("refresh", "--plan", expect=15)
    told = "the target has no tablespace gone: what lies there, and what lies in cold, goes to the default one"
    assert told in outlook["notes"]
    prod.psql("DROP TABLE big, other", small)
    prod.psql("DROP TABLESPACE gone")
    prod.psql("DROP TABLESPACE cold")
    dev.psql("DROP DATABASE app")


def test_case_30_more_partitions_than_there_are_locks(own_server: Own, servers: Servers, tmp_path: Path) -> None:
    """A foreign key locks all partitions at once: forecast, and with locks enough it works."""
    prod, name = servers[18], servers[18].fresh()
    prod.psql(
        "CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item SELECT generate_series(1, 500);"
        "CREATE TABLE part (id int REFERENCES item) PARTITION BY LIST (id);",
        name,
    )
    prod.psql(
        "DO $$ BEGIN FOR n IN 1..500 LOOP EXECUTE format("
        "'CREATE TABLE part%s PARTITION OF part FOR VALUES IN (%s)', n, n); END LOOP; END $$",
        name,
    )
    prod.psql("INSERT INTO part SELECT generate_series(1, 500)", name)
    dev = own_server(18, max_locks_per_transaction="10", max_connections="20", max_prepared_transactions="0")
    site = on(dev, prod, name, tmp_path)
    before = (state_of(site), databases(dev, ""))
    said = site.refresh(expect=15)
    assert "500 partitions at once" in said["message"]
    assert "max_locks_per_transaction" in said["message"]
    assert (state_of(site), databases(dev, "")) == before
    (tmp_path / "roomy").mkdir()
    site = on(own_server(18, max_locks_per_transaction="512"), prod, name, tmp_path / "roomy")
    assert site.refresh()["proof"]["different"] == 0
    prod.drop_database(name)


def test_case_30_many_large_objects_and_one_very_large_row(couple: Coupling, servers: Servers) -> None:
    prod, name = servers[18], servers[18].fresh()
    prod.psql(
        "SELECT count(lo_from_bytea(0, decode(md5(n::text), 'hex'))) FROM generate_series(1, 5000) AS n;"
        "CREATE TABLE one AS SELECT to_jsonb(repeat('large ', 10000000)) AS j",  # 60 MB in one value
        name,
    )
    site = couple(name)
    done = site.refresh()
    assert (done["proof"]["equal"], done["proof"]["different"]) == (1, 0)
    assert contents(site.dev, site.dev_db)["large objects"] == contents(prod, name)["large objects"]
    prod.drop_database(name)


# -- injected failures: dev notices nothing -----------------------------------------------------------


def damage(share: float) -> Callable[[Couple], None]:
    def harm(site: Couple) -> None:
        with site.archive.open("r+b") as file:
            file.truncate(int(site.archive.stat().st_size * share))

    return harm


def server_restarts(site: Couple) -> None:
    """While pg_restore is at work."""
    stop = f"{site.dev.bin}/psql -Xqd '{site.dev.conninfo()}' -c"
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ~ '^daybreak:'"
    site.fake_tool("pg_restore", f'"$real" "$@"; {stop} "{end}" >/dev/null; exit 1')


FAULTS: dict[str, tuple[Callable[[Couple], None], dict[str, Any], int]] = {
    "cut at 10 %": (damage(0.1), {}, 12),
    "cut at 50 %": (damage(0.5), {}, 12),
    "cut at 99 %": (damage(0.99), {}, 12),
    "pg_restore fails": (lambda site: site.fake_tool("pg_restore", "exit 1"), {}, 15),
    "every session of ours is ended": (server_restarts, {}, 15),
    "a hook fails": (
        lambda _site: None,
        {"hooks": [{"name": "h", "when": "before_swap", "sql": "SELECT 1 / 0"}]},
        15,
    ),
    "a check fails": (lambda _site: None, {"checks": [{"name": "c", "sql": "SELECT false"}]}, 15),
    "analyze fails": (lambda site: site.fake_tool("vacuumdb", "exit 1"), {}, 15),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_r1_whatever_fails_the_clients_of_dev_notice_nothing(fault: str, refreshed: Couple) -> None:
    harm, weekly, code = FAULTS[fault]
    server = refreshed.dev
    server.psql(f"ALTER DATABASE {refreshed.dev_db} SET work_mem = '7MB'")
    server.psql(f'GRANT SELECT ON account TO PUBLIC; ALTER TABLE account OWNER TO "{OWNER}"', refreshed.dev_db)
    acl = "SELECT relacl FROM pg_class WHERE relname = 'account'"
    before = (state_of(refreshed), refreshed.beside(), server.psql(acl, refreshed.dev_db))
    harm(refreshed)
    refreshed.retarget(weekly=weekly)
    with Onlooker(refreshed) as client:
        said = refreshed.refresh(expect=code)
    assert said["hint"] or fault == "analyze fails"
    assert client.noticed() == []
    assert client.answers
    refreshed.wait_until_clean()
    assert (state_of(refreshed), refreshed.beside(), server.psql(acl, refreshed.dev_db)) == before
    refreshed.real_tools()
    refreshed.retarget(weekly={"hooks": None, "checks": None})
    refreshed.refresh("--fresh")
    assert refreshed.clean() == []


def test_r1_the_server_restarts_while_the_restore_runs(
    own_server: Own, servers: Servers, small: str, tmp_path: Path
) -> None:
    dev = own_server(18)
    site = on(dev, servers[18], small, tmp_path)
    site.refresh()
    before = state_of(site)
    site.fake_tool("pg_restore", f'touch {tmp_path}/there; sleep 2; exec "$real" "$@"')
    with site.start("refresh", "--json") as run:
        wait_for((tmp_path / "there").exists, within_s=60, what="the restore")
        dev.cluster.stop("immediate")
        said = run.end().expect(15)
    dev.cluster.log.write_text("")  # what it said before is no answer to a start
    dev.cluster.start()
    assert said["hint"]
    assert state_of(site) == before
    site.real_tools()
    site.refresh()  # the shadow that could not be dropped goes now
    assert site.clean() == []
