"""Coming in with a passkey, showing again by one who one is, and one's own passkeys: added, removed.

Shapes  a page's script fetches a challenge, has the browser answer it and sends the answer with an ordinary form; so
        what is said afterwards is said by pages, as everywhere. Where an answer is not believed, the page says always
        the same and the audit log says why. Wrong ones are counted by passkey, not by person: who guesses somebody's
        password keeps nobody from coming in with a passkey.
"""

from __future__ import annotations

from typing import Any, Final

from litestar import MediaType, Response, get, post
from litestar.types import ControllerRouterHandler

from daybreak.console.accounts import Accounts, Passkey, User
from daybreak.console.accounts.words import digest
from daybreak.console.ceremonies import Ceremonies, Occasion, Purpose, read
from daybreak.console.guards import needs
from daybreak.console.origins import Place, local_path
from daybreak.console.paging import page
from daybreak.console.people import Role
from daybreak.console.peoplepages import by
from daybreak.console.signing import Asked, Desk, Fields, address_of, at, going, named, place, session_of
from daybreak.console.stepup import fresh
from daybreak.errors import Refused, UsageError

_WRONG: Final = "That passkey was not accepted. Try again, or use your password."
_SAID: Final[dict[Purpose, str]] = {"sign in": "sign in with a passkey", "step up": "step up with a passkey"}


def handlers(accounts: Accounts, desk: Desk) -> list[ControllerRouterHandler]:
    """The routes for passkeys."""
    counter = _Counter(accounts, desk)
    return [*_coming_in(counter, desk), *_again(counter, desk), *_own(counter, accounts)]


def _coming_in(counter: _Counter, desk: Desk) -> list[ControllerRouterHandler]:
    @post("/sign-in/passkey/challenge", sync_to_thread=True, include_in_schema=False)
    def ask(request: Asked) -> Response[Any]:
        return desk.door(request, counter.ask(request, coming(request, desk)))

    @post("/sign-in/passkey", sync_to_thread=True, include_in_schema=False)
    def sign_in(request: Asked, data: Fields) -> Response[Any]:
        to = data.get("to", "/")
        found = counter.look(request, coming(request, desk), data)
        if found is None:
            return desk.form(request, to, _WRONG, status=401)
        return desk.come_in(request, found.user, going(local_path(to)), _SAID["sign in"], found.name)

    return [ask, sign_in]


def _again(counter: _Counter, desk: Desk) -> list[ControllerRouterHandler]:
    @post("/step-up/passkey/challenge", sync_to_thread=True, include_in_schema=False, guards=[needs(Role.VIEWER)])
    def ask(request: Asked) -> Response[Any]:
        return counter.ask(request, showing(request))

    @post("/step-up/passkey", sync_to_thread=True, include_in_schema=False, guards=[needs(Role.VIEWER)])
    def step_up(request: Asked, data: Fields) -> Response[Any]:
        to = local_path(data.get("to", "/"))
        found = counter.look(request, showing(request), data)
        if found is None:
            return desk.ask_again(request, session_of(request).user, to, _WRONG)
        return desk.seen_again(request, to, _SAID["step up"], found.name)

    return [ask, step_up]


def _own(counter: _Counter, accounts: Accounts) -> list[ControllerRouterHandler]:
    own = [needs(Role.VIEWER), fresh()]

    @get("/account/passkey", sync_to_thread=True, include_in_schema=False, guards=own)
    def show(request: Asked) -> Response[Any]:
        require_own(session_of(request).user)
        return page(request, "accounts/passkey.html", place=place(request), named=named(request))

    @post("/account/passkey/challenge", sync_to_thread=True, include_in_schema=False, guards=own)
    def ask(request: Asked) -> Response[Any]:
        return counter.ask_new(request)

    @post("/account/passkey", sync_to_thread=True, include_in_schema=False, guards=own)
    def add(request: Asked, data: Fields) -> Response[Any]:
        counter.add(request, data)
        return going("/account?done=passkey-added")

    @post("/account/passkey/remove", sync_to_thread=True, include_in_schema=False, guards=own)
    def remove(request: Asked, data: Fields) -> Response[Any]:
        session = session_of(request)
        accounts.passkeys.remove(session.user, data.get("passkey", ""), at(request), by(request), but=session.hash)
        return going("/account?done=passkey-removed")

    return [show, ask, add, remove]


