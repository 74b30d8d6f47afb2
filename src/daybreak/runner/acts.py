"""What is done for whoever asks: a run is started as a Daybreak of its own, followed, cancelled; a database is held.

The work goes on whatever becomes of the asker, of the line to him and of this process: the run's row, its steps and
its log tell everybody how it is. A run that already carries out what is asked for is joined, not started again.

Shapes  every act gives objects: one for whatever begins a run (`{"run", "state", "joined"}`), `state`, `cancel`,
        `hold`, `release`, `change`; what `looks.py` says for what is only looked at; and for `follow` a stream of
        `{"event": "step" | "progress" | "beat" | "ended", …}` that ends with `ended`.
Errors  those of `site`; `DaybreakError` for a Daybreak that ended before its run began, in its own words.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any, Final, cast

from daybreak import files
from daybreak.documents import read_fault, run_document
from daybreak.errors import DaybreakError, TimedOut
from daybreak.jobs.slots import asked_slot
from daybreak.model import Run, Timed
from daybreak.process import Launched
from daybreak.runner import keys
from daybreak.runner.looks import Reply, look
from daybreak.runner.orders import order_of
from daybreak.runner.variables import RUN_ID, TRIGGER
from daybreak.runner.words import Act, Cancel, Change, Follow, HoldIt, Look, Release, Request, Start, State
from daybreak.secret import mask
from daybreak.site import Site
from daybreak.systemd.notify import OWN_VARIABLES
from daybreak.units import rfc3339

SiteLoader = Callable[[], AbstractContextManager[Site]]

_LOOK_S: Final = 0.5
_BEGINS_WITHIN_S: Final = 60.0
_TAKEN_WITHIN_S: Final = 10.0
_PROGRESS_S: Final = 5.0
_LONGEST_SAID: Final = 2**20
#: So often a follower hears something, whatever the run does; whoever hears nothing for longer has lost the line.
BEAT_S: Final = 10.0


class Acts:
    """Does what is asked for, one configuration and state folder at a time. Usable from several threads."""

    def __init__(self, load: SiteLoader, *, through: str, take: Callable[[], None] = lambda: None) -> None:
        self._load = load
        self._take = take  # has whoever keeps the schedule read the configuration again
        self._through = through  # how the asker came, for the record
        self._starting = threading.Lock()
        self._children: list[_Child] = []

    def answer(self, request: Request, person: str, stop: threading.Event) -> Iterator[Reply]:
        """Do what `person` asks for and give the answers; `stop` ends a stream."""
        with self._load() as site:
            if isinstance(request, Start):
                yield self._start(site, request, person)
            elif isinstance(request, Act):
                yield self._act(site, request, person)
            elif isinstance(request, Look):
                yield from look(site, request, stop, beat_s=BEAT_S)
            elif isinstance(request, State):
                yield run_document(site.run(request.run))
            elif isinstance(request, Follow):
                yield from _follow(site, request.run, stop)
            elif isinstance(request, Cancel):
                run = site.cancel_run(request.run, by=_for(request.who, person))
                yield {"run": run.id, "state": run.state.value, "cancel": "requested"}
            elif isinstance(request, HoldIt):
                by = _for(request.who, person)
                hold = site.hold(request.database, until=request.until or None, why=request.why, by=by)
                yield {"database": hold.database, "until": rfc3339(hold.until) if hold.until else None, "why": hold.why}
            elif isinstance(request, Change):
                yield self._change(site, request, person)
            else:
                assert isinstance(request, Release)
                yield {"database": request.database, "released": site.release(request.database) is not None}

    def reap(self) -> None:
        """Take note of what has ended, so that nothing of it is left in the table of processes."""
        for child in [one for one in self._children if one.process.ended() is not None]:
            self._children.remove(child)
            child.said.close()

    def close(self) -> None:
        """Look after nothing any more; what was started goes on."""
        self.reap()
        for child in self._children:
            child.said.close()

    def _start(self, site: Site, request: Start, person: str) -> Reply:
        # Names that are not in the configuration end here, in words.
        plan = (site.backup_plan if request.kind == "backup" else site.refresh_plan)(request.plan).name
        with self._starting:
            going = _going(site, request, plan)
            if going is not None:
                return _joined(going)
            timed, run = _timed(site, request), site.engine.new_id(datetime.now(UTC))
            words = (request.kind, request.plan, *(() if timed is None else ("--slot", request.slot)))

            def taken(found: Run) -> bool:
                return timed is None or found.state.ended or _in_slot(site, timed, request.slot) is not None

            return self._begin(site, words, run, trigger=f"{person} through {self._through}", taken=taken)

    def _act(self, site: Site, act: Act, person: str) -> Reply:
        """Begin what a person wants, once for each key."""
        if (known := _of_key(site, act)) is not None and known.found is not None:
            return _joined(known.found)
        order = order_of(site, act)  # may ask a storage, so others are not kept waiting for it
        with self._starting:
            site.engine.mark_lost()
            known = _of_key(site, act)
            if known is not None and known.found is not None:
                return _joined(known.found)
            open_runs = site.catalog.runs.open_runs(plan=order.plan)
            going = next((one for one in open_runs if order.is_done_by(one) and not _is_part(one)), None)
            if going is not None:
                run = going.id
            else:  # a key whose run never began gets it now
                run = known.run if known is not None else site.engine.new_id(datetime.now(UTC))
            if act.key:
                keys.keep(site.catalog.folder, act, run)
            if going is not None:
                return _joined(going)
            trigger = _for(act.who, person) if act.who else f"{person} through {self._through}"
            try:
                return self._begin(site, order.words, run, trigger=trigger)
            except TimedOut:  # its row may come yet
                raise
            except DaybreakError:
                if act.key:
                    keys.drop(site.catalog.folder, act)
                raise

    def _change(self, site: Site, request: Change, person: str) -> Reply:
        """Save another value of a key, once for each click, and wait until it counts."""
        state = site.catalog.folder
        digest = keys.run_of(state, request) if request.key else None
        if digest is not None:
            return {"setting": request.setting, "taken": _is_taken(site, digest), "joined": True}
        done = site.change_setting(request.setting, request.value, base=request.base)
        if request.key:
            keys.keep(state, request, done.digest)
        self._take()
        until = time.monotonic() + _TAKEN_WITHIN_S
        while not (taken := _is_taken(site, done.digest)) and time.monotonic() < until:
            time.sleep(_LOOK_S / 10)
        told = {"setting": done.setting, "before": done.before, "after": done.after, "kept": str(done.kept)}
        return {**told, "by": _for(request.who, person), "taken": taken, "joined": False}

    def _begin(
        self,
        site: Site,
        words: Sequence[str],
        run: str,
        *,
        trigger: str,
        taken: Callable[[Run], bool] = lambda _found: True,
    ) -> Reply:
        child = _begin(site, words, run, trigger=trigger)
        try:
            return {"run": run, "state": _begun(site, run, child, taken).state.value, "joined": False}
        finally:
            self._children.append(child)  # not before: what it said is read in there


@dataclass(frozen=True, kw_only=True)
class _Child:
    """A Daybreak that was started."""

    process: Launched
    said: IO[bytes]  # a file: a pipe would break with us, and it with the pipe


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What a key stands for."""

    run: str
    found: Run | None  # None: it never began


