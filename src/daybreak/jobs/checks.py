"""Checks: what has to be true of a restored database before it takes the target's name.

Shapes  a check is one SELECT that gives one row with one boolean; it only reads. All are asked, so
        that one run names all that fail.
Errors  `RefreshError` that names each check that does not hold and what it gave; the target is as it was.
"""

from __future__ import annotations

import json
from typing import Any, Final

from daybreak.errors import Cancelled, DaybreakError, RefreshError
from daybreak.jobs.rebuild import Rebuild
from daybreak.replacement import Check
from daybreak.units import show_count

_SHOWN: Final = 120


def run_checks(work: Rebuild) -> None:
    """Ask the shadow every check. Raise RefreshError that names those that do not hold."""
    faults: dict[str, RefreshError] = {}
    for check in work.how.checks:
        try:
            with work.run.step(f"check {check.name}"):
                _require(work, check)
        except RefreshError as fault:
            faults[check.name] = fault
    work.run.result["checks"] = {check.name: check.name not in faults for check in work.how.checks}
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
        return f"it gave {show_count(len(rows[0]), 'column')}"
    value = rows[0][0][1]
    if value is None or isinstance(value, bool):
        return {True: "", False: "it is false", None: "it is NULL"}[value]
    shown = json.dumps(value, ensure_ascii=False)
    return f"it gave {shown[:_SHOWN]}{'…' * (len(shown) > _SHOWN)}, which is no boolean"


def _look(check: Check) -> str:
    return f"ask production, or a copy of it, the same: {' '.join(check.sql.split())}"
