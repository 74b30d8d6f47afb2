"""What is answered where something is wrong: a page, or JSON for whoever asks below /api/. Never a trace, SQL or path.

A fault that nobody foresaw is written to the log with a number, and the answer has only the number.
"""

from __future__ import annotations

import json
import logging
import secrets
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, cast
from urllib.parse import quote, urlsplit

from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException, ValidationException

from daybreak.console.accounts.words import clean
from daybreak.console.guards import person_of
from daybreak.console.origins import local_path
from daybreak.console.people import Person, Role
from daybreak.errors import Busy, ConfigError, DaybreakError, Refused, UsageError
from daybreak.secret import mask

_LOG: Final = logging.getLogger("daybreak.console")
_BUG: Final = 500
#: Where what a handler says is for people; elsewhere it may be the framework's.
_TELLING: Final = frozenset({401, 403, 404, 409, 429, 503})
_HTML: Final = "text/html; charset=utf-8"
_JSON: Final = "application/json"
#: The words for people, by status; what a handler says itself comes after them.
_TITLES: Final = {
    400: "That cannot be understood",
    401: "Sign in first",
    403: "Not allowed",
    404: "There is no such page",
    405: "Not this way",
    408: "That took too long",
    409: "Not just now",
    413: "That is too much",
    415: "Not in this form",
    421: "Wrong address",
    429: "Too often",
    500: "A fault of ours",
    503: "Not available just now",
}


class StepUpNeeded(Exception):  # noqa: N818 -- not a fault: something is needed first
    """Whoever asks has to show again who he is; `back` is the page to go on from, where that is not what was asked."""

    def __init__(self, back: str = "") -> None:
        super().__init__(back)
        self.back = back


def answer_of(
    app: Litestar, path: str, status: int, message: str = "", hint: str = "", *, person: object = None, back: str = ""
) -> tuple[str, str]:
    """The body and media type of an answer where something is wrong; `back` is the page whose form was sent."""
    title = _TITLES.get(status, HTTPStatus(status).phrase)
    if path.startswith("/api/"):
        document = {"status": status, "message": mask(message) or title, "hint": mask(hint)}
        return json.dumps(document, ensure_ascii=False), _JSON
    engine = cast("Any", app).template_engine
    context = {
        "title": title,
        "message": mask(message),
        "hint": mask(hint),
        "status": status,
        "back": back,
        "person": person,
        "csrf": getattr(person, "csrf", ""),
        "path": path,
        "faults": (),
    }
    return str(engine.get_template("accounts/fault.html").render(**context)), _HTML


def exception_handlers() -> dict[int | type[Exception], Any]:
    """What the application does with whatever its handlers raise."""
    return {Exception: _answer}


def _answer(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    if isinstance(error, StepUpNeeded):
        return _step_up(request, error.back)
    headers: Mapping[str, str] = {}
    if isinstance(error, DaybreakError):
        status, (message, hint) = _status_of(error), words_for(error, person_of(request))
    elif isinstance(error, ValidationException):
        status, message, hint = 400, "a field is missing, is there twice or has the wrong kind of value", ""
    elif isinstance(error, HTTPException) and (error.status_code < _BUG or error.status_code in _TELLING):
        status, message, hint = error.status_code, _said(error), ""
        headers = {name: value for name, value in (error.headers or {}).items() if name in {"Allow", "Retry-After"}}
    else:
        number = secrets.token_hex(4)
        _LOG.error("fault %s: %s", number, mask("".join(traceback.format_exception(error))))
        status, message, hint = _BUG, f"the log has more under {number}", "try again; if it stays so, report it"
    path = request.url.path
    back = came_from(request.method, request.headers)
    body, media = answer_of(request.app, path, status, message, hint, person=person_of(request), back=back)
    media = media.partition(";")[0]  # Litestar adds the charset
    return Response(content=body, status_code=status, media_type=media, headers=dict(headers))


def came_from(method: str, headers: Mapping[str, str]) -> str:
    """The page of ours whose form was sent, as the browser says; "" where none was, or it does not say."""
    at = urlsplit(headers.get("referer", "") if method == "POST" else "")
    if not at.netloc or at.netloc.lower() != headers.get("host", "").lower():
        return ""
    # What a page said was done is not said again.
    query = "&".join(one for one in at.query.split("&") if not one.startswith("done="))
    found = local_path(f"{at.path}{'?' * bool(query)}{query}")
    return "" if found == "/" else found


def words_for(error: DaybreakError, person: Person | None) -> tuple[str, str]:
    """A foreseen fault for whoever asks: what is wrong with this host has paths in it, and is for who works on it."""
    if not isinstance(error, ConfigError):
        return error.message, error.hint
    _LOG.warning("%s (%s)", mask(error.message), mask(error.hint))
    if person is not None and person.role >= Role.OPERATOR:
        return error.message, error.hint
    return "something on this host is not as it should be", "the log of the console says what"


def _said(error: HTTPException) -> str:
    """What a handler of ours said; the framework's own words repeat what was asked for, and stay inside."""
    own = error.detail and error.detail != HTTPStatus(error.status_code).phrase
    return clean(error.detail) if own and error.status_code in _TELLING else ""


def _status_of(error: DaybreakError) -> int:
    """A foreseen fault as HTTP knows it: a state of things (409) unless the asker or this host is the cause."""
    if isinstance(error, UsageError):
        return 400
    if isinstance(error, Refused):
        return 403
    if isinstance(error, Busy):
        return 409
    return 503 if isinstance(error, ConfigError) else 409


def _step_up(request: Request[Any, Any, Any], back: str) -> Response[Any]:
    path = request.url.path
    if path.startswith("/api/"):
        document = {
            "status": 403,
            "message": "show again who you are first (POST /step-up)",
            "hint": "",
            "step_up": True,
        }
        return Response(content=json.dumps(document), status_code=403, media_type=_JSON)
    # What a form said is not kept, unless `back` has it: its page asks again.
    query = request.url.query
    here = f"{path}{'?' * bool(query)}{query}"
    back = back or (here if request.method == "GET" else came_from(request.method, request.headers) or "/")
    return Response(content="", status_code=303, headers={"Location": f"/step-up?to={quote(back, safe='')}"})