def _of_key(site: Site, act: Act) -> _Known | None:
    """What came of this click, if anything did."""
    run = keys.run_of(site.catalog.folder, act) if act.key else None
    return None if run is None else _Known(run=run, found=site.catalog.runs.get(run))


def _joined(run: Run) -> Reply:
    return {"run": run.id, "state": run.state.value, "joined": True}


def _is_taken(site: Site, digest: str) -> bool:
    """Whether what was saved is what jobs are begun with."""
    with contextlib.suppress(OSError):
        return files.sha256_file(site.settings.path) == digest
    return False


def _for(who: str, person: str) -> str:
    """Who asks, for the record: a person by the word of the console, or whom the kernel knows."""
    return f"{who} in the console of {person}" if who else person


def _is_part(run: Run) -> bool:
    """Whether another run began it."""
    return run.trigger.startswith("run ")


def _begin(site: Site, words: Sequence[str], run: str, *, trigger: str) -> _Child:
    """Start the command that a person would type, in a session of its own."""
    env = {name: value for name, value in os.environ.items() if name not in OWN_VARIABLES}
    env |= {"DAYBREAK_STATE": str(site.catalog.folder), TRIGGER: trigger, RUN_ID: run}
    said = tempfile.TemporaryFile()  # noqa: SIM115 -- closed when it has ended
    # -P: no module is taken from the folder that we happen to be in.
    argv = (sys.executable, "-P", "-m", "daybreak.cli.main", "--config", str(site.settings.path), "--json", *words)
    return _Child(process=Launched(argv, env=env, said=said), said=said)


def _timed(site: Site, request: Start) -> Timed | None:
    """The plan with its schedule; None where it has none, and so no slots."""
    return next((one for one in site.timed() if (one.kind, one.plan) == (request.kind, request.plan)), None)


