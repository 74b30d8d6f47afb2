"""Check and prune: what is damaged is found within a rotation and named; the night is never disturbed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from nights import Host
from offsite_samples import HOST, Offsite, noise

from daybreak.errors import Busy, OffsiteError, Refused
from daybreak.files import is_locked, lock
from daybreak.jobs import upkeep
from daybreak.jobs.run import RunContext
from daybreak.jobs.status import status_of
from daybreak.jobs.upkeep import last_damage
from daybreak.model import Keep, Repository, RunState, Schedule
from daybreak.process import Runner
from daybreak.restic import Findings, Restic
from daybreak.upkeep import Upkeep
from installation import wait_for

pytestmark = pytest.mark.restic


@pytest.fixture(autouse=True)
def _named_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYBREAK_HOST", HOST)


@pytest.fixture
def host(offsite: Offsite, tmp_path: Path) -> Host:
    """A host with three nights in a repository of its own."""
    made = Host(folder=tmp_path, repositories=(offsite.empty(keep=Keep(last=100)),))
    for night in range(3):
        made.night(night, noise(400_000, seed=100 + night))
    return made


def packs(offsite: Offsite, host: Host) -> list[Path]:
    """Small ones first, then those with a night's data in the order of the nights: the first has the roles of all."""

    def order(pack: Path) -> tuple[bool, int]:
        return pack.stat().st_size > 300_000, pack.stat().st_mtime_ns

    return sorted(offsite.where(host.repositories[0]).glob("data/*/*"), key=order)


