"""No two runs of a state folder are called the same, whatever is drawn."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from daybreak.catalog import Catalog
from daybreak.jobs import naming
from daybreak.model import Run, RunState
from installation import Installation

AT = datetime(2026, 11, 28, 2, 0, tzinfo=UTC)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    (tmp_path / "runs").mkdir()
    with Catalog.open(tmp_path) as catalog:
        yield catalog


def test_an_id_of_a_run_that_is_recorded_or_alive_is_not_given_again(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    recorded = f"{AT:%Y%m%d-%H%M%S}-0001"
    catalog.runs.insert(
        Run(id=recorded, plan="p", kind="backup", state=RunState.WAITING, trigger="cli", requested_at=AT)
    )
    drawn = (f"{AT:%Y%m%d-%H%M%S}-{number:04x}" for number in (1, 2, 1, 2, 3))
    monkeypatch.setattr(naming, "new_run_id", lambda *_: next(drawn))
    folder = tmp_path / "runs"
    assert naming.take_id(catalog, folder, AT).endswith("-0002")
    assert naming.take_id(catalog, folder, AT).endswith("-0003")
    assert sorted(path.name[-9:] for path in folder.iterdir()) == ["0002.lock", "0003.lock"]


def test_many_who_draw_at_once_get_different_ones(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    chance = random.SystemRandom()  # 64 names for 48 who want one
    monkeypatch.setattr(naming, "new_run_id", lambda *_: f"{AT:%Y%m%d-%H%M%S}-{chance.getrandbits(6):04x}")
    got: list[str] = []

    def draw() -> None:
        got.extend(naming.take_id(catalog, tmp_path / "runs", AT) for _ in range(6))

    threads = [threading.Thread(target=draw) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(got) == len(set(got)) == 48


def test_two_backups_that_draw_the_same_id_are_two_runs(site: Installation, monkeypatch: pytest.MonkeyPatch):
    drawn = (f"20261128-020000-{number:04x}" for number in range(1000) for _ in range(3))
    monkeypatch.setattr(naming, "new_run_id", lambda *_: next(drawn))
    first, second = site.backup(), site.backup()
    assert [first["state"], second["state"]] == ["succeeded", "succeeded"]
    assert first["run"] != second["run"]
    assert {run["run"] for run in site.json("runs")["runs"]} >= {first["run"], second["run"]}