class _Counter:
    """What the routes share: the challenges that wait, and who guessed how often."""

    def __init__(self, accounts: Accounts, desk: Desk) -> None:
        self._accounts = accounts
        self._desk = desk
        self._ceremonies = Ceremonies()

    def ask(self, request: Asked, occasion: Occasion) -> Response[Any]:
        """What the browser is asked for: a passkey of one person, or any that it has for us."""
        known = [] if occasion.user is None else self._accounts.passkeys.list(occasion.user)
        return _told(self._ceremonies.ask(occasion, known, at(request)))

    def ask_new(self, request: Asked) -> Response[Any]:
        """What the browser is asked to make."""
        occasion, user, passkeys = adding(request), session_of(request).user, self._accounts.passkeys
        handle, known = passkeys.handle(user), passkeys.list(user)
        return _told(self._ceremonies.ask_new(occasion, handle, known, user.name, at(request)))

    def add(self, request: Asked, data: dict[str, str]) -> None:
        """Keep what the browser made. Raise UsageError, Refused."""
        occasion, user = adding(request), session_of(request).user
        try:
            drawn = self._ceremonies.made(occasion, data.get("answer", ""), at(request))
        except Refused as error:
            outcome, address = f"refused: {error.message}", address_of(request)
            self._accounts.audit.add(user.name, "add passkey", "", outcome, at(request), address=address)
            raise Refused(
                "that passkey was not accepted", hint="add it again, from the page of your account"
            ) from error
        self._accounts.passkeys.add(user, data.get("name", ""), drawn, at(request), by(request))

    def look(self, request: Asked, occasion: Occasion, data: dict[str, str]) -> Passkey | None:
        """The passkey that a browser shows, where it is right, unless too many have guessed."""
        told = read(data.get("answer", ""))
        key = f"passkey {digest(told.id.hex())}"
        self._desk.require_patience(key, request)
        known = self._accounts.passkeys.find(told.id)
        try:
            passkey, uses = self._ceremonies.shown(occasion, told, known, at(request))
            self._accounts.passkeys.use(passkey, uses, at(request))
        except Refused as error:
            user, subject = (None, "") if known is None else (known.user, known.name)
            what = _SAID[occasion.purpose]
            self._desk.wrong(key, request, occasion.user or user, what, subject=subject, reason=error.message)
            return None
        self._desk.right(key, request)
        return passkey


def coming(request: Asked, desk: Desk) -> Occasion:
    """Somebody comes in."""
    return Occasion(purpose="sign in", place=_must(request), browser=desk.csrf(request))


def showing(request: Asked) -> Occasion:
    """Somebody shows again who he is."""
    session = session_of(request)
    return Occasion(purpose="step up", place=_must(request), browser=session.hash, user=session.user)


def adding(request: Asked) -> Occasion:
    """Somebody adds a passkey. Raise UsageError."""
    session = session_of(request)
    require_own(session.user)
    return Occasion(purpose="add", place=_must(request), browser=session.hash)


def require_own(user: User) -> None:
    """Refuse a passkey to whom single sign-on lets in: it would go on when that does not. Raise UsageError."""
    if user.subject is not None:
        raise UsageError(
            f"{user.name} comes by single sign-on and has no passkeys here",
            hint="add the passkey where single sign-on asks who you are",
        )


def _must(request: Asked) -> Place:
    """Where passkeys count. Raise UsageError."""
    found = place(request)
    if found is None:
        other = named(request) or "an https:// name, which `url` in [console] has to hold"
        raise UsageError("passkeys need the console to be opened by a name", hint=f"open it by {other}")
    return found


def _told(asked: str) -> Response[Any]:
    return Response(content=asked.encode(), status_code=200, media_type=MediaType.JSON)
