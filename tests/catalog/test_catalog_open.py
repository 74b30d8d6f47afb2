"""Opening a catalog: made once, shared by a group, brought up to date, honest about what is wrong."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

import daybreak.catalog.migrations
from daybreak.catalog import Catalog, is_full
from daybreak.catalog.schema import HEAD, metadata
from daybreak.catalog.store import migrate
from daybreak.errors import ConfigError
from daybreak.model import Run, RunState

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
MIGRATIONS = Path(daybreak.catalog.migrations.__file__).parent


def a_run(run_id: str) -> Run:
    return Run(id=run_id, plan="nightly", kind="backup", state=RunState.WAITING, trigger="cli", requested_at=NOW)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def tables_of(path: Path) -> dict[str, object]:
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    revision = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    connection.close()
    return {name: " ".join(sql.replace('"', "").split()) for name, sql in rows} | {"revision": revision}


@pytest.fixture(params=[0o022, 0o077, 0o000])
def _umask(request: pytest.FixtureRequest) -> object:
    old = os.umask(request.param)
    yield
    os.umask(old)


@pytest.mark.usefixtures("_umask")
def test_the_folder_and_its_files_are_for_the_group_whatever_the_umask(tmp_path: Path) -> None:
    folder = tmp_path / "some" / "state"
    with Catalog.open(folder) as catalog:
        catalog.runs.insert(a_run("a"))
        assert mode(folder) == 0o2770
        files = {path.name: mode(path) for path in folder.iterdir()}
    assert files == dict.fromkeys(
        ["catalog.sqlite3", "catalog.sqlite3-wal", "catalog.sqlite3-shm", "catalog.lock"], 0o660
    )


def test_a_file_whose_maker_was_killed_before_its_chmod_is_mended(tmp_path: Path) -> None:
    (tmp_path / "catalog.sqlite3").touch(mode=0o600)
    with Catalog.open(tmp_path):
        assert mode(tmp_path / "catalog.sqlite3") == 0o660


def test_a_folder_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    Catalog.open(tmp_path).close()
    assert mode(tmp_path) == 0o750


def test_what_the_migrations_leave_is_what_the_code_says(tmp_path: Path) -> None:
    """A new catalog is made by the code at once, an older one by the migrations: both are the same."""
    engine = create_engine(f"sqlite:///{tmp_path / 'migrated'}")
    with engine.begin() as connection:
        migrate(connection)
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()
    Catalog.open(tmp_path / "made").close()
    # Alembic compares neither CHECKs nor names of constraints; the texts of the tables hold everything.
    assert tables_of(tmp_path / "migrated") == tables_of(tmp_path / "made" / "catalog.sqlite3")


@pytest.mark.parametrize("revision", ["0001", "0004"])
def test_an_older_catalog_is_brought_up_to_date_and_keeps_its_rows(tmp_path: Path, revision: str) -> None:
    file = tmp_path / "old" / "catalog.sqlite3"
    file.parent.mkdir()
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        migrate(connection, revision)
        connection.execute(
            text(
                "INSERT INTO runs (id, plan, kind, state, trigger, requested_at, reason, result) "
                "VALUES ('a', 'nightly', 'backup', 'succeeded', 'cli', '2026-11-22T08:00:00.000000+00:00', '', '{}')"
            )
        )
    engine.dispose()
    with Catalog.open(file.parent) as catalog:
        assert [run.id for run in catalog.runs.list()] == ["a"]
    Catalog.open(tmp_path / "made").close()
    assert tables_of(file) == tables_of(tmp_path / "made" / "catalog.sqlite3")


def test_the_head_that_the_code_names_is_the_newest_migration() -> None:
    script = ScriptDirectory(str(MIGRATIONS))
    assert script.get_heads() == [HEAD]
    assert all(len(revision.revision) == 4 for revision in script.walk_revisions())


def test_a_newer_catalog_is_refused_by_both_versions(tmp_path: Path) -> None:
    Catalog.open(tmp_path).close()
    connection = sqlite3.connect(tmp_path / "catalog.sqlite3")
    connection.execute("UPDATE alembic_version SET version_num = '0999'")
    connection.commit()
    connection.close()
    with pytest.raises(ConfigError, match=f"0999.*{HEAD}") as caught:
        Catalog.open(tmp_path)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("there", [False, True])
def test_opening_a_new_or_up_to_date_catalog_does_not_load_alembic(tmp_path: Path, *, there: bool) -> None:
    if there:
        Catalog.open(tmp_path).close()
    code = (
        "import sys, pathlib; from daybreak.catalog import Catalog; "
        "Catalog.open(pathlib.Path(sys.argv[1])).close(); sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path], check=False).returncode == 0


def test_a_database_in_wal_mode_that_syncs_every_commit_and_keeps_foreign_keys(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog, catalog._store.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000


def open_and_insert(folder: Path, start: float, name: str) -> None:
    time.sleep(max(0.0, start - time.time()))
    with Catalog.open(folder) as catalog:
        catalog.runs.insert(a_run(name))


def test_four_processes_that_open_a_new_catalog_at_once_all_succeed(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    start = time.time() + 3
    folder = tmp_path / "state"
    children = [spawn.Process(target=open_and_insert, args=(folder, start, f"run-{n}")) for n in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 4
    with Catalog.open(folder) as catalog:
        assert {run.id for run in catalog.runs.list()} == {f"run-{n}" for n in range(4)}


WRITER = """
import sys, pathlib
from datetime import UTC, datetime
from daybreak.catalog import Catalog, is_full
from daybreak.model import Run, RunState
with Catalog.open(pathlib.Path(sys.argv[1])) as catalog:
    for n in range(1_000_000):
        now, state = datetime.now(UTC), RunState.WAITING
        catalog.runs.insert(Run(id=f"{n}", plan="p", kind="backup", state=state, trigger="cli", requested_at=now))
        print(n, flush=True)
