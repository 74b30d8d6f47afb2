"""The engine: every job is a recorded run with steps, progress, a log, and an end that is always known.

A run holds a lock on a file of its own for as long as it lives. Whoever finds a run that has not
ended and whose lock is free knows that its process died, and records it as lost, or as it ended where
only the catalog could not be told: no process id is ever trusted.

Shapes  a job is a function of a `RunContext`; what it puts into `result` is what `--json` shows.
Errors  a `DaybreakError` is recorded and goes on, with `run` set; `Skip` ends a run as skipped.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

from daybreak import files
from daybreak.catalog import Catalog, is_full
from daybreak.catalog.folder import make_folder
from daybreak.catalog.records import Progress
from daybreak.errors import Cancelled, DaybreakError
from daybreak.jobs import lastwords
from daybreak.jobs.listener import Aftermath, Listener
from daybreak.jobs.log import RunLog
from daybreak.jobs.naming import lock_file, take_id
from daybreak.model import Failure, Run, RunState
from daybreak.process import Runner

#: How often a run looks whether somebody wants it to end, and writes its progress.
_BEAT_S: Final = 0.5
_PROGRESS_S: Final = 1.0
_EXIT_BUG: Final = 70
_T = TypeVar("_T")


class Skip(Exception):  # noqa: N818 -- no error: there was nothing to do
    """A job's word that there is nothing to do, and why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RunContext:
    """What a job has in hand while it runs."""

    def __init__(self, engine: Engine, run: Run, log: RunLog, cancel: threading.Event) -> None:
        self.engine = engine
        self.id = run.id
        self.plan = run.plan
        self.trigger = run.trigger
        self.kind = run.kind
        self.requested_at = run.requested_at
        self.catalog = engine.catalog
        self.cancel = cancel
        self.log = log
        self.runner = Runner(cancel=cancel, log=log.write)
        self.result: dict[str, object] = {}
        self.reason = ""
        self.warnings: list[str] = []
        self.private = engine.state / "private" / run.id  # secrets of this run alone; removed at its end
        self._step = ""
        self._latest: Progress | None = None
        self._written_at = 0.0
        self._catalog_warned = False
        self.ended: Run | None = None  # how it ended, when it did
        self.recorded = True  # the catalog has a row for it

    def begin(self) -> None:
        """Say that the waiting is over and the work begins."""
        self._note(lambda: self.catalog.runs.set_state(self.id, RunState.RUNNING, at=now()))

    @contextlib.contextmanager
    def step(self, name: str) -> Generator[dict[str, object]]:
        """One named part of the run; the dictionary takes its facts."""
        facts: dict[str, object] = {}
        began = time.monotonic()
        self._step = self.log.step = name
        self._latest = None
        self.log.write(f"step {name}")
        self.engine.listener.step(name)
        number = self._note(lambda: self.catalog.runs.add_step(self.id, name, at=now()))
        failed = True
        try:
            yield facts
            failed = False
        finally:
            seconds = time.monotonic() - began
            self.log.write(f"step {name} {'failed' if failed else 'done'} after {seconds:.2f} s {facts or ''}".rstrip())
            if number is not None:
                self._note(lambda: self.catalog.runs.end_step(self.id, number, at=now(), failed=failed, facts=facts))
            self.log.step = ""
            self.engine.listener.step_done(name, facts, seconds, failed=failed)

    def progress(
        self,
        text: str = "",
        *,
        table: str | None = None,
        rows: int | None = None,
        done_bytes: int | None = None,
        total_bytes: int | None = None,
        bytes_per_s: float | None = None,
    ) -> None:
        """Say where the step is. Cheap: the catalog hears of it once a second."""
        self._latest = Progress(
            at=now(),
            step=self._step,
            text=text,
            table=table,
            rows=rows,
            done_bytes=done_bytes,
            total_bytes=total_bytes,
            bytes_per_s=bytes_per_s,
        )
        self.engine.listener.progress(self._latest)

    def warn(self, text: str) -> None:
        """Tell a person something that does not stop the run."""
        self.warnings.append(text)
        self.log.write(f"warning: {text}")
        self.engine.listener.warning(text)

    def run_child(self, *, plan: str, kind: str, job: Callable[[RunContext], None]) -> Run:
        """Run another job as a part of this one, with a row of its own. Raise what it raises."""
        return self.engine.execute(plan=plan, kind=kind, trigger=f"run {self.id}", job=job, cancel=self.cancel)

    def beat(self) -> None:
        """Write progress and look for a wish to cancel; called by the engine's own thread."""
        latest = self._latest
        if latest is not None and time.monotonic() - self._written_at > _PROGRESS_S:
            self._written_at = time.monotonic()
            self._note(lambda: self.catalog.runs.set_progress(self.id, latest))
        wish = self._note(lambda: self.catalog.runs.cancel_requested(self.id))
        if wish is not None and not self.cancel.is_set():
            self.reason = f"cancelled by {wish.by}"
            self.log.write(self.reason)
            self.cancel.set()

    def _note(self, act: Callable[[], _T]) -> _T | None:
        """Write down something of the run itself, if the catalog knows it."""
        return self.best_effort(act) if self.recorded else None

    def best_effort(self, act: Callable[[], _T]) -> _T | None:
        """Write down what is so anyhow; a catalog that cannot be written (a full disk) must not end the work."""
        try:
            return act()
        except DaybreakError as error:
            if not self._catalog_warned:
                self._catalog_warned = True
                self.warn(f"{error.message}; the run goes on without it ({error.hint})")
            return None


