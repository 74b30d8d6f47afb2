"""Materialized views are filled last: from the rows that people will see, by queries planned with statistics.

pg_restore would fill them before a hook has masked a name, and before anything was analyzed (ADR 0055).

Shapes  `fill_views` fills those that were filled in production and that nobody has filled or dropped since, each after
        those it reads, several at a time.
Errors  `RefreshError` that names the view.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import TopologicalSorter
from typing import Final

from daybreak.errors import Cancelled, DaybreakError, RefreshError
from daybreak.jobs.rebuild import Rebuild
from daybreak.postgres.client import Postgres
from daybreak.postgres.faults import SqlError
from daybreak.postgres.shadow import UNHEARD
from daybreak.postgres.sql import literal

_NOT_READY: Final = "55000"


def fill_views(work: Rebuild) -> None:
    """Fill the shadow's materialized views and see that they are filled. Raise RefreshError."""
    if not work.rehearsal.selection.views:
        return
    with work.run.step("fill materialized views") as facts:
        empty = _empty(work)
        facts["views"] = len(empty)
        _fill_all(work, empty)
        if left := _empty(work):
            raise RefreshError(
                f"not filled, and production has them filled: {', '.join(left.values())}",
                hint=f"`daybreak run show {work.run.id}` names the log with what the server said",
            )


def _fill_all(work: Rebuild, empty: Mapping[int, str]) -> None:
    """Fill each once all that it reads are filled, as far as the archive knows.

    What a function reads nobody knows: a view that found another one empty is tried again behind the others.
    """
    left = dict(empty)
    while left:
        filled, fault = _fill_once(work, left)
        if fault and not filled:
            raise fault
        left = {one: view for one, view in left.items() if one not in filled}


def _fill_once(work: Rebuild, empty: Mapping[int, str]) -> tuple[set[int], RefreshError | None]:
    """Which could be filled, and the fault of one that came too early; the first other fault ends all."""
    order = TopologicalSorter(
        {
            entry.id: [one for one in entry.dependencies if one in empty]
            for entry in work.rehearsal.selection.views
            if entry.id in empty
        }
    )
    order.prepare()
    stop = threading.Event()
    server = work.held.server.with_runner(work.held.server.runner.also_ended_by(stop))
    running: dict[Future[None], int] = {}
    filled: set[int] = set()
    early: RefreshError | None = None
    with ThreadPoolExecutor(max_workers=work.jobs, thread_name_prefix="fill") as pool:
        try:
            while running := running | {pool.submit(_fill, work, server, empty[one]): one for one in order.get_ready()}:
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    view = running.pop(done)
                    try:
                        done.result()
                    except RefreshError as fault:
                        if not _came_too_early(fault):
                            raise
                        early = fault
                    else:
                        order.done(view)
                        filled.add(view)
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return filled, early


def _fill(work: Rebuild, server: Postgres, view: str) -> None:
    work.run.progress(f"filling {view}", table=view)
    try:
        server.execute(
            UNHEARD,
            f"REFRESH MATERIALIZED VIEW {view}",
            f"ANALYZE {view}",
            dbname=work.name,
            deadline=work.how.deadline,
            settings=work.building,
        )
    except Cancelled:
        raise
    except DaybreakError as error:
        raise RefreshError(
            f"the materialized view {view} could not be filled: {error.message}",
            hint=error.hint or f"ask production, or a copy of it, the same: REFRESH MATERIALIZED VIEW {view}",
        ) from error


def _came_too_early(fault: RefreshError) -> bool:
    """Whether a view read something that is not ready: perhaps another one that is not filled yet."""
    return isinstance(fault.__cause__, SqlError) and fault.__cause__.sqlstate == _NOT_READY


def _empty(work: Rebuild) -> dict[int, str]:
    """The views that were filled in production and are not filled here: entry -> name as SQL wants it."""
    # The archive's names are bytes in its encoding, read as if they were UTF-8.
    filled = {(_raw(one.schema or ""), _raw(one.name)): one.id for one in work.rehearsal.selection.views}
    encoding = literal(work.pinned.manifest.encoding)
    rows = work.held.server.query(
        f"SELECT format('%I.%I', nspname, relname) AS view, encode(convert_to(nspname, {encoding}), 'hex') AS schema,"
        f" encode(convert_to(relname, {encoding}), 'hex') AS name"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind = 'm' AND NOT c.relispopulated ORDER BY 1",
        dbname=work.name,
    )
    return {filled[key]: str(row["view"]) for row in rows if (key := (row["schema"], row["name"])) in filled}


def _raw(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").hex()
