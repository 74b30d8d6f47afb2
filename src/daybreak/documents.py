"""A run and a fault as they stand in `--json`, and as they go through the runner's socket. Pure.

Shapes  a run has `run, plan, kind, state, exit_code, reason, trigger`, its instants and what its job found out;
        a fault has `code, message, hint, exit_code`, and `problems` where it has several.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from daybreak.errors import CommandError, ConfigError, DaybreakError
from daybreak.secret import mask
from daybreak.units import rfc3339

if TYPE_CHECKING:
    from daybreak.model import Run


def run_document(run: Run) -> dict[str, Any]:
    """A run as it stands in `--json`."""
    return {
        "run": run.id,
        "plan": run.plan,
        "kind": run.kind,
        "state": run.state.value,
        "exit_code": run.failure.exit_code if run.failure else 0,
        "reason": run.reason,
        "trigger": run.trigger,
        "requested_at": rfc3339(run.requested_at),
        "started_at": rfc3339(run.started_at) if run.started_at else None,
        "ended_at": rfc3339(run.ended_at) if run.ended_at else None,
        **run.result,
    }


def fault_document(error: DaybreakError) -> dict[str, Any]:
    """A fault as it stands in `--json`."""
    document: dict[str, Any] = {
        "code": error.code,
        "message": mask(error.message),
        "hint": mask(error.hint),
        "exit_code": error.exit_code,
    }
    if isinstance(error, ConfigError) and error.problems:
        document["problems"] = [mask(problem) for problem in error.problems]
    return document


def read_fault(document: Mapping[str, object]) -> DaybreakError:
    """The fault that another Daybreak told; one of a kind that is not known here is a plain `DaybreakError`."""
    kinds = {kind.__name__: kind for kind in _kinds(DaybreakError) if kind.__module__ == DaybreakError.__module__}
    kinds.pop(CommandError.__name__)  # which is made from other things
    kind = kinds.get(str(document.get("code")), DaybreakError)
    return kind(str(document.get("message", "it did not say why")), hint=str(document.get("hint", "")))


def _kinds(kind: type[DaybreakError]) -> Iterator[type[DaybreakError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _kinds(child)
