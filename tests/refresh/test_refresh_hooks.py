"""Checks and hooks of a refresh: in their order, in the right database, and what happens when one fails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from couples import Couple, contents, oid_of

if TYPE_CHECKING:
    from conftest import Coupling, Servers

WHENS = ["before", "after_restore", "before_swap", "after_swap"]


def steps(site: Couple, run: str) -> list[str]:
    """The names of a run's steps that a hook or a check has, and of those that they stand between."""
    found: list[Any] = site.json("run", "show", run)["steps"]
    own = ("hook ", "check ")
    return [one["name"] for one in found if one["name"].startswith(own) or one["name"] in {"shadow", "proof", "swap"}]


def unharmed(site: Couple, before: tuple[int, dict[str, str]]) -> bool:
    """Whether dev is the database that it was, with what was in it, and nothing is left beside it."""
    return (oid_of(site.dev, site.dev_db), contents(site.dev, site.dev_db)) == before and site.clean() == []


@pytest.fixture
def before(refreshed: Couple) -> tuple[int, dict[str, str]]:
    """What dev is before a refresh that fails: not what the refresh would make of it."""
    refreshed.dev.psql("CREATE TABLE mine AS SELECT 1 AS n", refreshed.dev_db)
    return oid_of(refreshed.dev, refreshed.dev_db), contents(refreshed.dev, refreshed.dev_db)


def test_hooks_and_checks_run_in_their_order_where_they_belong(site: Couple, tmp_path: Path):
    site.dev.create_role("hooker", password="not so secret", options="LOGIN SUPERUSER")
    (tmp_path / "password").write_text("not so secret\n")
    (tmp_path / "password").chmod(0o600)
    (tmp_path / "mask.sql").write_text("UPDATE account SET token = 'masked';\nSELECT 'now ' || count(*) FROM account;")
    own = ["search_path = shop, public", "statement_timeout = '2min'", "DateStyle = 'German'"]
    site.dev.psql("".join(f"ALTER DATABASE {site.dev_db} SET {one};" for one in own))
    site.dev.psql("CREATE SCHEMA shop", site.dev_db)
    seen = tmp_path / "seen"
    # What it is told about the run, and that it can reach the database with that alone.
    look = (
        'echo "$1 $DAYBREAK_PLAN $DAYBREAK_TARGET $DAYBREAK_DATABASE $(env | grep -c "not so secret")'
        f' $({site.dev.bin}/psql -XAtq -d "$DAYBREAK_CONNINFO" -c "SELECT current_database(), user")" >> {seen};'
        ' echo "heard of $DAYBREAK_RUN"; echo grumble >&2'
    )
    commands = [{"name": f"look {when}", "when": when, "command": ["sh", "-c", look, "sh", when]} for when in WHENS]
    site.retarget(
        {"url": site.dev.url(site.dev_db, user="hooker"), "password_file": str(tmp_path / "password")},
        {
            "checks": [
                {"name": "tokens are masked", "sql": "SELECT bool_and(token = 'masked') FROM account;"},
                {
                    "name": "as a user sees it, but for the deadline",
                    "sql": "SELECT current_setting('datestyle') LIKE 'German%'"
                    " AND current_setting('statement_timeout') = '0' -- ours counts",
                },
            ],
            "hooks": [
                {
                    "name": "seed",
                    "when": "before_swap",
                    "sql": "CREATE TABLE public.seed AS SELECT 7 AS n; ANALYZE seed",
                },
                *commands,
                {"name": "mask", "when": "after_restore", "sql_file": str(tmp_path / "mask.sql")},
                {"name": "last", "when": "after_swap", "sql": "INSERT INTO seed VALUES (8), (9)"},
            ],
        },
    )
    planned = site.json("refresh", "--plan")
    told = [one for one in planned["steps"] if one.startswith(("hook", "check"))]
    assert told[:3] == ['hook "look before": run sh', 'hook "look after_restore": run sh', told[2]]
    assert told[2] == f'hook "mask": SQL of {tmp_path / "mask.sql"} in the restored database'
    assert told[-1] == f'hook "last": SQL in {site.dev_db}'
    assert 'check "tokens are masked"' in told
    assert planned["notes"][0].startswith("dev was never refreshed")
    assert not seen.exists()

    said = site.refresh()

    assert steps(site, said["run"]) == [
        "hook look before",
        "shadow",
        "proof",
        "hook look after_restore",
        "hook mask",
        "check tokens are masked",
        "check as a user sees it, but for the deadline",
        "hook seed",
        "hook look before_swap",
        "swap",
        "hook look after_swap",
        "hook last",
    ]
    assert said["checks"] == {"tokens are masked": True, "as a user sees it, but for the deadline": True}
    shadow = f"{site.dev_db}_shadow_{said['run']}"
    where = dict(zip(WHENS, [site.dev_db, shadow, shadow, site.dev_db], strict=True))
    assert seen.read_text().splitlines() == [f"{when} weekly dev {at} 0 {at}|hooker" for when, at in where.items()]
    log = Path(site.json("run", "show", said["run"])["log"]).read_text()
    assert log.count(f"hook look before: heard of {said['run']}") == 1
    assert "hook look after_swap: grumble" in log
    assert "hook mask: now 2000" in log
    assert "not so secret" not in log
    assert site.dev.psql("SELECT sum(n) FROM seed", site.dev_db) == "24"
    assert site.clean() == []


