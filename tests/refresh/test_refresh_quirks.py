"""Databases that pg_restore by itself does not restore: what is done by itself, what is said, and that it works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from couples import Couple, contents, oid_of, schema

#: A function that finds another one by production's search_path; the check that calls it is asked by each COPY.
UNQUALIFIED = """
CREATE SCHEMA "App, one";
CREATE FUNCTION "App, one".inner_one(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION outer_one(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN inner_one($1); END';
SET search_path = "App, one", public;
ALTER TABLE account ADD made text GENERATED ALWAYS AS (outer_one(token)) STORED;
"""
#: A foreign key that rows of production break.
BROKEN = """
CREATE TABLE customer (id int PRIMARY KEY);
CREATE TABLE "Order" (id int PRIMARY KEY, customer int CONSTRAINT "its, customer" REFERENCES customer);
CREATE VIEW orders AS SELECT id FROM "Order";
SET session_replication_role = replica;
INSERT INTO "Order" VALUES (1, 7);
"""
_RAISE = "RAISE EXCEPTION '{}' USING ERRCODE = '53100'"
LEFT = "FK CONSTRAINT public.Order its, customer"


def state_of(site: Couple) -> object:
    return oid_of(site.dev, site.dev_db), contents(site.dev, site.dev_db), site.beside()


def looks(function: str, table: str) -> str:
    """A function that looks whether another table has it."""
    body = f"SELECT EXISTS (SELECT FROM public.{table} WHERE id = i)"  # noqa: S608 -- the tests' own names
    return f"CREATE FUNCTION {function}(i int) RETURNS boolean LANGUAGE sql AS '{body}';"


def test_a_check_that_reads_another_table_is_asked_when_its_rows_are_in(site: Couple) -> None:
    site.prod.psql("CREATE TABLE known (id int); CREATE TABLE asking (id int)", site.prod_db)
    site.prod.psql(looks("is_known", "known") + looks("is_asked", "asking"), site.prod_db)
    site.prod.psql(
        "INSERT INTO known VALUES (1); INSERT INTO asking VALUES (1);"
        # each needs the other one's rows first
        "ALTER TABLE asking ADD CONSTRAINT asked CHECK (is_known(id)); ALTER TABLE known ADD CHECK (is_asked(id));"
        "COMMENT ON CONSTRAINT asked ON asking IS 'who is it'",
        site.prod_db,
    )
    assert site.refresh()["proof"]["different"] == 0
    assert schema(site.dev, site.dev_db, site.dev.bin) == schema(site.prod, site.prod_db, site.dev.bin)
    # one table of the archive alone, with its check and what that calls
    site.json(
        "restore", "latest", "--to", "dev", "--table", "public.asking", "--table", "public.known", "--as-schema", "it"
    )
    valid = (
        "SELECT conname, convalidated, conrelid::regclass FROM pg_constraint WHERE contype = 'c' AND conname = 'asked'"
    )
    assert "asked|t|it.asking" in site.dev.psql(valid, site.dev_db)
    # and all of it without that check, which rows may break by now
    without = ("--leave-out", "CHECK CONSTRAINT public.asking asked")
    done = site.json("restore", "latest", "--to", "dev", "--new", f"{site.dev_db}_new", *without)
    assert done["left_out"] == ["CHECK CONSTRAINT public.asking asked: asked for by leave_out"]
    checks = "SELECT conname FROM pg_constraint WHERE contype = 'c' AND conrelid <> 0"
    assert site.dev.psql(checks, f"{site.dev_db}_new").split() == ["known_id_check"]


def test_a_check_that_reads_another_table_in_a_partition_is_explained(site: Couple) -> None:
    site.prod.psql(
        "CREATE TABLE one (id int) PARTITION BY LIST (id); CREATE TABLE one_1 PARTITION OF one FOR VALUES IN (1);"
        "CREATE TABLE two (id int) PARTITION BY LIST (id); CREATE TABLE two_1 PARTITION OF two FOR VALUES IN (1);"
        "INSERT INTO one VALUES (1); INSERT INTO two VALUES (1)",
        site.prod_db,
    )
    site.prod.psql(looks("in_one", "one") + looks("in_two", "two"), site.prod_db)
    site.prod.psql(
        # each needs the other one's rows first
        "ALTER TABLE one ADD CONSTRAINT asked CHECK (in_two(id));"
        "ALTER TABLE two ADD CONSTRAINT asked CHECK (in_one(id))",
        site.prod_db,
    )
    before = state_of(site)
    said = site.refresh(expect=15)
    assert re.search('violates check constraint "asked"|deadlock detected', said["message"])  # as the two workers meet
    assert "add it again as NOT VALID" in said["hint"]
    assert state_of(site) == before
    site.prod.psql(
        "ALTER TABLE one DROP CONSTRAINT asked; ALTER TABLE two DROP CONSTRAINT asked;"
        "ALTER TABLE one_1 ADD CONSTRAINT asked CHECK (in_two(id)) NOT VALID;"
        "ALTER TABLE two_1 ADD CONSTRAINT asked CHECK (in_one(id)) NOT VALID",
        site.prod_db,
    )
    assert site.refresh("--fresh")["proof"]["different"] == 0


def test_a_function_that_finds_another_by_its_search_path_is_explained_and_the_way_out_works(site: Couple) -> None:
    site.prod.psql(UNQUALIFIED, site.prod_db)
    before = state_of(site)
    said = site.refresh(expect=15)
    assert "TABLE DATA account" in said["message"]
    assert "function inner_one(text) does not exist" in said["message"]
    assert "ALTER FUNCTION … SET search_path" in said["hint"]
    assert "--search-path SCHEMA" in said["hint"]
    log = Path(site.json("run", "show", said["run"])["log"]).read_text()
    assert "outer_one" in log  # which the hint sends to
    assert state_of(site) == before
    words = ("--search-path", "App, one", "--search-path", "public")
    assert (
        site.json("restore", "latest", "--to", "dev", "--new", f"{site.dev_db}_new", *words)["proof"]["different"] == 0
    )
    assert site.json("drill", *words)["proof"]["different"] == 0
    seen = site.folder / "seen"
    asked = ["psql", "-XAtq", "-o", str(seen), "-c", "SELECT count(*) FROM account WHERE made = token"]
    assert site.call("open", "--command", shlex.join(asked), *words).code == 0
    assert seen.read_text() == "2000\n"
    said = site.json("drill", expect=12)
    assert "inner_one" in said["message"]
    assert "--search-path SCHEMA" in said["hint"]
    assert "target" not in said["hint"]
    site.plan["search_path"] = ["App, one", "public"]
    site.retarget()
    assert site.refresh()["proof"]["different"] == 0
    assert site.json("drill")["proof"]["different"] == 0


def test_what_cannot_be_restored_is_left_out_as_the_failed_restore_says(site: Couple) -> None:
    site.prod.psql(BROKEN, site.prod_db)
    before = state_of(site)
    said = site.refresh(expect=15)
    assert "violates foreign key constraint" in said["message"]
    assert state_of(site) == before
    found = re.search(r"--leave-out ('.*?') with", said["hint"])
    assert found, said
    assert shlex.split(found[1]) == [LEFT]
    new = f"{site.dev_db}_new"
    done = site.json("restore", "latest", "--to", "dev", "--new", new, "--leave-out", LEFT)
    assert done["left_out"] == [f"{LEFT}: asked for by leave_out"]
    assert site.dev.psql('SELECT count(*) FROM "Order"', new).strip() == "1"
    assert f"--leave-out {shlex.quote(LEFT)} with" in site.json("drill", expect=12)["hint"]
    assert site.json("drill", "--leave-out", LEFT)["proof"]["different"] == 0
    config = re.search(r"leave_out = (\[.*?\]) in the backup", said["hint"])
    assert config, said
    site.plan["leave_out"] = [LEFT]
    assert config[1] == '["FK CONSTRAINT public.Order its, customer"]'
    site.retarget()
    assert f"{LEFT}: asked for by leave_out" in site.json("refresh", "--plan")["left_out"]
    assert site.refresh()["left_out"] == [f"{LEFT}: asked for by leave_out"]
    # production was mended: nothing fails, and somebody is told
    site.prod.psql('ALTER TABLE "Order" DROP CONSTRAINT "its, customer"', site.prod_db)
    site.json("refresh", "--fresh")
    said = site.json("drill", "--leave-out", "VIEW public.orders")  # what the file says is no slip of the caller
    assert said["left_out"] == ["VIEW public.orders: asked for by leave_out"]
    assert any("which the archive does not have" in one for one in site.json("refresh", "--plan")["notes"])


def test_rows_are_never_left_out_and_a_slip_is_told_at_once(site: Couple) -> None:
    site.prod.psql(BROKEN, site.prod_db)
    site.backup()
    new = ("restore", "latest", "--to", "dev", "--new", f"{site.dev_db}_new")
    said = site.json(*new, "--leave-out", "TABLE public.customer", expect=2)
    assert (
        said["message"] == "--leave-out 'TABLE public.customer': the rows of public.customer would be left out with it"
    )
    slip = ("--leave-out", "FK CONSTRAINT public.order its, customer")
    for words in (new, ("drill",)):
        said = site.json(*words, *slip, expect=2)
        assert said["message"].endswith("the archive does not have it")
        assert said["hint"] == f"did you mean {shlex.quote(LEFT)}?"
    single = ("restore", "latest", "--to", "dev", "--table", "public.Order", "--leave-out")
    assert "the archive does not have it" in site.json(*single, "INDEX public.none", expect=2)["message"]
    assert "asked for by leave_out" in site.json(*single, "TABLE public.Order", expect=15)["message"]
    assert site.beside() == []
    site.plan["leave_out"] = ["SCHEMA public", "public.customer"]
    site.retarget()
    said = site.refresh(expect=15)
    assert "without public.customer the rows of public.customer would be left out" in said["message"]


@pytest.mark.parametrize(
    ("trouble", "hint"),
    [
        (_RAISE.format('could not extend file "base/16431/16461": No space left on device'), "disk is full"),
        (
            _RAISE.format('could not resize shared memory segment "/P": No space left on device'),
            "too small, not its disk",
        ),
        (_RAISE.format("out of memory"), "too little memory"),
        ("PERFORM pg_terminate_backend(pg_backend_pid())", "its log says why"),
    ],
)
def test_what_the_server_could_not_do_is_not_blamed_on_an_object(site: Couple, trouble: str, hint: str) -> None:
    site.prod.psql(
        "CREATE FUNCTION key_of(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN "
        f"IF current_database() ~ '_shadow_' THEN {trouble}; END IF; RETURN $1; END $$;"
        "CREATE INDEX ON account (key_of(token))",
        site.prod_db,
    )
    before = state_of(site)
    said = site.refresh(expect=15)
    assert "INDEX account_key_of_idx" in said["message"]
    assert hint in said["hint"]
    assert "leave_out" not in said["hint"]
    assert state_of(site) == before
