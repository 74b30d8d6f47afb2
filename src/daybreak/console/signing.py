"""Coming in and going out: the first user, name and password (and code), single sign-on, signing out, the second look.

Shapes  every answer to a wrong name, password or code is the same. Whoever comes in gets a new cookie; the one before
        lets nobody in any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Final, TypeAlias
from urllib.parse import quote

from litestar import Request, Response, get, post
from litestar.enums import RequestEncodingType
from litestar.exceptions import NotFoundException, TooManyRequestsException
from litestar.params import Body, FromQuery
from litestar.response import Template
from litestar.types import ControllerRouterHandler

from daybreak.console import cookies
from daybreak.console.accounts import FRESH, Accounts, By, Session, User
from daybreak.console.accounts.words import clean, csrf_of, draw, key_of
from daybreak.console.faultpages import words_for
from daybreak.console.guards import kept_in, needs, person_of
from daybreak.console.limits import Buckets, Guesses, Rate, neighbourhood
from daybreak.console.origins import Place, local_path, named_origin, place_of
from daybreak.console.paging import page
from daybreak.console.people import Role
from daybreak.console.single import Coming, Single
from daybreak.console.world import World
from daybreak.errors import DaybreakError, Refused, UsageError

Asked: TypeAlias = Request[Any, Any, Any]
Fields: TypeAlias = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]
_WRONG: Final = "The name, the password or the code is not right."


def handlers(accounts: Accounts, desk: Desk) -> list[ControllerRouterHandler]:
    """The routes for coming in and going out."""
    return [*_by_password(desk, accounts), *_as_first(desk, accounts), *_by_single(desk), *_again(desk)]


def _by_password(desk: Desk, accounts: Accounts) -> list[ControllerRouterHandler]:
    @get("/sign-in", sync_to_thread=True, include_in_schema=False)
    def ask(request: Asked, to: FromQuery[str] = "/") -> Response[Any]:
        if person_of(request) is not None:
            return going(local_path(to))
        return desk.form(request, to)

    @post("/sign-in", sync_to_thread=True, include_in_schema=False)
    def sign_in(request: Asked, data: Fields) -> Response[Any]:
        return desk.sign_in(request, data)

    @post("/sign-out", sync_to_thread=True, include_in_schema=False, guards=[needs(Role.VIEWER)])
    def sign_out(request: Asked) -> Response[Any]:
        console, session = world_of(request).console, session_of(request)
        accounts.sessions.end(cookies.read(request.headers.get("cookie", ""), cookies.session_name(console)))
        accounts.audit.add(session.user.name, "sign out", "", "done", at(request), address=address_of(request))
        answer = going("/sign-in")
        answer.set_cookie(cookies.gone(console, cookies.session_name(console)))
        answer.headers["Clear-Site-Data"] = '"cache", "storage"'
        return answer

    return [ask, sign_in, sign_out]


def _as_first(desk: Desk, accounts: Accounts) -> list[ControllerRouterHandler]:
    @get("/first", sync_to_thread=True, include_in_schema=False)
    def ask_first(request: Asked) -> Response[Any]:
        if not accounts.awaits_first(at(request)):
            raise NotFoundException
        return desk.door(request, page(request, "accounts/first.html", csrf=desk.csrf(request), fault=None, name=""))

    @post("/first", sync_to_thread=True, include_in_schema=False)
    def make_first(request: Asked, data: Fields) -> Response[Any]:
        return desk.make_first(request, data)

    return [ask_first, make_first]


def _by_single(desk: Desk) -> list[ControllerRouterHandler]:
    @get("/sign-in/single", sync_to_thread=True, include_in_schema=False)
    def single(request: Asked, to: FromQuery[str] = "/") -> Response[Any]:
        return desk.leave(request, to)

    @get("/sign-in/return", sync_to_thread=True, include_in_schema=False)
    def come_back(request: Asked) -> Response[Any]:
        return desk.come_back(request)

    return [single, come_back]


def _again(desk: Desk) -> list[ControllerRouterHandler]:
    @get("/step-up", sync_to_thread=True, include_in_schema=False, guards=[needs(Role.VIEWER)])
    def ask_again(request: Asked, to: FromQuery[str] = "/") -> Template:
        user = session_of(request).user
        return desk.ask_again(request, user, local_path(to))

    @post("/step-up", sync_to_thread=True, include_in_schema=False, guards=[needs(Role.VIEWER)])
    def step_up(request: Asked, data: Fields) -> Response[Any]:
        return desk.step_up(request, data)

    @get("/step-up/single", sync_to_thread=True, include_in_schema=False, guards=[needs(Role.VIEWER)])
    def anew(request: Asked, to: FromQuery[str] = "/") -> Response[Any]:
        return desk.leave(request, to, session_of(request).hash)

    return [ask_again, step_up, anew]


class Desk:
    """What the routes share: who guessed how often, and the way to single sign-on."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._guesses = Guesses()
        self._noted = Buckets(Rate(burst=20, per_s=0.1))
        self._single: Single | None = None

    def form(self, request: Asked, to: str, fault: str = "", status: int = 200) -> Response[Any]:
        """The sign-in page."""
        oidc, path = world_of(request).console.oidc, local_path(to)
        found = page(
            request,
            "accounts/signin.html",
            status=status,
            csrf=self.csrf(request),
            to=path,
            fault=fault,
            single=None if oidc is None else oidc.name,
            single_path=f"/sign-in/single?to={quote(path, safe='')}",
            nobody=not self._accounts.users.any(),
            passkeys=self._accounts.passkeys.any(),
            place=place(request),
            named=named(request),
        )
        return self.door(request, found)

    def csrf(self, request: Asked) -> str:
        """The csrf of a form before signing in; the cookie that belongs to it is drawn where there is none."""
        state = request.scope["state"]
        name = cookies.door_name(world_of(request).console)
        if "door" not in state:
            state["door"] = cookies.read(request.headers.get("cookie", ""), name) or draw()
        return csrf_of(state["door"])

    def door(self, request: Asked, answer: Response[Any]) -> Response[Any]:
        """An answer with the cookie that its form needs."""
        console = world_of(request).console
        self.csrf(request)
        drawn = request.scope["state"]["door"]
        if cookies.read(request.headers.get("cookie", ""), cookies.door_name(console)) != drawn:
            answer.set_cookie(cookies.door_cookie(console, drawn))
        return answer

    def sign_in(self, request: Asked, data: dict[str, str]) -> Response[Any]:
        """A name and what proves it."""
        name, to = data.get("name", ""), data.get("to", "/")
        user = self._fits(request, name, data, "sign in")
        if user is None:
            return self.form(request, to, _WRONG, status=401)
        return self.come_in(request, user, going(local_path(to)))

    def come_in(
        self, request: Asked, user: User, answer: Response[Any], how: str = "sign in", subject: str = ""
    ) -> Response[Any]:
        """Begin a session, and end the one before."""
        console = world_of(request).console
        before = cookies.read(request.headers.get("cookie", ""), cookies.session_name(console))
        if before:
            self._accounts.sessions.end(before)
        cookie = self._accounts.sessions.begin(
            user,
            at(request),
            console.session,
            address=address_of(request),
            agent=request.headers.get("user-agent", ""),
        )
        self._accounts.audit.add(user.name, how, subject, "done", at(request), address=address_of(request))
        answer.set_cookie(cookies.session_cookie(console, cookie))
        answer.set_cookie(cookies.gone(console, cookies.door_name(console)))
        return answer

    def make_first(self, request: Asked, data: dict[str, str]) -> Response[Any]:
        """The first user, by the token that the host printed."""
        if not self._accounts.awaits_first(at(request)):
            raise NotFoundException
        address = address_of(request)
        self.require_patience("", request)
        token, name = data.get("token", "").strip(), data.get("name", "")
        password, again = data.get("password", ""), data.get("again", "")
        try:
            require_twice(password, again)
            user = self._accounts.make_first(token, name, password, at(request), address=address)
            if user is not None:
                return self.come_in(request, user, going("/"))
            self._guesses.wrong("", neighbourhood(address), time.monotonic())
            self._accounts.audit.add("nobody", "make the first user", "", "refused", at(request), address=address)
            fault = UsageError("that token is not right, or has ended", hint="print a new one: daybreak console first")
        except UsageError as error:
            fault = error
        found = page(request, "accounts/first.html", status=400, csrf=self.csrf(request), fault=fault, name=clean(name))
        return self.door(request, found)

    def step_up(self, request: Asked, data: dict[str, str]) -> Response[Any]:
        """The password again, or for who has a second factor its code."""
        user, to = session_of(request).user, local_path(data.get("to", "/"))
        if user.has_password:
            found = self._fits(request, user.name, data, "step up")
        elif user.has_totp:
            found = self._look(
                request, user.name, lambda: self._uses(user, data.get("code", ""), at(request)), "step up"
            )
        else:
            found = None
        if found is None or found.id != user.id:
            fault = "The password or the code is not right."
            return self.ask_again(request, user, to, fault)
        return self.seen_again(request, to)

    def seen_again(self, request: Asked, to: str, how: str = "step up", subject: str = "") -> Response[Any]:
        """Whoever asks has shown again who he is."""
        session = session_of(request)
        self._accounts.sessions.refresh(session, at(request) + FRESH)
        self._accounts.audit.add(session.user.name, how, subject, "done", at(request), address=address_of(request))
        return going(to)

    def ask_again(self, request: Asked, user: User, to: str, fault: str = "") -> Template:
        """The page of the second look."""
        oidc, status = world_of(request).console.oidc, 403 if fault else 200
        single, path = oidc.name if oidc else None, f"/step-up/single?to={quote(to, safe='')}"
        return page(
            request,
            "accounts/stepup.html",
            status=status,
            to=to,
            user=user,
            fault=fault,
            single=single,
            single_path=path,
            passkeys=self._accounts.passkeys.list(user),
            place=place(request),
            named=named(request),
        )

    def single(self, request: Asked) -> Single:
        """Single sign-on as it is configured now; 404 where it is not."""
        console = world_of(request).console
        if console.oidc is None:
            raise NotFoundException
        if self._single is None or self._single.console != console:
            self._single = Single(console, console.oidc)
        return self._single

    def leave(self, request: Asked, to: str, session: str = "") -> Response[Any]:
        """To single sign-on; it leads back to `come_back`."""
        address, way = self.single(request).begin(local_path(to), at(request), session=session)
        answer = going(address)
        answer.set_cookie(cookies.way_cookie(world_of(request).console, way))
        return answer

    def come_back(self, request: Asked) -> Response[Any]:
        """From single sign-on: what it says of somebody is checked, and that one comes in."""
        console, address = world_of(request).console, address_of(request)
        single = self.single(request)
        way = cookies.read(request.headers.get("cookie", ""), cookies.way_name(console))
        try:
            coming = single.end(way, dict(request.query_params), at(request))
            by = By(who="single sign-on", address=address)
            arrived = page(request, "accounts/arrived.html", to=coming.to)
            if coming.session:
                answer: Response[Any] = self._again_by_single(request, coming, arrived)
                answer.set_cookie(cookies.gone(console, cookies.way_name(console)))
                return answer
            user = self._accounts.users.from_single_sign_on(coming.subject, coming.name, coming.role, at(request), by)
        except DaybreakError as error:
            if not self._noted.take(neighbourhood(address), time.monotonic()):  # it must not be filled from outside
                self._accounts.audit.add("nobody", "single sign-on", "", error.message, at(request), address=address)
            answer = self.form(request, "/", ": ".join(words_for(error, None)), status=403)
        else:
            # Not a redirect: it would belong to the way that began elsewhere, and the strict cookie would stay behind.
            answer = self.come_in(request, user, arrived, "single sign-on")
        answer.set_cookie(cookies.gone(console, cookies.way_name(console)))
        return answer

    def _again_by_single(self, request: Asked, coming: Coming, answer: Response[Any]) -> Response[Any]:
        """Whoever had to show again who he is has signed in anew there: the same one, or nothing counts."""
        session = self._accounts.sessions.by_hash(coming.session, at(request))
        if session is None or session.user.subject != coming.subject:
            raise Refused("somebody else has signed in there, or this session has ended", hint="sign in again")
        self._accounts.sessions.refresh(session, at(request) + FRESH)
        self._accounts.audit.add(session.user.name, "step up", "", "done", at(request), address=address_of(request))
        return answer

    def _fits(self, request: Asked, name: str, data: dict[str, str], what: str) -> User | None:
        """The person of this name, whose password and code a form holds."""
        password, code = data.get("password", ""), data.get("code", "")
        return self._look(request, name, lambda: self._accounts.fits(name, password, code, at(request)), what)

    def _look(self, request: Asked, name: str, look: Callable[[], User | None], what: str) -> User | None:
        """Whether somebody is who he says, unless too many have guessed."""
        self.require_patience(name, request)
        user = look()
        if user is not None:
            self.right(name, request)
            return user
        # What was typed as a name may be a password: only a name that there is goes into the log.
        self.wrong(name, request, self._accounts.users.get(name), what)
        return None

    def _uses(self, user: User, code: str, when: datetime) -> User | None:
        """Whoever comes by single sign-on has nothing but the code here."""
        return user if self._accounts.factors.use(user.id, code, when) else None

    def right(self, name: str, request: Asked) -> None:
        """Somebody knew; what was wrong before with that name is forgotten."""
        self._guesses.right(key_of(name), neighbourhood(address_of(request)))

    def wrong(
        self, name: str, request: Asked, known: User | None, what: str, *, subject: str = "", reason: str = ""
    ) -> None:
        """Somebody guessed, and for the audit log whom he said to be."""
        address, who = address_of(request), "somebody unknown" if known is None else known.name
        self._guesses.wrong(key_of(name), neighbourhood(address), time.monotonic())
        outcome = f"refused: {reason}" if reason else "refused"
        self._accounts.audit.add(who, what, subject, outcome, at(request), address=address)

    def require_patience(self, name: str, request: Asked) -> None:
        """Look at nothing more where too many have guessed. Raise TooManyRequestsException."""
        wait = self._guesses.wait(key_of(name), neighbourhood(address_of(request)), time.monotonic())
        if wait:
            raise TooManyRequestsException(
                f"too many guesses; wait {int(wait / 60) + 1} minutes", headers={"Retry-After": str(int(wait) + 1)}
            )


def going(path: str) -> Response[Any]:
    """On to another page (303): what a form did is not done again by loading that one again."""
    return Response(content="", status_code=303, headers={"Location": path})


def require_twice(password: str, again: str) -> None:
    """Refuse a new password that was not typed twice alike. Raise UsageError."""
    if password != again:
        raise UsageError("the two passwords differ", hint="type the same one twice")


def world_of(request: Asked) -> World:
    """What the pages stand on."""
    return request.app.state.world


def at(request: Asked) -> datetime:
    """Now."""
    return world_of(request).clock()


def address_of(request: Asked) -> str:
    """Who asks, as far as it is known."""
    return clean(str(kept_in(request, "address") or ""))


def place(request: Asked) -> Place | None:
    """Where passkeys count, as the browser came; None where they do not."""
    return place_of(world_of(request).console, request.headers.get("host", ""))


def named(request: Asked) -> str:
    """The address by which they would count."""
    return named_origin(world_of(request).console, request.headers.get("host", ""))


def session_of(request: Asked) -> Session:
    """The session of whoever asks; a token has none, 404 for it."""
    session = kept_in(request, "auth")
    if not isinstance(session, Session):
        raise NotFoundException
    return session
