"""A catalog that is only looked at, and what pages ask of many rows."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from console_view_samples import AT, begin_run, person_of, sample_settings, sample_world, write_years
from sqlalchemy import event

from daybreak.catalog import Catalog
from daybreak.catalog.history import RunFilter
from daybreak.console.people import Role
from daybreak.console.views.archives import archive_list
from daybreak.console.views.dev import dev
from daybreak.console.views.doctor import doctor
from daybreak.console.views.offsite import off_site, repository_page
from daybreak.console.views.overview import overview
from daybreak.console.views.runs import read_asked, run_list
from daybreak.console.views.schedule import week
from daybreak.console.world import Look, in_words
from daybreak.errors import ConfigError
from daybreak.model import RunState, SlotState


def _files(folder: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in folder.iterdir() if one.is_file()}


def test_looking_makes_and_changes_nothing(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    with pytest.raises(ConfigError, match="there is no catalog in") as told:
        Catalog.look(missing)
    assert "the first run makes it" in told.value.hint
    assert not missing.exists()

    with Catalog.open(tmp_path) as made:
        begin_run(made, tmp_path, AT)
    before = _files(tmp_path)
    with Catalog.look(tmp_path) as catalog:
        assert [run.plan for run in catalog.runs.list()] == ["nightly"]
        with pytest.raises(ConfigError, match="it is read-only"):
            catalog.runs.set_state(catalog.runs.list()[0].id, RunState.FAILED, at=AT)
    assert {name: content for name, content in _files(tmp_path).items() if name in before} == before


def test_what_is_written_later_is_seen(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as writer, Catalog.look(tmp_path) as catalog:
        assert catalog.runs.list() == []
        begin_run(writer, tmp_path, AT)
        assert len(catalog.runs.list()) == 1


@pytest.mark.parametrize(("revision", "words"), [("0003", "from an older Daybreak"), ("0999", "from a newer Daybreak")])
def test_an_older_and_a_newer_catalog_are_named(tmp_path: Path, revision: str, words: str) -> None:
    Catalog.open(tmp_path).close()
    with sqlite3.connect(tmp_path / "catalog.sqlite3") as raw:
        raw.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    raw.close()
    with pytest.raises(ConfigError, match=words):
        Catalog.look(tmp_path)
    with sqlite3.connect(tmp_path / "catalog.sqlite3") as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == (revision,)
    raw.close()


def test_a_locked_catalog_is_no_wait(tmp_path: Path) -> None:
    Catalog.open(tmp_path).close()
    raw = sqlite3.connect(tmp_path / "catalog.sqlite3", isolation_level=None)
    try:
        raw.execute("PRAGMA locking_mode = EXCLUSIVE")
        raw.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConfigError, match="locked for more than 2 s"):
            Catalog.look(tmp_path)
    finally:
        raw.close()


def test_what_is_no_catalog_is_named(tmp_path: Path) -> None:
    (tmp_path / "catalog.sqlite3").write_bytes(b"a note, not a database" * 100)
    with pytest.raises(ConfigError, match="the file is not a catalog"):
        Catalog.look(tmp_path)


#: What somebody who may only read does: looks, says so, waits for a letter, looks again.
_READER = """
import os, sys
from pathlib import Path
from daybreak.catalog import Catalog
os.setgroups([]); os.setgid(65534); os.setuid(65534)
with Catalog.look(Path(sys.argv[1])) as catalog:
    print(len(catalog.runs.list()), flush=True)
    sys.stdin.readline()
    print(len(catalog.runs.list()), flush=True)
