"""A whole refresh: dev gets production's data and keeps everything that is its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from couples import OWNER, PLAIN, Couple, contents, databases, named, not_owned_by, oid_of, properties, quoted, schema
from daybreak.jobs import rebuild

if TYPE_CHECKING:
    from conftest import Coupling, Server, Servers

SAME = [(major, major) for major in (15, 16, 17, 18)]


def version(server: Server, dbname: str) -> int:
    return int(server.psql("SELECT n FROM version", dbname))


def dress(server: Server, dbname: str) -> None:
    """Give a database everything that is carried over."""
    name = named(dbname)
    server.create_role("re ader")
    server.psql(
        f"""
REVOKE ALL ON DATABASE {name} FROM PUBLIC;
GRANT CONNECT ON DATABASE {name} TO {named(PLAIN)};
GRANT CONNECT, TEMPORARY ON DATABASE {name} TO "re ader" WITH GRANT OPTION;
ALTER DATABASE {name} SET search_path = shop, "$user", "Odd ""Schema"" ☀", public;
ALTER DATABASE {name} SET work_mem = '7MB';
ALTER DATABASE {name} SET app.motto = 'it''s 100% "odd", \\ and $daybreak$';
ALTER DATABASE {name} SET statement_timeout = '2min';
ALTER DATABASE {name} SET DateStyle = 'German, DMY';
ALTER ROLE "re ader" IN DATABASE {name} SET search_path = '';
ALTER ROLE "re ader" IN DATABASE {name} SET application_name = 'a=b';
ALTER DATABASE {name} CONNECTION LIMIT 17;
COMMENT ON DATABASE {name} IS 'dev''s own\u2028 $daybreak$; SELECT 1/0; comment %s';
"""
    )


@pytest.mark.parametrize(("prod", "dev"), [*SAME, (15, 18)], ids=lambda major: f"pg{major}")
def test_case_09_dev_has_productions_data_and_keeps_its_own(
    prod: int, dev: int, couple: Coupling, rich: Callable[[int], str], servers: Servers
):
    site = couple(rich(prod), majors=(prod, dev))
    dress(site.dev, site.dev_db)
    before, oid = properties(site.dev, site.dev_db), oid_of(site.dev, site.dev_db)

    said = site.refresh()

    wanted = contents(site.prod, site.prod_db)
    assert contents(site.dev, site.dev_db) == wanted
    if prod == dev:  # other versions print some definitions otherwise
        newest = servers[18].bin
        assert schema(site.dev, site.dev_db, newest) == schema(site.prod, site.prod_db, newest)
    assert not_owned_by(OWNER, site.dev, site.dev_db) == []
    assert properties(site.dev, site.dev_db) == before
    assert oid_of(site.dev, site.dev_db) != oid
    proof = said["proof"]
    assert proof["different"] == 0
    assert proof["skipped"] == 0
    assert proof["compared"] == proof["tables"] == proof["equal"] + proof["reordered"] >= 24
    assert said["outage_ms"] > 0
    assert said["target"] == "dev"
    site.dev.psql("SELECT count(*) FROM pg_class", site.dev_db, user=PLAIN)
    assert site.clean() == []
    assert oid_of(site.dev, f"{site.dev_db}_previous") == oid


def test_undo_brings_back_what_was_and_undo_again_what_had_come(site: Couple):
    name = site.dev_db
    dress(site.dev, name)
    before, first = properties(site.dev, name), oid_of(site.dev, name)
    site.dev.psql("CREATE TABLE mine AS SELECT 1", name)
    site.refresh()
    second = oid_of(site.dev, name)

    site.json("undo")
    assert oid_of(site.dev, name) == first
    assert site.dev.psql("SELECT * FROM mine", name) == "1"
    assert properties(site.dev, name) == before
    site.json("undo")
    assert oid_of(site.dev, name) == second
    assert properties(site.dev, name) == before
    assert not properties(site.dev, f"{name}_previous")["open"]
    assert site.clean() == []


def test_previous_is_closed_and_the_one_before_is_dropped(refreshed: Couple):
    first = oid_of(refreshed.dev, refreshed.dev_db)
    refreshed.prod.psql("UPDATE version SET n = 2", refreshed.prod_db)

    said = refreshed.refresh("--fresh")

    assert refreshed.beside() == [f"{refreshed.dev_db}_previous"] == [said["previous"]]
    assert oid_of(refreshed.dev, said["previous"]) == first
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        psycopg.connect(refreshed.dev.conninfo(said["previous"]))
    assert version(refreshed.dev, refreshed.dev_db) == 2
    assert f"run={said['run']} " in properties(refreshed.dev, said["previous"])["comment"]


def test_a_comment_that_was_not_there_is_not_there_afterwards(refreshed: Couple):
    assert properties(refreshed.dev, refreshed.dev_db)["comment"] is None
    refreshed.json("undo")
    assert properties(refreshed.dev, refreshed.dev_db)["comment"] is None


@pytest.mark.parametrize("acl", ["default", "nobody", "everybody"])
def test_public_may_connect_afterwards_as_before(acl: str, site: Couple):
    name = named(site.dev_db)
    if acl != "default":
        site.dev.psql(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
    if acl == "everybody":
        site.dev.psql(f"GRANT CONNECT ON DATABASE {name} TO PUBLIC")
    before = properties(site.dev, site.dev_db)

    site.refresh()

    assert properties(site.dev, site.dev_db) == before
    if acl == "nobody":
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            psycopg.connect(site.dev.conninfo(site.dev_db, user=PLAIN))
    else:
        site.dev.psql("SELECT 1", site.dev_db, user=PLAIN)


def test_what_changed_on_dev_while_the_restore_ran_is_carried_over_too(site: Couple):
    site.fake_tool(
        "vacuumdb",
        f"{site.dev.bin}/psql -X -d {quoted(site.dev.conninfo('postgres'))}"
        f""" -c 'COMMENT ON DATABASE {named(site.dev_db)} IS $$late$$'""",
    )
    site.refresh()
    assert properties(site.dev, site.dev_db)["comment"] == "late"


NAMES = [
    'it\'s 100% "odd" \\ ümläut ☀ %I a=b',
    "☀" * 21,  # 63 bytes
    "$daybreak$; SELECT 1/0; --",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_that_postgres_takes(name: str, couple: Coupling, small: str):
    site = couple(small, dev_db=name, target={"url": None, "user": "postgres"})
    site.retarget({"host": site.dev.host, "port": site.dev.port, "database": name})
    site.refresh()
    site.json("undo")
    said = site.json("undo")
    assert len(said["previous"].encode()) <= 63
    assert oid_of(site.dev, said["previous"]) > 0
    assert version(site.dev, name) == 1
    assert [one for one in databases(site.dev, name[:5]) if one not in {name, said["previous"]}] == []
    site.dev.drop_database(said["previous"])


def test_databases_that_only_a_service_names(site: Couple, monkeypatch: pytest.MonkeyPatch):
    """Their addresses are in no configuration, and what else their entries say makes nothing else of our sessions."""
    entries = ""
    for server, dbname, zone in ((site.prod, site.prod_db, "Asia/Tokyo"), (site.dev, site.dev_db, "Asia/Kolkata")):
        entries += (
            f"[{server.port}]\nhost={server.host}\nport={server.port}\nuser={server.user}\ndbname={dbname}\n"
            f"application_name=shop\noptions=-c TimeZone={zone} -c DateStyle=German -c statement_timeout=1\n"
        )
    (site.folder / ".pg_service.conf").write_text(entries)
    monkeypatch.setenv("HOME", str(site.folder))
    site.configure(database={"url": f"service={site.prod.port}"})
    site.retarget({"url": f"service={site.dev.port}"})
    site.refresh()
    assert contents(site.dev, site.dev_db) == contents(site.prod, site.prod_db)
    assert site.call("undo").code == 0


def test_a_target_whose_service_alone_says_that_it_is_postgres(site: Couple, monkeypatch: pytest.MonkeyPatch):
    """Databases are renamed from there, so that one cannot be; where the url says it, it is done from another one."""
    entry = f"[it]\nhost={site.dev.host}\nport={site.dev.port}\nuser={site.dev.user}\ndbname=postgres\n"
    (site.folder / ".pg_service.conf").write_text(entry)
    monkeypatch.setenv("HOME", str(site.folder))
    site.retarget({"url": "service=it"})
    said = site.refresh(expect=3)
    assert "only its service says that it is the database postgres" in said["message"]
    assert said["hint"] == "add dbname=postgres to databases.dev.url"
    site.retarget({"url": "service=it dbname=postgres"})
    assert site.json("refresh", "--plan")["obstacles"] == []


def test_two_targets_whose_names_begin_alike_never_take_each_others_previous(couple: Coupling, small: str):
    one = couple(small, dev_db="y" * 62 + "1")
    one.refresh()
    other = couple(small, dev_db="y" * 62 + "2")
    refused = other.refresh(expect=4)
    assert "_previous is there that a Daybreak kept, and this catalog does not know it" in refused["message"]
    one.json("undo")
    one.dev.drop_database("y" * 54 + "_previous")


OBJECTS = """
SELECT lo_from_bytea(0, 'x') FROM generate_series(1, 12000) \\g /dev/null
CREATE AGGREGATE none_at_all(*) (SFUNC = int8inc, STYPE = int8, INITCOND = '0');
CREATE AGGREGATE in_order(float8 ORDER BY anyelement)
    (SFUNC = ordered_set_transition, STYPE = internal, FINALFUNC = percentile_disc_final, FINALFUNC_EXTRA);
