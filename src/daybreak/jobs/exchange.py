"""The swap as a part of a run: announced in the catalog, performed, seen to answer, recorded.

What a dead run leaves is told apart by what was announced: the target either has the announced oid
(the swap happened) or not (it did not).

Errors  `RefreshError`: the target is open and as it was; `RolledBack`, `TargetNeedsPerson` after the swap.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import replace
from datetime import timedelta
from typing import Final, NoReturn, Self

from daybreak.errors import Cancelled, DaybreakError, RefreshError, RolledBack, SourceError, TargetNeedsPerson
from daybreak.jobs.run import RunContext, now
from daybreak.jobs.target import Held, settle
from daybreak.postgres import shadow
from daybreak.postgres.client import Postgres
from daybreak.postgres.sql import derived_name, identifier
from daybreak.postgres.swap import Swap, Swapped, perform
from daybreak.process import Runner

#: How long the new database may take to let somebody in before the old one is put back.
_ANSWERS_WITHIN_S: Final = 5.0
#: How long a server that was restarted in the swap, or behind it, is waited for: until then nobody knows whether the
#: target is open.
_BACK_WITHIN_S: Final = 60.0


def exchange(run: RunContext, held: Held, *, incoming: str, oid: int, within: timedelta) -> None:
    """Give `incoming` (whose oid is `oid`) the target's name; the present target becomes the previous one.

    A wish to cancel counts until here; what is begun is finished. The run's result gets `outage_ms` (None
    when the report was lost), `failed_connects, sessions_ended, previous`.
    """
    if run.cancel.is_set():
        raise Cancelled("the run was cancelled before the swap")
    databases = run.catalog.databases
    server, target = held.server.steadfast, held.server.database.name
    swap = Swap(
        target=held.name,
        incoming=incoming,
        previous=held.previous,
        aside=derived_name(held.name, f"previous_{run.id}"),
        target_comment=shadow.facts_of(server, held.name).comment,
        previous_comment=shadow.mark(shadow.PREVIOUS_MARK, run.id, target),
    )
    back = _reverse(swap, run.id, came_with=shadow.facts_of(server, incoming).comment)
    done: Swapped | None = None
    with run.step("swap") as facts:
        databases.announce_next(target, oid, run.id)
        probe = Probe(server, held.name)
        try:
            with probe:
                done = perform(server, swap, within)
        except DaybreakError as error:
            _find_out(run, server, held.name, oid, error)
        else:
            _require_answer(run, server, back, within)
            _require_oid(server, held.name, oid)
            run.best_effort(lambda: databases.accept_next(target, previous=swap.previous, at=now()))
        found = {
            "outage_ms": done.outage_ms if done else None,
            "failed_connects": probe.failed,
            "sessions_ended": done.ended if done else None,
        }
        facts.update(found)
        run.result.update(found, previous=swap.previous)


def _find_out(run: RunContext, server: Postgres, name: str, oid: int, error: DaybreakError) -> None:
    """See what became of a swap that ended without its report; return only when it happened all the same."""
    try:
        _await(server)
        for line in settle(run, server, name):
            run.warn(line)
        happened = server.identity(name).oid == oid
    except DaybreakError as second:
        raise TargetNeedsPerson(
            f"the swap of {name} broke off ({error.message}), and what became of it cannot be seen ({second.message})",
            hint="when the server answers again: `daybreak repair` opens the target, with its old data or its new",
        ) from error
    if not happened:
        hint = "end what still uses the database (a session, a prepared transaction, a slot), then run again"
        raise RefreshError(f"the swap failed, {name} is as it was: {error.message}", hint=error.hint or hint) from error


def _await(server: Postgres) -> None:
    """Give a server that is away the time to come back. Raise its fault where it does not."""
    until = time.monotonic() + _BACK_WITHIN_S
    while True:
        try:
            server.execute("SELECT 1", dbname=server.maintenance_db)  # the target may be closed
        except SourceError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)
        else:
            return


def _reverse(swap: Swap, run: str, *, came_with: str | None) -> Swap:
    """The swap after which everything is as it was before `swap`; only what a refresh made is `rejected` then.

    It gets the comment back that it `came_with`: by that and its name it is known as a shadow that nobody needs. What
    an undo brought goes back where it was.
    """
    undoing = swap.incoming == swap.previous
    return replace(
        swap,
        incoming=swap.previous,
        previous=swap.aside if undoing else derived_name(swap.target, f"rejected_{run}"),
        previous_comment=came_with,
        returning=swap.aside,
    )


def _require_answer(run: RunContext, server: Postgres, back: Swap, within: timedelta) -> None:
    """See that the new database lets somebody in; put the old one `back` where it does not.

    A server that is away lets nobody in anywhere, which says nothing about the new database: it is waited for.
    """
    until = time.monotonic() + _ANSWERS_WITHIN_S
    while True:
        try:
            server.execute("SELECT 1", dbname=back.target)
        except DaybreakError as error:
            if time.monotonic() > until:  # a moment ago everybody came back at once: that may fill it up
                _put_back(run, server, back, within, error)
            began = time.monotonic()
            with contextlib.suppress(DaybreakError):  # then the next try is the last one
                _await(server)
                until += time.monotonic() - began
            time.sleep(0.2)
        else:
            return


def _require_oid(server: Postgres, name: str, oid: int) -> None:
    present = server.identity(name)
    if present.oid != oid:
        raise TargetNeedsPerson(
            f"after the swap {name} is {present}, not the database with oid {oid}",
            hint="somebody renamed databases at the same moment; look at the list of databases first",
        )


def _put_back(run: RunContext, server: Postgres, back: Swap, within: timedelta, error: DaybreakError) -> NoReturn:
    try:
        perform(server, back, within)
    except DaybreakError as second:
        raise TargetNeedsPerson(
            f"the new {back.target} does not answer ({error.message}), and the old one could not be put back "
            f"({second.message})",
            hint="is only the server away? then `daybreak repair` when it is back; else the old data is in "
            f"{back.incoming}: ALTER DATABASE … RENAME TO {identifier(back.target)}",
        ) from error
    run.best_effort(lambda: run.catalog.databases.withdraw_next(server.database.name, run.id))
    raise RolledBack(f"the new {back.target} did not answer, and the old one is back: {error.message}") from error


class Probe:
    """A client of our own that connects again and again while the swap runs, and counts refusals."""

    def __init__(self, server: Postgres, name: str) -> None:
        self._server = server.with_runner(Runner(), run="probe")
        self._name = name
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._knock, name="probe", daemon=True)
        self.failed = 0

    def _knock(self) -> None:
        while not self._stop.is_set():
            try:
                self._server.execute("SELECT 1", dbname=self._name, deadline=timedelta(seconds=10))
            except DaybreakError:
                self.failed += 1

    def __enter__(self) -> Self:
        _ = self._server.version_num  # asked before the swap, so that the knocking is only knocking
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
