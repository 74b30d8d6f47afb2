"""Single tables come back in a schema of their own, equal to the manifest; all else in development stays as it was."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from couples import OWNER, PLAIN, Couple, contents, databases, named, properties, quoted
from daybreak.archive import read_contents
from daybreak.jobs.selection import select
from daybreak.jobs.tables import narrow
from daybreak.replacement import Replacement
from installation import wait_for

if TYPE_CHECKING:
    from conftest import Server, Servers

Coupling = Callable[..., Couple]
ODD = '"Odd ""Schema"" ☀"."Table with ""quotes"", blanks. and dots"'
INSIDE = """
SELECT 'relation', relname, pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = {s}::regnamespace
UNION ALL SELECT 'type', typname, pg_get_userbyid(typowner) FROM pg_type
 WHERE typnamespace = {s}::regnamespace AND typtype IN ('e', 'd')
UNION ALL SELECT 'routine', proname, pg_get_userbyid(proowner) FROM pg_proc WHERE pronamespace = {s}::regnamespace
ORDER BY 1, 2"""

GOES_ON = """
INSERT INTO customer (email, name, joined) VALUES ('a@b', 'new', now());
INSERT INTO document (customer_id) SELECT max(id) FROM customer;
INSERT INTO orders (placed_on, amount) VALUES ('2024-02-02', 1)"""


def rescue(site: Couple, *tables: str, schema: str | None = None, expect: int = 0) -> dict[str, Any]:
    """`daybreak restore latest --to dev --table …`."""
    words = [word for table in tables for word in ("--table", table)]
    words += ["--as-schema", schema] if schema is not None else []
    return site.json("restore", "latest", "--to", "dev", *words, expect=expect)


def inside(server: Server, dbname: str, schema: str) -> list[str]:
    """Every relation, type and routine of a schema, with its owner."""
    return server.psql(INSIDE.format(s=quoted(named(schema))), dbname).splitlines()


def rows(server: Server, dbname: str, table: str) -> str:
    """All rows of a table, in an order of our own."""
    lines = f"SELECT to_jsonb(t)::text AS line FROM {table} AS t"  # noqa: S608 -- quoted by the caller
    total = "SELECT count(*), md5(string_agg(line, '|' ORDER BY line COLLATE \"C\"))"
    return server.psql(f"SET timezone = 'UTC'; {total} FROM ({lines}) AS lines", dbname)


def unchanged(site: Couple, act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `act` says, after it left dev, and the databases beside it, as they were."""

    def look() -> tuple[object, ...]:
        schemas = site.dev.psql("SELECT nspname FROM pg_namespace ORDER BY 1", site.dev_db)
        return databases(site.dev, ""), properties(site.dev, site.dev_db), contents(site.dev, site.dev_db), schemas

    before = look()
    said = act()
    site.wait_until_clean()
    assert look() == before
    return said


