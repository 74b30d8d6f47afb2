"""The proof says equal when all is equal, and finds whatever is not."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import psycopg
import pytest

from couples import Couple, contents
from daybreak.archive import Manifest, digest_of, table_data
from daybreak.config.conninfo import parse_conninfo
from daybreak.errors import Cancelled
from daybreak.jobs.proof import Prover, prove
from daybreak.jobs.verdicts import Proof, Verdict
from daybreak.model import Database
from daybreak.postgres.client import Postgres
from daybreak.process import Runner
from installation import wait_for

if TYPE_CHECKING:
    from conftest import Coupling, Server, Servers

#: The archive's rows of a table, by schema and name.
Archived = Callable[[str, str], Iterable[bytes]]
Restored = tuple["Server", str, Manifest, Archived]

ODD = """
SET timezone = 'Asia/Kathmandu';
-- rows of mixed width with holes between them
CREATE TABLE mixed (id int, filler text) WITH (fillfactor = 60);
INSERT INTO mixed SELECT n, repeat('x', (n * 7919) % 1800) FROM generate_series(1, 1500) n;
UPDATE mixed SET filler = filler || repeat('y', id % 400) WHERE id % 3 = 0;
DELETE FROM mixed WHERE id % 7 = 0;
VACUUM mixed;
UPDATE mixed SET filler = left(filler, 40) WHERE id % 5 = 0;
-- INHERITS with a late column
CREATE TABLE parent (a int);
CREATE TABLE child (b int) INHERITS (parent);
INSERT INTO child SELECT n, n * 2 FROM generate_series(1, 30) n;
ALTER TABLE parent ADD COLUMN late text DEFAULT 'l';
-- hash partitions on an enum: loaded through the root
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy', 'odd one');
CREATE TABLE "Mo""od" (m mood, n int, "co l" int GENERATED ALWAYS AS (n * 2) STORED) PARTITION BY HASH (m);
CREATE TABLE mood_0 PARTITION OF "Mo""od" FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE mood_1 PARTITION OF "Mo""od" FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO "Mo""od" (m, n) SELECT (enum_range(NULL::mood))[1 + n % 4], n FROM generate_series(1, 200) n;
-- values whose text depends on settings
CREATE TABLE kinds (t timestamptz, d date, i interval, f float8, r real, b bytea, m money, x xml, j jsonb);
INSERT INTO kinds VALUES
    ('2024-07-01 12:00:00.000001 America/Chicago', 'infinity', '-1 year 2 mons -3 days 04:05:06.7', 'NaN',
     '-Infinity', '\\xdeadbeef00', 12345.67, NULL, '{"a": [1, null]}'),
    ('1883-11-18 12:03:58-05:50:36', '4713-01-01 BC', 'P0D', 1.7976931348623157e308,
     1e-45, '', -0.01, NULL, '"\\u2028"'),
    ('-infinity', '5874897-12-31', '178000000 years', 5e-324, 3.4028235e38, E'\\\\\\\\000\\\\\\\\n', 0, NULL, 'null'),
    (NULL, NULL, NULL, 0.1 + 0.2::float8, 0.1, NULL, NULL, NULL, NULL);
-- nothing, in several ways
CREATE TABLE empty (id int);
CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
INSERT INTO no_columns DEFAULT VALUES;
CREATE TABLE "line
break "" '; -- é ☀ \\x" ("co
l\\n" text, "\\." text);
INSERT INTO "line
break "" '; -- é ☀ \\x" VALUES ('\\.', E'\\\\.\\n\\\\.'), (E'a\\nb\\tc\\\\', NULL), ('\\N', '');
-- large objects: nothing in one, one byte, more than one piece, exactly one piece
SELECT lo_from_bytea(70001, ''), lo_from_bytea(70002, 'x') \\g /dev/null
SELECT lo_from_bytea(70003, decode(repeat(md5('big'), 1100000), 'hex')) \\g /dev/null
SELECT lo_from_bytea(70004, decode(repeat('ab', 16777216), 'hex')) \\g /dev/null
CREATE SEQUENCE counter; SELECT setval('counter', 41) \\g /dev/null
CREATE SEQUENCE big START 9007199254740993; SELECT nextval('big') \\g /dev/null
CREATE SEQUENCE "nev""er called";
"""


@pytest.fixture(scope="module")
def american(servers: Servers) -> Iterator[Server]:
    """Production 17 with other settings than anybody's: time zone, styles, money."""
    server = servers[17]
    settings = {
        "timezone": "America/Chicago",
        "datestyle": "SQL, DMY",
        "intervalstyle": "sql_standard",
        "bytea_output": "escape",
        "extra_float_digits": "-15",
        "lc_monetary": "C",
    }
    for name, value in settings.items():
        server.psql(f"ALTER SYSTEM SET {name} = '{value}'")
    server.psql("SELECT pg_reload_conf()")
    yield server
    for name in settings:
        server.psql(f"ALTER SYSTEM RESET {name}")
    server.psql("SELECT pg_reload_conf()")


