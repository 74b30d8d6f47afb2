"""Rows of dev's own go on in the refreshed database: in order, with a rule for conflicts, sequences right."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from couples import Couple, contents, named
from daybreak.errors import RefreshError
from daybreak.postgres.kept import Carried, Table, in_order
from daybreak.replacement import KeptRows

if TYPE_CHECKING:
    from conftest import Servers

Coupling = Callable[..., Couple]
SCHEMA = """
CREATE SCHEMA app; CREATE SCHEMA "Odd one";
CREATE TABLE app.team (id serial PRIMARY KEY, name text UNIQUE, boss int REFERENCES app.team);
CREATE TABLE app.flag (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, team int REFERENCES app.team, name text,
    value jsonb, size int GENERATED ALWAYS AS (length(name)) STORED);
CREATE TABLE "Odd one"."T a" ("the key" text, at date, raw bytea, tags text[], PRIMARY KEY ("the key", at))
    PARTITION BY RANGE (at);
CREATE TABLE "Odd one".p1 PARTITION OF "Odd one"."T a" FOR VALUES FROM ('2020-01-01') TO ('2030-01-01');
CREATE TABLE "Odd one".p2 PARTITION OF "Odd one"."T a" DEFAULT;
CREATE TABLE app.loose (note text);
CREATE SEQUENCE app.down INCREMENT -1; CREATE TABLE app.falling (id int PRIMARY KEY DEFAULT nextval('app.down'));
ALTER SEQUENCE app.down OWNED BY app.falling.id;
CREATE TABLE app.audit (what text);
CREATE FUNCTION app.noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO app.audit VALUES (tg_table_name); RETURN NEW; END $$;
CREATE TRIGGER noted AFTER INSERT OR UPDATE ON app.flag FOR EACH ROW EXECUTE FUNCTION app.noted();
CREATE TRIGGER off AFTER INSERT ON app.flag FOR EACH ROW EXECUTE FUNCTION app.noted();
ALTER TABLE app.flag DISABLE TRIGGER off;
INSERT INTO app.team (name) VALUES ('prod'), ('both');
INSERT INTO app.flag (team, name, value) VALUES (1, 'one', '1'), (2, 'two', '2');
INSERT INTO "Odd one"."T a" VALUES ('k', '2025-01-01', 'a', '{x}'), ('k', '2040-01-01', 'b', NULL);
INSERT INTO app.loose VALUES ('from prod'), ('also from prod'); INSERT INTO app.falling DEFAULT VALUES;
TRUNCATE app.audit;
"""
OF_DEV = r"""
INSERT INTO app.team (id, name, boss) VALUES (7, 'dev', NULL), (6, 'under dev', 7);
UPDATE app.team SET boss = 6 WHERE id = 7;
INSERT INTO app.flag (team, name, value) VALUES (7, E'dev''s\t\\.\nrow', '{"a": [1]}');
UPDATE app.flag SET value = '"changed in dev"' WHERE name = 'one';
INSERT INTO "Odd one"."T a" VALUES (E'd\\e"v', '2025-05-05', '\x00ff', '{"a,b",NULL}');
INSERT INTO "Odd one"."T a" VALUES ('k', '2041-01-01', NULL, NULL);
DELETE FROM app.loose; INSERT INTO app.loose VALUES ('from dev');
INSERT INTO app.falling VALUES (-50); TRUNCATE app.audit;
"""
ALL = [
    {"table": "app.flag", "where": "id > 2 OR value::text LIKE '%dev%'"},
    {"table": "app.team"},
    {"table": '"Odd one"."T a"', "conflict": "production"},
    {"table": "app.loose"},
    {"table": "app.falling"},
]


def keep(site: Couple, *tables: dict[str, str]) -> None:
    """Tell the refresh what to keep."""
    lines = ", ".join("{ " + ", ".join(f"{key} = '''{value}'''" for key, value in one.items()) + " }" for one in tables)
    site.retarget()
    site.more += f"keep = [{lines}]\n"
    site.configure()


@pytest.fixture
def site(couple: Coupling, servers: Servers, request: pytest.FixtureRequest) -> Iterator[Couple]:
    major = getattr(request, "param", 18)
    name = servers[major].fresh()
    servers[major].psql(SCHEMA, name)
    made = couple(name, majors=(major, major))
    made.refresh()
    yield made
    made.drop()
    servers[major].drop_database(name)


@pytest.mark.parametrize("site", [15, 18], indirect=True)
def test_rows_of_dev_go_on(site: Couple) -> None:
    dev, name = site.dev, site.dev_db
    dev.psql(OF_DEV, name)
    keep(site, *ALL)
    assert any("keep" in step and "app.flag where" in step for step in site.json("refresh", "--plan")["steps"])
    site.prod.psql(
        "UPDATE app.flag SET value = '\"new in prod\"'; UPDATE app.team SET name = 'renamed' WHERE id = 2;"
        "TRUNCATE app.audit",
        site.prod_db,
    )
    done = site.refresh("--fresh")
    assert done["proof"]["different"] == 0
    assert dev.psql("SELECT id, team, name, value, size FROM app.flag ORDER BY id", name) == (
        '1|1|one|"changed in dev"|3\n2|2|two|"new in prod"|3\n3|7|dev\'s\t\\.\nrow|{"a": [1]}|12'
    )
    assert dev.psql("SELECT id, name, boss FROM app.team ORDER BY id", name).splitlines() == [
        "1|prod|",
        "2|both|",
        "6|under dev|7",
        "7|dev|6",
    ]
    assert dev.psql('SELECT count(*), count(raw) FROM "Odd one"."T a"', name) == "4|3"
    assert dev.psql("SELECT note FROM app.loose", name) == "from dev"
    assert dev.psql("SELECT count(*) FROM app.audit", name) == "0"  # nobody's trigger heard of it
    dev.psql(
        "INSERT INTO app.team (name) VALUES ('next'); INSERT INTO app.flag (name) VALUES ('next');"
        "INSERT INTO app.falling DEFAULT VALUES",
        name,
    )
    assert dev.psql("SELECT max(id) FROM app.team", name) == "8"
    assert dev.psql("SELECT max(id) FROM app.flag", name) == "4"
    assert dev.psql("SELECT min(id) FROM app.falling", name) == "-51"
    assert dev.psql("SELECT what FROM app.audit", name) == "flag"  # and now it hears, once: the other one is off
    steps = {one["name"]: one["facts"] for one in site.json("run", "show", done["run"])["steps"]}
    assert steps["keep"]["app.team"] == "4 rows, 2 of them in production too: dev wins"
    assert steps["keep"]["Odd one.T a"] == "4 rows, 2 of them in production too: production wins"
    assert site.clean() == []


@pytest.mark.parametrize("site", [15, 18], indirect=True)
def test_a_database_and_a_role_that_only_read_are_refreshed(site: Couple) -> None:
    dev, name = site.dev, site.dev_db
    dev.psql("DELETE FROM app.loose; INSERT INTO app.loose VALUES ('dev'); GRANT SELECT ON app.loose TO PUBLIC", name)
    dev.psql(f"ALTER DATABASE {named(name)} SET default_transaction_read_only = on")
    site.by_role("careful reader")
    dev.psql('ALTER ROLE "careful reader" SET default_transaction_read_only = on')
    keep(site, {"table": "app.loose"})
    # A check only reads, whatever else is pinned.
    check = """{ name = "reads", sql = "SELECT current_setting('transaction_read_only') = 'on'" }"""
    site.more += f"checks = [{check}]\n"
    site.configure()
    site.refresh()
    assert dev.psql("SELECT note FROM app.loose", name) == "dev"
    assert dev.psql("SHOW default_transaction_read_only", name) == "on"
    site.json("undo")
    assert site.clean() == []


@pytest.mark.parametrize("site", [15, 18], indirect=True)
def test_rows_of_tables_that_inherit_stay(site: Couple) -> None:
    site.prod.psql(
        "CREATE TABLE app.log (a int, t text); CREATE TABLE app.log_child () INHERITS (app.log);"
        "INSERT INTO app.log VALUES (1, 'parent'); INSERT INTO app.log_child VALUES (2, 'child');"
        "CREATE TABLE app.page (id int PRIMARY KEY); CREATE TABLE app.leaf () INHERITS (app.page);"
        "INSERT INTO app.page VALUES (1); INSERT INTO app.leaf VALUES (2)",
        site.prod_db,
    )
    site.refresh("--fresh")
    site.dev.psql("UPDATE ONLY app.log SET t = 'dev'; UPDATE ONLY app.page SET id = 2", site.dev_db)
    keep(site, {"table": "app.log"}, {"table": "app.page", "conflict": "fail"})
    site.refresh("--fresh")
    rows = "SELECT tableoid::regclass, a, t FROM app.log ORDER BY a"
    assert site.dev.psql(rows, site.dev_db) == "app.log|1|dev\napp.log_child|2|child"
    rows = "SELECT tableoid::regclass, id FROM app.page ORDER BY 1, 2"  # a child's row is none that is matched
    assert site.dev.psql(rows, site.dev_db) == "app.page|1\napp.page|2\napp.leaf|2"


EMPTY = """
CREATE TABLE app.code (code text UNIQUE, v int);
CREATE TABLE app.alike (code text UNIQUE NULLS NOT DISTINCT, v int);
CREATE TABLE app.both (code text UNIQUE, no int NOT NULL UNIQUE);
INSERT INTO app.code VALUES ('a', 1), (NULL, 2), (NULL, 3); INSERT INTO app.alike VALUES ('a', 1), (NULL, 2);
INSERT INTO app.both VALUES (NULL, 1), ('a', 2);
"""
TEMPORAL = """
CREATE EXTENSION btree_gist;
CREATE TABLE app.stay (room int, at daterange, who text, PRIMARY KEY (room, at WITHOUT OVERLAPS));
INSERT INTO app.stay VALUES (1, '[2020-01-01,2020-02-01)', 'prod'), (2, '[2020-01-01,2020-02-01)', 'prod');
CREATE TABLE app.floor (no int, at daterange, PRIMARY KEY (no, at WITHOUT OVERLAPS)) PARTITION BY LIST (no);
CREATE TABLE app.first PARTITION OF app.floor FOR VALUES IN (1);
CREATE TABLE app.room (no int, floor int, at daterange, PRIMARY KEY (no, at WITHOUT OVERLAPS),
    CONSTRAINT "50%" FOREIGN KEY (floor, PERIOD at) REFERENCES app.floor (no, PERIOD at));
