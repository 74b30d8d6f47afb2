"""Tables whose columns and constraints call functions, of which pg_dump does not say what they call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from couples import Couple

if TYPE_CHECKING:
    from conftest import Servers

Coupling = Callable[..., Couple]
SCHEMA = """
CREATE SCHEMA util; CREATE SCHEMA other; CREATE EXTENSION hstore;
CREATE FUNCTION util."Inner"(t text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper($1)';
CREATE FUNCTION other."Inner"(t text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';
CREATE FUNCTION util.middle(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN RETURN util . "Inner" (t); END $$;
CREATE FUNCTION util.outer(t text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT UTIL.Middle($1)';
CREATE FUNCTION util.never(t text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE TABLE called (a text CHECK (util.outer(a) <> ''), b text GENERATED ALWAYS AS (util.outer(a)) STORED);
CREATE TABLE known (id int);
CREATE FUNCTION util.is_known(id int) RETURNS boolean LANGUAGE sql AS
    'SELECT EXISTS (SELECT FROM public.known k WHERE k.id = $1)';
CREATE TABLE looking (id int CHECK (util.is_known(id)));
CREATE TABLE pairs (h hstore);
INSERT INTO called VALUES ('x'); INSERT INTO known VALUES (1); INSERT INTO looking VALUES (1);
"""


@pytest.fixture(params=[15, 18])
def site(couple: Coupling, servers: Servers, request: pytest.FixtureRequest) -> Iterator[Couple]:
    server = servers[request.param]
    name = server.fresh()
    server.psql(SCHEMA, name)
    made = couple(name, majors=(request.param, request.param))
    made.backup()
    made.dev.psql("CREATE SCHEMA away; CREATE EXTENSION hstore SCHEMA away", made.dev_db)
    yield made
    server.drop_database(name)


def rescue(site: Couple, table: str, expect: int = 0) -> str:
    said = site.json("restore", "latest", "--to", "dev", "--table", table, "--as-schema", "back", expect=expect)
    return f"{said.get('message')} {said.get('hint')}"


def test_what_functions_call_comes_along(site: Couple) -> None:
    # dev has no such schema: what a function calls by schema and name is not found in the new one
    said = rescue(site, "public.called", expect=15)
    assert 'schema "util" does not exist' in said
    assert "has to be in there as it is in production" in said
    assert site.dev.psql("SELECT count(*) FROM pg_namespace WHERE nspname = 'back'", site.dev_db) == "0"
    site.dev.psql(SCHEMA.partition("CREATE TABLE")[0].replace("CREATE EXTENSION hstore;", ""), site.dev_db)
    said = site.json("restore", "latest", "--to", "dev", "--table", "public.called", "--as-schema", "back")
    assert site.dev.psql("TABLE back.called", site.dev_db) == "x|X"
    # what they call is the one of util there, and that is said
    told = [note.partition(" names ")[0] for note in said["notes"]]
    assert told == ["FUNCTION util.middle(text)", "FUNCTION util.outer(text)"]
    routines = "SELECT proname FROM pg_proc WHERE pronamespace = 'back'::regnamespace ORDER BY 1"
    assert site.dev.psql(routines, site.dev_db).splitlines() == ["Inner", "middle", "outer"]


def test_what_stands_in_the_way_is_named(site: Couple) -> None:
    said = rescue(site, "public.looking", expect=15)
    assert 'relation "public.known" does not exist' in said
    assert "restore a table that it names as well (--table)" in said
    said = rescue(site, "public.pairs", expect=15)
    assert f"need hstore in the schema public, and {site.dev_db} has it in away" in said
    assert 'ALTER EXTENSION "hstore" SET SCHEMA "public"' in said


@pytest.mark.parametrize("major", [15, 18])
def test_what_one_schema_cannot_hold_is_said(couple: Coupling, servers: Servers, major: int) -> None:
    server = servers[major]
    name = server.fresh()
    server.psql(
        """
        CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, b int);
        CREATE FUNCTION mood(i int) RETURNS mood LANGUAGE sql IMMUTABLE AS
            $$ SELECT (ARRAY['sad', 'ok']::public.mood[])[i] $$;
        CREATE CAST (int AS mood) WITH FUNCTION mood(int) AS ASSIGNMENT;
        CREATE FUNCTION to_pair(t text) RETURNS pair LANGUAGE sql IMMUTABLE AS 'SELECT 1, $1::int';
        CREATE CAST (text AS pair) WITH FUNCTION to_pair(text);
        CREATE TABLE casting (id int, m mood GENERATED ALWAYS AS (id::mood) STORED);
        CREATE TABLE asking (id text CHECK ((id::pair).b > 0));  -- which without its cast would be another question
        CREATE TABLE calling (id int, p pair DEFAULT to_pair('1'), m mood); INSERT INTO calling VALUES (1);
        CREATE TABLE naming (r regclass); INSERT INTO naming VALUES ('naming');
        CREATE TABLE known (r regtype, s regclass); INSERT INTO known VALUES ('int', 'pg_class');
        CREATE TABLE other (r regclass); INSERT INTO other VALUES ('naming');
        """,
        name,
    )
    site = couple(name, majors=(major, major))
    site.backup()
    said = rescue(site, "public.casting", expect=15)
    assert "TABLE public.casting needs CAST (integer AS public.mood)" in said
    assert "--new NAME" in said
    assert "TABLE public.asking needs CAST (text AS public.pair)" in rescue(site, "public.asking", expect=15)
    for table, code in (("naming", 18), ("other", 15)):
        said = rescue(site, f"public.{table}", expect=code)
        assert f"a column of public.{table} is of regclass or the like" in said, said
    assert site.dev.psql("SELECT count(*) FROM pg_namespace WHERE nspname = 'back'", site.dev_db) == "0"
    rescue(site, "public.known")
    done = site.json("restore", "latest", "--to", "dev", "--table", "public.calling")
    casts = "CAST (integer AS public.mood), CAST (text AS public.pair)"
    assert f"{casts}: a cast belongs to no schema, and only one schema is made" in done["left_out"], done["left_out"]
