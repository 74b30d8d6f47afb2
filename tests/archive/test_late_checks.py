"""Checks that call functions are made when all rows are in; nothing else about a table changes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from archive_samples import Server, Servers, entry, environment, table_entry

from daybreak.archive import (
    Entry,
    fill_offsets,
    freezable,
    read_archive,
    read_contents,
    read_restorable,
    write_restorable,
)
from daybreak.archive.late_checks import late_checks

#: Every shape of a check that we know of; those that are called late say so.
TOWN = r"""
CREATE SCHEMA "Odd, (schema)";
CREATE TABLE known (id int);
CREATE FUNCTION is_known(id int) RETURNS boolean LANGUAGE sql AS
    'SELECT EXISTS (SELECT FROM public.known k WHERE k.id = $1)';
CREATE FUNCTION "Odd, (schema)"."is it, (so)?"(t text) RETURNS boolean LANGUAGE sql AS 'SELECT t <> ''''';
CREATE FUNCTION "is"("known" text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE pair AS (a int, b text);
CREATE TABLE asking (
    id int NOT NULL, note text DEFAULT 'a, (b' || E'c\\,'')', amount numeric(10, 2),
    low int CONSTRAINT low_late CHECK (is_known(low)) CHECK (low > -1),
    "odd, ""name"")" text, up text GENERATED ALWAYS AS (upper(note)) STORED, small positive,
    CONSTRAINT late_one CHECK (is_known(id)),
    CONSTRAINT "Late, (two)" CHECK ("Odd, (schema)"."is it, (so)?"("odd, ""name"")") AND note <> 'x, ) ( '' ' || E'\\'),
    CONSTRAINT stays CHECK (amount > 0 AND note <> 'is_known(1)'),
    CONSTRAINT late_comment CHECK (is_known(id + 0) OR is_known(low)) NO INHERIT,
    CONSTRAINT not_yet CHECK (is_known(id + 1)) NOT VALID,
    UNIQUE (id, note)
) WITH (fillfactor = 70);
COMMENT ON CONSTRAINT late_comment ON asking IS 'it''s late';
COMMENT ON CONSTRAINT stays ON asking IS 'it stays';
ALTER TABLE asking DROP CONSTRAINT not_yet;
CREATE UNLOGGED TABLE "Odd, (schema)"."asks, (too)" ("a ,(" int CONSTRAINT late_too CHECK (is_known("a ,(")));
CREATE TABLE typed OF pair (b NOT NULL, CONSTRAINT late_typed CHECK (is_known(a)));
CREATE TABLE parent (id int, CONSTRAINT of_parent CHECK (is_known(id)));
CREATE TABLE child (more int, CONSTRAINT of_child CHECK (is_known(more))) INHERITS (parent);
CREATE TABLE parted (id int, CONSTRAINT of_parted CHECK (is_known(id))) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF parted (CONSTRAINT of_part CHECK (is_known(id))) FOR VALUES FROM (0) TO (100000);
CREATE TABLE alone (CHECK ("is"('x') = 'x'));
INSERT INTO asking (id, low, note, amount, "odd, ""name"")", small)
    SELECT n, n, md5(n::text), 1, 'x', 1 FROM (SELECT 7 AS n WHERE false) AS none;
INSERT INTO known VALUES (1), (2);
INSERT INTO asking (id, low, note, amount, "odd, ""name"")", small)
    SELECT 1, 2, md5(n::text) || repeat('x', 500), 1, 'x', 1 FROM generate_series(1, 2000) AS n;
INSERT INTO typed SELECT 1, md5(n::text) FROM generate_series(1, 3000) AS n;
"""
LATE = {
    "public.asking low_late",
    "public.asking late_one",
    "public.asking Late, (two)",
    "public.asking late_comment",
    "Odd, (schema).asks, (too) late_too",
    "public.typed late_typed",
}
OPEN = "CREATE TABLE public.t (\n    id integer,\n    CONSTRAINT c CHECK (public.f(id))"


def table(definition: str, *, number: int = 10) -> list[Entry]:
    """A table with its data, and a function that it may call."""
    return [
        entry(2, "FUNCTION", "f(integer)", definition="CREATE FUNCTION public.f(i integer) RETURNS boolean\n"),
        entry(number, "TABLE", "t", definition=definition, access_method="heap"),
        table_entry(number + 1, "t"),
    ]


def labels(entries: Iterable[Entry]) -> list[str]:
    return [one.label for one in entries]


@pytest.mark.postgres
@pytest.mark.parametrize("major", [15, 16, 17, 18])
def test_a_restore_has_the_same_definitions_and_rows_that_pg_restore_alone_refuses(
    servers: Servers, tmp_path: Path, major: int
) -> None:
    server = servers[major]
    town = server.create_database(f"town_{major}", template="template0")
    name = server.create_database(f"late_{major}", template="template0")
    try:
        server.psql(TOWN, town)
        source = tmp_path / "source"
        subprocess.run(
            [server.bin / "pg_dump", "-Fc", "-f", source, "-d", server.conninfo(town)], check=True, env=environment()
        )
        fill_offsets(source, read_archive(source))
        refused = restore(server, name, source)
        assert "violates check constraint" in refused.stderr
        server.drop_database(name)
        server.create_database(name, template="template0")
        entries = read_restorable(source)
        known = {one.id for one in read_contents(source)[1]}
        assert {one.label.removeprefix("CHECK CONSTRAINT ") for one in entries if one.id not in known} == LATE
        with (tmp_path / "copy").open("xb", buffering=0) as file:
            write_restorable(source, file.fileno(), frozen=freezable(entries))
        (tmp_path / "list").write_text("".join(f"{one.id}; \n" for one in entries))
        done = restore(server, name, tmp_path / "copy", "-L", tmp_path / "list")
        assert done.returncode == 0, done.stderr
        assert schema(server, name) == schema(server, town)
        assert server.psql("SELECT count(*) FROM asking", name).strip() == "2000"
        valid = "SELECT count(*) FROM pg_constraint WHERE contype = 'c' AND NOT convalidated"
        assert server.psql(valid, name).strip() == "0"
    finally:
        server.drop_database(town)
        server.drop_database(name)


def restore(server: Server, name: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    argv = [server.bin / "pg_restore", "-j2", "-e", "-d", server.conninfo(name), *words[1:], words[0]]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=environment())


def schema(server: Server, name: str) -> str:
    argv = [server.bin / "pg_dump", "--schema-only", "-d", server.conninfo(name)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment())
    return re.sub(r"^\\(un)?restrict .*$", "", done.stdout, flags=re.MULTILINE)


def test_the_check_stands_behind_the_table_and_waits_for_all_rows() -> None:
    plain = table(f"{OPEN}\n);\n")
    found = late_checks(plain)
    assert found[1].definition == "CREATE TABLE public.t (\n    id integer\n);\n"
    assert found[3].definition == "ALTER TABLE public.t\n    ADD CONSTRAINT c CHECK (public.f(id));\n"
    assert found[3].label == "CHECK CONSTRAINT public.t c"
    assert (found[3].id, found[3].section, found[3].dependencies) == (12, 4, (10,))
    assert [one for one in found if one not in plain] == [found[1], found[3]]


@pytest.mark.parametrize(
    "definition",
    [
        pytest.param("CREATE TABLE public.t (\n    id integer,\n    CONSTRAINT c CHECK ((id > 0))\n);\n", id="no call"),
        pytest.param(
            "CREATE TABLE public.t (\n    id integer,\n    CONSTRAINT c CHECK (public.g(id))\n);\n", id="an extension's"
        ),
        pytest.param(
            "CREATE TABLE public.t (\n    id boolean DEFAULT public.f(1),\n    CONSTRAINT c CHECK (id)\n);\n",
            id="default",
        ),
        pytest.param("CREATE TABLE public.t (\n    CONSTRAINT c CHECK (public.f(1))\n);\n", id="nothing would be left"),
        pytest.param(
            f"{OPEN}\n)\nINHERITS (public.p);\n",
            id="inherits",
        ),
        pytest.param(
            f"{OPEN}\n)\nPARTITION BY HASH (id);\n",
            id="partitioned",
        ),
        pytest.param(OPEN, id="cut"),
        pytest.param("CREATE TABLE t (id integer, CONSTRAINT c CHECK (public.f(id)));", id="not as pg_dump writes"),
    ],
)
def test_what_is_not_sure_to_be_the_same_stays(definition: str) -> None:
    plain = table(definition)
    assert late_checks(plain) == tuple(plain)


def test_what_is_attached_or_inherited_from_stays() -> None:
    one = f"{OPEN}\n);\n"
    attached = "ALTER TABLE ONLY public.r ATTACH PARTITION public.t FOR VALUES FROM (1) TO (2);\n"
    plain = [*table(one), entry(20, "TABLE ATTACH", "t", definition=attached)]
    assert late_checks(plain) == tuple(plain)
    child = "CREATE TABLE public.u (\n    more integer\n)\nINHERITS (public.s, public.t);\n"
    plain = [*table(one), entry(20, "TABLE", "u", definition=child)]
    assert late_checks(plain) == tuple(plain)


def test_a_comment_comes_behind_its_check_and_no_other() -> None:
    comments = [
        entry(30, "COMMENT", "CONSTRAINT c ON t", definition="COMMENT ON CONSTRAINT c ON public.t IS 'x';\n"),
        entry(31, "COMMENT", "CONSTRAINT c ON u", definition="COMMENT ON CONSTRAINT c ON public.u IS 'x';\n"),
    ]
    one = f"{OPEN}\n);\n"
    found = {each.id: each for each in late_checks([*table(one), *comments])}
    assert (found[30].section, found[30].dependencies) == (4, (32,))
    assert found[31] is comments[1]