@pytest.mark.parametrize("majors", [(15, 15), (18, 18), (15, 18)])
def test_tables_of_every_kind_come_back(couple: Coupling, rich: Callable[[int], str], majors: tuple[int, int]) -> None:
    site = couple(rich(majors[0]), majors=majors)
    site.backup()
    for name in ("citext", "hstore", "pg_trgm"):
        site.dev.psql(f"CREATE EXTENSION {name}", site.dev_db)
    site.dev.psql(
        "CREATE SCHEMA shop; CREATE TABLE shop.customer (mine int); INSERT INTO shop.customer VALUES (7);"
        "SELECT lo_create(4711)",
        site.dev_db,
    )
    before = contents(site.dev, site.dev_db)
    tables = [
        "shop.customer",
        "shop.document",
        "shop.orders",
        "shop.event",
        "shop.car",
        "SHOP.Category",
        ODD,
        "audit.kinds",
        "public.no_columns",
        "public.unlogged",
    ]
    said = rescue(site, *tables, schema='Help "me" ☀')
    assert said["proof"]["different"] == said["proof"]["skipped"] == 0
    assert said["proof"]["compared"] == said["proof"]["tables"] == 15  # leaves of partitioned tables count
    assert said["tables"][5] == "shop.category"
    here = named('Help "me" ☀')
    for table in tables:
        schema, _, name = table.lower().rpartition(".") if table != ODD else ("", "", ODD.partition(".")[2])
        source = table if table == ODD else f"{schema}.{name}"
        assert rows(site.dev, site.dev_db, f"{here}.{name}") == rows(site.prod, site.prod_db, source), table
    # All that was there is as it was, and what is new is one schema, its owner dev's.
    after = contents(site.dev, site.dev_db)
    assert {key: after[key] for key in before if key != "sequences"} == {
        key: before[key] for key in before if key != "sequences"
    }
    found = inside(site.dev, site.dev_db, 'Help "me" ☀')
    assert {line.rsplit("|", 1)[1] for line in found} == {OWNER}
    assert {line.split("|")[1] for line in found if line.startswith("type")} >= {"state", "percent"}
    schemas = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY 1"
    assert site.dev.psql(schemas, site.dev_db).splitlines() == ['Help "me" ☀', "information_schema", "public", "shop"]
    comment = f"SELECT obj_description({quoted(here)}::regnamespace)"
    assert site.manifest().id in site.dev.psql(comment, site.dev_db)
    # Indexes, keys and identities work on: a key that leads into the schema is a key, one that leads out is told.
    document, car = quoted(f"{here}.document"), quoted(f"{here}.car")
    for sql, answer in (
        (f"count(*) FROM pg_index WHERE indrelid = {document}::regclass", "2"),
        (
            f"confrelid::regclass FROM pg_constraint WHERE contype = 'f' AND conrelid = {document}::regclass",
            f"{here}.customer",
        ),
        (f"count(*) FROM pg_inherits WHERE inhrelid = {car}::regclass", "0"),
    ):
        assert site.dev.psql(f"SELECT {sql}", site.dev_db) == answer
    site.dev.psql(
        f"SET ROLE {named(OWNER)}; SET search_path = {here}, public; {GOES_ON}",
        site.dev_db,
    )
    left = " ".join(said["left_out"])
    for word in ("TABLE shop.vehicle", "TRIGGER shop.category category_change", "ROW SECURITY shop.document", "POLICY"):
        assert word in left
    site.wait_until_clean()
    # A part that was compared proves no archive.
    assert site.json("archives")["archives"][0]["proven_at"] is None
    site.dev.psql("SELECT lo_unlink(4711)", site.dev_db)


def test_one_partition_stands_by_itself(couple: Coupling, rich: Callable[[int], str]) -> None:
    site = couple(rich(18))
    site.backup()
    said = rescue(site, "shop.orders_2025", schema="help")
    assert rows(site.dev, site.dev_db, "help.orders_2025") == rows(site.prod, site.prod_db, "shop.orders_2025")
    assert said["proof"]["equal"] == 1
    keys = "SELECT conname FROM pg_constraint WHERE contype = 'p' AND conrelid = 'help.orders_2025'::regclass"
    assert site.dev.psql(keys, site.dev_db) == "orders_2025_pkey"


def test_foreign_keys_that_lead_out_are_left_out_and_told(couple: Coupling, rich: Callable[[int], str]) -> None:
    site = couple(rich(18))
    site.backup()
    said = rescue(site, "shop.document")
    assert said["schema"] == f"rescue_{said['run'].replace('-', '_')}"
    assert any("FK CONSTRAINT shop.document document_customer_id_fkey" in one for one in said["left_out"])
    # A key that leads into it from elsewhere is nothing that it lacks.
    site.dev.psql("CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION pg_trgm", site.dev_db)
    said = rescue(site, "shop.customer")
    assert not any("FK CONSTRAINT" in one for one in said["left_out"])