def test_odd_tables_from_a_server_with_odd_settings_are_equal(american: Server, couple: Coupling):
    name = american.fresh()
    american.psql(ODD, name)
    site = couple(name, majors=(17, 18))
    said = site.refresh()
    assert contents(site.dev, site.dev_db) == contents(american, name)
    assert (said["proof"]["different"], said["proof"]["skipped"]) == (0, 0), said["proof"]
    assert said["proof"]["tables"] == said["proof"]["compared"] == 9
    american.drop_database(name)


def test_a_tree_of_which_only_some_leaves_are_loaded_through_the_root(servers: Servers, couple: Coupling):
    prod = servers[18]
    name = prod.fresh()
    prod.psql(
        """CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
        CREATE TABLE day (m mood, n int) PARTITION BY LIST (m);
        CREATE TABLE day_sad PARTITION OF day FOR VALUES IN ('sad') PARTITION BY HASH (m);
        CREATE TABLE day_sad_0 PARTITION OF day_sad FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE day_sad_1 PARTITION OF day_sad FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        CREATE TABLE day_ok PARTITION OF day FOR VALUES IN ('ok');
        INSERT INTO day SELECT (ARRAY['sad', 'ok'])[1 + n % 2]::mood, n FROM generate_series(1, 300) AS n;
        CREATE FOREIGN DATA WRAPPER blind;
        CREATE SERVER nowhere FOREIGN DATA WRAPPER blind;
        CREATE FOREIGN TABLE day_happy PARTITION OF day FOR VALUES IN ('happy') SERVER nowhere""",
        name,
    )
    site = couple(name)
    proof = site.refresh()["proof"]
    assert (proof["tables"], proof["different"], proof["skipped"]) == (3, 0, 0)
    # The leaf that leads away comes back too, and nothing is asked of its server.
    new = f"{name}_back"
    proof = site.json("restore", "latest", "--to", "prod", "--new", new, "--confirm", new)["proof"]
    assert (proof["tables"], proof["different"], proof["skipped"]) == (3, 0, 0)
    for one in (new, name):
        prod.drop_database(one)


def test_partitions_with_other_columns_first_are_compared_through_their_root(servers: Servers, couple: Coupling):
    prod = servers[18]
    name = prod.fresh()
    moods = ", ".join(f"'mood {n}'" for n in range(24))  # so many that each partition gets some, whatever their oids
    prod.psql(f"CREATE TYPE mood AS ENUM ({moods})", name)
    prod.psql(
        r"""CREATE TABLE day (m mood, n int, word text) PARTITION BY HASH (m);
        CREATE TABLE day_0 PARTITION OF day FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE day_1 (word text, m mood, n int);
        ALTER TABLE day ATTACH PARTITION day_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        INSERT INTO day SELECT (enum_range(NULL::mood))[1 + n % 24], n, nullif(E'a\tb\n\\', repeat('x', n))
          FROM generate_series(1, 300) AS n""",
        name,
    )
    site = couple(name)
    proof = site.refresh()["proof"]
    assert (proof["tables"], proof["different"], proof["skipped"]) == (2, 0, 0)
    # A row that is not the archive's is found all the same, and so is an archive that is not the manifest's.
    manifest, archived = site.manifest(), partial(table_data, site.archive)
    assert proof_of(site.dev, site.dev_db, manifest, archived).differences == ()
    assert proof_of(site.dev, site.dev_db, manifest, lambda *_: [b"other\n"]).differences
    site.dev.psql("UPDATE day SET n = 11 WHERE n = 12", site.dev_db)
    assert proof_of(site.dev, site.dev_db, manifest, archived).differences
    prod.drop_database(name)


