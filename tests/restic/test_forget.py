"""Forgetting: ours alone, by ids, with reasons; what must stay stays whatever the rules say."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from nights import Host
from offsite_samples import FIRST_NIGHT, HOST, Offsite, Shelf

from daybreak.errors import Refused
from daybreak.jobs import forget
from daybreak.model import ArchiveState, Keep, Repository
from daybreak.process import Runner

pytestmark = pytest.mark.restic


@pytest.fixture(autouse=True)
def _named_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYBREAK_HOST", HOST)


def look(host: Host, repository: Repository) -> forget.Outlook:
    return forget.look(host.catalog, host.plan, host.connect(repository, Runner()), host=HOST)


def forget_now(host: Host, repository: Repository, *, seen: str = "") -> Any:
    return host.run(
        "forget",
        lambda run: forget.forget_all(run, [host.plan], repository, host=HOST, connect=host.connect, seen=seen),
    ).result["plans"]


def archives(offsite: Offsite, repository: Repository) -> list[str | None]:
    return [one.archive for one in offsite.restic(repository).snapshots(tags=["daybreak", "plan=nightly"], host=HOST)]


def test_only_our_own_old_snapshots_are_forgotten(offsite: Offsite, tmp_path: Path) -> None:
    repository = offsite.empty(keep=Keep(last=1))
    restic = offsite.restic(repository)
    foreign = tmp_path / "foreign"
    foreign.write_text("somebody else's")
    restic.backup([foreign], tags=["zerobyte"], host=HOST, taken_at=FIRST_NIGHT)
    restic.backup([foreign], tags=["daybreak"], host=HOST, taken_at=FIRST_NIGHT)
    restic.backup([foreign], tags=["plan=nightly"], host=HOST, taken_at=FIRST_NIGHT)
    other_plan, other_host = Shelf(folder=tmp_path / "other", plan="hourly"), Shelf(folder=tmp_path / "db2")
    other_plan.send(other_plan.parcel(night=0), restic)
    other_host.send(other_host.parcel(night=0), restic, host="db2")
    strangers = {snapshot.id for snapshot in restic.snapshots()}
    assert len(strangers) == 5
    host = Host(folder=tmp_path / "db1", repositories=(repository,))
    host.night(1)
    host.prove(1)
    host.night(2)

    run = host.night(3)

    assert [one["forgotten"] for one in run.result["snapshots"]] == [1]
    assert archives(offsite, repository) == ["a001", "a003"]  # the newest proven, the newest checked
    assert strangers < {snapshot.id for snapshot in offsite.restic(repository).snapshots()}
    known = {one.archive: one.forgotten_at is None for one in host.catalog.snapshots.list(forgotten=True)}
    assert known == {"a001": True, "a002": False, "a003": True}
    assert not any("--keep" in line or "prune" in line for line in offsite.log)


def test_every_fate_has_its_reason_and_a_look_changes_nothing(newer: Offsite, tmp_path: Path) -> None:
    repository = newer.empty(keep=None)
    host = Host(folder=tmp_path, repositories=(repository,))
    for night in range(4):
        host.night(night)
    host.prove(0)
    assert [one.reasons for one in look(host, repository).decisions] == [("no rules",)] * 4
    ruled = replace(repository, keep=Keep(last=2))

    outlook = look(host, ruled)

    assert [(one.item.snapshot.archive, one.reasons) for one in outlook.decisions] == [
        ("a003", ("the newest checked one", "one of the last 2")),
        ("a002", ("one of the last 2",)),
        ("a001", ()),
        ("a000", ("the newest proven one",)),
    ]
    assert len(archives(newer, repository)) == 4
    [plan] = forget_now(host, ruled)
    assert [(one["archive"], one["keep"]) for one in plan["snapshots"]] == [
        ("a003", True),
        ("a002", True),
        ("a001", False),
        ("a000", True),
    ]
    assert archives(newer, repository) == ["a000", "a002", "a003"]
    with pytest.raises(Refused, match="has no rules"):
        forget_now(host, repository)
    with pytest.raises(Refused, match="keeps nothing"):
        forget_now(host, replace(repository, keep=Keep()))
    assert archives(newer, repository) == ["a000", "a002", "a003"]


def test_a_snapshot_that_nobody_read_back_holds_no_good_ones_place(newer: Offsite, tmp_path: Path) -> None:
    repository = newer.empty(keep=Keep(daily=2))
    host = Host(folder=tmp_path, repositories=(repository,))
    host.night(0)
    file = tmp_path / "half"
    (tmp_path / "half.json").write_text("{}")
    file.write_text("what a run that was killed left, an hour after the good one")
    tags = ["daybreak", "plan=nightly", "archive=half"]
    restic = newer.restic(repository)
    restic.backup([file, tmp_path / "half.json"], tags=tags, host=HOST, taken_at=FIRST_NIGHT + timedelta(hours=1))

    host.night(1)

    assert archives(newer, repository) == ["a000", "half", "a001"]
    host.night(2)
    assert archives(newer, repository) == ["a001", "a002"]


def test_a_lost_catalog_lets_nothing_go_that_the_rules_keep(newer: Offsite, tmp_path: Path) -> None:
    repository = newer.empty(keep=Keep(daily=4))
    host = Host(folder=tmp_path / "before", repositories=(repository,))
    for night in range(4):
        host.night(night)
    anew = Host(folder=tmp_path / "anew", repositories=(repository,))

    anew.night(4)

    assert archives(newer, repository) == ["a001", "a002", "a003", "a004"]


def test_a_clock_that_was_ahead_pushes_out_nothing(newer: Offsite, tmp_path: Path) -> None:
    repository = newer.empty(keep=Keep(daily=3))
    host = Host(folder=tmp_path, repositories=(repository,))
    ahead = [3650, 3651]  # ten years
    for night in ahead:
        host.night(night)
    for night in range(5):
        host.night(night)

    assert archives(newer, repository) == ["a002", "a003", "a004", *(f"a{night}" for night in ahead)]
    [*_, newest] = look(host, repository).decisions[:3]
    assert newest.item.snapshot.archive == "a004"
    assert newest.reasons[0] == "the newest checked one"
    [warning] = host.check().result["warnings"]
    assert warning.startswith("a clock was ahead: 2 snapshots (")


def test_what_somebody_looked_at_goes_or_nothing(newer: Offsite, tmp_path: Path) -> None:
    repository = newer.empty(keep=None)
    host = Host(folder=tmp_path, repositories=(repository,))
    for night in range(3):
        host.night(night)
    ruled = replace(repository, keep=Keep(last=2))
    seen = forget.seen_as([look(host, ruled)])
    host.night(3)  # while the command waited for the repository: now two would go

    with pytest.raises(Refused, match="is not what you looked at any more") as caught:
        forget_now(host, ruled, seen=seen)
    assert caught.value.exit_code == 4
    assert archives(newer, repository) == ["a000", "a001", "a002", "a003"]
    forget_now(host, ruled, seen=forget.seen_as([look(host, ruled)]))
    assert archives(newer, repository) == ["a002", "a003"]


def test_a_run_does_not_forget_what_it_has_sent(newer: Offsite, tmp_path: Path) -> None:
    repository = newer.empty(keep=Keep(last=1))
    host = Host(folder=tmp_path, repositories=(repository,))
    host.night(1)
    host.prove(1)

    host.night(0)  # the clock was a day ahead when the other one was taken

    assert archives(newer, repository) == ["a000", "a001"]
    host.night(2)
    assert archives(newer, repository) == ["a001", "a002"]


def test_nothing_is_forgotten_while_something_is_wrong(newer: Offsite, tmp_path: Path) -> None:
    repository = newer.empty(keep=Keep(last=1))
    host = Host(folder=tmp_path, repositories=(repository,))
    host.night(0)
    host.night(1, quarantined=True)
    assert archives(newer, repository) == ["a000", "a001"]

    host.night(2)  # newer than the quarantined one, so that nobody waits for it any more
    assert archives(newer, repository) == ["a001", "a002"]  # it stays for 30 days, for a person to look at
    host.night(3, quarantined=True)
    with pytest.raises(Refused, match="a003 is quarantined and waits for a person") as caught:
        forget_now(host, repository)
    assert caught.value.exit_code == 4
    host.catalog.archives.set_state("a003", ArchiveState.REJECTED)
    with pytest.raises(Refused, match=r"the newest snapshot, .*, is not good"):
        forget_now(host, repository)
    assert archives(newer, repository) == ["a001", "a002", "a003"]


def test_nothing_is_forgotten_in_a_repository_that_is_known_to_be_damaged(newer: Offsite, tmp_path: Path) -> None:
    repository = newer.empty(keep=Keep(last=1))
    host = Host(folder=tmp_path, repositories=(repository,))
    host.night(0)
    damaged = {"packs": ["ab" * 32], "snapshots": [], "words": "1 damaged pack"}
    host.run("check", lambda run: run.begin() or run.result.update(damage=damaged, parts=[]), plan="r2-check")

    run = host.night(1)

    assert run.state.value == "succeeded"
    assert archives(newer, repository) == ["a000", "a001"]
    with pytest.raises(Refused, match="found damage: 1 damaged or missing pack"):
        forget_now(host, repository)


def test_trouble_with_forgetting_is_a_warning(newer: Offsite, tmp_path: Path) -> None:
    refuse = 'if [ "$1" = forget ]; then echo "Fatal: something new" >&2; exit 1; fi; exec "$RESTIC" "$@"'
    repository = newer.empty(keep=Keep(last=1), restic=newer.wrapped("refuse", refuse))
    host = Host(folder=tmp_path, repositories=(repository,))
    host.night(0)

    run = host.night(1)

    assert run.state.value == "succeeded"
    [warning] = run.result["warnings"]
    assert warning.startswith("r2: old snapshots were not forgotten: repository r2: restic failed (exit status 1)")
    assert all(one.forgotten_at is None for one in host.catalog.snapshots.list(forgotten=True))
