"""Checks: what has to be true of a restored database before it takes the target's name.

Shapes  a check is one SELECT that gives one row with one boolean; it only reads. One check is ours: every
        materialized view that was filled in production is filled. All are asked, so that one run names all that fail.
Errors  `RefreshError` that names each check that does not hold and what it gave; the target is as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from daybreak.errors import Cancelled, DaybreakError, RefreshError
from daybreak.jobs.rebuild import Rebuild
from daybreak.postgres.sql import literal
from daybreak.replacement import Check

_VIEW_DATA: Final = "MATERIALIZED VIEW DATA"
_FILLED: Final = "materialized views are filled"
_SHOWN: Final = 120


def run_checks(work: Rebuild) -> None:
    """Ask the shadow every check. Raise RefreshError that names those that do not hold."""
    questions: dict[str, Callable[[], None]] = {one.name: partial(_require, work, one) for one in work.how.checks}
    if any(entry.kind == _VIEW_DATA for entry in work.rehearsal.selection.restored):
        questions = {_FILLED: partial(_require_filled, work), **questions}
    faults: dict[str, RefreshError] = {}
    for name, ask in questions.items():
        try:
            with work.run.step(f"check {name}"):
                ask()
        except RefreshError as fault:
            faults[name] = fault
    work.run.result["checks"] = {name: name not in faults for name in questions}
    if faults:
        told = "; ".join(f'the check "{name}" does not hold: {fault.message}' for name, fault in faults.items())
        raise RefreshError(f"{told} ({work.held.name} is as it was)", hint=next(iter(faults.values())).hint)


def _require(work: Rebuild, check: Check) -> None:
    """Ask one check. Raise RefreshError with what it gave in place of one true value."""
    try:
        text = work.held.server.execute(
            # On a line of its own behind: the statement may end with a comment.
            f"SELECT pg_catalog.row_to_json(q) FROM ({check.sql}\n) AS q LIMIT 2",
            dbname=work.name,
            deadline=check.deadline,
            pinned=False,
            settings={"default_transaction_read_only": "on"},
        )
    except Cancelled:
        raise
    except DaybreakError as error:
        raise RefreshError(f"it failed: {error.message}", hint=error.hint or _look(check)) from error
    # As pairs: two columns may have the same name.
    rows: list[list[tuple[str, Any]]] = [json.loads(line, object_pairs_hook=list) for line in text.split("\n") if line]
    if fault := _fault(rows):
        raise RefreshError(fault, hint=_look(check))


def _fault(rows: list[list[tuple[str, Any]]]) -> str:
    """What is wrong with an answer, in words; empty for one row with one true. Pure."""
    if len(rows) != 1:
        return "it gave more than one row" if rows else "it gave no row"
    if len(rows[0]) != 1:
        return f"it gave {len(rows[0])} columns"
    value = rows[0][0][1]
    if value is None or isinstance(value, bool):
        return {True: "", False: "it is false", None: "it is NULL"}[value]
    shown = json.dumps(value, ensure_ascii=False)
    return f"it gave {shown[:_SHOWN]}{'…' * (len(shown) > _SHOWN)}, which is no boolean"


def _look(check: Check) -> str:
    return f"ask production, or a copy of it, the same: {' '.join(check.sql.split())}"


def _require_filled(work: Rebuild) -> None:
    """See that what production had filled is filled here. Raise RefreshError that names what is empty."""
    manifest = work.pinned.manifest
    # The archive's names are bytes in its encoding, read as if they were UTF-8.
    filled = {
        (_raw(entry.schema or ""), _raw(entry.name))
        for entry in work.rehearsal.selection.restored
        if entry.kind == _VIEW_DATA
    }
    encoding = literal(manifest.encoding)
    rows = work.held.server.query(
        f"SELECT format('%I.%I', nspname, relname) AS view, encode(convert_to(nspname, {encoding}), 'hex') AS schema,"
        f" encode(convert_to(relname, {encoding}), 'hex') AS name"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind = 'm' AND NOT c.relispopulated ORDER BY 1",
        dbname=work.name,
    )
    empty = [str(row["view"]) for row in rows if (row["schema"], row["name"]) in filled]
    if empty:
        raise RefreshError(
            f"not filled, and production has them filled: {', '.join(empty)}",
            hint="what a view needs may not be there when it is filled; look at the log of the run, or fill it by a "
            "hook: REFRESH MATERIALIZED VIEW",
        )


def _raw(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").hex()