def flip(pack: Path) -> None:
    damaged = bytearray(pack.read_bytes())
    damaged[len(damaged) // 3] ^= 1
    pack.write_bytes(damaged)


def parts(host: Host) -> list[str]:
    """What the last check read."""
    last: Any = host.catalog.runs.list(kind="check", limit=1)[0].result["parts"]
    return [one["part"] for one in last]


def test_a_flipped_byte_is_found_within_the_rotation_and_stays_found(offsite: Offsite, host: Host) -> None:
    damaged = packs(offsite, host)[-1]
    flip(damaged)
    found: OffsiteError | None = None
    weeks = 0
    while found is None and weeks < 4:
        weeks += 1
        try:
            host.check()
        except OffsiteError as fault:
            found = fault

    assert found is not None
    assert (found.reason, found.exit_code) == ("damaged", 14)
    assert damaged.name[:16] in found.message
    assert parts(host) == [f"{weeks}/4"]
    damage = last_damage(host.catalog, "r2")
    assert damage.archives == ("a002",)
    assert "a002" in found.message
    with pytest.raises(OffsiteError):
        host.check()  # the next week: its own part, and the damaged one again
    assert parts(host) == [f"{weeks}/4", f"{weeks % 4 + 1}/4"]
    with pytest.raises(Refused, match="not pruned: its last check found 1 damaged or missing pack"):
        host.prune()
    at = host.catalog.runs.list()[0].requested_at
    [status] = status_of(host.catalog, [], [], at, upkeep=[host.upkeep(Upkeep.CHECK)])
    assert (status.kind, status.plan, status.state) == ("check", "r2-check", "failed")
    assert status.next_at is not None
    assert "damaged" in status.attention[0]


def test_damage_in_what_cannot_be_read_again_stays_until_everything_is_sound(newer: Offsite, tmp_path: Path) -> None:
    host = Host(folder=tmp_path, repositories=(newer.empty(keep=Keep(last=1)),))
    host.night(0, noise(400_000, seed=100))
    damaged = packs(newer, host)[-1]
    flip(damaged)
    with pytest.raises(OffsiteError, match="1 damaged or missing pack"):
        host.check(read="500M")

    with pytest.raises(OffsiteError, match="1 damaged or missing pack"):
        host.check()

    assert parts(host) == ["1/1", "1/4"]
    with pytest.raises(OffsiteError, match="1 damaged or missing pack"):
        host.check(read="2/4" if int(damaged.name[:2], 16) % 4 != 1 else "1/4")  # where it is not
    with pytest.raises(Refused, match="not pruned"):
        host.prune()
    host.night(1)
    assert len(newer.restic(host.repositories[0]).snapshots()) == 2  # nor is anything forgotten
    flip(damaged)  # the repair
    host.check()
    there = ["1/4"] * (int(damaged.name[:2], 16) % 4 == 0)  # that part was found damaged by itself, too
    assert parts(host) == ["1/1", *there, "2/4"]
    assert host.prune().state is RunState.SUCCEEDED
    host.check()
    assert parts(host) == ["3/4"]


def test_a_deleted_pack_is_found_at_once(offsite: Offsite, host: Host) -> None:
    offsite.lose(packs(offsite, host)[-1])

    with pytest.raises(OffsiteError, match="damaged or missing pack") as caught:
        host.check()

    assert caught.value.reason == "damaged"
    assert "it concerns a00" in caught.value.message


def test_a_deleted_index_is_found_at_once(offsite: Offsite, host: Host) -> None:
    newest = max(offsite.where(host.repositories[0]).glob("index/*"), key=lambda index: index.stat().st_mtime)
    offsite.lose(newest)

    with pytest.raises(OffsiteError, match="folder that cannot be read") as caught:
        host.check()

    assert (caught.value.reason, "a002" in caught.value.message) == ("damaged", True)


def test_a_deleted_snapshot_is_found_though_restic_sees_nothing(offsite: Offsite, host: Host) -> None:
    restic = offsite.restic(host.repositories[0])
    lost = restic.snapshots()[1].id
    offsite.lose(offsite.where(host.repositories[0]) / "snapshots" / lost)
    assert restic.check().sound

    with pytest.raises(OffsiteError, match=f"1 snapshot that is gone \\({lost[:16]}\\); it concerns a001") as caught:
        host.check()

    assert caught.value.reason == "damaged"
    assert host.check().state is RunState.SUCCEEDED  # told once


def test_what_the_rules_forgot_elsewhere_is_no_damage(newer: Offsite, tmp_path: Path) -> None:
    host = Host(folder=tmp_path, repositories=(newer.empty(keep=Keep(last=100)),))
    for night in range(2):
        host.night(night)
    restic = newer.restic(host.repositories[0])
    restic.forget([restic.snapshots()[0].id])
    host.repositories = (replace(host.repositories[0], keep=Keep(last=1)),)

    run = host.check()

    assert run.result["snapshots"] == 1
    assert len(host.catalog.snapshots.list(repository="r2")) == 1


def test_what_the_rules_forgot_elsewhere_counts_by_the_calendar_of_the_plan(newer: Offsite, tmp_path: Path) -> None:
    host = Host(
        folder=tmp_path,
        repositories=(newer.empty(keep=Keep(last=100)),),
        schedule=Schedule(spec="02:00", timezone="Pacific/Honolulu"),
    )
    for night in (0, 1, 2):  # Saturday to Monday there, at 22:00; in UTC a Sunday, and two days of the week after
        host.night(night)
    restic = newer.restic(host.repositories[0])
    restic.forget([restic.snapshots()[0].id])  # of the week that ends with Sunday the newest is the other one
    host.repositories = (replace(host.repositories[0], keep=Keep(weekly=2)),)

    assert host.check().result["snapshots"] == 2


def test_a_sound_rotation_reads_every_part_and_a_person_may_read_more(newer: Offsite, tmp_path: Path) -> None:
    host = Host(folder=tmp_path, repositories=(newer.empty(),))
    host.night(0)
    read: list[str] = []
    for _ in range(3):
        host.check()
        read += parts(host)
    run = host.check(read="100%")  # asked for by a person: the rotation goes on where it was
    assert parts(host) == ["1/1"]
    assert int(str(run.result["size_bytes"])) > 0
    for _ in range(2):
        host.check()
        read += parts(host)
    assert read == ["1/4", "2/4", "3/4", "4/4", "1/4"]


def test_a_check_that_cannot_reach_the_repository_says_so_and_its_turn_comes_again(
    newer: Offsite, tmp_path: Path
) -> None:
    repository = newer.empty()
    host = Host(folder=tmp_path, repositories=(replace(repository, url=f"{repository.url}-gone"),))
    with pytest.raises(OffsiteError) as caught:
        host.check()
    assert caught.value.reason == "missing"
    assert not last_damage(host.catalog, "r2").words
    host.repositories = (repository,)
    host.check()
    assert parts(host) == ["1/4"]


def test_prune_takes_away_what_was_forgotten(offsite: Offsite, host: Host) -> None:
    restic = offsite.restic(host.repositories[0])
    before = restic.size_bytes()
    first = restic.snapshots()[0].id
    restic.forget([first])

    run = host.prune()

    assert int(str(run.result["size_bytes"])) < before - 300_000
    assert "blobs" in str(run.result["freed"])
    assert run.kind == "prune"
    assert restic.check(read_data_subset="100%").sound


def test_check_and_prune_wait_for_a_night_and_give_up_in_time(newer: Offsite, tmp_path: Path) -> None:
    host = Host(folder=tmp_path, repositories=(newer.empty(),))
    began, end = threading.Event(), threading.Event()

    def long_night(run: RunContext) -> None:
        run.begin()
        began.set()
        end.wait(60)

    night = threading.Thread(target=host.run, args=["backup", long_night])
    night.start()
    began.wait(30)
    try:
        attempts: list[Callable[..., object]] = [host.check, host.prune]
        for attempt in attempts:
            with pytest.raises(Busy, match=r"\(backup nightly\) will send to r2"):
                attempt(wait=timedelta(seconds=1))
        threading.Timer(2, end.set).start()
        assert host.check(wait=timedelta(seconds=60)).state is RunState.SUCCEEDED
    finally:
        end.set()
        night.join()


def test_a_prune_came_for_the_lock_of_a_ship(newer: Offsite, tmp_path: Path) -> None:
    host = Host(folder=tmp_path, repositories=(newer.empty(),))
    path = host.engine.lock_path("repository-r2")
    started = time.monotonic()
    with (
        lock(path, wait=timedelta(0), holder="run 42"),
        pytest.raises(Busy, match="run 42 holds"),
    ):
        host.prune(wait=timedelta(seconds=1))
    assert time.monotonic() - started < 30


def test_a_prune_that_waited_for_a_check_hears_what_it_found(offsite: Offsite, host: Host) -> None:
    flip(packs(offsite, host)[-1])
    prune_came, found = threading.Event(), list[OffsiteError]()

    class Waiting(Restic):
        """Holds the repository, and is done some seconds after the prune has come."""

        def check(self, **words: Any) -> Findings:
            assert prune_came.wait(60)
            return super().check(**words)

    def check() -> None:
        other = Host(folder=host.folder, repositories=host.repositories)
        with patch.object(other, "connect", Waiting), pytest.raises(OffsiteError) as caught:
            other.check(read="100%")
        found.append(caught.value)

    checking = threading.Thread(target=check)
    checking.start()
    wait_for(lambda: is_locked(host.engine.lock_path("repository-r2")) or None, what="the check's lock")

    def connect(repository: Repository, runner: Runner) -> Restic:
        prune_came.set()
        return Restic(repository, runner)

    with patch.object(host, "connect", connect), pytest.raises(Refused, match="its last check found 1 damaged"):
        host.prune(wait=timedelta(minutes=2))
    checking.join()

    assert found[0].reason == "damaged"


def test_what_a_check_found_is_known_before_it_lets_the_repository_go(offsite: Offsite, host: Host) -> None:
    flip(packs(offsite, host)[-1])
    plan = host.upkeep(Upkeep.CHECK)
    known: list[str] = []

    def check(run: RunContext) -> None:
        with pytest.raises(OffsiteError):
            upkeep.check_repository(run, plan, senders=(), zones={}, connect=host.connect, read="100%")
        known.append(last_damage(run.catalog, "r2").words)  # the run itself has not ended yet

    host.run("check", check, plan=plan.name)

    assert "1 damaged or missing pack" in known[0]


def test_nothing_is_pruned_or_forgotten_where_that_is_for_others(newer: Offsite, tmp_path: Path) -> None:
    repository = newer.empty(keep=Keep(last=1), append_only=True)
    host = Host(folder=tmp_path, repositories=(repository,))
    for night in range(2):
        host.night(night)

    with pytest.raises(Refused, match='its prune is "never"'):
        host.prune()

    assert len(newer.restic(repository).snapshots()) == 2
