"""How runs are told: tones, lines, commands. Pure, but for the question whether a run's process lives."""

from __future__ import annotations

import re
import shlex
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
    "doctor": "daybreak doctor --tonight --alert",
}
#: CSI and OSC sequences, then whatever else is no text; marks that turn the direction of reading are none either.
_UNIT: Final = re.compile(r"_(?:bytes|ms|s)$")  # of a fact's name: the value is told with it
_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_OF_REPOSITORY: Final = ("check", "prune", "forget")
_PLAIN_TABLE: Final = re.compile(r"[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*")
_SNAPSHOT: Final = 8  # so many letters of one are enough for restic


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
    """What a person types to do the same; "" where the run does not say enough for that."""
    command = _COMMANDS[run.kind].format(run.plan) if run.kind in _COMMANDS else ""
    if run.kind == "drill":
        source = run.result.get("source")
        return f"{command} --from {source}" if source else ""
    if run.kind in _OF_REPOSITORY:
        plans = [str(one.get("plan")) for one in _dicts(run.result.get("plans"))]
        only = f" --plan {plans[0]}" if run.kind == "forget" and len(plans) == 1 else ""
        return f"daybreak repository {run.kind} {run.plan.removesuffix(f'-{run.kind}')}{only}"
    archive = archive_in(run.result)
    if run.kind == "accept" and archive:
        return f"daybreak accept {archive}"
    if run.kind == "restore" and archive:
        return _restore_of(run, archive)
    if run.kind == "fetch" and run.result.get("snapshot"):
        return f"daybreak fetch {str(run.result['snapshot'])[:_SNAPSHOT]} --repository {run.result.get('repository')}"
    return command


def _restore_of(run: Run, archive: str) -> str:
    """A whole archive as a database, or the tables of one."""
    words, tables = ["daybreak", "restore", archive, "--to", run.plan], run.result.get("tables")
    if "schema" not in run.result:
        name = run.result.get("database")
        return shlex.join([*words, *(["--new", str(name)] if name else [])])
    named = [str(one) for one in cast("list[object]", tables)] if isinstance(tables, list) else []
    if not named or not all(map(_PLAIN_TABLE.fullmatch, named)):
        return ""  # it is not known yet which, or they want to be quoted as SQL does it
    return shlex.join([*words, *(f"--table={one}" for one in named)])


def _dicts(value: object) -> list[dict[str, object]]:
    found = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("dict[str, object]", one) for one in found if isinstance(one, dict)]


def archive_in(result: Mapping[str, object]) -> str:
    """The archive that a run made or used, "" for none."""
    found = result.get("archive")
    if isinstance(found, dict):
        found = cast("dict[str, object]", found).get("id")
    return found if isinstance(found, str) else ""


def facts_of(facts: Mapping[str, object]) -> tuple[Fact, ...]:
    """What a step or a run found out, as people read it."""
    return tuple(
        Fact(name=_UNIT.sub("", name).replace("_", " "), text=text)
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