class Engine:
    """Executes jobs as runs of one state folder."""

    def __init__(
        self,
        catalog: Catalog,
        state: Path,
        listener: Listener,
        *,
        json_log: bool = False,
        first_id: str = "",
        aftermath: Aftermath | None = None,
        alone: bool = False,
    ) -> None:
        self._first_id = first_id  # what the first run is called, where whoever started us has told somebody already
        self.catalog = catalog
        self.alone = alone  # a state folder of this one run: of other runs nothing is known here
        self._aftermath = aftermath
        self.state = state
        self.listener = listener
        self._json_log = json_log
        self.lost: list[str] = []  # runs that this engine found dead
        self.seen = files.Seen()  # archives that were read back here
        for name in ("runs", "logs", "private", "locks"):
            make_folder(state / name)

    def execute(
        self,
        *,
        plan: str,
        kind: str,
        trigger: str,
        job: Callable[[RunContext], None],
        cancel: threading.Event | None = None,
    ) -> Run:
        """Run `job` to its end and return the recorded run.

        Raise what the job raised, with `run` set, after it was recorded.
        """
        self.mark_lost()
        asked_at = now()
        first_id, self._first_id = self._first_id, ""
        run = Run(
            id=first_id or self.new_id(asked_at),
            plan=plan,
            kind=kind,
            state=RunState.WAITING,
            trigger=trigger,
            requested_at=asked_at,
        )
        with RunLog(self.log_path(run.id), run=run.id, plan=plan, json=self._json_log) as log:
            context = RunContext(self, run, log, cancel or threading.Event())
            try:
                with files.lock(self._lock_path(run.id), wait=timedelta(0), holder=f"run {run.id} ({kind} {plan})"):
                    log.write(f"run {run.id}: {kind} {plan}, asked for by {trigger}")
                    self._insert(run, context)
                    self.listener.started(run.id, plan, kind)
                    self._begun(run)
                    with _heart(context):
                        return self._ended(run, context, job)
            finally:
                self._tell(context)

    def _ended(self, run: Run, context: RunContext, job: Callable[[RunContext], None]) -> Run:
        try:
            job(context)
        except Skip as skip:
            return self._record(run, context, RunState.SKIPPED, reason=skip.reason)
        except DaybreakError as error:
            error.run = run.id  # of a run inside a run, the outer one: it is what the caller asked for
            state = RunState.CANCELLED if isinstance(error, Cancelled) else RunState.FAILED
            failure = Failure(code=error.code, message=error.message, hint=error.hint, exit_code=error.exit_code)
            self._record(run, context, state, reason=context.reason or error.message, failure=failure)
            raise
        except BaseException as error:
            failure = Failure(
                code=type(error).__name__, message=str(error), hint="this is a bug of Daybreak", exit_code=_EXIT_BUG
            )
            self._record(
                run, context, RunState.FAILED, reason=f"a bug: {type(error).__name__}: {error}", failure=failure
            )
            raise
        else:
            return self._record(run, context, RunState.SUCCEEDED, reason=context.reason)
        finally:
            shutil.rmtree(context.private, ignore_errors=True)

    def _insert(self, run: Run, context: RunContext) -> None:
        try:
            self.catalog.runs.insert(run)
            lastwords.reserve(self._end_path(run.id))
        except DaybreakError as error:
            if not is_full(error):
                raise
            # A full disk of state and logs is no reason to go without a backup: the archives have another one.
            context.recorded = False
            context.warn(
                f"{error.message}; the run goes on, and is recorded at its end if there is room ({error.hint})"
            )

    def _begun(self, run: Run) -> None:
        if self._aftermath is not None:
            self._aftermath.begun(run)

    def _tell(self, context: RunContext) -> None:
        """Let the world know of an end; whatever happens there, the run is what it is."""
        if self._aftermath is None or context.ended is None:
            return
        for fault in self._aftermath.ended(context.ended):
            context.log.write(f"warning: {fault}")
            self.listener.warning(fault)

    def _record(
        self, run: Run, context: RunContext, state: RunState, *, reason: str, failure: Failure | None = None
    ) -> Run:
        if context.warnings:
            context.result["warnings"] = list(context.warnings)
        context.log.write(f"run {run.id} {state}{f': {reason}' if reason else ''}")
        ended = replace(run, state=state, ended_at=now(), reason=reason, failure=failure, result=dict(context.result))
        context.ended = ended
        try:
            if not context.recorded:
                self.catalog.runs.insert(replace(ended, started_at=run.requested_at))
            elif not self._set_end(ended):
                self.listener.warning(f"run {run.id} {state}, but the catalog has it as ended already")
                self._clear(run.id)
                return ended
            self._clear(run.id)
            return self.catalog.runs.get(run.id) or ended
        except DaybreakError as error:
            # The work is done and stands; that its row could not be written must not turn it into a failure.
            kept = context.recorded and lastwords.keep(self._end_path(run.id), ended)
            later = "; it is kept, and recorded when there is room" if kept else ""
            said = f"the end of run {run.id} could not be recorded: {error.message}{later} ({error.hint})"
            self.listener.warning(said)
            return ended

    def _set_end(self, end: Run) -> bool:
        at = end.ended_at or now()
        return self.catalog.runs.set_state(
            end.id, end.state, at=at, reason=end.reason, failure=end.failure, result=end.result
        )

    @contextlib.contextmanager
    def peek(self, cancel: threading.Event) -> Generator[RunContext]:
        """A context for a job that only looks: no row, no log, its secrets removed at the end."""
        at = now()
        run = Run(id=self.new_id(at), plan="", kind="look", state=RunState.RUNNING, trigger="", requested_at=at)
        with (
            files.lock(self._lock_path(run.id), wait=timedelta(0), holder="a look"),
            RunLog(Path(os.devnull), run=run.id, plan="") as log,
        ):
            context = RunContext(self, run, log, cancel)
            try:
                yield context
            finally:
                shutil.rmtree(context.private, ignore_errors=True)
                files.discard(self._lock_path(run.id))

    def is_alive(self, run: str) -> bool:
        """Whether the process of a run lives: it holds the run's lock. Of whom nothing is known, it is presumed."""
        return self.alone or files.is_locked(self._lock_path(run))

    def mark_lost(self) -> list[Run]:
        """Record every run whose process died, and remove its secrets. Return the lost ones.

        One that ended while the catalog could not be told is recorded as it ended. On a full disk it all waits.
        """
        lost: list[Run] = []
        reason = "its process died before the end (killed, out of memory, or the host went down)"
        try:
            for run in self.catalog.runs.open_runs():
                if self.is_alive(run.id):
                    continue
                end = lastwords.read(self._end_path(run.id), run)
                end = end or replace(run, state=RunState.LOST, ended_at=now(), reason=reason)
                if self._set_end(end):
                    self._clear(run.id)
                    if end.state is RunState.LOST:
                        lost.append(run)
                        self.lost.append(run.id)
        except DaybreakError as error:
            if not is_full(error):
                raise
        for left in (self.state / "private").iterdir():
            if not self.is_alive(left.name):
                shutil.rmtree(left, ignore_errors=True)
        return lost

    def log_path(self, run: str) -> Path:
        """The log file of a run."""
        return self.catalog.folder / "logs" / f"{run}.log"

    def lock_path(self, name: str) -> Path:
        """The file behind a lock of this host: a target, a repository, a plan's ship folder."""
        return self.state / "locks" / f"{name}.lock"

    def new_id(self, at: datetime) -> str:
        """An id for a run that was asked for at `at`, which nobody else has or gets."""
        return take_id(self.catalog, self.state / "runs", at)

    def _lock_path(self, run: str) -> Path:
        return lock_file(self.state / "runs", run)

    def _end_path(self, run: str) -> Path:
        return self.state / "runs" / f"{run}.end"

    def _clear(self, run: str) -> None:
        """Remove the files of a run whose end is recorded."""
        files.discard(self._end_path(run))
        files.discard(self._lock_path(run))


@contextlib.contextmanager
def _heart(context: RunContext) -> Generator[None]:
    """Beat for the time of the block, and once more at its end."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(_BEAT_S):
            context.beat()

    thread = threading.Thread(target=beat, name=f"heart of {context.id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def now() -> datetime:
    """The present instant."""
    return datetime.now(UTC)
