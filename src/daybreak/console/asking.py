"""From a form or a document to a request for the runner: a page that asks first, what it sends, and the same as JSON.

A page that asks shows what is meant, resolved from the configuration. What cannot be taken back needs a second look at
the person (`stepup.py`) and the target's name typed; both are looked at here again when the form comes. Whatever comes
of it stands in the audit log.

Shapes  a form leads with 303 to the run that it became; where something is wrong, it comes again with the reason, what
        was filled in, and the same key, so that to send it once more is never a second run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Final, TypeAlias, TypeVar

from litestar import Request, Response, get, post
from litestar.enums import RequestEncodingType
from litestar.exceptions import NotFoundException
from litestar.params import Body, HeaderParameter
from litestar.response import Redirect, Template
from litestar.types import ControllerRouterHandler

from daybreak.console.deeds import KINDS, AnyWish, Deed, Kind
from daybreak.console.faultpages import StepUpNeeded
from daybreak.console.furnish import link
from daybreak.console.guards import needs, person_of
from daybreak.console.inquiry import answer, new_key, signed, status_of
from daybreak.console.paging import page
from daybreak.console.people import Person
from daybreak.console.stepup import is_fresh, require_typed
from daybreak.console.targets import with_answer
from daybreak.console.wishes import read_wish
from daybreak.console.world import Look, World
from daybreak.errors import ConfigError, DaybreakError, UsageError
from daybreak.runner.words import Forget, HoldIt, Identify, LookAtForgetting, Release, Unlock
from daybreak.units import parse_instant

Asking: TypeAlias = Request[Any, Any, Any]
Form: TypeAlias = Annotated[dict[str, Any], Body(media_type=RequestEncodingType.URL_ENCODED)]
#: Takes down who did what to what, and what came of it.
Note: TypeAlias = Callable[[Asking, str, str, str], None]
Key: TypeAlias = Annotated[
    str,
    HeaderParameter(
        name="Idempotency-Key", description="16 to 64 letters, digits, _ and -: once more is the same run."
    ),
]
_PLAIN: Final = str.maketrans({"/": "_", "{": "", "}": "", ":": "_"})
#: What nobody has said before he is seen: the target's name, and what a preview showed.
_ANEW: Final = frozenset({"typed", "seen"})
_LONGEST_ADDRESS: Final = 2000  # it is quoted once more, and proxies take 8000
_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What came of it."""

    run: str  # "" where it was done at once
    state: str
    joined: bool  # whether the run was there already
    said: dict[str, Any]  # the runner's own words


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why nothing came of it."""

    status: int
    message: str
    hint: str


def handlers(note: Note) -> list[ControllerRouterHandler]:
    """Every page that asks, every form, and the same as JSON."""
    return [handler for kind in KINDS for handler in (_page(kind), _form(kind, note), _document(kind, note))]


def world_of(request: Asking) -> World:
    """What the pages stand on."""
    return request.app.state.world


def who(request: Asking) -> Person:
    """Whoever asks; a guard has let him through."""
    person = person_of(request)
    assert person is not None
    return person


def problem(error: DaybreakError) -> Response[Problem]:
    """A fault as JSON."""
    status = status_of(error)
    return Response(Problem(status=status, message=error.message, hint=error.hint), status_code=status)


def _page(kind: Kind) -> ControllerRouterHandler:
    def confirm(request: Asking) -> Template:
        deed, _ = _made(request, kind, dict(request.query_params))
        if deed.target is not None and not is_fresh(who(request), world_of(request), kind.verb):
            raise StepUpNeeded
        return _shown(request, kind, deed, key=new_key())

    guards = [needs(kind.role, kind.verb)]
    return get(kind.path, guards=guards, sync_to_thread=True, include_in_schema=False, name=f"ask {kind.path}")(confirm)


def _form(kind: Kind, note: Note) -> ControllerRouterHandler:
    def send(request: Asking, data: Form) -> Template | Redirect:
        deed, fault = _made(request, kind, data)
        key = str(data.get("key", "")) or new_key()
        try:
            if fault is not None:
                raise fault
            said = _begin(request, kind, deed, typed=str(data.get("typed", "")), key=key)
        except StepUpNeeded:
            raise StepUpNeeded(_filled(request, kind, data)) from None
        except DaybreakError as error:
            note(request, kind.verb, deed.subject, f"refused: {error.message}")
            return _shown(request, kind, deed, key=key, error=error)
        note(request, kind.verb, deed.subject, _outcome(said))
        return Redirect(f"/runs/{said['run']}" if "run" in said else deed.back, status_code=303)

    guards = [needs(kind.role, kind.verb)]
    return post(kind.path, guards=guards, sync_to_thread=True, include_in_schema=False, name=f"do {kind.path}")(send)


def _document(kind: Kind, note: Note) -> ControllerRouterHandler:
    def send(request: Asking, data: AnyWish, key: Key = "") -> Response[Done] | Response[Problem]:
        deed = _named(request, lambda look: kind.make(look, names_of(request), data))
        typed = str(getattr(data, "typed", ""))
        try:
            said = _begin(request, kind, deed, typed=typed, key=key)
        except DaybreakError as error:
            note(request, kind.verb, deed.subject, f"refused: {error.message}")
            return problem(error)
        note(request, kind.verb, deed.subject, _outcome(said))
        done = Done(
            run=str(said.get("run", "")),
            state=str(said.get("state", "done")),
            joined=bool(said.get("joined")),
            said=said,
        )
        return Response(done, status_code=202 if done.run else 200)

    send.__annotations__["data"] = Annotated[kind.wish, Body()]  # so that each address documents its own words
    return post(
        f"/api{kind.path}",
        guards=[needs(kind.role, kind.verb)],
        sync_to_thread=True,
        summary=kind.summary,
        tags=["act"],
        operation_id=f"act_{kind.path.strip('/').translate(_PLAIN)}",
    )(send)


def names_of(request: Asking) -> Mapping[str, str]:
    """The names in the address."""
    return {name: str(value) for name, value in request.path_params.items()}


def _made(request: Asking, kind: Kind, form: Mapping[str, object]) -> tuple[Deed, UsageError | None]:
    """What is meant; where a field cannot be understood, what is meant without it, and why."""

    def make(look: Look) -> tuple[Deed, UsageError | None]:
        names = names_of(request)
        try:
            return kind.make(look, names, read_wish(kind.wish, form)), None
        except UsageError as fault:
            deed = kind.make(look, names, kind.wish())
            fields = tuple(replace(one, value=str(form.get(one.name, one.value))) for one in deed.fields)
            return replace(deed, fields=fields), fault

    return _named(request, make)


def _filled(request: Asking, kind: Kind, form: Mapping[str, object]) -> str:
    """The page of a form with what was filled in, but for what is to be decided anew; "" where no address holds it."""
    names = [one.name for one in fields(kind.wish) if one.name not in _ANEW]
    address = link(request.url.path, **{name: str(form[name]) for name in names if form.get(name)})
    return address if len(address) <= _LONGEST_ADDRESS else ""


def _named(request: Asking, make: Callable[[Look], _Made]) -> _Made:
    """What `make` gives. A name that is not there is no page; without a configuration there is no name."""
    world = world_of(request)
    look, found = world.show(lambda look: _tried(look, make), person_of(request))
    if not isinstance(found, UsageError):
        return found
    if not look.configured:
        raise ConfigError("the configuration has faults, so nothing can be done from here", hint="; ".join(look.faults))
    raise NotFoundException(found.message)


def _tried(look: Look, make: Callable[[Look], _Made]) -> _Made | UsageError:
    try:
        return make(look)
    except UsageError as error:
        return error


def _begin(request: Asking, kind: Kind, deed: Deed, *, typed: str, key: str) -> dict[str, Any]:
    """Have it done. Raise what the guards here and behind the runner say."""
    person, world = who(request), world_of(request)
    if deed.target is not None:
        if not is_fresh(person, world, kind.verb):
            raise StepUpNeeded
        require_typed(typed, deed.target.name)
    if isinstance(deed.asks, Unlock):
        return answer(world, deed.asks)
    return answer(world, signed(deed.asks, person, key))


def _shown(request: Asking, kind: Kind, deed: Deed, *, key: str, error: DaybreakError | None = None) -> Template:
    """The page that asks."""
    world = world_of(request)
    preview: dict[str, Any] | None = None
    if isinstance(deed.asks, Forget):
        preview, error = _preview(world, deed.asks, error)
    target = deed.target
    if target is not None and deed.identify:
        target = with_answer(target, _asked(world, Identify(database=deed.identify)))
    return page(
        request,
        "actions/confirm.html",
        status=200 if error is None else status_of(error),
        look=world.look(person_of(request)),
        deed=deed,
        target=target,
        preview=preview,
        error=error,
        key=key,
        strong=deed.target is not None,
        light=isinstance(deed.asks, HoldIt | Release | Unlock),
        verb=kind.verb,
    )


def _preview(
    world: World, forget: Forget, error: DaybreakError | None
) -> tuple[dict[str, Any] | None, DaybreakError | None]:
    """What would be forgotten now; else why nobody knows."""
    found = _asked(world, LookAtForgetting(repository=forget.repository, only=forget.only))
    if isinstance(found, DaybreakError):
        return None, error or found
    listed = [one for plan in found["plans"] for one in plan["snapshots"]]
    for one in listed:
        one["taken_at"] = parse_instant(one["taken_at"])
    return {**found, "gone": sum(not one["keep"] for one in listed)}, error


def _asked(world: World, request: Identify | LookAtForgetting) -> dict[str, Any] | DaybreakError:
    try:
        return answer(world, request)
    except DaybreakError as error:
        return error


def _outcome(said: Mapping[str, Any]) -> str:
    if "run" not in said:
        return "done"
    return f"run {said['run']}{', which was there already' if said.get('joined') else ''}"
