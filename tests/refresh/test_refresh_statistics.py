"""What the planner knows of a refreshed database: production's own statistics, taken where they are true there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from couples import Couple

if TYPE_CHECKING:
    from conftest import Servers
    from refresh.conftest import Coupling

#: What nobody finds by looking at the rows: it says where a statistic is from.
MARK = "-0.4242"
MARKED = f"""
SELECT pg_restore_attribute_stats('schemaname', 'public', 'relname', 'person', 'attname', 'name', 'inherited', false,
    'n_distinct', '{MARK}'::real)"""
TABLES = """
CREATE TABLE person WITH (autovacuum_enabled = false) AS
    SELECT n AS id, CASE WHEN n % 2 = 0 THEN 'Ada Lovelace' ELSE 'somebody ' || n END AS name
      FROM generate_series(1, 20000) AS n;
CREATE INDEX by_name ON person (upper(name));
CREATE TABLE day (d int, hour int) PARTITION BY RANGE (d);
CREATE TABLE day_1 PARTITION OF day FOR VALUES FROM (0) TO (100) WITH (autovacuum_enabled = false);
CREATE TABLE filled (n int) WITH (autovacuum_enabled = false);
INSERT INTO day SELECT n % 100, n % 24 FROM generate_series(1, 1000) AS n;
ANALYZE;
CREATE TABLE unknown WITH (autovacuum_enabled = false) AS
    SELECT n % 10 AS a, n % 5 AS b FROM generate_series(1, 1000) AS n;
INSERT INTO filled SELECT n FROM generate_series(1, 1000) AS n;
CREATE STATISTICS of_day ON d, hour FROM day_1;
DELETE FROM person WHERE id > 10000;
"""

GRANTED = """
CREATE TABLE granted WITH (autovacuum_enabled = false) AS
    SELECT '"only in production"'::regrole AS r FROM generate_series(1, 99);
ANALYZE granted;
DELETE FROM granted;
"""


@pytest.fixture
def known(couple: Coupling, servers: Servers) -> Couple:
    """Production with statistics that are marked, a table without, and one that is half empty."""
    server = servers[18]
    name = server.fresh()
    server.psql(TABLES, name)
    server.psql(MARKED, name)
    return couple(name)


def distinct(site: Couple) -> str:
    return site.dev.psql("SELECT n_distinct FROM pg_stats WHERE (tablename, attname) = ('person', 'name')", site.dev_db)


def taken(site: Couple, run: str) -> int:
    steps = {one["name"]: one["facts"] for one in site.json("run", "show", run)["steps"]}
    return steps["analyze"]["statistics"]


def test_production_s_own_statistics_come_along(known: Couple) -> None:
    said = known.refresh()
    assert distinct(known) == MARK
    assert taken(known, said["run"]) > 0
    ask = known.dev.psql
    kept = "SELECT tablename, attname, inherited FROM pg_stats WHERE schemaname = 'public' ORDER BY 1, 2, 3"
    there = known.prod.psql(kept, known.prod_db).splitlines()
    # Made: those of tables that nobody had analyzed, or only when they were empty, and of two columns together.
    assert sorted(ask(kept, known.dev_db).splitlines()) == sorted([*there, "unknown|a|f", "unknown|b|f", "filled|n|f"])
    assert ask("SELECT statistics_name FROM pg_stats_ext", known.dev_db) == "of_day"


def test_the_planner_counts_rows_by_the_pages_that_are_here(known: Couple) -> None:
    """Production's table is half empty: its own pages, with its rows, would promise too few rows here."""
    known.prod.psql("ANALYZE person", known.prod_db)
    known.refresh()
    plan = json.loads(known.dev.psql("EXPLAIN (FORMAT json) SELECT FROM person", known.dev_db))
    assert plan[0]["Plan"]["Plan Rows"] == pytest.approx(10000, rel=0.01)
    pages = "SELECT relpages, pg_relation_size(oid) / 8192 FROM pg_class WHERE relname IN ('person', 'by_name')"
    for line in known.dev.psql(pages, known.dev_db).splitlines():
        told, are = line.split("|")
        assert told == are


@pytest.mark.parametrize("when", ["after_restore", "before_swap"])
def test_what_a_hook_masks_no_statistic_tells(known: Couple, when: str) -> None:
    mask = "UPDATE person SET name = 'masked ' || id"
    known.retarget(weekly={"hooks": [{"name": "mask", "when": when, "sql": mask}]})
    run = known.refresh()["run"]
    assert taken(known, run) == 0
    assert distinct(known) != MARK
    if when == "after_restore":
        held = "SELECT count(*) FROM pg_stats WHERE most_common_vals::text LIKE '%Ada Lovelace%'"
        assert known.dev.psql(held, known.dev_db) == "0"


def test_statistics_that_the_target_doubts_are_made_anew(known: Couple) -> None:
    """A value of a type that names roles: the role is production's alone, and no row has it any more."""
    known.prod.create_role("only in production", options="NOLOGIN")
    known.prod.psql(GRANTED, known.prod_db)
    said = known.refresh()
    assert taken(known, said["run"]) == 0
    assert distinct(known) != MARK
    log = (known.state / "logs" / f"{said['run']}.log").read_text()
    assert "production's statistics were not taken" in log
    assert "only in production" not in log


def test_a_role_that_is_no_superuser_has_them_made(known: Couple) -> None:
    known.by_role("modest")
    try:
        assert taken(known, known.refresh()["run"]) == 0
        assert distinct(known) not in {"", MARK}
    finally:
        known.dev.psql('REVOKE "dev owner" FROM modest')


def test_an_older_target_has_them_made(couple: Coupling, servers: Servers) -> None:
    name = servers[18].fresh()
    servers[18].psql(TABLES, name)
    site = couple(name, majors=(18, 17))
    assert taken(site, site.refresh()["run"]) == 0
    assert distinct(site)


def test_very_many_statistics_stay_where_they_are(known: Couple, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would stand in the table of contents, which is held in memory."""
    held = int(known.prod.psql("SELECT pg_total_relation_size('pg_statistic')", known.prod_db))
    monkeypatch.setattr("daybreak.jobs.dump._MOST_STATISTICS_BYTES", held)
    assert taken(known, known.refresh()["run"]) > 0
    monkeypatch.setattr("daybreak.jobs.dump._MOST_STATISTICS_BYTES", held - 1)
    assert taken(known, known.refresh("--fresh")["run"]) == 0


def test_a_role_that_may_not_read_them_dumps_all_else(known: Couple) -> None:
    known.prod.create_role("reads rows alone")
    known.prod.psql(
        'REVOKE SELECT ON pg_stats FROM PUBLIC; GRANT SELECT ON ALL TABLES IN SCHEMA public TO "reads rows alone"',
        known.prod_db,
    )
    known.url = known.prod.url(known.prod_db, user="reads rows alone")
    known.configure()
    assert taken(known, known.refresh()["run"]) == 0