def test_what_a_table_needs_comes_along(site: Couple) -> None:
    site.prod.psql(
        "CREATE SCHEMA a; CREATE SCHEMA b; CREATE TYPE b.mood AS ENUM ('sad', 'glad'); CREATE SEQUENCE b.shared;"
        "CREATE FUNCTION b.fine(b.mood) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';"
        "CREATE FUNCTION b.next(b.mood) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';"
        "CREATE DOMAIN b.some AS b.mood CHECK (b.fine(VALUE)); COMMENT ON DOMAIN b.some IS 'of some';"
        "ALTER DOMAIN b.some ADD CONSTRAINT late CHECK (VALUE <> 'sad') NOT VALID;"
        "CREATE TABLE a.t (id bigint DEFAULT nextval('b.shared'), m b.some CHECK (b.fine(m)),"
        " n bigint DEFAULT b.next('sad'));"
        "INSERT INTO a.t (m) SELECT 'glad' FROM generate_series(1, 50); CREATE INDEX ON a.t (b.fine(m));",
        site.prod_db,
    )
    site.backup()
    rescue(site, "a.t", schema="help")
    assert rows(site.dev, site.dev_db, "help.t") == rows(site.prod, site.prod_db, "a.t")
    late = "SELECT contypid::regtype, convalidated FROM pg_constraint WHERE conname = 'late'"
    assert site.dev.psql(late, site.dev_db) == 'help."some"|f'
    site.dev.psql("INSERT INTO help.t (m) VALUES ('glad')", site.dev_db)
    assert site.dev.psql("SELECT max(id), count(n) FROM help.t", site.dev_db) == "51|51"
    names = {line.split("|")[1] for line in inside(site.dev, site.dev_db, "help")}
    assert names >= {"t", "mood", "some", "fine", "next", "shared"}


COMMENTED = """
CREATE SCHEMA a; COMMENT ON SCHEMA a IS 'schema';
CREATE TYPE a.mood AS ENUM ('sad', 'glad'); COMMENT ON TYPE a.mood IS 'type';
CREATE FUNCTION a.fine(a.mood) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
COMMENT ON FUNCTION a.fine(a.mood) IS 'function';
CREATE TABLE a.up (id int PRIMARY KEY);
CREATE TABLE a.t (id serial PRIMARY KEY, m a.mood, n int, up int REFERENCES a.up);
COMMENT ON TABLE a.up IS 'up'; COMMENT ON TABLE a.t IS 'table'; COMMENT ON COLUMN a.t.m IS 'column';
CREATE INDEX by_m ON a.t (m); CREATE STATISTICS a.both ON m, n FROM a.t;
ALTER TABLE a.t ADD CONSTRAINT fine CHECK (a.fine(m)), ADD CONSTRAINT late CHECK (n > 3) NOT VALID;
COMMENT ON CONSTRAINT t_pkey ON a.t IS 'key'; COMMENT ON CONSTRAINT fine ON a.t IS 'check';
COMMENT ON CONSTRAINT late ON a.t IS 'late check'; COMMENT ON CONSTRAINT t_up_fkey ON a.t IS 'foreign key';
COMMENT ON INDEX a.by_m IS 'index'; COMMENT ON STATISTICS a.both IS 'statistics';
COMMENT ON SEQUENCE a.t_id_seq IS 'sequence';
"""
EMPTY = """
ALTER TABLE a.t ADD CONSTRAINT no_gap NOT NULL n NOT VALID; COMMENT ON CONSTRAINT no_gap ON a.t IS 'no gap';
"""


@pytest.mark.parametrize("major", [15, 18])
def test_comments_come_along(couple: Coupling, servers: Servers, major: int) -> None:
    name = servers[major].fresh()
    site = couple(name, majors=(major, major))
    site.prod.psql(COMMENTED + (EMPTY if major >= 18 else ""), name)
    site.backup()
    said = "SELECT description FROM pg_description WHERE objoid >= 16384 ORDER BY 1"
    there = set(site.prod.psql(said, name).splitlines())
    before = set(site.dev.psql(said, site.dev_db).splitlines())
    rescue(site, "a.t", schema="help")
    come = {one for one in site.dev.psql(said, site.dev_db).splitlines() if not one.startswith("a.t of ")} - before
    assert come == there - {"schema", "up", "foreign key"}


