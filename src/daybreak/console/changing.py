"""The configuration, changed one key at a time: what can be set, what would change, and saving it; as pages and JSON.

Nothing is decided here. The runner knows the keys, checks the value with the whole file and writes it, and refuses what
is not on its list, whoever asks.

Shapes  choosing and looking are GETs, so that the second look leads back to them; what is confirmed is a key, its value
        and the sha256 of the file that was looked at. Whatever comes of it stands in the audit log, old and new value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

from litestar import Response, get, post
from litestar.exceptions import NotFoundException
from litestar.params import Body, FromQuery
from litestar.response import Redirect, Template
from litestar.types import ControllerRouterHandler

from daybreak.console.asking import Asking, Form, Key, Note, Problem, problem, who, world_of
from daybreak.console.faultpages import StepUpNeeded
from daybreak.console.furnish import link
from daybreak.console.guards import needs
from daybreak.console.inquiry import answer, answers, new_key, signed, status_of
from daybreak.console.paging import page
from daybreak.console.people import Role
from daybreak.console.stepup import fresh, is_fresh
from daybreak.errors import DaybreakError
from daybreak.runner.looks import Reply
from daybreak.runner.values import shown
from daybreak.runner.words import Change, LookAtChange, LookAtSettings

#: As tokens and the audit know it.
VERB: Final = "set"
_PAGE: Final = "/settings/change"
_LOOKS: Final = [needs(Role.ADMIN, VERB)]
_CHANGES: Final = [needs(Role.ADMIN, VERB), fresh(VERB)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A key that can be set. `value` and `default` are "" where there is none."""

    setting: str
    meaning: str
    kind: str  # text, number, answer (yes or no), one (of the options), some (of the options, with commas)
    options: list[str]
    value: str
    default: str
    removable: bool = True  # whether the key may be taken out of the file from here


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """All of them."""

    settings: list[Option]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Another value of a key; "": the key is taken out of the file, and its default counts."""

    setting: str
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """The same, with the `base` that the preview said."""

    setting: str
    base: str
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What would change. Nothing can be saved where there are `faults`, or an `obstacle`."""

    setting: str
    before: str
    after: str
    base: str
    difference: list[str]
    faults: list[str]
    file: str
    obstacle: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What was saved; `taken`: it counts for the next run already."""

    setting: str
    taken: bool
    joined: bool  # it was saved before, by the same click


def handlers(note: Note) -> list[ControllerRouterHandler]:
    """All of them."""
    return [_ask, _settings_document, _preview_document, *_saving(note)]


@get(_PAGE, guards=_LOOKS, sync_to_thread=True, include_in_schema=False)
def _ask(
    request: Asking, setting: FromQuery[str] = "", value: FromQuery[str | None] = None, done: FromQuery[str] = ""
) -> Template:
    if value is not None and not is_fresh(who(request), world_of(request), VERB):
        raise StepUpNeeded
    return _shown(request, setting, value, done=done)


@get("/api/settings/keys", guards=_LOOKS, sync_to_thread=True, tags=["look"], summary="The keys that can be set")
def _settings_document(request: Asking) -> Response[Options] | Response[Problem]:
    """Every key of the configuration that can be set from here: none that holds a path, command, address or secret."""
    try:
        return Response(Options(settings=_options(request)))
    except DaybreakError as error:
        return problem(error)


@post("/api/settings/preview", guards=_LOOKS, sync_to_thread=True, tags=["look"], summary="What a change would change")
def _preview_document(request: Asking, data: Annotated[Wanted, Body()]) -> Response[Preview] | Response[Problem]:
    """The lines of the file that would go and come, and every fault of the whole. Nothing is written."""
    try:
        said = answer(world_of(request), LookAtChange(setting=data.setting, value=data.value))
    except DaybreakError as error:
        return problem(error)
    return Response(Preview(**said), status_code=200)


def _saving(note: Note) -> list[ControllerRouterHandler]:
    def save(request: Asking, wanted: Confirmed, key: str) -> Reply:
        """Have it saved, and read the file again. Raise what the runner says."""
        world, subject = world_of(request), wanted.setting
        change = Change(setting=wanted.setting, value=wanted.value, base=wanted.base)
        try:
            said = answer(world, signed(change, who(request), key))
        except DaybreakError as error:
            note(request, VERB, subject, f"refused: {shown(wanted.value)}: {error.message}")
            raise
        world.reread()
        done = "it was saved before" if said["joined"] else f"{said['before']!r} → {said['after']!r}"
        note(request, VERB, subject, done)
        return said

    @post(_PAGE, guards=_CHANGES, sync_to_thread=True, include_in_schema=False)
    def form(request: Asking, data: Form) -> Redirect | Template:
        wanted = Confirmed(**{name: str(data.get(name, "")) for name in ("setting", "value", "base")})
        try:
            said = save(request, wanted, str(data.get("key", "")))
        except DaybreakError as error:
            return _shown(request, wanted.setting, wanted.value, error=error)
        done = "taken" if said["taken"] else "saved"
        return Redirect(link(_PAGE, setting=wanted.setting, done=done), status_code=303)

    @post("/api/settings/change", guards=_CHANGES, sync_to_thread=True, tags=["act"], summary="Set a key")
    def document(
        request: Asking, data: Annotated[Confirmed, Body()], key: Key = ""
    ) -> Response[Saved] | Response[Problem]:
        """Save what was looked at; 409 where the file is another one by now."""
        try:
            said = save(request, data, key)
        except DaybreakError as error:
            return problem(error)
        saved = Saved(setting=data.setting, taken=bool(said["taken"]), joined=bool(said["joined"]))
        return Response(saved, status_code=200)

    return [form, document]


def _shown(
    request: Asking, setting: str, value: str | None, *, done: str = "", error: DaybreakError | None = None
) -> Template:
    """The page of one key: what it means and is, and where another value is wanted, what that would change."""
    preview: dict[str, Any] | None = None
    try:
        chosen = next((one for one in _options(request) if one.setting == setting), None)
        if chosen is not None and value is not None:
            preview = answer(world_of(request), LookAtChange(setting=setting, value=value))
    except DaybreakError as fault:
        back = link(_PAGE, setting=setting) if value is not None else "/settings"
        return page(request, "actions/refused.html", status=status_of(fault), error=error or fault, back=back)
    if chosen is None:
        raise NotFoundException(f"{setting or 'nothing'} is no key that can be set from here.")
    wrong = error is not None or (preview is not None and preview["faults"])
    return page(
        request,
        "actions/change.html",
        status=(status_of(error) if error is not None else 422) if wrong else 200,
        one=chosen,
        value=chosen.value if value is None else value,
        preview=preview,
        error=error,
        done=done,
        key=new_key(),
    )


def _options(request: Asking) -> list[Option]:
    said = answers(world_of(request), LookAtSettings())
    return [Option(**one) for part in said for one in part["settings"]]