def test_a_database_that_is_not_utf8(servers: Servers, couple: Coupling):
    prod = servers[18]
    name = prod.create_database("latin", template="template0", options="ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    prod.psql(
        'SET client_encoding = UTF8; CREATE TABLE "wörter" ("größe" text); '
        'INSERT INTO "wörter" VALUES ($$Zürich$$), ($$naïve$$)',
        name,
    )
    site = couple(name)
    said = site.refresh()
    assert said["proof"]["equal"] == said["proof"]["tables"] == 1
    assert site.dev.psql(
        'SET client_encoding = UTF8; SELECT "größe" FROM "wörter" ORDER BY 1', site.dev_db
    ).split() == ["Zürich", "naïve"]
    prod.drop_database(name)


BYTES = r"""
DO $$ DECLARE e text := convert_from('\xe9', 'SQL_ASCII'); BEGIN
    EXECUTE format('CREATE TABLE %I (id serial PRIMARY KEY, %I text)', 'caf' || e, 'pr' || e || 'nom');
    EXECUTE format('INSERT INTO %I (%I) VALUES (%L)', 'caf' || e, 'pr' || e || 'nom', 'Ren' || e);
    EXECUTE format('CREATE TABLE plain (id int PRIMARY KEY, %I text)', 'pr' || e || 'nom');
    EXECUTE format('COMMENT ON TABLE plain IS %L', 'th' || e);
END $$"""
NAMES = """
SELECT encode(convert_to(relname, 'SQL_ASCII'), 'hex'), relacl::text LIKE '%=r/%',
       encode(convert_to(attname, 'SQL_ASCII'), 'hex')
  FROM pg_class c JOIN pg_attribute ON attrelid = c.oid
 WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum = 2 ORDER BY 1"""


def test_names_that_are_any_bytes(servers: Servers, couple: Coupling):
    prod = servers[18]
    options = "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
    name = prod.create_database("bytes", template="template0", options=options)
    prod.psql(BYTES, name)
    site = couple(name)
    assert site.refresh()["proof"]["equal"] == 2
    site.dev.psql(
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC; INSERT INTO plain VALUES (7, 'dev')", site.dev_db
    )
    site.retarget()
    site.more += "keep = [{ table = 'public.plain' }]\n"
    site.configure()
    assert site.refresh("--fresh")["proof"]["different"] == 0
    assert site.dev.psql(NAMES, site.dev_db) == "636166e9|t|7072e96e6f6d\n706c61696e|t|7072e96e6f6d"
    assert site.dev.psql("SELECT id FROM plain", site.dev_db) == "7"
    assert site.json("drill")["proof"]["different"] == 0
    site.json("restore", "latest", "--to", "dev", "--table", "public.plain", "--as-schema", "back")
    assert site.dev.psql("SELECT count(*) FROM back.plain", site.dev_db) == "0"
    prod.drop_database(name)


