"""Runs: what is written is read again, and a run ends once, whoever tries."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import insert

from daybreak.catalog import CancelRequest, Catalog, Progress, new_run_id
from daybreak.catalog.ids import RUN_ID
from daybreak.catalog.runs import CAME_FROM
from daybreak.catalog.schema import runs
from daybreak.model import Failure, Run, RunState, Step
from daybreak.secret import Secret

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path) as opened:
        yield opened


def a_run(run_id: str = "a", *, state: RunState = RunState.WAITING, plan: str = "nightly", at: datetime = NOW) -> Run:
    return Run(id=run_id, plan=plan, kind="backup", state=state, trigger="cli", requested_at=at)


def test_a_run_comes_back_as_it_was_with_its_steps(catalog: Catalog) -> None:
    failure = Failure(code="DumpError", message="it broke", hint="look", exit_code=11)
    run = replace(
        a_run(state=RunState.FAILED),
        started_at=NOW + SECOND,
        ended_at=NOW + 2 * SECOND,
        reason="it broke",
        failure=failure,
        result={"archive": {"rows": 3}, "snapshots": []},
    )
    catalog.runs.insert(run)
    first = catalog.runs.add_step("a", "room", at=NOW)
    second = catalog.runs.add_step("a", "dump", at=NOW + SECOND)
    catalog.runs.end_step("a", first, at=NOW + SECOND, facts={"free_bytes": 2**40})
    catalog.runs.end_step("a", second, at=NOW + 2 * SECOND, failed=True)
    assert (first, second) == (1, 2)
    steps = (
        Step(name="room", started_at=NOW, ended_at=NOW + SECOND, facts={"free_bytes": 2**40}),
        Step(name="dump", started_at=NOW + SECOND, ended_at=NOW + 2 * SECOND, failed=True),
    )
    assert catalog.runs.get("a") == replace(run, steps=steps)
    assert catalog.runs.list() == [run]
    assert catalog.runs.get("b") is None


def test_instants_come_back_in_utc_to_the_microsecond(catalog: Catalog) -> None:
    at = datetime.fromisoformat("2026-11-01T01:30:00.000001-05:00")
    catalog.runs.insert(a_run(at=at))
    found = catalog.runs.get("a")
    assert found is not None
    assert found.requested_at == at
    assert found.requested_at.tzinfo is UTC


def test_an_instant_without_a_zone_is_a_slip_of_ours(catalog: Catalog) -> None:
    with pytest.raises(Exception, match="without a zone"):
        catalog.runs.insert(a_run(at=NOW.replace(tzinfo=None)))


@pytest.mark.parametrize(("before", "after"), list(product(RunState, RunState)))
def test_only_the_listed_transitions_happen(catalog: Catalog, before: RunState, after: RunState) -> None:
    catalog.runs.insert(a_run(state=before))
    assert catalog.runs.set_state("a", after, at=NOW + SECOND, reason="new") is (before in CAME_FROM[after])
    found = catalog.runs.get("a")
    assert found is not None
    if before in CAME_FROM[after]:
        assert (found.state, found.reason) == (after, "new")
        assert (found.ended_at if after.ended else found.started_at) == NOW + SECOND
    else:
        assert found == a_run(state=before)


def test_nothing_leads_out_of_an_ended_state() -> None:
    assert not any(state.ended for sources in CAME_FROM.values() for state in sources)
    assert set(CAME_FROM) == set(RunState)


def test_many_threads_that_end_one_run_end_it_once(catalog: Catalog, tmp_path: Path) -> None:
    catalog.runs.insert(a_run(state=RunState.RUNNING))
    ended: list[RunState] = []

    def end(state: RunState, its: Catalog) -> None:
        if its.runs.set_state("a", state, at=NOW, reason=state):
            ended.append(state)

    with Catalog.open(tmp_path) as other:  # as another process would have it
        states = [RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.LOST]
        threads = [threading.Thread(target=end, args=(state, its)) for state in states for its in (catalog, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = catalog.runs.get("a")
    assert found is not None
    assert ended == [found.state]
    assert found.reason == found.state


def test_failure_result_and_reason_stay_unless_given(catalog: Catalog) -> None:
    catalog.runs.insert(replace(a_run(), result={"archive": 1}, reason="asked"))
    catalog.runs.set_state("a", RunState.RUNNING, at=NOW)
    found = catalog.runs.get("a")
    assert found is not None
    assert (found.result, found.reason, found.failure) == ({"archive": 1}, "asked", None)
    failure = Failure(code="Busy", message="held", hint="wait", exit_code=5)
    catalog.runs.set_state("a", RunState.FAILED, at=NOW, failure=failure, result={})
    found = catalog.runs.get("a")
    assert found is not None
    assert (found.result, found.reason, found.failure) == ({}, "asked", failure)


def test_a_run_that_never_was_is_a_slip_of_ours(catalog: Catalog) -> None:
    progress = Progress(at=NOW, step="dump")
    with pytest.raises(LookupError):
        catalog.runs.set_state("a", RunState.RUNNING, at=NOW)
    with pytest.raises(LookupError):
        catalog.runs.add_step("a", "dump", at=NOW)
    with pytest.raises(LookupError):
        catalog.runs.end_step("a", 1, at=NOW)
    with pytest.raises(LookupError):
        catalog.runs.set_progress("a", progress)
    with pytest.raises(LookupError):
        catalog.runs.request_cancel("a", by="me", at=NOW)


def test_lists_are_newest_first_and_chosen_by_plan_kind_and_state(catalog: Catalog) -> None:
    for n, (plan, state) in enumerate(product(["nightly", "weekly"], [RunState.WAITING, RunState.SUCCEEDED])):
        catalog.runs.insert(a_run(str(n), plan=plan, state=state, at=NOW + n * SECOND))
    assert [run.id for run in catalog.runs.list()] == ["3", "2", "1", "0"]
    assert [run.id for run in catalog.runs.list(limit=2)] == ["3", "2"]
    assert [run.id for run in catalog.runs.list(plan="nightly")] == ["1", "0"]
    assert [run.id for run in catalog.runs.list(state=RunState.WAITING)] == ["2", "0"]
    assert [run.id for run in catalog.runs.list(state=[RunState.WAITING, RunState.SUCCEEDED], plan="weekly")] == [
        "3",
        "2",
    ]
    assert catalog.runs.list(kind="refresh") == []
    assert [run.id for run in catalog.runs.open_runs()] == ["0", "2"]
    assert [run.id for run in catalog.runs.open_runs(plan="weekly")] == ["2"]


def test_what_results_say_under_a_key_newest_first(catalog: Catalog) -> None:
    said = [{"parts": [1, "2/4"]}, {}, {"parts": {"odd": None}, "other": 1}, {"other": [2]}]
    for number, result in enumerate(said):
        catalog.runs.insert(replace(a_run(str(number), at=NOW + number * SECOND), result=result))
    assert catalog.runs.told("parts", plan="nightly", kind="backup", limit=9) == [{"odd": None}, [1, "2/4"]]
    assert catalog.runs.told("other", plan="nightly", kind="backup", limit=1) == [[2]]
    assert catalog.runs.told("parts", plan="nightly", kind="check", limit=9) == []


def test_a_run_is_found_by_the_beginning_of_its_id(catalog: Catalog) -> None:
    for run_id in ("20261122-020000-aaaa", "20261122-020000-bbbb", "20261123-020000-cccc"):
        catalog.runs.insert(a_run(run_id))
    assert [run.id[-4:] for run in catalog.runs.find("20261122")] == ["bbbb", "aaaa"]
    assert [run.id[-4:] for run in catalog.runs.find("20261123-020000-cccc")] == ["cccc"]
    assert catalog.runs.find("%") == catalog.runs.find("_") == catalog.runs.find("") == []


def test_progress_is_written_over(catalog: Catalog) -> None:
    catalog.runs.insert(a_run())
    assert catalog.runs.progress("a") is None
    catalog.runs.set_progress("a", Progress(at=NOW, step="dump", text="public.user", rows=1))
    now = Progress(
        at=NOW + SECOND,
        step="dump",
        text="half",
        table="public.order",
        rows=2**40,
        done_bytes=5,
        total_bytes=10,
        bytes_per_s=1.5,
    )
    catalog.runs.set_progress("a", now)
    assert catalog.runs.progress("a") == now


def test_the_first_wish_to_cancel_counts_and_an_ended_run_has_none(catalog: Catalog) -> None:
    catalog.runs.insert(a_run(state=RunState.RUNNING))
    assert catalog.runs.cancel_requested("a") is None
    assert catalog.runs.request_cancel("a", by="ann", at=NOW)
    assert catalog.runs.request_cancel("a", by="bob", at=NOW + SECOND)
    assert catalog.runs.cancel_requested("a") == CancelRequest(run="a", at=NOW, by="ann")
    catalog.runs.set_state("a", RunState.CANCELLED, at=NOW)
    assert not catalog.runs.request_cancel("a", by="bob", at=NOW)


def test_no_secret_reaches_the_file(catalog: Catalog, tmp_path: Path) -> None:
    canary = Secret("catalog-canary-8f2e")
    text = f"password {canary.reveal()} refused"
    failure = Failure(code="SourceError", message=text, hint=text, exit_code=10)
    catalog.runs.insert(replace(a_run(), reason=text, result={"deep": [{"text": text}]}))
    catalog.runs.set_state("a", RunState.RUNNING, at=NOW, reason=text)
    step = catalog.runs.add_step("a", "dump", at=NOW)
    catalog.runs.end_step("a", step, at=NOW, facts={"stderr": (text,)})
    catalog.runs.set_progress("a", Progress(at=NOW, step="dump", text=text))
    catalog.runs.set_state("a", RunState.FAILED, at=NOW, failure=failure, result={"x": text})
    assert catalog.runs.get("a") is not None
    for path in tmp_path.iterdir():
        assert canary.reveal().encode() not in path.read_bytes()


def test_ten_thousand_runs_are_listed_at_once(catalog: Catalog) -> None:
    values = [
        {
            "id": f"{n:08}",
            "plan": f"plan-{n % 3}",
            "kind": "backup",
            "state": "succeeded",
            "trigger": "cli",
            "requested_at": NOW + n * SECOND,
            "reason": "",
            "result": {"archive": {"rows": n}},
        }
        for n in range(10_000)
    ]
    with catalog._store.write() as connection:
        connection.execute(insert(runs), values)
    started = time.perf_counter()
    for _ in range(10):
        assert len(catalog.runs.list(plan="plan-1", limit=50)) == 50
        assert len(catalog.runs.list(limit=50)) == 50
        assert catalog.runs.open_runs() == []
    assert (time.perf_counter() - started) / 10 < 0.1


def test_run_ids_sort_by_time_and_are_plain() -> None:
    random = Random(1)  # noqa: S311 -- a name, not a secret
    ids = [new_run_id(NOW + n * SECOND, random) for n in range(100)]
    assert ids == sorted(ids)
    assert all(RUN_ID.fullmatch(run_id) for run_id in ids)
    assert new_run_id(datetime.fromisoformat("2026-11-22T02:00:00-06:00"), random).startswith("20261122-080000-")
    with pytest.raises(ValueError, match="zone"):
        new_run_id(NOW.replace(tzinfo=None), random)