@pytest.mark.parametrize("majors", [(15, 15), (18, 18)])
def test_a_range_of_ones_own_comes_along(couple: Coupling, servers: Servers, majors: tuple[int, int]) -> None:
    name = servers[majors[0]].fresh()
    site = couple(name, majors=majors)
    site.prod.psql(
        "CREATE SCHEMA s1; CREATE TYPE s1.tsr AS RANGE (subtype = time);"
        "CREATE TABLE s1.t (r s1.tsr DEFAULT s1.tsr('01:00', '02:00'), m s1.tsr_multirange);"
        "INSERT INTO s1.t VALUES ('[10:00,11:00)', '{[10:00,11:00),[12:00,13:00)}')",
        name,
    )
    site.backup()
    rescue(site, "s1.t", schema="help")
    rescue(site, "s1.t", schema="more")  # beside the first, nothing stands in the way of the second
    assert rows(site.dev, site.dev_db, "more.t") == rows(site.prod, name, "s1.t")
    site.dev.psql("INSERT INTO more.t DEFAULT VALUES", site.dev_db)
    owners = (
        "SELECT typnamespace::regnamespace, typname, pg_get_userbyid(typowner) FROM pg_type"
        " WHERE typtype IN ('r', 'm') AND oid >= 16384 ORDER BY 1, 2"
    )
    mine = [f"{schema}|{kind}|{OWNER}" for schema in ("help", "more") for kind in ("tsr", "tsr_multirange")]
    assert site.dev.psql(owners, site.dev_db).splitlines() == mine
    # A whole database is handed over by the same statement.
    site.json("restore", "latest", "--to", "dev", "--new", f"{site.dev_db}_new")
    whole = site.dev.psql(owners, f"{site.dev_db}_new").splitlines()
    assert whole == [f"s1|tsr|{OWNER}", f"s1|tsr_multirange|{OWNER}"]


def test_a_table_with_very_many_partitions(site: Couple) -> None:
    # Their names alone are more than one word of a command line may be.
    wide, count = f"s{'x' * 62}", 700
    site.prod.psql(
        f"CREATE SCHEMA {wide}; CREATE TABLE {wide}.event (n int, PRIMARY KEY (n)) PARTITION BY LIST (n);"
        f"DO $$ BEGIN FOR n IN 1..{count} LOOP EXECUTE format('CREATE TABLE {wide}.%I PARTITION OF {wide}.event"
        " FOR VALUES IN (%s)', 'e' || repeat('y', 55) || n, n); END LOOP; END $$;"
        f"INSERT INTO {wide}.event SELECT generate_series(1, {count})",
        site.prod_db,
    )
    site.backup()
    said = rescue(site, f"{wide}.event", schema="help")
    assert said["proof"]["equal"] == count
    assert rows(site.dev, site.dev_db, "help.event") == rows(site.prod, site.prod_db, f"{wide}.event")
    never = (
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'help'::regnamespace AND relkind = 'r' AND reltuples < 0"
    )
    assert site.dev.psql(never, site.dev_db) == "0"  # all were analyzed


def test_an_event_trigger_of_dev_hears_nothing(site: Couple) -> None:
    site.dev.psql(
        "CREATE TABLE heard (what text); CREATE FUNCTION hear() RETURNS event_trigger LANGUAGE plpgsql AS"
        " 'BEGIN INSERT INTO public.heard VALUES (tg_tag); END'; CREATE EVENT TRIGGER e ON ddl_command_end"
        " EXECUTE FUNCTION hear()",
        site.dev_db,
    )
    rescue(site, "public.account", schema="help")
    assert site.dev.psql("SELECT count(*) FROM heard", site.dev_db) == "0"
    assert site.dev.psql("SELECT count(*) FROM help.account", site.dev_db) == "2000"


