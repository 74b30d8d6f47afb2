"""The second look: whoever asks for what cannot be taken back shows again that it is him, and types the name.

Shapes  a password or a code at `/step-up` counts for five minutes in that session. A token cannot be asked again; it
        passes only where it was made for the very verb, and to make it a second look was needed.
"""

from __future__ import annotations

from typing import Any, cast

from litestar.handlers import BaseRouteHandler

from daybreak.console.accounts.words import same
from daybreak.console.faultpages import StepUpNeeded
from daybreak.console.guards import Connection, Guard, person_of
from daybreak.console.people import Person
from daybreak.console.world import World
from daybreak.errors import UsageError


def fresh(verb: str = "", back: str = "") -> Guard:
    """A guard for what needs the second look; it stands behind `needs(role, verb)`.

    A page leads to `/step-up` and from there back to itself; a form that comes too late leads there as well. What is
    no page names the one to go `back` to, with the names of its own address in it.
    """

    def guard(connection: Connection, _handler: BaseRouteHandler) -> None:
        person = person_of(connection)
        world: World = cast("Any", connection.app).state.world
        if person is None or not is_fresh(person, world, verb):
            raise StepUpNeeded(back.format(**connection.path_params))

    return guard


def is_fresh(person: Person, world: World, verb: str = "") -> bool:
    """Whether the second look at somebody still counts."""
    if person.verbs is not None:
        return bool(verb) and verb in person.verbs
    return person.fresh_until is not None and world.clock() < person.fresh_until


def require_typed(typed: str, name: str) -> None:
    """Refuse where somebody typed another name than the one of what is to be changed. Raise UsageError."""
    if not name or not same(typed.strip(), name):
        raise UsageError(f"the name that was typed is not {name}", hint="type it exactly as it stands there")