def test_roles_whose_names_are_not_ascii_where_the_database_is_not_utf8(servers: Servers, couple: Coupling):
    prod = servers[18]
    name = prod.create_database("latin", template="template0", options="ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    role = f'rölle "{name}"'.replace('"', '""')
    prod.psql(
        """SET client_encoding = UTF8; CREATE ROLE :ROLE; CREATE TABLE held (id int); INSERT INTO held VALUES (1);
        ALTER TABLE held ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON held TO :ROLE USING (true);
        GRANT SELECT ON held TO :ROLE""".replace(":ROLE", f'"{role}"'),
        name,
    )
    site = couple(name)
    refused = site.refresh(expect=15)
    assert f'is for the role rölle "{name}", which the target\'s server lacks' in refused["message"]
    # A role's name is bytes, in the encoding of the database in which it was made: this is another one to the server.
    failed = site.json("drill", expect=12)
    assert "does not exist" in failed["message"]
    back = site.json(
        "restore", "latest", "--to", "prod", "--new", f"{name}_back", "--confirm", f"{name}_back", expect=15
    )
    assert f'rölle "{name}"' in back["message"]
    prod.psql(f'SET client_encoding = UTF8; DROP POLICY own ON held; DROP OWNED BY "{role}"; DROP ROLE "{role}"', name)
    prod.drop_database(name)


# -- it fails when it must ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def restored(servers: Servers, dev_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restored]:
    """A restored database that nobody changed, and the manifest of its archive."""
    prod, dev = servers[18], dev_servers[18]
    source = prod.fresh()
    prod.psql(
        "CREATE TABLE plain AS SELECT n AS id, md5(n::text) AS t FROM generate_series(1, 500) n;"
        "CREATE TABLE root (n int, t text) PARTITION BY HASH (t);"
        "CREATE TABLE leaf PARTITION OF root FOR VALUES WITH (MODULUS 1, REMAINDER 0);"
        "INSERT INTO root SELECT n, 'x' || n FROM generate_series(1, 50) n;"
        "CREATE TABLE wide AS SELECT n, repeat(md5(n::text), 200) AS t FROM generate_series(1, 600) n;"  # read alone
        "CREATE TABLE nothing (id int); CREATE SEQUENCE counter; SELECT setval('counter', 5);"
        "SELECT lo_from_bytea(5001, 'small'), lo_from_bytea(5002, decode(repeat('cd', 17000000), 'hex'))",
        source,
    )
    name = dev.create_database("restored", template="template0")
    site = Couple(
        folder=tmp_path_factory.mktemp("restored"),
        url=prod.url(source),
        bin=prod.bin,
        prod=prod,
        prod_db=source,
        dev=dev,
        dev_db=name,
    )
    site.refresh()
    yield dev, name, site.manifest(), partial(table_data, site.archive)
    site.drop()
    prod.drop_database(source)


def postgres_of(server: Server, dbname: str) -> Postgres:
    database = Database(name="dev", conninfo=parse_conninfo(server.conninfo(dbname)), bin=server.bin)
    return Postgres(database, runner=Runner(), run="test")


def prover_of(server: Server, dbname: str, manifest: Manifest, archived: Archived) -> Prover:
    return Prover(
        postgres_of(server, dbname), dbname, manifest, archived=archived, jobs=2, deadline=timedelta(minutes=2)
    )


def proof_of(server: Server, dbname: str, manifest: Manifest, archived: Archived) -> Proof:
    return prove(
        postgres_of(server, dbname), dbname, manifest, archived=archived, jobs=2, deadline=timedelta(minutes=2)
    )


TAMPERED = {
    "UPDATE plain SET t = 'x' WHERE id = 7": "public.plain",
    "DELETE FROM plain WHERE id = 500": "public.plain",
    "INSERT INTO plain VALUES (501, 'new')": "public.plain",
    "INSERT INTO plain SELECT * FROM plain WHERE id = 7; DELETE FROM plain WHERE id = 8": "public.plain",
    "UPDATE wide SET t = overlay(t placing '!' from 5) WHERE n = 300": "public.wide",
    "UPDATE root SET n = 51 WHERE n = 50": "public.leaf",
    "INSERT INTO nothing VALUES (1)": "public.nothing",
    "SELECT nextval('counter')": "1 sequence",
    "SELECT setval('counter', 5, false)": "1 sequence",
    "SELECT lo_put(5001, 0, 'S')": "large objects",
    "SELECT lo_unlink(5001)": "large objects",
    "SELECT lo_from_bytea(5003, 'more')": "large objects",
    "SELECT lo_put(5002, 16999999, 'S')": "large objects",
    "SELECT lo_put(5002, 17000000, 'one byte more')": "large objects",
    "SELECT lo_truncate(lo_open(5002, 131072), 16777216)": "large objects",
}


@pytest.mark.parametrize("sql", TAMPERED)
def test_every_change_is_found(sql: str, restored: Restored):
    server, name, manifest, archived = restored
    copy = server.fresh(name)
    server.psql(sql, copy)
    proof = proof_of(server, copy, manifest, archived)
    assert [TAMPERED[sql] in one.name for one in proof.differences] == [True], proof.compared
    assert proof.differences[0].why
    server.drop_database(copy)


CLUSTERED = {
    "plain": "CREATE INDEX ON plain (t); CLUSTER plain USING plain_t_idx",  # read with others
    "wide": "CREATE INDEX ON wide (md5(t)); CLUSTER wide USING wide_md5_idx",  # read alone
}


@pytest.mark.parametrize("table", CLUSTERED)
def test_another_order_is_no_difference(table: str, restored: Restored):
    server, name, manifest, archived = restored
    asked: list[tuple[str, str]] = []

    def spied(schema: str, table: str) -> Iterable[bytes]:
        asked.append((schema, table))
        return archived(schema, table)

    copy = server.fresh(name)
    server.psql(CLUSTERED[table], copy)
    proof = proof_of(server, copy, manifest, spied)
    assert proof.differences == ()
    assert [one.name for one in proof.compared if one.verdict is Verdict.REORDERED] == [f"public.{table}"]
    assert asked == [("public", table)]  # nothing else costs a second look

    # A manifest of before has the digest itself.
    digests = {one.name: digest_of(archived("public", one.name), unordered=True) for one in manifest.tables}
    older = replace(manifest, tables=tuple(replace(one, digest=digests[one.name]) for one in manifest.tables))
    assert proof_of(server, copy, older, spied) == proof
    assert asked == [("public", table)]
    server.drop_database(copy)


def test_a_second_look_into_the_archive_ends_with_the_proof(restored: Restored):
    server, name, manifest, archived = restored
    copy = server.fresh(name)
    server.psql(CLUSTERED["wide"], copy)
    looks = threading.Event()

    def endless(schema: str, table: str) -> Iterator[bytes]:
        while True:
            looks.set()
            yield from archived(schema, table)

    with prover_of(server, copy, manifest, endless) as prover:
        prover.loaded("public", "wide")
        assert looks.wait(30)
    with pytest.raises(Cancelled):
        prover._begun["public", "wide"].result(timeout=0)
    server.drop_database(copy)


def test_an_archive_that_is_not_its_manifests_decides_nothing(restored: Restored):
    server, name, manifest, archived = restored
    copy = server.fresh(name)
    server.psql("UPDATE plain SET t = reverse(t) WHERE id = 7", copy)
    restored_rows = server.psql("COPY plain TO STDOUT", copy).encode() + b"\n"
    proof = proof_of(server, copy, manifest, lambda _schema, _table: [restored_rows])
    assert [one.name for one in proof.differences] == ["public.plain"]
    assert list(archived("public", "plain")) != [restored_rows]
    server.drop_database(copy)


def test_a_locale_for_money_that_this_server_lacks_stops_nothing(restored: Restored):
    server, name, manifest, archived = restored
    assert manifest.globals is not None
    facts = {**manifest.globals.facts, "lc_monetary": "xx_XX.UTF-8"}
    elsewhere = replace(manifest, globals=replace(manifest.globals, facts=facts))
    assert proof_of(server, name, elsewhere, archived).differences == ()


def test_a_schema_that_changes_data_while_it_is_restored_ends_the_refresh_before_the_swap(
    couple: Coupling, servers: Servers
):
    prod = servers[18]
    name = prod.fresh()
    # Building the index calls a function that counts, some of the calls after the sequence has its value: the two are
    # restored side by side. Nobody else builds or samples it: autovacuum would count in production too.
    prod.psql(
        "CREATE SEQUENCE s; CREATE TABLE checked (id int) WITH (autovacuum_enabled = off);"
        "INSERT INTO checked SELECT generate_series(1, 200000);"
        "CREATE FUNCTION public.sneaky(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS "
        "$$BEGIN PERFORM nextval('public.s'); RETURN $1; END$$;"
        "CREATE INDEX sneaks ON checked (public.sneaky(id)); SELECT setval('s', 100)",
        name,
    )
    site = couple(name)
    site.dev.psql("CREATE TABLE mine ()", site.dev_db)
    said = site.refresh(expect=18)
    assert re.search(r"public\.s is \d+, not 100", said["message"])
    assert site.dev.psql("SELECT count(*) FROM mine", site.dev_db) == "0"
    assert site.clean() == []
    prod.drop_database(name)


def test_a_large_table_is_read_while_the_restore_builds_indexes(couple: Coupling, servers: Servers):
    server = servers[18]
    name = server.fresh()
    server.psql(
        "CREATE TABLE wide AS SELECT n AS id, repeat(md5(n::text), 8) AS text FROM generate_series(1, 20000) AS n;"
        "CREATE INDEX ON wide (text); CREATE INDEX ON wide (md5(text)); ALTER TABLE wide ADD PRIMARY KEY (id);"
        "CREATE TABLE slow AS SELECT n AS id FROM generate_series(1, 400000) AS n;"
        "CREATE INDEX ON slow (md5(id::text));",
        name,
    )
    site = couple(name)
    try:
        run = site.refresh()
        proof = next(step for step in site.json("run", "show", run["run"])["steps"] if step["name"] == "proof")
        assert proof["facts"]["while_restoring"] >= 1
        assert run["proof"] == {**run["proof"], "tables": 2, "equal": 2, "different": 0}
    finally:
        server.drop_database(name)


def test_what_differs_is_found_early_too(restored: Restored):
    server, name, manifest, archived = restored
    copy = server.fresh(name)
    server.psql("UPDATE wide SET t = overlay(t placing '!' from 5) WHERE n = 300", copy)
    with prover_of(server, copy, manifest, archived) as prover:
        prover.loaded("public", "wide")
        prover.loaded("public", "plain")  # small: with the others
        wait_for(lambda: prover.begun == 1, within_s=30, what="the early proof")
        assert [one.name for one in prover.finish().differences] == ["public.wide"]
    server.drop_database(copy)


def test_what_is_written_behind_an_early_proof_is_found(restored: Restored):
    server, name, manifest, archived = restored
    copy = server.fresh(name)
    with prover_of(server, copy, manifest, archived) as prover:
        prover.loaded("public", "wide")
        wait_for(lambda: prover.begun == 1, within_s=30, what="the early proof")
        early = prover._begun["public", "wide"].result()
        assert early.verdict is Verdict.EQUAL
        server.psql("UPDATE wide SET t = overlay(t placing '!' from 5) WHERE n = 300", copy)
        assert [one.name for one in prover.finish().differences] == ["public.wide"]
    server.drop_database(copy)


def test_an_early_proof_ends_with_its_block(restored: Restored):
    server, name, manifest, archived = restored
    copy = server.fresh(name)
    with psycopg.connect(server.conninfo(copy)) as holder:
        holder.execute("LOCK TABLE wide IN ACCESS EXCLUSIVE MODE")
        with prover_of(server, copy, manifest, archived) as prover:
            prover.loaded("public", "wide")
            wait_for(lambda: waiting_for_locks(server, copy) == 1, within_s=30, what="the early proof to wait")
        wait_for(lambda: waiting_for_locks(server, copy) == 0, within_s=30, what="its session to end")
    server.drop_database(copy)


def waiting_for_locks(server: Server, dbname: str) -> int:
    sql = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{dbname}' AND wait_event_type = 'Lock'"  # noqa: S608 -- ours
    return int(server.psql(sql))


def test_what_only_carries_rows_lets_the_servers_go_first(rich: Callable[[int], str], couple: Coupling):
    """docs/adr/0058: as batch work, which is policy 3; the swap and all that is asked is not."""
    site = couple(rich(18))
    seen = site.folder / "policies"
    note = f'echo "{{}} $(cut -d" " -f41 /proc/$$/stat)" >> {seen}; exec "$real" "$@"'
    which = 'case "$*" in *"TO STDOUT"*) set_of=rows ;; *) set_of=rest ;; esac; '

    def policies() -> set[str]:
        found = set(seen.read_text().splitlines())
        seen.unlink()
        return found

    site.fake_dump(note.format("dump"))
    site.fake_tool("psql", which + note.format("$set_of"))
    site.refresh()
    assert {"dump 3", "rows 3", "rest 0"} <= (found := policies())
    assert not {"dump 0", "rows 0"} & found

    site.fake_tool("pg_restore", note.format("restore"))
    site.refresh()
    assert policies() == {"restore 3"}  # of the archive that is there