FALSE_CHECKS = {
    "false": ("SELECT count(*) > 5000 FROM account", "it is false"),
    "null": ("SELECT NULL::boolean", "it is NULL"),
    "no row": ("SELECT true WHERE false", "it gave no row"),
    "rows": ("SELECT true FROM account", "it gave more than one row"),
    "columns": ("SELECT true, true", "it gave 2 columns"),
    "number": ("SELECT 1 AS n", "it gave 1, which is no boolean"),
    "text": ("SELECT 't'", 'it gave "t", which is no boolean'),
    "error": ("SELECT count(*) > 0 FROM nowhere", 'it failed: dev (.*): relation "nowhere" does not exist'),
    "two": ("SELECT 1; SELECT true", "it failed: .*syntax error"),
    "write": ("SELECT nextval('counter') > 0", "it failed: .*read-only transaction"),
    "slow": ("SELECT pg_sleep(60) IS NOT NULL", "it failed: psql was not done after 1 s: ended"),
}


def test_every_check_that_does_not_hold_is_named_and_dev_stays(refreshed: Couple, before: tuple[int, dict[str, str]]):
    checks = [{"name": "good", "sql": "SELECT true"}]
    checks += [{"name": name, "sql": sql, "deadline": "1s"} for name, (sql, _) in FALSE_CHECKS.items()]
    refreshed.retarget(weekly={"checks": checks})

    said = refreshed.refresh(expect=15)

    parts = dict(part.split('" does not hold: ', 1) for part in said["message"].split('the check "')[1:])
    assert list(parts) == list(FALSE_CHECKS)
    for name, (_, words) in FALSE_CHECKS.items():
        assert re.match(words, parts[name]), (name, parts[name])
    assert said["code"] == "RefreshError"
    assert said["hint"] == "ask production, or a copy of it, the same: SELECT count(*) > 5000 FROM account"
    assert said["checks"] == {"good": True, **dict.fromkeys(FALSE_CHECKS, False)}
    assert unharmed(refreshed, before)


#: When, what it does, and what is said about it.
FAILING: list[tuple[str, dict[str, object], str]] = [
    ("before", {"sql": "SELECT 1/0"}, "before anything was made: dev .*division by zero"),
    ("after_restore", {"command": ["sh", "-c", "echo no luck >&2; exit 3"]}, r".*sh failed .*status 3\): no luck"),
    ("before_swap", {"sql": "CREATE TABLE half (); SELECT nothing"}, '.*column "nothing" does not exist'),
    ("before_swap", {"command": ["sleep", "60"], "deadline": "1s"}, ".*sleep was not done after 1 s: ended"),
]


def test_a_hook_that_fails_before_the_swap_ends_the_run(refreshed: Couple, before: tuple[int, dict[str, str]]):
    for when, deed, words in FAILING:
        hooks = [
            {"name": "bad luck", "when": when, **deed},
            {"name": "never", "when": "before_swap", "sql": "SELECT 1"},
        ]
        refreshed.retarget(weekly={"hooks": hooks})
        said = refreshed.refresh(expect=15)
        assert said["code"] == "RefreshError"
        assert re.match(f'the hook "bad luck" failed {words}', said["message"]), said["message"]
        assert said["hint"]
        assert "hook never" not in steps(refreshed, said["run"])
        assert unharmed(refreshed, before)