CREATE PROCEDURE "p""p"(INOUT a int, VARIADIC b text[]) LANGUAGE sql AS 'SELECT 1';
CREATE OPERATOR @@+ (FUNCTION = int4pl, LEFTARG = int, RIGHTARG = int);
CREATE OPERATOR CLASS ints FOR TYPE int USING btree AS
    OPERATOR 1 <, OPERATOR 3 =, OPERATOR 5 >, FUNCTION 1 btint4cmp(int, int);
CREATE TYPE span AS RANGE (SUBTYPE = float8);
CREATE COLLATION german FROM "C";
CREATE TEXT SEARCH CONFIGURATION plain (COPY = simple);
CREATE TABLE pair (a int, b int);
CREATE STATISTICS together ON a, b FROM pair;
"""


def test_more_objects_than_one_transaction_can_lock_and_of_every_kind(couple: Coupling, servers: Servers):
    prod = servers[18]
    name = prod.fresh()
    prod.psql(OBJECTS, name)
    site = couple(name)
    site.refresh()
    assert not_owned_by(OWNER, site.dev, site.dev_db) == []
    assert contents(site.dev, site.dev_db) == contents(prod, name)
    prod.drop_database(name)


def test_rows_are_loaded_as_a_vacuum_would_leave_them(refreshed: Couple):
    # With statistics, relallvisible is production's: it says nothing of the rows here.
    refreshed.prod.psql("ANALYZE account", refreshed.prod_db)
    run = refreshed.refresh("--fresh")
    steps = {step["name"]: step for step in refreshed.json("run", "show", run["run"])["steps"]}
    assert steps["restore"]["facts"]["frozen"] == 2
    pages = "SELECT relpages > 1, pg_relation_size(oid, 'vm') > 0 FROM pg_class WHERE oid = 'account'::regclass"
    assert refreshed.dev.psql(pages, refreshed.dev_db) == "t|t"
    assert list((refreshed.archive.parent / ".daybreak" / "pins").iterdir()) == []


@pytest.mark.parametrize(("little", "asked"), [(64 * 2**20, [0, 1, 1]), (0, [1, 2, 2])])
def test_a_checkpoint_is_asked_for_behind_many_rows_and_where_a_database_will_be_dropped(
    little: int, asked: list[int], site: Couple, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(rebuild, "_LITTLE_BYTES", little)

    def words(run: dict[str, object]) -> int:
        return Path(str(site.json("run", "show", str(run["run"]))["log"])).read_text().count("-c CHECKPOINT")

    assert [words(site.refresh()) for _ in range(3)] == asked


def test_what_is_restored_is_on_its_way_to_the_disk_meanwhile(site: Couple, servers: Servers):
    servers[18].psql(
        "CREATE FUNCTION flushed() RETURNS text IMMUTABLE LANGUAGE sql"
        " AS $$SELECT current_setting('backend_flush_after')$$;"
        "CREATE TABLE flushing (id int, after text GENERATED ALWAYS AS (flushed()) STORED);"
        "INSERT INTO flushing VALUES (1)",
        site.prod_db,
    )
    site.refresh()
    assert site.dev.psql("SELECT after FROM flushing", site.dev_db) == "2MB"


@pytest.mark.parametrize(("own", "used"), [("64MB", "256MB"), ("1GB", "1GB")])
def test_an_index_is_built_with_the_memory_that_the_server_gives_where_that_is_more(
    own: str, used: str, site: Couple, servers: Servers
):
    servers[18].psql(
        "CREATE FUNCTION given() RETURNS text IMMUTABLE LANGUAGE sql"
        " AS $$SELECT current_setting('maintenance_work_mem')$$;"
        "CREATE TABLE memory (id int, of_the_session text GENERATED ALWAYS AS (given()) STORED);"
        "INSERT INTO memory VALUES (1);"
        "CREATE MATERIALIZED VIEW filled AS SELECT current_setting('maintenance_work_mem') AS memory",
        site.prod_db,
    )
    site.dev.psql(f"ALTER DATABASE postgres SET maintenance_work_mem = '{own}'")
    try:
        site.refresh()
    finally:
        site.dev.psql("ALTER DATABASE postgres RESET maintenance_work_mem")
    assert site.dev.psql("SELECT of_the_session FROM memory", site.dev_db) == used
    assert site.dev.psql("SELECT * FROM filled", site.dev_db) == used