# -- what is refused, in words ----------------------------------------------------------------------


def test_into_production_no_table_ever_goes(site: Couple) -> None:
    before = contents(site.prod, site.prod_db)
    said = site.json("restore", "latest", "--to", "prod", "--table", "public.account", expect=4)
    assert said["message"] == "prod is protected: no table is ever restored into it"
    assert "--to prod --new NAME" in said["hint"]
    assert contents(site.prod, site.prod_db) == before


def test_into_what_is_production_by_another_name_neither(site: Couple, servers: Servers) -> None:
    before = contents(site.prod, site.prod_db)
    site.retarget({"url": servers[18].url(site.prod_db)})
    said = rescue(site, "public.account", expect=4)
    assert "are one database by their addresses" in said["message"]
    assert contents(site.prod, site.prod_db) == before


def test_words_that_do_not_fit(site: Couple) -> None:
    said = unchanged(site, lambda: rescue(site, "public.acount", expect=2))
    assert said["message"] == "the archive has no table public.acount"
    assert said["hint"] == "did you mean public.account?"
    said = unchanged(site, lambda: rescue(site, "other.thing", expect=2))
    assert said["hint"] == "`daybreak archive read FILE` lists what it has"
    said = unchanged(site, lambda: rescue(site, "account", expect=2))
    assert said["message"] == "--table account: not a schema and a table"
    assert "quote what SQL wants quoted" in said["hint"]
    for name in ("", "pg_mine", "n" * 64):
        said = unchanged(site, lambda name=name: rescue(site, "public.account", schema=name, expect=2))
        assert "cannot be the name of a schema" in said["message"]
        assert "keeps pg_… to itself" in said["hint"]
    words = ("restore", "latest", "--to", "dev")
    assert "--as-schema goes with --table" in site.json(*words, "--as-schema", "x", expect=2)["message"]
    said = site.json(*words, "--table", "public.account", "--new", "x", expect=2)
    assert "single tables go into --as-schema NAME" in said["message"]


def test_a_schema_that_is_there_is_never_written(site: Couple) -> None:
    site.dev.psql("CREATE SCHEMA help", site.dev_db)
    said = unchanged(site, lambda: rescue(site, "public.account", schema="help", expect=4))
    assert said["message"] == f"{site.dev_db} has a schema help already, and a restore overwrites nothing"
    assert "--as-schema NAME" in said["hint"]


def test_an_extension_that_dev_lacks_is_named(couple: Coupling, rich: Callable[[int], str]) -> None:
    site = couple(rich(18))
    site.backup()
    said = unchanged(site, lambda: rescue(site, "shop.customer", expect=15))
    assert (
        said["message"] == f"the tables need citext, hstore, pg_trgm, which {site.dev_db} does not have as extensions"
    )
    assert 'CREATE EXTENSION "citext"; CREATE EXTENSION "hstore"' in said["hint"]


@pytest.mark.parametrize("major", [15, 18])
def test_an_extension_that_only_a_constraint_needs(couple: Coupling, servers: Servers, major: int) -> None:
    name = servers[major].fresh()
    site = couple(name, majors=(major, major))
    site.prod.psql(
        "CREATE EXTENSION btree_gist; CREATE TABLE plain (r tsrange, EXCLUDE USING gist (r WITH &&));"
        "CREATE TABLE room (k int, r tsrange, EXCLUDE USING gist (r WITH &&, k WITH =));"
        "INSERT INTO room VALUES (1, '[2025-01-01,2025-01-02)')",
        name,
    )
    tables = ["public.room"]
    if major == 18:
        site.prod.psql("CREATE TABLE stay (id int, v tsrange, PRIMARY KEY (id, v WITHOUT OVERLAPS))", name)
        tables.append("public.stay")
    site.backup()
    rescue(site, "public.plain", schema="help")  # which does without
    for table in tables:
        said = unchanged(site, lambda table=table: rescue(site, table, expect=15))
        assert said["hint"] == f'in {site.dev_db}: CREATE EXTENSION "btree_gist"'
    site.dev.psql("CREATE EXTENSION btree_gist", site.dev_db)
    rescue(site, *tables, schema="more")
    exclusive = "SELECT count(*) FROM pg_index JOIN pg_class c ON c.oid = indrelid WHERE indisexclusion"
    assert site.dev.psql(f"{exclusive} AND relnamespace = 'more'::regnamespace", site.dev_db) == str(len(tables))


