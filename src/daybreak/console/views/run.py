"""One run: its steps, where it is, why it failed and what to do next, what it started and what started it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

from daybreak.catalog.history import RunFilter
from daybreak.console.views.running import Where, where_is
from daybreak.console.views.words import Fact, RunLine, Tone, archive_in, command_of, facts_of, line_of, plain
from daybreak.console.world import Look
from daybreak.jobs.conditions import discreet
from daybreak.model import Run, RunState, Step

#: What stands elsewhere on the page, or is no use to a person.
_ELSEWHERE: Final = frozenset(
    {"archive", "warnings", "proof", "snapshots", "drill", "slot", "damage", "parts", "plans", "findings", "not_told"}
)
#: Names of steps whose facts may hold what a server or a tool said.
_LOUD: Final = ("hook ",)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLine:
    """One step."""

    name: str
    tone: Tone
    word: str
    started_at: datetime
    ended_at: datetime | None
    seconds: float | None  # None: it broke off, and nobody knows when
    share: float  # of the run's time, for its bar: 0 to 1
    offset: float  # where in the run's time it began: 0 to 1
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a run did not succeed."""

    code: str
    message: str
    hint: str
    exit_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """One run."""

    run: RunLine
    ended: bool
    steps: tuple[StepLine, ...]
    where: Where | None
    failure: Cause | None
    warnings: tuple[str, ...]
    facts: tuple[Fact, ...]
    archive: str
    slot: str
    proof: tuple[Fact, ...]
    command: str
    look_command: str
    parent: str
    children: tuple[RunLine, ...]
    cancel_asked_by: str
    can_retry: bool
    usual_s: float | None  # what the last one that succeeded took


def run_page(look: Look, id: str) -> RunPage | None:  # noqa: A002 -- the word that records and doors use
    """One run; None where there is none of this id."""
    run = look.catalog.runs.get(id)
    if run is None:
        return None
    line = line_of(look, run)
    ended = line.state not in {"running", "waiting"}
    wish = None if ended and line.state != "cancelled" else look.catalog.runs.cancel_requested(id)
    proof = run.result.get("proof")
    return RunPage(
        run=line,
        ended=ended,
        steps=_steps(look, run, lost=line.state == "lost"),
        where=None if ended else where_is(look, run),
        failure=_cause(look, run),
        warnings=_warnings(look, run),
        facts=facts_of(
            {name: value for name, value in run.result.items() if name not in _ELSEWHERE and _may_be_seen(look, value)}
        ),
        archive=archive_in(run.result),
        slot=plain(str(run.result.get("slot", ""))),
        proof=facts_of({name: one for name, one in cast("dict[str, object]", proof).items() if name != "details"})
        if isinstance(proof, dict)
        else (),
        command=command_of(run),
        look_command=f"daybreak run show {run.id}",
        parent=run.trigger.removeprefix("run ") if run.trigger.startswith("run ") else "",
        children=tuple(line_of(look, one) for one in look.catalog.history.children(id)),
        cancel_asked_by=plain(wish.by) if wish else "",
        can_retry=ended and line.state in {"failed", "cancelled", "lost"} and not run.trigger.startswith("run "),
        usual_s=_usual(look, run),
    )


def _may_be_seen(look: Look, value: object) -> bool:
    """A text of a result may be a path or what a tool said; a number is not."""
    return look.full or isinstance(value, int | float)


def _steps(look: Look, run: Run, *, lost: bool) -> tuple[StepLine, ...]:
    began = run.steps[0].started_at if run.steps else run.requested_at
    # One whose process died stands still since then, whatever the clock says.
    known = [at for one in run.steps for at in (one.started_at, one.ended_at) if at is not None]
    until = run.ended_at or (max([began, *known]) if lost else look.at)
    whole = max((until - began).total_seconds(), 0.001)
    broke_off = lost or run.state.ended
    return tuple(_step(look, one, began, until, whole, lost=broke_off) for one in run.steps)


def _step(look: Look, one: Step, began: datetime, until: datetime, whole: float, *, lost: bool) -> StepLine:
    ended = one.ended_at
    seconds = max(0.0, ((ended or until) - one.started_at).total_seconds())
    known = ended is not None or not lost or until > one.started_at
    tone, word = Tone.OK, "done"
    if one.failed:
        tone, word = Tone.BAD, "failed"
    elif ended is None:
        tone, word = (Tone.BAD, "broke off") if lost else (Tone.RUN, "running")
    facts = facts_of(one.facts) if look.full or not one.name.startswith(_LOUD) else ()
    return StepLine(
        name=one.name,
        tone=tone,
        word=word,
        started_at=one.started_at,
        ended_at=ended,
        seconds=round(seconds, 2) if known else None,
        share=round(min(1.0, seconds / whole), 4),
        offset=round(min(1.0, max(0.0, (one.started_at - began).total_seconds() / whole)), 4),
        facts=facts,
    )


def _cause(look: Look, run: Run) -> Cause | None:
    failure = run.failure
    if failure is None:
        return None
    return Cause(
        code=failure.code,
        message=plain(failure.message if look.full else discreet(failure)),
        hint=plain(failure.hint),
        exit_code=failure.exit_code,
    )


def _warnings(look: Look, run: Run) -> tuple[str, ...]:
    found = run.result.get("warnings")
    if not isinstance(found, list) or not look.full:
        return ()
    return tuple(plain(str(one)) for one in cast("list[object]", found))


def _usual(look: Look, run: Run) -> float | None:

    before = RunFilter(plan=run.plan, kind=run.kind, states=(RunState.SUCCEEDED,), until=run.requested_at)
    last = next(iter(look.catalog.history.runs(before, limit=1)), None)
    if last is None or last.ended_at is None or last.started_at is None:
        return None
    return (last.ended_at - last.started_at).total_seconds()