def test_a_hook_that_fails_after_the_swap_leaves_the_new_data_and_says_so(
    refreshed: Couple, restic: Path, tmp_path: Path
):
    refreshed.prod.psql("UPDATE version SET n = 2", refreshed.prod_db)
    hooks = [
        {"name": "bad luck", "when": "after_swap", "command": ["sh", "-c", "exit 3"]},
        {"name": "never", "when": "after_swap", "sql": "SELECT 1"},
    ]
    refreshed.retarget(weekly={"hooks": hooks})
    oid = oid_of(refreshed.dev, refreshed.dev_db)
    said = refreshed.refresh("--fresh", expect=19)
    assert said["code"] == "Unfinished"
    assert said["state"] == "failed"
    assert 'has production\'s data, but what was to follow failed: the hook "bad luck" failed after' in said["message"]
    assert "daybreak undo" in said["hint"]
    assert "hook never" not in steps(refreshed, said["run"])
    assert refreshed.dev.psql("SELECT n FROM version", refreshed.dev_db) == "2"
    assert refreshed.clean() == []

    # The new archive goes off-site all the same: here it fails there as well, and the run names both.
    refreshed.configure(plan={"repositories": ["r"]})
    (tmp_path / "password").write_text("x\n")
    (tmp_path / "password").chmod(0o600)
    refreshed.more += (
        f'[repositories.r]\nurl = "{tmp_path / "nothing"}"\npassword_file = "{tmp_path / "password"}"\n'
        f'restic = "{restic}"\n'
    )
    refreshed.configure()
    both = refreshed.refresh("--fresh", expect=14)
    assert both["code"] == "OffsiteError"
    assert any("bad luck" in warning for warning in both["warnings"])
    refreshed.json("undo")
    assert oid_of(refreshed.dev, refreshed.dev_db) != oid


def test_what_cannot_be_done_at_all_is_said_before_anything_is_made(site: Couple, tmp_path: Path):
    (tmp_path / "big.sql").write_text("SELECT 1; -- " + "x" * 100_000)
    (tmp_path / "latin.sql").write_bytes(b"SELECT '\xe4'")
    deeds: list[dict[str, object]] = [
        {"command": ["no-such-program"]},
        {"sql_file": "/nowhere/x.sql"},
        {"sql_file": str(tmp_path / "big.sql")},
        {"sql_file": str(tmp_path / "latin.sql")},
        {"sql_file": "/dev/null"},
    ]
    hooks = [{"name": f"n{number}", "when": "after_swap", **deed} for number, deed in enumerate(deeds)]
    site.retarget(weekly={"hooks": hooks})
    problems = [
        'the hook "n0": the program no-such-program is not there',
        'the hook "n1": /nowhere/x.sql: No such file or directory',
        f'the hook "n2": {tmp_path}/big.sql is larger than 100 kB',
        f'the hook "n3": {tmp_path}/latin.sql is no UTF-8 text',
        'the hook "n4": /dev/null holds no SQL',
    ]
    assert site.json("refresh", "--plan")["notes"][:5] == problems
    said = site.refresh(expect=3)
    assert said["problems"] == problems
    assert site.beside() == []


@pytest.mark.parametrize("key", ["sql", "sql_file"])
def test_sql_that_begins_with_a_command_of_psql_is_refused_and_not_left_undone(key: str, site: Couple, tmp_path: Path):
    sql = "\\echo masking\nUPDATE account SET token = 'masked';"
    (tmp_path / "mask.sql").write_text(sql)
    deed = {"sql": sql, "sql_file": str(tmp_path / "mask.sql")}[key]
    site.retarget(weekly={"hooks": [{"name": "mask", "when": "after_restore", key: deed}]})
    said = site.refresh(expect=3)
    where = {"sql": "its SQL", "sql_file": f"{tmp_path}/mask.sql"}[key]
    assert said["problems"] == [f'the hook "mask": {where} begins with psql\'s \\echo: only SQL is run']
    assert site.beside() == []


VIEWS = """
CREATE SCHEMA "Odd ""Schema"" ☀";
CREATE VIEW between AS SELECT id, token FROM account;
CREATE MATERIALIZED VIEW "Odd ""Schema"" ☀"."fü ll" AS SELECT id, token FROM between;
CREATE VIEW again AS SELECT * FROM "Odd ""Schema"" ☀"."fü ll";
CREATE MATERIALIZED VIEW plain AS SELECT string_agg(token, ' ' ORDER BY id) AS tokens FROM again;
CREATE MATERIALIZED VIEW planned AS SELECT reltuples AS rows FROM pg_class WHERE relname = 'account';
CREATE MATERIALIZED VIEW empty AS SELECT 1 AS n WITH NO DATA;
"""
FILLED = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relkind = 'm' AND relispopulated"


