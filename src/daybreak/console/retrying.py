"""What it means to do a run again. Pure."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from daybreak.console.views.words import archive_in
from daybreak.jobs.drill import LOCAL
from daybreak.model import Run
from daybreak.runner.words import Act, Backup, Check, Drill, Prune, Ship


def again(run: Run) -> Act | str:
    """The same once more; where somebody has to decide anew, the page that asks."""
    plan = run.plan
    if run.kind == "backup":
        return Backup(plan=plan)
    if run.kind == "ship":
        return Ship(plan=plan)
    if run.kind == "drill":
        result: Any = run.result
        return Drill(plan=plan, source=str(result.get("source") or LOCAL))
    if run.kind in {"check", "prune"}:
        repository = plan.removesuffix(f"-{run.kind}")
        return Check(repository=repository) if run.kind == "check" else Prune(repository=repository)
    if run.kind == "restore" and (archive := archive_in(run.result)):
        tables: Any = run.result.get("tables") or ()
        return f"/archives/{archive}/restore?{urlencode({'database': plan, 'tables': chr(10).join(map(str, tables))})}"
    pages = {
        "refresh": f"/dev/{plan}/refresh",
        "undo": f"/dev/{plan}/undo",
        "forget": f"/off-site/{plan.removesuffix('-forget')}/forget",
        "fetch": f"/off-site/{plan.removesuffix('-fetch')}",
        "doctor": "/doctor",
    }
    return pages.get(run.kind, "/archives")