"""


def test_somebody_who_may_only_read_sees_what_is_new() -> None:
    """Without -shm and -wal, and without the right to make them."""
    if os.geteuid() != 0:
        pytest.fail("this test changes its user: run it as root")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        with Catalog.open(folder) as writer:
            begin_run(writer, folder, AT)
        folder.chmod(0o755)
        (folder / "catalog.sqlite3").chmod(0o644)
        argv = [sys.executable, "-c", _READER, str(folder)]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            assert child.stdout.readline() == "1\n"
            with Catalog.open(folder) as writer:
                begin_run(writer, folder, AT + timedelta(hours=1))
            (folder / "catalog.sqlite3").chmod(0o644)
            child.stdin.write("\n")
            child.stdin.flush()
            assert child.stdout.readline() == "2\n"


def test_runs_are_filtered_counted_and_cut_into_pages(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        years = write_years(catalog, nights=90, tables=3)
        every = catalog.history.count(RunFilter())
        assert every == len(years.runs)
        failed = RunFilter(kind="backup", states=(RunState.FAILED,))
        assert {run.state for run in catalog.history.runs(failed, limit=50)} == {RunState.FAILED}
        assert catalog.history.count(failed) == sum(
            1 for one in years.runs if (one["kind"], one["state"]) == ("backup", "failed")
        )
        pages = [catalog.history.runs(RunFilter(), limit=50, offset=start) for start in range(0, every, 50)]
        ids = [run.id for page in pages for run in page]
        assert len(ids) == len(set(ids)) == every
        by_github = catalog.history.runs(RunFilter(trigger="git"), limit=5)
        assert {run.trigger for run in by_github} == {"github"}
        assert catalog.history.count(RunFilter(trigger="%")) == 0  # no pattern, a beginning
        day = datetime(2026, 11, 1, tzinfo=UTC)
        within = RunFilter(since=day, until=day + timedelta(days=1))
        assert all(day <= run.requested_at < day + timedelta(days=1) for run in catalog.history.runs(within, limit=99))
        missed = catalog.history.slots(states=[SlotState.MISSED], limit=10)
        assert {(kind, plan, one.state) for kind, plan, one in missed} == {("backup", "nightly", SlotState.MISSED)}


def test_a_world_finds_its_catalog_again(tmp_path: Path) -> None:
    """Missing at first, made later, replaced by another file, damaged: each page says how it is."""
    world = sample_world(tmp_path, settings=sample_settings(tmp_path))
    look = world.look(person_of(Role.OPERATOR))
    assert not look.known
    assert "there is no catalog" in look.faults[0]
    assert look.catalog.runs.list() == []

    Catalog.open(tmp_path).close()
    world._tried = float("-inf")  # as if some seconds had passed
    assert world.look(person_of(Role.OPERATOR)).known
    assert world.told == ()

    (tmp_path / "catalog.sqlite3").rename(tmp_path / "gone")
    look = world.look(person_of(Role.OPERATOR))
    assert not look.known
    with Catalog.open(tmp_path) as catalog:
        begin_run(catalog, tmp_path, AT)
    world._tried = float("-inf")
    assert len(world.look(person_of(Role.OPERATOR)).catalog.runs.list()) == 1

    with sqlite3.connect(tmp_path / "catalog.sqlite3") as raw:  # a newer Daybreak came by
        raw.execute("UPDATE alembic_version SET version_num = '0999'")
    raw.close()
    look = world.look(person_of(Role.OPERATOR))
    assert not look.known
    assert "from a newer Daybreak" in look.faults[0]


def test_many_who_look_cost_no_more_than_one(tmp_path: Path) -> None:
    """Until something is written, somebody else's rights are meant, or a second has passed."""
    made: list[bool] = []

    def view(look: Look) -> int:
        made.append(look.full)
        return len(look.catalog.runs.list())

    with Catalog.open(tmp_path) as catalog:
        world = sample_world(tmp_path, settings=sample_settings(tmp_path))
        ada, bob = person_of(Role.OPERATOR), person_of(Role.VIEWER)
        assert {world.show(view, ada, key="runs")[1] for _ in range(20)} == {0}
        assert made == [True]
        assert world.show(view, bob, key="runs")[1] == 0
        assert made == [True, False]
        assert world.show(view, ada)[1] == 0  # without a key nothing is kept
        begin_run(catalog, tmp_path, AT)
        assert world.show(view, ada, key="runs")[1] == 1
        world.settings = None
        assert not world.show(view, ada, key="runs")[0].configured


def test_a_fault_says_what_to_do() -> None:
    told = in_words(ConfigError("the file has 2 faults", hint="mend them", problems=["a.b: unknown", "c: missing"]))
    assert told == "the file has 2 faults; a.b: unknown; c: missing (mend them)"


def test_a_page_is_of_one_instant_and_the_next_one_of_the_next(tmp_path: Path) -> None:
    world = sample_world(tmp_path, settings=sample_settings(tmp_path))
    with Catalog.open(tmp_path) as writer:

        def view(look: Look) -> tuple[int, int]:
            before = len(look.catalog.runs.list())
            begin_run(writer, tmp_path, AT + timedelta(minutes=before))
            return before, len(look.catalog.runs.list())

        assert world.show(view)[1] == (0, 0)
        assert world.show(view)[1] == (1, 1)
        assert len(world.look().catalog.runs.list()) == 2


def test_an_instant_ends_with_its_block_also_where_that_fails(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as writer, Catalog.look(tmp_path) as catalog:
        with pytest.raises(ConfigError, match="it is read-only"), catalog.still():
            catalog.runs.set_state(begin_run(writer, tmp_path, AT), RunState.FAILED, at=AT)
        assert len(catalog.runs.list()) == 1


_WHERE_YEARS_ARE = ("runs", "archives", "snapshots", "slots", "steps")
_VIEWS: dict[str, Callable[[Look], object]] = {
    "overview": overview,
    "archives": lambda look: archive_list(look, "", 1),
    "archives of a plan": lambda look: archive_list(look, "nightly", 1),
    "off-site": off_site,
    "repository": lambda look: repository_page(look, "r2", 1),
    "dev": dev,
    "schedule": week,
    "doctor": lambda look: doctor(look, {}),
    "runs": lambda look: run_list(look, read_asked({})),
}


@pytest.mark.parametrize("name", _VIEWS)
def test_no_page_reads_all_rows_of_years(tmp_path: Path, name: str) -> None:
    """What SQLite says it would do: a table where years are is only read by an index."""
    with Catalog.open(tmp_path) as catalog:
        write_years(catalog, nights=3, tables=3)
    world, asked = sample_world(tmp_path, settings=sample_settings(tmp_path)), list[tuple[str, Any]]()
    look = world.look(person_of(Role.OPERATOR))
    engine = look.catalog._store._engine

    def note(_connection: object, _cursor: object, statement: str, values: Any, *_: object) -> None:
        asked.append((statement, values))

    event.listen(engine, "after_cursor_execute", note)
    _VIEWS[name](look)
    event.remove(engine, "after_cursor_execute", note)
    queries = [(statement, values) for statement, values in asked if statement.startswith("SELECT")]
    assert len(queries) > 3
    with sqlite3.connect(tmp_path / "catalog.sqlite3") as raw:
        for statement, values in queries:
            plan = raw.execute(f"EXPLAIN QUERY PLAN {statement}", [str(one) for one in values]).fetchall()
            for *_, step in plan:
                whole = [table for table in _WHERE_YEARS_ARE if step == f"SCAN {table}"]
                assert not whole, (name, step, statement)
    raw.close()
