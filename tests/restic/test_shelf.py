"""The folder around an archive through nights that are no ordinary ones: what is kept, and what is swept."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from nights import ROLES, Host
from offsite_samples import made_up_manifest

from daybreak.catalog import Catalog
from daybreak.errors import ConfigError
from daybreak.jobs import shelf as shelves
from daybreak.jobs.adoption import adopt
from daybreak.jobs.backup import place, tidy
from daybreak.jobs.run import Engine, RunContext
from daybreak.model import BackupPlan, Run, RunState
from silent import Silent


@dataclass(kw_only=True)
class Local(Host):
    """A host that publishes only, as a backup does, and keeps so many archives."""

    repositories: tuple[()] = ()
    keep_local: int = 1

    @property
    def plan(self) -> BackupPlan:
        return replace(super().plan, keep_local=self.keep_local)

    def publish(self, number: int) -> Run:
        return self.run("backup", lambda run: self._publish(run, number))

    def _publish(self, run: RunContext, number: int) -> None:
        run.begin()
        content = b"night %d" % number
        before = adopt(run, self.plan, self.shelf)
        manifest = made_up_manifest(number, content, ROLES, plan=self.name)
        staged = self.shelf.staged(run.id)
        staged.write_bytes(content)
        self.shelf.store_manifest(manifest, ROLES)
        place(run, self.plan, self.shelf, staged, manifest, before=before)
        tidy(run, self.plan, self.shelf)

    def older(self) -> list[str]:
        return [manifest.id for _, manifest in self.shelf.older()]


@pytest.fixture
def host(tmp_path: Path) -> Local:
    found = Local(folder=tmp_path)
    found.night(0)
    found.prove(0)
    return found


def _eio(path: Path, **_named: object) -> str:
    raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))


@pytest.mark.parametrize(("keep_local", "older"), [(3, ["a000"]), (1, [])])
def test_an_archive_that_the_disk_does_not_give_is_kept_all_the_same(
    host: Local, monkeypatch: pytest.MonkeyPatch, keep_local: int, older: list[str]
) -> None:
    host.keep_local = keep_local
    with monkeypatch.context() as patched:
        patched.setattr(shelves, "sha256_from_disk", _eio)
        run = host.publish(1)
    assert run.state is RunState.SUCCEEDED
    assert any("cannot be read: Input/output error" in one for one in run.result["warnings"])
    assert host.older() == older
    assert host.shelf.proven_name.exists() is (keep_local == 1)  # it is the newest proven one


def test_what_was_proven_under_another_name_of_the_plan_is_kept(host: Local) -> None:
    host.name = "daily"
    host.publish(1)
    assert host.shelf.manifest_of(host.shelf.proven_name).id == "a000"


def test_an_archive_that_the_catalog_never_knew_is_followed_by_the_next(host: Local) -> None:
    host.name, host.keep_local = "daily", 2
    host.catalog = Catalog.open(host.folder / "another")
    host.engine = Engine(host.catalog, host.folder / "another", Silent())
    assert host.publish(1).state is RunState.SUCCEEDED
    assert host.older() == ["a000"]


@pytest.mark.parametrize("known", [True, False])
def test_an_archive_is_adopted_where_the_catalog_cannot_be_written(
    host: Local, monkeypatch: pytest.MonkeyPatch, *, known: bool
) -> None:
    def full(*_words: object, **_named: object) -> None:
        raise ConfigError("the catalog cannot be written: the disk is full", hint="make room")

    archives = host.catalog.archives
    if known:
        archives.set_path("a000", host.folder / "elsewhere")
    else:
        monkeypatch.setattr(archives, "get", lambda _id: None)
    monkeypatch.setattr(archives, "add", full)
    monkeypatch.setattr(archives, "set_state", full)
    adopted: list[str] = []

    def job(run: RunContext) -> None:
        run.begin()
        adopted.append(adopt(run, host.plan, host.shelf).id)

    run = host.run("backup", job)
    assert (run.state, adopted) == (RunState.SUCCEEDED, ["a000"])
    assert any("the disk is full" in one for one in run.result["warnings"])


# -- sweeping ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dies_at", [1, 2, 3])
def test_a_kill_while_an_archive_is_removed_leaves_nothing_that_stays(
    host: Local, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    host.keep_local = 2
    host.publish(1)
    older = host.shelf.older_name("a000")
    done: list[Path] = []
    unlink = Path.unlink

    def dies(path: Path, **words: bool) -> None:
        done.append(path)
        if len(done) == dies_at:
            raise KeyboardInterrupt
        unlink(path, **words)

    monkeypatch.setattr(Path, "unlink", dies)
    with pytest.raises(KeyboardInterrupt):
        host.shelf.remove(older)
    monkeypatch.setattr(Path, "unlink", unlink)
    swept = _sweep(host)
    assert swept == []  # somebody may be linking it just now
    monkeypatch.setattr(shelves, "_ORPHANED_S", -1.0)
    _sweep(host)
    whole = [older] if dies_at == 1 else []
    assert [one for one in host.shelf.folder.glob("*a000*") if one.suffix == ".dump"] == whole
    assert bool(list(host.shelf.folder.glob("*a000*"))) is bool(whole)
    assert host.older() == ["a000"] * len(whole)
    assert host.shelf.manifest_of(host.plan.archive).id == "a001"


def test_a_sweep_does_not_mind_folders_that_others_remove_meanwhile(host: Local) -> None:
    places = host.shelf.root / "ship" / "nightly" / "shards"
    for number in range(64):
        (places / f"{number:02x}").mkdir(parents=True)
    (left := places / "00" / ".x.999999999.partial").touch()
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            with tempfile.TemporaryDirectory(dir=host.shelf.root / "ship", prefix=".sample-") as one:
                (Path(one) / "nightly").mkdir()

    other = threading.Thread(target=come_and_go)
    other.start()
    try:
        for _ in range(150):
            _sweep(host)
    finally:
        stop.set()
        other.join()
    assert not left.exists()


def _sweep(host: Local, is_alive: Callable[[str], bool] = lambda _run: True) -> list[str]:
    return host.shelf.sweep(is_alive)
