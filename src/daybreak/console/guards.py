"""What a route needs of whoever asks.

Shapes  a handler without a guard is still not open: what comes without a person is stopped before routing, but for
        the few paths in `security.py`. A token passes only where the route names a verb that the token is for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias, cast

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler

from daybreak.console.people import Person, Role

Connection: TypeAlias = ASGIConnection[Any, Any, Any, Any]
Guard: TypeAlias = Callable[[Connection, BaseRouteHandler], None]
#: What a token needs for a page or a document that is only read.
LOOK: Final = "look"
_SAFE: Final = frozenset({"GET", "HEAD"})


def person_of(connection: Connection) -> Person | None:
    """Who asks, if anybody has signed in."""
    found = kept_in(connection, "user")
    return found if isinstance(found, Person) else None


def kept_in(connection: Connection, name: str) -> object:
    """What `security.py` left in the scope of a request."""
    return cast("dict[str, object]", connection.scope).get(name)


def needs(role: Role, verb: str = "") -> Guard:
    """A guard that lets whoever has `role` or more through: 401 for nobody, 403 for too little.

    A token needs `verb` among its own as well; without one, `look` for what is read, and nothing else is open to it.
    """

    def guard(connection: Connection, _handler: BaseRouteHandler) -> None:
        person = person_of(connection)
        if person is None:
            raise NotAuthorizedException("sign in first")
        if person.role < role:
            raise PermissionDeniedException(f"this needs the role {role.word}; yours is {person.role.word}")
        reads = kept_in(connection, "method") in _SAFE
        asked = verb or (LOOK if reads else "")
        if person.verbs is not None and asked not in person.verbs:
            raise PermissionDeniedException(f"this token is not for {asked or 'that'}")

    guard.needs = role  # pyright: ignore[reportFunctionMemberAccess] -- by it a test finds routes without a rule
    return guard