"""


def test_what_a_killed_process_had_recorded_stays_and_the_catalog_goes_on(tmp_path: Path) -> None:
    for turn in range(3):
        folder = tmp_path / str(turn)
        with subprocess.Popen([sys.executable, "-c", WRITER, folder], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            said = [child.stdout.readline() for _ in range(5 + turn)]
            child.send_signal(signal.SIGKILL)
            said += child.stdout.readlines()
        last = int([line for line in said if line.endswith("\n")][-1])
        with Catalog.open(folder) as catalog:
            found = {int(run.id) for run in catalog.runs.list(limit=100_000)}
            assert found >= set(range(last + 1))
            assert len(found) <= last + 2
            catalog.runs.insert(a_run("after"))


def as_nobody(folder: Path) -> subprocess.CompletedProcess[str]:
    """Open the catalog as an ordinary user; what the caller may do cannot be seen as root."""
    code = (
        "import os, sys, pathlib, tempfile\n"
        "from daybreak.catalog import Catalog\n"
        "from daybreak.errors import ConfigError\n"
        # All is loaded before the rights are gone: the code may lie where nobody can read.
        "with tempfile.TemporaryDirectory() as other: Catalog.open(pathlib.Path(other)).close()\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: Catalog.open(pathlib.Path(sys.argv[1])).close()\n"
        "except ConfigError as error: print(error.message, '|', error.hint); sys.exit(error.exit_code)\n"
    )
    return subprocess.run([sys.executable, "-c", code, folder], check=False, capture_output=True, text=True)


@pytest.fixture
def reachable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of root's that every user can reach but nobody else can write."""
    folder = tmp_path_factory.mktemp("reachable")
    for parent in [folder, *folder.parents]:
        if parent.name in {"", "tmp"}:
            break
        parent.chmod(0o755)
        if parent.name.startswith("pytest-of-"):  # pytest's own folders end here
            break
    return folder


def test_a_caller_who_may_not_make_the_folder_is_told_the_command(reachable: Path) -> None:
    if os.geteuid() != 0:
        reachable.chmod(0o555)
        with pytest.raises(ConfigError, match="cannot be made") as caught:
            Catalog.open(reachable / "state")
        assert "sudo install -d -m 2770" in caught.value.hint
        return
    said = as_nobody(reachable / "state")
    assert said.returncode == 3
    assert "cannot be made" in said.stdout
    assert "sudo install -d -m 2770" in said.stdout
    assert not (reachable / "state").exists()


def test_a_caller_who_may_not_write_the_folder_is_told_the_command(reachable: Path) -> None:
    folder = reachable / "state"
    Catalog.open(folder).close()
    folder.chmod(0o555)
    if os.geteuid() != 0:
        with pytest.raises(ConfigError, match="not writable") as caught:
            Catalog.open(folder)
        assert "chmod 2770" in caught.value.hint
        return
    said = as_nobody(folder)
    assert said.returncode == 3
    assert "not writable" in said.stdout
    assert "sudo ch" in said.stdout
    assert "chmod 2770" in said.stdout


