"""How runs are told: tones, lines, commands. Pure, but for the question whether a run's process lives."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, cast

from daybreak import files
from daybreak.console.world import Look
from daybreak.jobs.conditions import discreet
from daybreak.model import Run, RunState
from daybreak.secret import mask
from daybreak.units import show_bytes, show_count, show_duration


class Tone(StrEnum):
    """How a thing is meant; never shown by colour alone."""

    OK = "ok"
    WARN = "warning"
    BAD = "failed"
    RUN = "running"
    NONE = "none"


#: From bad to good: what a person should see first of several.
WORST_FIRST: Final = (Tone.BAD, Tone.WARN, Tone.RUN, Tone.OK, Tone.NONE)
TONES: Final[Mapping[RunState, Tone]] = {
    RunState.WAITING: Tone.RUN,
    RunState.RUNNING: Tone.RUN,
    RunState.SUCCEEDED: Tone.OK,
    RunState.FAILED: Tone.BAD,
    RunState.CANCELLED: Tone.WARN,
    RunState.SKIPPED: Tone.NONE,
    RunState.LOST: Tone.BAD,
}
_LOST: Final = "its process died before the end; the next run records that and puts right what it left"
#: What a person types to do the same, by kind; `{}` is the plan.
_COMMANDS: Final[Mapping[str, str]] = {
    "backup": "daybreak backup {}",
    "refresh": "daybreak refresh {}",
    "ship": "daybreak ship {}",
    "drill": "daybreak drill {}",
    "undo": "daybreak undo {}",
    "repair": "daybreak repair",
}
#: CSI and OSC sequences, then whatever else is no text; marks that turn the direction of reading are none either.
_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_OF_REPOSITORY: Final = ("check", "prune", "forget")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLine:
    """A run on one line."""

    id: str
    kind: str
    plan: str
    state: str
    tone: Tone
    trigger: str
    requested_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    seconds: float | None  # from the start to the end, or until now
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something that was found out, in words."""

    name: str
    text: str


def line_of(look: Look, run: Run) -> RunLine:
    """A run as it is now: one whose process died is lost, also before anybody recorded it."""
    state, reason = run.state, run.reason
    if not state.ended and not is_alive(look, run.id):
        state, reason = RunState.LOST, _LOST
    elif run.failure is not None and not look.full:
        reason = discreet(run.failure)
    until = run.ended_at or look.at
    began = run.started_at or run.requested_at
    return RunLine(
        id=run.id,
        kind=run.kind,
        plan=run.plan,
        state=state.value,
        tone=TONES[state],
        trigger=plain(run.trigger),
        requested_at=run.requested_at,
        started_at=run.started_at,
        ended_at=run.ended_at,
        seconds=max(0.0, round((until - began).total_seconds(), 1)) if run.ended_at or not state.ended else None,
        reason=plain(reason),
    )


def is_alive(look: Look, run: str) -> bool:
    """Whether the process of a run lives; of one that cannot be asked, it is presumed."""
    try:
        return files.is_locked(look.folder / "runs" / f"{run}.lock")
    except OSError:
        return True


def command_of(run: Run) -> str:
    """What a person types to do the same."""
    if run.kind in _COMMANDS:
        return _COMMANDS[run.kind].format(run.plan)
    if run.kind in _OF_REPOSITORY:
        return f"daybreak repository {run.kind} {run.plan.removesuffix(f'-{run.kind}')}"
    archive = archive_in(run.result)
    if run.kind == "accept":
        return f"daybreak accept {archive}".rstrip()
    if run.kind == "restore":
        return f"daybreak restore {archive or 'latest'} --to {run.plan}"
    return f"daybreak {run.kind} {run.plan}"


def archive_in(result: Mapping[str, object]) -> str:
    """The archive that a run made or used, "" for none."""
    found = result.get("archive")
    if isinstance(found, dict):
        found = cast("dict[str, object]", found).get("id")
    return found if isinstance(found, str) else ""


def facts_of(facts: Mapping[str, object]) -> tuple[Fact, ...]:
    """What a step or a run found out, as people read it."""
    return tuple(
        Fact(name=name.removesuffix("_bytes").removesuffix("_s").replace("_", " "), text=text)
        for name, value in facts.items()
        if (text := _fact(name, value)) != ""
    )


def _fact(name: str, value: object) -> str:  # noqa: PLR0911 -- one for each kind of value
    match value:
        case None | "" | [] | {}:
            return ""
        case bool():
            return "yes" if value else "no"
        case int() | float() if name.endswith("bytes"):
            return show_bytes(value)
        case int() | float() if name.endswith("_ms"):
            return f"{value:g} ms"
        case int() | float() if name.endswith("_s"):
            return show_duration(value)
        case int():
            return show_count(value)
        case list():
            return plain(", ".join(map(str, cast("list[Any]", value))))
        case dict():
            return plain(", ".join(f"{key}: {one}" for key, one in cast("dict[Any, Any]", value).items()))
        case _:
            return plain(str(value))


def plain(text: str) -> str:
    """A text as a page may show it: without secrets, and without what a terminal would obey."""
    return mask(_CONTROLS.sub("", _ESCAPES.sub("", text)))


def worst(tones: list[Tone]) -> Tone:
    """The tone that a person should see of several."""
    return next((one for one in WORST_FIRST if one in tones), Tone.NONE)