def test_a_table_whose_row_is_the_type_of_a_column(site: Couple) -> None:
    site.prod.psql(
        'CREATE SCHEMA a; CREATE TABLE a."Home" (street text); CREATE TABLE a.base (n int);'
        'CREATE TABLE a.person (home a."Home", old a."Home"[]) INHERITS (a.base);'
        "INSERT INTO a.person VALUES (1, ROW('x'), ARRAY[ROW('y')::a.\"Home\"])",
        site.prod_db,
    )
    site.backup()
    said = unchanged(site, lambda: rescue(site, "a.person", expect=15))
    assert said["message"].endswith('is the type of a column or stands in a function: a."Home"')
    assert said["hint"] == "restore them together: add --table 'a.\"Home\"'"
    rescue(site, "a.person", 'a."Home"', schema="help")
    assert rows(site.dev, site.dev_db, "help.person") == rows(site.prod, site.prod_db, "a.person")


def test_two_tables_of_one_name(site: Couple) -> None:
    site.prod.psql("CREATE SCHEMA a; CREATE TABLE a.account (id int)", site.prod_db)
    site.backup()
    said = unchanged(site, lambda: rescue(site, "public.account", "a.account", expect=15))
    assert "the tables do not fit into one schema" in said["message"]
    assert "each with its --as-schema" in said["hint"]


def test_a_foreign_table_is_not_to_be_had(couple: Coupling, servers: Servers) -> None:
    server = servers[18]
    name = server.fresh()
    server.psql(
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
        "CREATE FOREIGN TABLE far (id int) SERVER s",
        name,
    )
    site = couple(name)
    site.backup()
    said = rescue(site, "public.far", expect=15)
    assert said["message"].startswith("public.far cannot be restored here: ")
    assert said["hint"] == "restore the whole archive"


def test_names_that_are_not_ascii_where_the_database_is_not_utf8(couple: Coupling, servers: Servers) -> None:
    prod = servers[18]
    name = prod.create_database("latin", template="template0", options="ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    prod.psql(
        'SET client_encoding = UTF8; CREATE TABLE "wörter" ("größe" text PRIMARY KEY); '
        'INSERT INTO "wörter" VALUES ($$Zürich$$), ($$naïve$$); CREATE TABLE "übriges" (id int)',
        name,
    )
    site = couple(name)
    site.backup()
    assert rescue(site, "public.worter", expect=2)["hint"] == "did you mean public.wörter?"
    told = rescue(site, 'public."wörter"', schema="rescued")
    assert told["tables"] == ["public.wörter"]
    assert told["proof"]["equal"] == told["proof"]["tables"] == 1
    sql = 'SET client_encoding = UTF8; SELECT "größe" FROM rescued."wörter" ORDER BY 1'
    assert site.dev.psql(sql, site.dev_db).split() == ["Zürich", "naïve"]
    prod.drop_database(name)


# -- whatever happens on the way ----------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["pg_restore", "pg_dump"])
def test_a_failure_on_the_way_leaves_nothing(site: Couple, tool: str) -> None:
    # Half of the dump arrives, then it breaks.
    site.fake_tool(tool, '"$real" "$@" | head -c 30000; echo "moon: error: it is full" >&2; exit 1')
    said = unchanged(site, lambda: rescue(site, "public.account", expect=15))
    assert "it is full" in said["message"]


