"""Runs, their steps, their progress, and the wish to end them.

Errors  `LookupError` for a run that was never inserted (a slip of ours), and what `store.py` raises.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from daybreak.catalog.records import CancelRequest, Progress
from daybreak.catalog.schema import cancel_requests, progress, runs, steps
from daybreak.catalog.store import Store
from daybreak.model import Failure, Run, RunState, Step
from daybreak.retention import FAR_AHEAD
from daybreak.secret import mask, masked

#: From which states a run may come into a state; nothing leads out of an ended one.
CAME_FROM: Final[Mapping[RunState, frozenset[RunState]]] = {
    RunState.WAITING: frozenset(),
    RunState.RUNNING: frozenset({RunState.WAITING}),
    RunState.SUCCEEDED: frozenset({RunState.WAITING, RunState.RUNNING}),  # from waiting: that it began was not written
    RunState.FAILED: frozenset({RunState.WAITING, RunState.RUNNING}),  # from waiting: the lock was held for too long
    RunState.CANCELLED: frozenset({RunState.WAITING, RunState.RUNNING}),
    RunState.SKIPPED: frozenset({RunState.WAITING, RunState.RUNNING}),
    RunState.LOST: frozenset({RunState.WAITING, RunState.RUNNING}),
}
_OPEN: Final = (RunState.WAITING, RunState.RUNNING)
_ID_TEXT: Final = re.compile(r"[0-9a-z-]+")


class Runs:
    """The runs of all plans."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def insert(self, run: Run) -> None:
        """Record a new run; its steps come one by one with `add_step`."""
        values = {
            "id": run.id,
            "plan": run.plan,
            "kind": run.kind,
            "state": run.state,
            "trigger": run.trigger,
            "requested_at": run.requested_at,
            "started_at": run.started_at,
            "ended_at": run.ended_at,
            "reason": mask(run.reason),
            "failure": _failure_values(run.failure),
            "result": masked(dict(run.result)),
        }
        with self._store.write() as connection:
            connection.execute(insert(runs).values(values))

    def set_state(
        self,
        id: str,  # noqa: A002 -- the word that records and doors use
        state: RunState,
        *,
        at: datetime,
        reason: str | None = None,
        failure: Failure | None = None,
        result: Mapping[str, object] | None = None,
    ) -> bool:
        """Bring a run into `state`; False where it was in no state that leads there, and nothing changed.

        `at` becomes started_at or ended_at. `reason` and `result` stay as they are where None. Where
        nobody wrote when a run began that succeeded, it began when it was asked for.
        """
        values: dict[str, object] = {"state": state}
        if state is RunState.RUNNING:
            values["started_at"] = at
        if state is RunState.SUCCEEDED:
            values["started_at"] = func.coalesce(runs.c.started_at, runs.c.requested_at)
        if state.ended:
            values["ended_at"] = at
        if reason is not None:
            values["reason"] = mask(reason)
        if failure is not None:
            values["failure"] = _failure_values(failure)
        if result is not None:
            values["result"] = masked(dict(result))
        with self._store.write() as connection:
            changed = connection.execute(
                update(runs).where(runs.c.id == id, runs.c.state.in_(CAME_FROM[state])).values(values)
            )
            if changed.rowcount == 0:
                _require(connection, id)
            return changed.rowcount == 1

    def set_result(self, run: str, result: Mapping[str, object]) -> None:
        """Write down what a run that goes on has found so far."""
        with self._store.write() as connection:
            connection.execute(update(runs).where(runs.c.id == run).values(result=masked(dict(result))))

    def get(self, id: str) -> Run | None:  # noqa: A002 -- see set_state
        """One run with its steps."""
        with self._store.read() as connection:
            row = connection.execute(select(runs).where(runs.c.id == id)).mappings().first()
            if row is None:
                return None
            rows = connection.execute(select(steps).where(steps.c.run == id).order_by(steps.c.number)).mappings()
            return run_of(row, tuple(_step(step) for step in rows))

    def find(self, beginning: str) -> list[Run]:
        """The runs whose id begins with what a person typed, newest first, at most ten, without steps."""
        if _ID_TEXT.fullmatch(beginning) is None:
            return []
        query = select(runs).where(runs.c.id.startswith(beginning)).order_by(runs.c.id.desc()).limit(10)
        with self._store.read() as connection:
            return [run_of(row) for row in connection.execute(query).mappings()]

    def list(
        self,
        *,
        plan: str | None = None,
        kind: str | None = None,
        state: RunState | Sequence[RunState] | None = None,
        limit: int = 50,
        at: datetime | None = None,
    ) -> list[Run]:
        """Runs newest first, without steps; as of `at`, what a clock dated far later only where nothing else is."""
        query = select(runs).order_by(runs.c.requested_at.desc(), runs.c.id.desc()).limit(limit)
        if plan is not None:
            query = query.where(runs.c.plan == plan)
        if kind is not None:
            query = query.where(runs.c.kind == kind)
        if state is not None:
            query = query.where(runs.c.state.in_([state] if isinstance(state, RunState) else state))
        tries = [query] if at is None else [query.where(runs.c.requested_at <= at + FAR_AHEAD), query]
        with self._store.read() as connection:
            found: list[Run] = []
            for one in tries:
                found = found or [run_of(row) for row in connection.execute(one).mappings()]
            return found

    def told(self, key: str, *, plan: str, kind: str, limit: int) -> list[Any]:
        """What results say under `key`, newest run first; runs whose result does not have it are left out."""
        has = func.json_type(runs.c.result, f'$."{key}"').is_not(None)
        query = select(runs.c.result[key]).where(runs.c.plan == plan, runs.c.kind == kind, has)
        query = query.order_by(runs.c.requested_at.desc(), runs.c.id.desc()).limit(limit)
        with self._store.read() as connection:
            return list(connection.execute(query).scalars())

    def open_runs(self, *, plan: str | None = None) -> Sequence[Run]:
        """Every run that has not ended, oldest first, without steps."""
        query = select(runs).where(runs.c.state.in_(_OPEN)).order_by(runs.c.requested_at, runs.c.id)
        if plan is not None:
            query = query.where(runs.c.plan == plan)
        with self._store.read() as connection:
            return [run_of(row) for row in connection.execute(query).mappings()]

    def add_step(self, run: str, name: str, *, at: datetime) -> int:
        """Begin a step; return its number, counted from 1 in each run."""
        with self._store.write() as connection:
            _require(connection, run)
            last = connection.execute(select(func.max(steps.c.number)).where(steps.c.run == run)).scalar()
            number = (last or 0) + 1
            connection.execute(
                insert(steps).values(run=run, number=number, name=name, started_at=at, failed=False, facts={})
            )
            return number

    def end_step(
        self, run: str, number: int, *, at: datetime, failed: bool = False, facts: Mapping[str, object] | None = None
    ) -> None:
        """End a step with what it found out."""
        values = {"ended_at": at, "failed": failed, "facts": masked(dict(facts or {}))}
        with self._store.write() as connection:
            changed = connection.execute(
                update(steps).where(steps.c.run == run, steps.c.number == number).values(values)
            )
            if changed.rowcount == 0:
                raise LookupError(f"run {run} has no step {number}")

    def set_progress(self, run: str, now: Progress) -> None:
        """Overwrite where a run is. Each call waits for the disk: once a second is plenty."""
        values: dict[str, object] = {
            "at": now.at,
            "step": now.step,
            "text": mask(now.text),
            "table_name": now.table,
            "rows": now.rows,
            "done_bytes": now.done_bytes,
            "total_bytes": now.total_bytes,
            "bytes_per_s": now.bytes_per_s,
        }
        with self._store.write() as connection:
            _require(connection, run)
            connection.execute(
                upsert(progress).values(run=run, **values).on_conflict_do_update(index_elements=["run"], set_=values)
            )

    def progress(self, run: str) -> Progress | None:
        """Where a run was when it last said so."""
        with self._store.read() as connection:
            row = connection.execute(select(progress).where(progress.c.run == run)).mappings().first()
        if row is None:
            return None
        return Progress(
            at=row["at"],
            step=row["step"],
            text=row["text"],
            table=row["table_name"],
            rows=row["rows"],
            done_bytes=row["done_bytes"],
            total_bytes=row["total_bytes"],
            bytes_per_s=row["bytes_per_s"],
        )

    def request_cancel(self, run: str, *, by: str, at: datetime) -> bool:
        """Ask for the end of a run; False where it has ended already. The first request counts."""
        with self._store.write() as connection:
            _require(connection, run)
            found = connection.execute(select(runs.c.state).where(runs.c.id == run)).scalar_one()
            if RunState(found).ended:
                return False
            connection.execute(upsert(cancel_requests).values(run=run, at=at, by=by).on_conflict_do_nothing())
            return True

    def cancel_requested(self, run: str) -> CancelRequest | None:
        """Who asked for the end of a run, and when."""
        with self._store.read() as connection:
            row = connection.execute(select(cancel_requests).where(cancel_requests.c.run == run)).mappings().first()
        return None if row is None else CancelRequest(**row)


def _require(connection: Connection, run: str) -> None:
    if connection.execute(select(runs.c.id).where(runs.c.id == run)).first() is None:
        raise LookupError(f"there is no run {run}")


def _failure_values(failure: Failure | None) -> object:
    return None if failure is None else masked(asdict(failure))


def run_of(row: RowMapping, its_steps: tuple[Step, ...] = ()) -> Run:
    """A row as the noun that it is."""
    return Run(
        id=row["id"],
        plan=row["plan"],
        kind=row["kind"],
        state=RunState(row["state"]),
        trigger=row["trigger"],
        requested_at=row["requested_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        reason=row["reason"],
        failure=None if row["failure"] is None else Failure(**row["failure"]),
        result=row["result"],
        steps=its_steps,
    )


def _step(row: RowMapping) -> Step:
    return Step(
        name=row["name"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        failed=row["failed"],
        facts=row["facts"],
    )
