"""Undo a refresh: the previous database comes back, the present one becomes the previous."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta

from daybreak.errors import Cancelled, RefreshError
from daybreak.jobs.cron import require_launcher
from daybreak.jobs.exchange import exchange
from daybreak.jobs.run import RunContext
from daybreak.jobs.target import clean_up, hold_target, require_own_previous
from daybreak.jobs.written import count_writes, remember_writes, written_since, written_text
from daybreak.model import Database
from daybreak.postgres.abilities import abilities_of
from daybreak.replacement import Replacement


def undo(
    run: RunContext,
    target: Database,
    *,
    protected: Iterable[Database],
    wait: timedelta,
    how: Replacement,
    confirm: Callable[[str], bool],
) -> None:
    """Bring back what the last refresh replaced. Raise RefreshError where there is nothing to bring back.

    `confirm` is asked, with what was written since then in words, unless it is certain that nothing was. The run's
    result gets `rows_written_since` and `tables_dropped_since` (None: not known) beside what the swap says.
    """
    run.result["target"] = target.name
    with hold_target(run, target, protected, wait) as held:
        run.begin()
        previous = require_own_previous(run, held.server, held.identity)
        if previous is None:
            raise RefreshError(
                f"{held.name} has no previous database to bring back",
                hint="a refresh keeps one for undo; take an older archive with `daybreak fetch` instead",
            )
        with run.step("count") as facts:
            written = written_since(run, held)
            facts["rows"] = None if written is None else written.rows
        run.result["rows_written_since"] = None if written is None else written.rows
        run.result["tables_dropped_since"] = None if written is None else written.gone
        run.result["written"] = said = written_text(held.name, written)
        if (written is None or written.anything) and not confirm(said):
            raise Cancelled(f"{held.name} stays as it is: {said}")
        exchange(run, held, incoming=held.previous, oid=previous.oid, within=how.swap_within)
        # Nobody could look before: the previous database is closed. A row of these milliseconds is not counted.
        remember_writes(run, held, previous.oid, count_writes(held.server.steadfast, held.name))
        clean_up(run, held)
        if abilities_of(held.server, held.name).in_cron(held.name):
            require_launcher(run, replace(held, server=held.server.steadfast), how)
