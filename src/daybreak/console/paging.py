"""From a template's name to a page: what every page is handed beside its own things."""

from __future__ import annotations

from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.response import Template

from daybreak.console.people import Person


def page(request: Request[Person | None, Any, Any], name: str, /, *, status: int = 200, **context: Any) -> Template:  # noqa: ANN401 -- what a template takes
    """A page for whoever asks; templates know `person` (None before signing in), `csrf`, `path` and `faults`."""
    person = person_of(request)
    return Template(
        template_name=name,
        status_code=status,
        context={
            "person": person,
            "csrf": person.csrf if person is not None else "",
            "path": request.url.path,
            "faults": request.app.state.world.told_to(person),
            **context,
        },
    )


def person_of(request: ASGIConnection[Any, Any, Any, Any]) -> Person | None:
    """Who asks, as whatever stands before the handlers has found out."""
    found: object = request.scope["user"] if "user" in request.scope else None  # noqa: SIM401 -- the types of Litestar's scope know no get
    return found if isinstance(found, Person) else None