CREATE TABLE app.guest (room int, at daterange) PARTITION BY LIST (room);
CREATE TABLE app.one PARTITION OF app.guest FOR VALUES IN (1);
ALTER TABLE app.guest ADD CONSTRAINT slept FOREIGN KEY (room, PERIOD at) REFERENCES app.room (no, PERIOD at);
INSERT INTO app.floor VALUES (1, '[2020-01-01,2020-02-01)');
INSERT INTO app.room VALUES (1, 1, '[2020-01-01,2020-02-01)');
INSERT INTO app.guest VALUES (1, '[2020-01-02,2020-01-04)');
"""
KEYS = """
SELECT conrelid::regclass::text, conname, condeferrable, condeferred, convalidated
  FROM pg_constraint WHERE contype = 'f' ORDER BY 1, 2"""


@pytest.mark.parametrize("site", [15, 18], indirect=True)
def test_rows_that_no_key_tells_apart_are_there_once(site: Couple) -> None:
    dev, name = site.dev, site.dev_db
    temporal = site.prod.major >= 18
    site.prod.psql(EMPTY + (TEMPORAL if temporal else ""), site.prod_db)
    site.refresh("--fresh")
    dev.psql("UPDATE app.code SET v = 9 WHERE v < 3; UPDATE app.alike SET v = 9", name)
    tables = ["code", "alike", "both"]
    if temporal:
        dev.psql("UPDATE app.stay SET who = 'dev', at = '[2020-01-15,2020-02-15)' WHERE room = 1", name)
        tables.append("stay")
    keep(site, *({"table": f"app.{table}"} for table in tables))
    for _ in range(2):
        site.refresh()
        assert dev.psql("SELECT * FROM app.code ORDER BY 1, 2", name) == "a|9\n|3\n|9"
        assert dev.psql("SELECT * FROM app.alike ORDER BY 1", name) == "a|9\n|9"
        assert dev.psql("SELECT * FROM app.both ORDER BY no", name) == "|1\na|2"
        if temporal:
            assert dev.psql("SELECT room, who FROM app.stay ORDER BY room", name) == "1|dev\n2|prod"
    keep(site, {"table": "app.code", "conflict": "production"})
    said = site.refresh(expect=15)["message"]
    assert "keep: rows of app.code have no value in code, and nobody can tell" in said
    assert said.endswith("(2)")
    keep(site, {"table": "app.code", "where": "code IS NOT NULL", "conflict": "production"})
    site.refresh()
    assert dev.psql("SELECT * FROM app.code ORDER BY 1, 2", name) == "a|1\n|2\n|3"


@pytest.mark.parametrize("site", [15, 18], indirect=True)
def test_a_key_says_itself_what_is_equal(site: Couple) -> None:
    dev, name = site.dev, site.dev_db
    site.prod.psql(
        'CREATE SCHEMA "of ""types"; CREATE EXTENSION citext SCHEMA "of ""types"; CREATE EXTENSION ltree SCHEMA app;'
        'CREATE TABLE app.person (mail "of ""types".citext PRIMARY KEY, v text);'
        "CREATE TABLE app.path (path app.ltree UNIQUE NULLS NOT DISTINCT, v text);"
        "INSERT INTO app.person VALUES ('Bob@x', 'prod'); INSERT INTO app.path VALUES ('a.b', 'prod'), (NULL, 'prod')",
        site.prod_db,
    )
    site.refresh("--fresh")
    dev.psql("UPDATE app.person SET mail = 'bob@X', v = 'dev'; UPDATE app.path SET v = 'dev'", name)
    keep(site, {"table": "app.person", "conflict": "fail"})
    said = site.refresh(expect=15)
    assert "keep: production's data has rows of app.person too, by mail (1)" in said["message"]
    keep(site, {"table": "app.person"}, {"table": "app.path"})
    done = site.refresh()
    steps = {one["name"]: one["facts"] for one in site.json("run", "show", done["run"])["steps"]}
    assert steps["keep"]["app.person"] == "1 row, 1 of them in production too: dev wins"
    assert steps["keep"]["app.path"] == "2 rows, 2 of them in production too: dev wins"
    assert dev.psql("SELECT DISTINCT v FROM app.person UNION SELECT v FROM app.path", name) == "dev"


def test_a_table_is_named_once_however_it_is_written(site: Couple) -> None:
    before = contents(site.dev, site.dev_db)
    keep(site, {"table": "app.team", "where": "id = 1"}, {"table": 'app."team"', "where": "id = 2"})
    said = site.refresh(expect=15)
    assert "names app.team twice" in said["message"]
    assert contents(site.dev, site.dev_db) == before


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_rows_go_on_in_every_encoding(couple: Coupling, servers: Servers, encoding: str) -> None:
    options = f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
    name = servers[18].create_database(f"kept in {encoding}", template="template0", options=options)
    servers[18].psql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'prod')", name)
    site = couple(name)
    site.refresh()
    # é as LATIN1 has it: no letter of UTF-8
    latin = "convert_from(decode('e9', 'hex'), getdatabaseencoding())"
    site.dev.psql(f"INSERT INTO t VALUES (2, {latin})", site.dev_db)  # noqa: S608 -- ours
    keep(site, {"table": "public.t"})
    site.refresh("--fresh")
    rows = f"SELECT id, v = 'prod', v = {latin} FROM t ORDER BY id"  # noqa: S608 -- ours
    assert site.dev.psql(rows, site.dev_db) == "1|t|f\n2|f|t"
    site.drop()
    servers[18].drop_database(name)


def test_rows_that_a_key_of_periods_refers_to_go_on(site: Couple) -> None:
    dev, name = site.dev, site.dev_db
    site.prod.psql(TEMPORAL, site.prod_db)
    site.refresh("--fresh")
    keep(site, {"table": "app.room"}, {"table": "app.first"})
    dev.psql("INSERT INTO app.floor VALUES (1, '[2020-03-01,2020-04-01)')", name)
    dev.psql("INSERT INTO app.room VALUES (7, 1, '[2020-03-02,2020-03-09)')", name)
    for _ in range(2):
        site.refresh()
        assert dev.psql("SELECT no, at FROM app.room ORDER BY no", name) == (
            "1|[2020-01-01,2020-02-01)\n7|[2020-03-02,2020-03-09)"
        )
        assert dev.psql("SELECT count(*) FROM app.floor", name) == "2"
        assert dev.psql(KEYS, name) == site.prod.psql(KEYS, site.prod_db)
    dev.psql("DELETE FROM app.guest; DELETE FROM app.room WHERE no = 1", name)
    said = site.refresh(expect=15)
    assert 'foreign key constraint "slept"' in said["message"]
    assert "what refers to them" in said["hint"]


def test_sequences_of_defaults_go_on_behind_the_rows_within_their_bounds(site: Couple) -> None:
    site.prod.psql(
        """CREATE SEQUENCE app."by 'hand";
        CREATE TABLE app.hand (id int DEFAULT nextval('app."by ''hand"') PRIMARY KEY);
        CREATE TABLE app.short (id serial PRIMARY KEY); ALTER SEQUENCE app.short_id_seq MAXVALUE 1000;
        CREATE TABLE app.whole (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE app.first PARTITION OF app.whole FOR VALUES FROM (1) TO (100);
        INSERT INTO app.hand DEFAULT VALUES; INSERT INTO app.short VALUES (5000)""",
        site.prod_db,
    )
    site.refresh("--fresh")
    site.dev.psql(
        "INSERT INTO app.hand SELECT FROM generate_series(1, 3); INSERT INTO app.short VALUES (30);"
        "INSERT INTO app.whole DEFAULT VALUES",
        site.dev_db,
    )
    keep(site, {"table": "app.hand"}, {"table": "app.short"}, {"table": "app.first"})
    site.refresh()
    for table, last in (("hand", "5"), ("short", "31"), ("whole", "2")):
        insert = f"INSERT INTO app.{table} DEFAULT VALUES RETURNING id"  # noqa: S608 -- ours
        assert site.dev.psql(insert, site.dev_db) == last


ACTING = """
CREATE TABLE app.part (id int PRIMARY KEY, no text) PARTITION BY RANGE (id);
CREATE TABLE app.part1 PARTITION OF app.part FOR VALUES FROM (0) TO (10);
CREATE TABLE app.part2 PARTITION OF app.part DEFAULT;
CREATE TRIGGER whole AFTER INSERT ON app.part FOR EACH ROW EXECUTE FUNCTION app.noted();
CREATE TRIGGER alone AFTER INSERT ON app.part1 FOR EACH ROW EXECUTE FUNCTION app.noted();
ALTER TABLE app.part1 DISABLE TRIGGER whole; ALTER TABLE app.part1 ENABLE ALWAYS TRIGGER alone;
CREATE TABLE app.ring (id int PRIMARY KEY, up int REFERENCES app.ring DEFERRABLE);
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON app.ring DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION app.noted();
CREATE TABLE app.invoice (no text PRIMARY KEY);
CREATE SEQUENCE app.numbers OWNED BY app.invoice.no;
ALTER TABLE app.invoice ALTER no SET DEFAULT 'INV-' || nextval('app.numbers');
INSERT INTO app.invoice DEFAULT VALUES;
CREATE TABLE app.ruled (id int); INSERT INTO app.ruled VALUES (1);
CREATE RULE never AS ON DELETE TO app.ruled DO INSTEAD NOTHING;
CREATE TABLE app.noted (id int PRIMARY KEY);
CREATE RULE heard AS ON INSERT TO app.noted DO ALSO INSERT INTO app.audit VALUES ('rule');
CREATE TABLE app.heard (what text);
CREATE FUNCTION app.hear() RETURNS event_trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO app.heard VALUES (tg_tag); END $$;
CREATE EVENT TRIGGER hearing ON ddl_command_end EXECUTE FUNCTION app.hear();
"""
STATES = """
SELECT tgrelid::regclass::text AS relation, tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT ev_class::regclass::text, rulename, ev_enabled FROM pg_rewrite WHERE ev_class >= 16384 ORDER BY 1, 2"""


@pytest.mark.parametrize("site", [15, 18], indirect=True)
def test_nothing_acts_on_rows_that_go_on(site: Couple) -> None:
    dev, name = site.dev, site.dev_db
    site.prod.psql(ACTING, site.prod_db)
    site.refresh("--fresh")
    dev.psql(
        "INSERT INTO app.part VALUES (1, 'one'), (11, 'two'); INSERT INTO app.ring VALUES (1, 2), (2, 1);"
        "INSERT INTO app.invoice VALUES ('INV-7'); INSERT INTO app.noted VALUES (1); UPDATE app.ruled SET id = 2",
        name,
    )
    keep(site, *({"table": f"app.{table}"} for table in ("part", "ring", "invoice", "ruled", "noted")))
    site.refresh("--fresh")
    assert dev.psql("SELECT count(*) FROM app.audit", name) == "0"
    assert dev.psql("SELECT what FROM app.heard", name) == ""
    assert dev.psql(STATES, name) == site.prod.psql(STATES, site.prod_db)
    for select, rows in (
        ("SELECT id FROM app.part ORDER BY id", "1\n11"),
        ("SELECT id FROM app.ring ORDER BY id", "1\n2"),
        ("SELECT no FROM app.invoice ORDER BY no", "INV-1\nINV-7"),
        ("SELECT id FROM app.ruled", "2"),
        ("SELECT id FROM app.noted", "1"),
    ):
        assert dev.psql(select, name) == rows
    dev.psql("INSERT INTO app.part VALUES (3, 'x'), (13, 'y')", name)
    assert dev.psql("SELECT what FROM app.audit ORDER BY what", name) == "part1\npart2"


@pytest.mark.parametrize(
    ("dev", "prod", "wish", "words"),
    [
        (
            "",
            "",
            {"table": "app.team", "conflict": "fail"},
            ("production's data has rows of app.team too, by id (2)",),
        ),
        (OF_DEV, "", {"table": "app.flag"}, ("flag_team_fkey", "keep what they refer to", "as well")),
        ("", "", {"table": "app.loose", "conflict": "production"}, ("app.loose has no unique key", '"production"')),
        (
            "",
            "ALTER TABLE app.flag ADD must int NOT NULL DEFAULT 5; ALTER TABLE app.flag ALTER must DROP DEFAULT",
            {"table": "app.flag"},
            ("app.flag of production needs must",),
        ),
        (
            "",
            "CREATE RULE up AS ON UPDATE TO app.team DO ALSO NOTHING; ALTER TABLE app.team DISABLE RULE up",
            {"table": "app.team"},
            ("app.team has the rule up on UPDATE", "let a trigger do"),
        ),
        ("", "DROP TABLE app.audit", {"table": "app.audit"}, ("production has no table app.audit any more",)),
        ("", "", {"table": "app.team", "where": "nonsense > 1"}, ("app.team cannot be read", "nonsense")),
        (
            "UPDATE app.team SET id = 99, name = 'x' WHERE id = 1; UPDATE app.team SET name = 'prod' WHERE id = 99",
            "",
            {"table": "app.team"},
            ("team_name_key", "narrow where"),
        ),
    ],
)
def test_what_does_not_fit_stops_the_refresh(
    site: Couple, dev: str, prod: str, wish: dict[str, str], words: tuple[str, ...]
) -> None:
    if "id = 99" in dev:
        site.dev.psql("DELETE FROM app.flag", site.dev_db)
    site.dev.psql(dev, site.dev_db)
    site.prod.psql(prod, site.prod_db)
    before = contents(site.dev, site.dev_db)
    keep(site, wish)
    said = site.refresh("--fresh", expect=15)
    text = f"{said['message']} {said['hint']}"
    for word in words:
        assert word in text
    assert contents(site.dev, site.dev_db) == before
    assert site.clean() == []


def test_a_table_that_dev_never_had_is_only_said(site: Couple) -> None:
    keep(site, {"table": "app.never"})
    answer = site.call("refresh", "--first")
    assert answer.code == 0
    assert "has no table app.never" in answer.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_disk_that_is_too_small_for_the_rows_is_named(site: Couple) -> None:
    site.prod.psql(
        "CREATE TABLE app.large AS SELECT n AS id, repeat('x', 1000) AS text FROM generate_series(1, 4000) AS n",
        site.prod_db,
    )
    site.refresh("--fresh")
    keep(site, {"table": "app.large"})
    private = site.state / "private"
    subprocess.run(["/usr/bin/mount", "-t", "tmpfs", "-o", "size=1m,mode=2770", "tmpfs", private], check=True)
    try:
        said = site.refresh(expect=15)
    finally:
        subprocess.run(["/usr/bin/umount", private], check=True)
    assert f"{private / said['run']}: the disk is full ({site.dev_db} is as it was)" in said["message"]
    assert said["hint"] == "make room there, then run again"
    assert site.clean() == []


def table(oid: int, *parents: int, deferrable: bool = False) -> Carried:
    made = Table(
        schema="s",
        name=f"t{oid}",
        oid=oid,
        partitioned=False,
        columns=(),
        keys=(),
        parents=tuple({"name": "fk", "parent": one, "deferrable": deferrable} for one in parents),
        update_rules=(),
        sequences=(),
    )
    return Carried(wish=KeptRows(table=f"s.t{oid}"), table=made, columns=())


def test_parents_come_before_children() -> None:
    found = [one.table.oid for one in in_order([table(1, 2, 3), table(2, 3, 99), table(3)])]
    assert found == [3, 2, 1]
    with pytest.raises(RefreshError, match=r"s\.t[12] → s\.t[12] → s\.t[12]"):
        in_order([table(1, 2), table(2, 1)])
    assert len(in_order([table(1, 2, deferrable=True), table(2, 1)])) == 2