def _going(site: Site, request: Start, plan: str) -> Run | None:
    """The run that does it already: the one that took the slot, or any of a plan that has no slots."""
    site.engine.mark_lost()
    timed = _timed(site, request)
    if timed is not None:
        run = _in_slot(site, timed, request.slot)
        return None if run is None or run.state.ended else run
    runs = site.catalog.runs.open_runs(plan=plan)
    return next((run for run in runs if run.kind == request.kind and not _is_part(run)), None)


def _in_slot(site: Site, timed: Timed, text: str) -> Run | None:
    """The run that took a slot, if one did."""
    slot = asked_slot(timed, text, datetime.now(UTC))
    record = None if slot is None else site.catalog.slots.get(timed, slot.key)
    return None if record is None or record.run is None else site.catalog.runs.get(record.run)


def _begun(site: Site, run: str, child: _Child, taken: Callable[[Run], bool]) -> Run:
    """The row of a run that was just started, as soon as it has its slot or ended without one.

    So that whoever asks next finds it. Raise what its Daybreak said where it never had a row.
    """
    until = time.monotonic() + _BEGINS_WITHIN_S
    while time.monotonic() < until:
        status = child.process.ended()  # asked before the row is looked for, so that nothing falls between
        found = site.catalog.runs.get(run)
        if found is not None and taken(found):
            return found
        if found is None and status is not None:
            raise _fault(child.said, status)
        time.sleep(_LOOK_S / 10)
    raise TimedOut(
        f"run {run} did not begin within {_BEGINS_WITHIN_S:.0f} s", hint="look whether the host is overloaded"
    )


def _fault(said: IO[bytes], status: int) -> DaybreakError:
    """The fault that a Daybreak told before it ended."""
    text = os.pread(said.fileno(), _LONGEST_SAID, 0).decode("utf-8", "replace")
    last = mask((text.strip().splitlines() or ["it said nothing"])[-1])
    try:
        found: object = json.loads(last)
    except ValueError:
        found = None
    if isinstance(found, dict) and "message" in found:
        return read_fault(cast("dict[str, object]", found))
    return DaybreakError(f"daybreak ended with {status}: {last}", hint="call the same command by hand on this host")


def _follow(site: Site, name: str, stop: threading.Event) -> Iterator[Reply]:
    seen, said_at, told_at = 0, time.monotonic(), None
    while True:
        run = site.run(name)
        for step in run.steps[seen:]:
            if step.ended_at is None:
                break
            seen, said_at = seen + 1, time.monotonic()
            seconds = (step.ended_at - step.started_at).total_seconds()
            facts = dict(step.facts)
            yield {"event": "step", "name": step.name, "seconds": seconds, "failed": step.failed, "facts": facts}
        if run.state.ended:
            yield {"event": "ended", **run_document(run), **_archive_of(site, run), **_why(run)}
            return
        now = site.progress(name)
        silent_s = time.monotonic() - said_at
        if now is not None and now.at != told_at and silent_s > _PROGRESS_S:
            told_at, said_at = now.at, time.monotonic()
            told = {"text": now.text, "table": now.table, "rows": now.rows, "done_bytes": now.done_bytes}
            yield {"event": "progress", "step": now.step, **told, "bytes_per_s": now.bytes_per_s}
        elif silent_s > BEAT_S:
            said_at = time.monotonic()
            yield {"event": "beat"}
        if stop.wait(_LOOK_S):
            return


def _archive_of(site: Site, run: Run) -> Reply:
    """The archive that a run made or used, with its age; for a run that did nothing, the newest of its backup."""
    if run.kind == "refresh" and run.plan in site.settings.refreshes:
        plan = site.settings.refreshes[run.plan].backup.name
    else:
        plan = run.plan
    named: Any = run.result.get("archive") or {}
    record = site.catalog.archives.get(str(named.get("id", ""))) or site.catalog.archives.newest(plan)
    if record is None:
        return {"archive": None}
    archive = record.archive
    return {
        "archive": {
            "id": archive.id,
            "path": str(archive.path),
            "taken_at": rfc3339(archive.taken_at),
            "age_s": round((datetime.now(UTC) - archive.taken_at).total_seconds()),
            "size_bytes": archive.size_bytes,
            "rows": archive.rows,
            "tables": archive.tables,
            "state": archive.state.value,
            "proven": archive.proven_at is not None,
        }
    }


def _why(run: Run) -> Reply:
    if run.failure is None:
        return {}
    return {"code": run.failure.code, "message": run.failure.message, "hint": run.failure.hint}