def test_rows_that_arrive_otherwise_are_dropped_again(site: Couple) -> None:
    site.fake_tool("pg_dump", '"$real" "$@" | sed "s/^7\\t.*/7\\tother/"')
    said = unchanged(site, lambda: rescue(site, "public.account", schema="help", expect=18))
    assert "account" in said["message"]


def test_a_killed_rescue_leaves_dev_alone(site: Couple) -> None:
    started = site.folder / "started"
    site.fake_tool("pg_dump", f'"$real" "$@" | head -c 30000; touch {started}; sleep 60')
    before = contents(site.dev, site.dev_db)
    with site.start("restore", "latest", "--to", "dev", "--table", "public.account", "--as-schema", "help") as going:
        wait_for(started.exists, what="pg_dump")
        going.kill()
    site.real_tools()
    assert any("dropped" in line for line in site.json("repair")["done"])
    site.wait_until_clean()
    assert contents(site.dev, site.dev_db) == before
    rescue(site, "public.account", schema="help")


def test_a_cancelled_rescue_leaves_dev_alone(site: Couple) -> None:
    started = site.folder / "started"
    site.fake_tool("pg_dump", f'"$real" "$@" | head -c 30000; touch {started}; sleep 60')
    before = contents(site.dev, site.dev_db)
    with site.start("restore", "latest", "--to", "dev", "--table", "public.account") as going:
        wait_for(started.exists, what="pg_dump")
        going.process.send_signal(signal.SIGTERM)
        assert going.end().code == 143
    site.wait_until_clean()
    assert contents(site.dev, site.dev_db) == before


def test_a_role_that_is_no_superuser(site: Couple) -> None:
    site.dev.psql(f"ALTER DATABASE {named(site.dev_db)} OWNER TO {named(PLAIN)}; ALTER ROLE {named(PLAIN)} CREATEDB")
    try:
        site.retarget({"url": site.dev.url(site.dev_db, user=PLAIN)})
        rescue(site, "public.account", schema="help")
    finally:
        site.dev.psql(f"ALTER ROLE {named(PLAIN)} NOCREATEDB")
    assert inside(site.dev, site.dev_db, "help") == [f"relation|account|{PLAIN}"]


def test_a_database_that_is_set_to_read_only(site: Couple) -> None:
    site.dev.psql(f"ALTER DATABASE {named(site.dev_db)} SET default_transaction_read_only = on")
    rescue(site, "public.account", schema="help")
    assert inside(site.dev, site.dev_db, "help") == [f"relation|account|{OWNER}"]


def test_what_it_says_to_a_person(site: Couple) -> None:
    said = site.call("restore", "latest", "--to", "dev", "--table", "public.account", "--as-schema", "help")
    assert said.code == 0, said.err
    assert said.out.startswith("dev, schema help, has public.account of ")


# -- words ------------------------------------------------------------------------------------------


def test_only_what_is_needed_is_chosen(couple: Coupling, rich: Callable[[int], str]) -> None:
    site = couple(rich(18))
    site.backup()
    _, entries = read_contents(site.archive)
    everything = select(entries, Replacement(), cron_here=False)
    chosen = {one.label for one in narrow(everything, ["shop.document"]).selection.restored}
    assert {
        "SCHEMA shop",
        "TABLE shop.document",
        "shop.document",
        "SEQUENCE shop.document_id_seq",
        "SEQUENCE OWNED BY shop.document_id_seq",
        "SEQUENCE SET shop.document_id_seq",
        "DEFAULT shop.document id",
        "CONSTRAINT shop.document document_pkey",
        "INDEX shop.document_body",
    } == chosen - {"ENCODING ENCODING", "STDSTRINGS STDSTRINGS", "SEARCHPATH SEARCHPATH"}
    partitioned = narrow(everything, ["shop.orders"])
    assert len(partitioned.tables) == 6
    assert sum(one.kind == "TABLE ATTACH" for one in partitioned.selection.restored) == 5
    assert sum(one.kind == "INDEX ATTACH" for one in partitioned.selection.restored) == 10
