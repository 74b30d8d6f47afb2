"""What goes on just now: where a run is, how fast, and how long it may still take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from daybreak.catalog.records import Progress
from daybreak.console.views.words import RunLine, line_of, plain
from daybreak.console.world import Look
from daybreak.model import Run, Step

_MOST: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where a run is."""

    step: str
    text: str
    table: str
    rows: int | None
    done_bytes: int | None
    total_bytes: int | None
    bytes_per_s: float | None
    percent: float | None
    left_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A run that goes on."""

    run: RunLine
    step: str
    where: Where | None


def running_now(look: Look) -> tuple[Running, ...]:
    """Every run that goes on, the oldest first."""
    found: list[Running] = []
    for one in look.catalog.runs.open_runs()[:_MOST]:
        line = line_of(look, one)
        if line.state in {"running", "waiting"}:
            run = look.catalog.runs.get(one.id) or one
            step = next((step for step in reversed(run.steps) if step.ended_at is None), None)
            found.append(Running(run=line, step=step.name if step else line.state, where=where_is(look, run)))
    return tuple(found)


def where_is(look: Look, run: Run) -> Where | None:
    """Where a run is, as far as it said so in the step that goes on."""
    if run.state.ended:
        return None
    now = look.catalog.runs.progress(run.id)
    step = next((one for one in reversed(run.steps) if one.ended_at is None), None)
    if now is None or step is None or now.step != step.name:
        return None
    rate = now.bytes_per_s or _rate(now, step)
    return Where(
        step=now.step,
        text=plain(now.text),
        table=now.table or "",
        rows=now.rows,
        done_bytes=now.done_bytes,
        total_bytes=now.total_bytes,
        bytes_per_s=rate,
        percent=_percent(now),
        left_s=_left(now, rate),
    )


def _percent(now: Progress) -> float | None:
    if not now.total_bytes or now.done_bytes is None:
        return None
    return round(min(100.0, 100 * now.done_bytes / now.total_bytes), 1)


def _rate(now: Progress, step: Step) -> float | None:
    seconds = (now.at - step.started_at).total_seconds()
    return now.done_bytes / seconds if now.done_bytes and seconds > 1 else None


def _left(now: Progress, rate: float | None) -> float | None:
    if not rate or not now.total_bytes or now.done_bytes is None or now.done_bytes >= now.total_bytes:
        return None
    return round((now.total_bytes - now.done_bytes) / rate, 1)
