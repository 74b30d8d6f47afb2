"""Asking the runner on behalf of whoever looks at a page, and what its faults are for a browser.

Errors  `ConfigError` where no runner listens, `TimedOut` where it went away before it answered, else what it says.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Final

from daybreak.console.people import Person
from daybreak.console.world import World
from daybreak.errors import Busy, ConfigError, DaybreakError, Refused, TimedOut, UsageError
from daybreak.runner.client import LineBroke, NoRunner, ask
from daybreak.runner.looks import Reply
from daybreak.runner.values import LONGEST_WHO
from daybreak.runner.words import Act, Cancel, Change, HoldIt, Release, Request

_STATUS: Final[dict[type[DaybreakError], int]] = {
    UsageError: 422,
    Refused: 409,
    Busy: 409,
    ConfigError: 503,
    TimedOut: 504,
}


def new_key() -> str:
    """What a form carries, so that a click twice is one run."""
    return secrets.token_urlsafe(24)


def status_of(error: DaybreakError) -> int:
    """A fault as HTTP knows it; what went wrong behind the runner is the fault of nobody who asks."""
    return _STATUS.get(type(error), 502)


def answers(world: World, request: Request) -> list[Reply]:
    """Everything that the runner says to a request, without its beats."""
    try:
        return [reply for reply in ask(world.folder, request) if reply.get("event") != "beat"]
    except NoRunner as error:
        raise ConfigError(
            "the runner is not there, so nothing can be done from here",
            hint="start it on the server: `systemctl start daybreak`, or `daybreak serve`",
        ) from error
    except LineBroke as error:
        raise TimedOut(
            "the runner went away before it answered, and what was asked for may go on",
            hint="look at the runs; to send this form once more does no harm, it is the same run",
        ) from error


def answer(world: World, request: Request) -> Reply:
    """The one thing that the runner says."""
    found = answers(world, request)
    return found[-1] if found else {}


def signed(request: Act | Change | Cancel | HoldIt | Release, person: Person, key: str = "") -> Request:
    """A request with the name of whoever asks, and the key of his click."""
    who = person.name[:LONGEST_WHO].strip()
    if isinstance(request, Cancel | HoldIt | Release):
        return replace(request, who=who)
    return replace(request, who=who, key=key)