@pytest.mark.parametrize("foreign", ["home", "used home", "closed", "/etc"])
def test_no_command_is_printed_for_a_folder_that_is_more_than_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, foreign: str
) -> None:
    """`state = "/etc"`, or a home: chgrp -R and chmod for all that lies there would be the end of it."""

    def closed(_path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    state = tmp_path / foreign  # "/etc" stays that
    if foreign != "/etc":
        state.mkdir()
        (state / ".ssh").mkdir(mode=0o700)
    if foreign == "used home":  # a run was here already, while it could
        (state / "catalog.sqlite3").touch()
    if foreign == "closed":
        monkeypatch.setattr(Path, "iterdir", closed)
    monkeypatch.setattr("os.access", lambda *_: False)  # root may everything
    with pytest.raises(ConfigError, match="not writable") as caught:
        Catalog.open(state)
    assert caught.value.hint == "name another one with `state = …` or DAYBREAK_STATE"


def test_the_printed_command_opens_the_folder_to_its_group_and_nothing_that_shuts_the_group_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "outside"
    outside.touch(mode=0o600)
    state = tmp_path / "it's [a] $HOME/of \\ *; things"
    for name in ("logs", "private/run", "console", "fetched/nightly"):
        (state / name).mkdir(parents=True)
    for name in ("catalog.sqlite3", "logs/run.log", "private/run/key", "console/console.sqlite3", "fetched/nightly/a"):
        (state / name).touch(mode=0o600)
    (state / "logs" / "link").symlink_to(outside)
    for name, its in (("", 0o755), ("logs", 0o2750), ("private/run", 0o2700), ("console", 0o700)):
        (state / name).chmod(its)
    monkeypatch.setattr("os.access", lambda *_: False)  # root may everything
    with pytest.raises(ConfigError, match="not writable") as caught:
        Catalog.open(state)
    monkeypatch.undo()
    line = 'sudo() { "$@"; }; ' + caught.value.hint
    subprocess.run(["/bin/sh", "-c", line], check=True, stdin=subprocess.DEVNULL)
    names = ("", "logs", "private", "private/run", "console", "fetched", "fetched/nightly")
    assert {name: mode(state / name) for name in names} == {
        **dict.fromkeys(names, 0o2770),
        "private/run": 0o2700,
        "console": 0o700,
    }
    assert {str(one.relative_to(state)): mode(one) for one in state.rglob("*") if one.is_file()} == {
        "catalog.sqlite3": 0o660,
        "logs/run.log": 0o660,
        "logs/link": 0o600,
        "private/run/key": 0o600,
        "console/console.sqlite3": 0o600,
        "fetched/nightly/a": 0o660,
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_file_system_that_is_read_only_is_told_as_that(tmp_path: Path) -> None:
    subprocess.run(["/usr/bin/mount", "-t", "tmpfs", "-o", "ro", "tmpfs", tmp_path], check=True)
    try:
        for folder in (tmp_path, tmp_path / "state"):
            with pytest.raises(ConfigError, match="is on a file system that is read-only") as caught:
                Catalog.open(folder)
            assert caught.value.hint == "mount it for writing, or name another one with `state = …` or DAYBREAK_STATE"
    finally:
        subprocess.run(["/usr/bin/umount", tmp_path], check=True)


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(ConfigError, match="not a folder"):
        Catalog.open(tmp_path / "state")


def test_a_file_that_is_no_catalog(tmp_path: Path) -> None:
    (tmp_path / "catalog.sqlite3").write_bytes(b"this was never a database, but is long enough to look" * 100)
    with pytest.raises(ConfigError, match="not a catalog") as caught:
        Catalog.open(tmp_path)
    assert "move catalog.sqlite3 away" in caught.value.hint


def test_a_full_file_system_is_a_fault_with_a_hint(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        with catalog._store.read() as connection:  # the one pooled connection keeps its limit
            connection.exec_driver_sql("PRAGMA max_page_count = 1")
        with pytest.raises(ConfigError, match="disk is full") as caught:
            catalog.runs.insert(replace(a_run("a"), reason="long " * 100_000))
        assert catalog.runs.list() == []
        assert str(tmp_path) in caught.value.message


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_disk_without_room_for_the_shared_memory_is_full_not_broken(tmp_path: Path) -> None:
    subprocess.run(["/usr/bin/mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", tmp_path], check=True)
    try:
        Catalog.open(tmp_path).close()
        with contextlib.suppress(OSError), (tmp_path / "fill").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        with pytest.raises(ConfigError, match="the disk is full") as caught:
            Catalog.open(tmp_path)
        assert caught.value.hint == "make room on that file system"
        assert is_full(caught.value)
    finally:
        subprocess.run(["/usr/bin/umount", tmp_path], check=True)


def test_a_writer_that_never_ends_is_named_as_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daybreak.catalog.store.BUSY_S", 0.1)
    with Catalog.open(tmp_path) as catalog:
        other = sqlite3.connect(tmp_path / "catalog.sqlite3", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ConfigError, match="locked"):
            catalog.runs.insert(a_run("a"))
        other.execute("ROLLBACK")
        other.close()
        catalog.runs.insert(a_run("a"))


@pytest.mark.parametrize("name", ["a%20b", "what?mode=ro", "a#b", "ä 'b\"", ":memory:"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    with Catalog.open(tmp_path / name) as catalog:
        catalog.runs.insert(a_run("a"))
    with Catalog.look(tmp_path / name) as catalog:
        assert catalog.runs.get("a") is not None