@pytest.fixture
def viewed(couple: Coupling, servers: Servers, major: int) -> Iterator[Couple]:
    prod = servers[major]
    name = prod.fresh()
    prod.psql("CREATE TABLE account AS SELECT id, 'secret' || id AS token FROM generate_series(1, 3) AS id;", name)
    prod.psql(VIEWS, name)
    yield couple(name, majors=(major, major))
    prod.drop_database(name)


@pytest.mark.parametrize("major", [15, 18])
def test_materialized_views_are_filled_as_in_production_with_statistics_before_and_after(viewed: Couple):
    said = viewed.refresh()
    run = viewed.json("run", "show", said["run"])
    assert {one["name"]: one["facts"] for one in run["steps"]}["fill materialized views"] == {"views": 3}
    ask = viewed.dev.psql
    assert ask(FILLED, viewed.dev_db) == "fü ll plain planned"
    assert ask("SELECT tokens FROM plain", viewed.dev_db) == "secret1 secret2 secret3"
    assert ask("SELECT rows FROM planned", viewed.dev_db) == "3"
    assert (
        ask("SELECT count(DISTINCT tablename) FROM pg_stats WHERE tablename IN ('fü ll', 'plain')", viewed.dev_db)
        == "2"
    )


@pytest.mark.parametrize("major", [15, 18])
def test_materialized_views_hold_what_a_hook_made_of_the_rows(viewed: Couple):
    viewed.retarget(
        weekly={
            "hooks": [
                {"name": "mask", "when": "after_restore", "sql": "UPDATE account SET token = 'masked'"},
                {"name": "drop", "when": "after_restore", "sql": "DROP MATERIALIZED VIEW planned"},
            ]
        }
    )
    viewed.refresh()
    assert "fill the materialized views" in viewed.json("refresh", "--plan")["steps"]
    assert viewed.dev.psql("SELECT tokens FROM plain", viewed.dev_db) == "masked masked masked"
    assert viewed.dev.psql(FILLED, viewed.dev_db) == "fü ll plain"

    filled = 'REFRESH MATERIALIZED VIEW "Odd ""Schema"" ☀"."fü ll"; UPDATE account SET token = $$later$$'
    viewed.retarget(weekly={"hooks": [{"name": "own", "when": "after_restore", "sql": filled}]})
    said = viewed.refresh()
    assert viewed.dev.psql("SELECT tokens FROM plain", viewed.dev_db) == "secret1 secret2 secret3"
    facts = {one["name"]: one["facts"] for one in viewed.json("run", "show", said["run"])["steps"]}
    assert facts["fill materialized views"] == {"views": 2}


@pytest.mark.parametrize("major", [15, 18])
def test_a_materialized_view_that_reads_another_through_a_function_is_filled_behind_it(viewed: Couple):
    viewed.prod.psql(
        "CREATE FUNCTION words() RETURNS SETOF text LANGUAGE sql AS 'SELECT tokens FROM public.plain';"
        "CREATE MATERIALIZED VIEW a_word AS SELECT * FROM words() AS word;"
        "CREATE MATERIALIZED VIEW a_last AS SELECT word FROM a_word",
        viewed.prod_db,
    )
    viewed.refresh()
    assert viewed.dev.psql(FILLED, viewed.dev_db) == "a_last a_word fü ll plain planned"
    assert viewed.dev.psql("SELECT word FROM a_last", viewed.dev_db) == "secret1 secret2 secret3"
    viewed.prod.psql("REFRESH MATERIALIZED VIEW plain WITH NO DATA", viewed.prod_db)
    viewed.backup()
    failed = viewed.refresh(expect=15)
    assert "view public.a_word could not be filled: " in failed["message"]
    assert 'view "plain" has not been populated' in failed["message"]
    assert failed["code"] == "RefreshError"


@pytest.mark.parametrize("major", [15, 18])
def test_a_materialized_view_that_cannot_be_filled_is_named_and_dev_stays(viewed: Couple):
    viewed.refresh()
    before = oid_of(viewed.dev, viewed.dev_db), contents(viewed.dev, viewed.dev_db)
    divided = "CREATE OR REPLACE VIEW again AS SELECT id, (1 / (id - 2))::text AS token FROM account"
    viewed.retarget(weekly={"hooks": [{"name": "break", "when": "after_restore", "sql": divided}]})
    failed = viewed.refresh(expect=15)
    assert "the materialized view public.plain could not be filled: " in failed["message"]
    assert "division by zero" in failed["message"]
    assert failed["hint"] == "ask production, or a copy of it, the same: REFRESH MATERIALIZED VIEW public.plain"
    assert unharmed(viewed, before)
