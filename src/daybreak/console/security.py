"""What stands before every route, also before the question whether there is one: nothing comes past it unasked.

In this order: the headers of every answer, the Host, how often, where a form comes from, how large and how slow its
body is, who asks (session or token), the csrf of a form, and whether anybody has to have signed in. What was asked of
us to change something and refused stands in the audit log.

Shapes  `scope["user"]` is a `Person` or None, `scope["auth"]` the `Session` or None, `scope["address"]` who asks as far
        as it is known. A body is read once, up to `BODY_BYTES`, and handed on.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Final, TypeAlias, cast
from urllib.parse import parse_qs, quote

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from daybreak.console import cookies, origins
from daybreak.console.accounts import Accounts, Session
from daybreak.console.accounts.words import csrf_of, same
from daybreak.console.faultpages import answer_of, came_from, words_for
from daybreak.console.limits import Buckets, Rate, neighbourhood
from daybreak.console.people import Person
from daybreak.console.world import World
from daybreak.errors import DaybreakError

Middleware: TypeAlias = Callable[[ASGIApp], ASGIApp]
#: A form or a document; nothing here takes files.
BODY_BYTES: Final = 2**20
BODY_WITHIN: Final = timedelta(seconds=10)
#: How often it is looked whether somebody who watches a stream may stay.
LOOK_AGAIN: Final = timedelta(seconds=5)
_SAFE: Final = frozenset({"GET", "HEAD"})
_METHODS: Final = _SAFE | {"POST", "PUT", "PATCH", "DELETE"}
_KINDS: Final = frozenset({"application/x-www-form-urlencoded", "application/json", ""})
_FIELDS: Final = 500
#: Whoever has not signed in gets these, and nothing else.
PUBLIC: Final = frozenset(
    {
        *("/sign-in", "/sign-in/passkey", "/sign-in/passkey/challenge", "/sign-in/single", "/sign-in/return"),
        *("/first", "/healthz"),
    }
)
#: For these somebody else is asked.
_LEAD_OUT: Final = frozenset({"/sign-in/single", "/sign-in/return"})
STATIC: Final = "/static/"
METRICS: Final = "/metrics"
_RATE: Final = Rate(burst=400, per_s=100)
#: Sign-ins, right and wrong, of one address.
_SIGN_IN_RATE: Final = Rate(burst=20, per_s=1)
#: Refusals of one address that the audit log takes down; it must not be filled from outside.
_NOTED_RATE: Final = Rate(burst=20, per_s=0.1)
CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class _Stopped(Exception):  # noqa: N818 -- a way out, not a fault
    """The request ends here."""

    def __init__(self, status: int, message: str = "", *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


class Security:
    """The one middleware; it wraps the whole application."""

    def __init__(self, app: ASGIApp, *, world: World, accounts: Accounts) -> None:
        self._app = app
        self._world = world
        self._accounts = accounts
        self._all = Buckets(_RATE)
        self._sign_ins = Buckets(_SIGN_IN_RATE)
        self._noted = Buckets(_NOTED_RATE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            return  # no websocket is ours: closed before it is accepted
        bare = scope["method"] == "HEAD"
        if bare:  # what a GET would answer, but for its body; routes know GET alone
            scope = cast("Scope", {**scope, "method": "GET"})
        mine = cast("dict[str, Any]", scope)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in mine["headers"]}
        request = _Request(mine, headers, self._world)
        answered = _Answered(send, self._more_headers(request.path), bare=bare)
        try:
            body = await self._before(request, receive)
            await self._app(scope, _replayed(body, receive, lambda: self._may_stay(request)), answered)
            await answered.finish()
        except _Stopped as stopped:
            await self._answer(request, answered, stopped)
        except DaybreakError as error:
            await self._answer(request, answered, _Stopped(503, words_for(error, request.person)[0]))
        if request.method not in _SAFE and answered.status in {401, 403, 413, 421, 429}:
            await self._note(request, answered.status)

    async def _before(self, request: _Request, receive: Receive) -> bytes:
        if not origins.allows_host(self._world.console, request.headers.get("host", "")):
            raise _Stopped(421, "the console answers to its own address only (`url` in [console])")
        if request.method not in _METHODS:
            raise _Stopped(405, headers={"allow": ", ".join(sorted(_METHODS))})
        self._slow_down(request)
        if request.method not in _SAFE and not origins.allows_origin(self._world.console, request.headers):
            raise _Stopped(403, "that form was sent by a page of another site")
        body = b"" if request.method in _SAFE else await _read_body(request, receive)
        await asyncio.to_thread(self._identify, request)
        if request.method not in _SAFE:
            self._require_csrf(request, body)
        if request.person is None and not self._is_open(request):
            if request.method == "GET" and not request.path.startswith("/api/"):
                query = request.scope["query_string"].decode("latin-1")
                back = quote(request.path + ("?" + query if query else ""), safe="")
                raise _Stopped(303, headers={"location": "/sign-in" + (f"?to={back}" if back != "%2F" else "")})
            raise _Stopped(401)
        return body

    def _slow_down(self, request: _Request) -> None:
        who, now = neighbourhood(request.address), time.monotonic()
        wait = self._all.take(who, now)
        signs_in = request.path in _LEAD_OUT or (request.method == "POST" and request.path in PUBLIC)
        if not wait and signs_in:
            wait = self._sign_ins.take(who, now)
        if wait:
            raise _Stopped(429, "wait a moment and try again", headers={"retry-after": str(int(wait) + 1)})

    def _identify(self, request: _Request) -> None:
        at = self._world.clock()
        bearer = request.headers.get("authorization", "")
        if bearer:
            kind, _, text = bearer.partition(" ")
            token = self._accounts.tokens.get(text.strip(), at) if kind.lower() == "bearer" else None
            if token is None:
                raise _Stopped(401, "that token is not known, or has ended")
            request.person = token.person
        else:
            cookie = cookies.read(request.headers.get("cookie", ""), cookies.session_name(self._world.console))
            session = self._accounts.sessions.get(cookie, at) if cookie else None
            if session is not None:
                request.person, request.session, request.csrf = session.person(cookie), session, csrf_of(cookie)
        request.hand_over()

    async def _may_stay(self, request: _Request) -> bool:
        """Whether whoever asked would still be let in."""
        if request.person is None:
            return True
        asked, again = request.person, _Request(dict(request.scope), request.headers, self._world)
        try:
            await asyncio.to_thread(self._identify, again)
        except (_Stopped, DaybreakError):
            return False
        return again.person is not None and (again.person.name, again.person.role) == (asked.name, asked.role)

    def _require_csrf(self, request: _Request, body: bytes) -> None:
        """A browser sends cookies by itself, also for others; what only our own pages know proves that it was ours."""
        if request.person is not None and request.session is None:
            return  # a token, which no browser sends by itself
        if request.session is None:
            door = cookies.read(request.headers.get("cookie", ""), cookies.door_name(self._world.console))
            if request.path not in PUBLIC:
                raise _Stopped(401)
            request.csrf = csrf_of(door) if door else ""
        told = request.headers.get("x-csrf-token", "") or _csrf_field(request, body)
        if not request.csrf or not same(told, request.csrf):
            raise _Stopped(403, "that form is too old: load its page again")

    def _is_open(self, request: _Request) -> bool:
        if request.path in PUBLIC or request.path.startswith(STATIC):
            return True
        # Prometheus on this very machine; what a proxy passes on has another Host, or says for whom it asks.
        here = origins.is_loopback(request.headers.get("host", "")) and "x-forwarded-for" not in request.headers
        return request.path == METRICS and here

    def _more_headers(self, path: str) -> dict[str, str]:
        found = dict(_HEADERS)
        found["cache-control"] = "no-cache" if path.startswith(STATIC) else "no-store"
        if origins.is_secure(self._world.console):
            found["strict-transport-security"] = "max-age=31536000"
        return found

    async def _answer(self, request: _Request, send: _Answered, stopped: _Stopped) -> None:
        if send.status:
            return  # it has begun to answer; there is nothing left to say
        body, media = "", "text/plain"
        if stopped.status != 303:  # noqa: PLR2004 -- a way elsewhere has no page
            app = request.scope["litestar_app"]
            person, back = request.person, came_from(request.method, request.headers)
            body, media = answer_of(app, request.path, stopped.status, stopped.message, person=person, back=back)
        content = body.encode()
        told = {"content-type": media, "content-length": str(len(content)), **stopped.headers}
        if stopped.status in {408, 413}:
            told["connection"] = "close"  # the rest of the body is never read
        pairs = [(name.encode(), value.encode("latin-1")) for name, value in told.items()]
        await send({"type": "http.response.start", "status": stopped.status, "headers": pairs})
        await send({"type": "http.response.body", "body": content, "more_body": False})

    async def _note(self, request: _Request, status: int) -> None:
        if self._noted.take(neighbourhood(request.address), time.monotonic()):
            return
        who = "nobody" if request.person is None else request.person.name
        what, at = f"{request.method} {request.path}", self._world.clock()
        audit = self._accounts.audit
        await asyncio.to_thread(audit.note, who, what, "", f"refused ({status})", at, address=request.address)


class _Request:
    """What is known of a request, and is handed on in its scope."""

    def __init__(self, scope: dict[str, Any], headers: Mapping[str, str], world: World) -> None:
        self.scope = scope
        self.headers = headers
        self.method = str(scope["method"]).upper()
        self.path = str(scope["path"])
        peer = scope.get("client")
        self.address = origins.address_of(
            world.console, str(peer[0]) if peer else "", headers.get("x-forwarded-for", "")
        )
        self.person: Person | None = None
        self.session: Session | None = None
        self.csrf = ""
        self.hand_over()

    def hand_over(self) -> None:
        """Tell the routes who asks."""
        self.scope["user"], self.scope["auth"], self.scope["address"] = self.person, self.session, self.address


class _Answered:
    """A `send` that adds our headers, and knows how it was answered; a `bare` one says nothing more."""

    def __init__(self, send: Send, more: Mapping[str, str], *, bare: bool = False) -> None:
        self._send = send
        self._more = more
        self._bare = bare
        self._unfinished = False
        self.status = 0

    async def __call__(self, message: Message) -> None:
        """Send on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            told = {bytes(name).lower() for name, _ in message["headers"]}
            more = [(name.encode(), value.encode()) for name, value in self._more.items() if name.encode() not in told]
            message["headers"] = [*message["headers"], *more]
        elif message["type"] == "http.response.body":
            if self._bare:
                return
            self._unfinished = message.get("more_body", False)
        await self._send(message)
        if self._bare:  # at once, for a stream has no end
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def finish(self) -> None:
        """End a stream that was let go of in the middle."""
        if self.status and self._unfinished:
            await self({"type": "http.response.body", "body": b"", "more_body": False})


def middleware(world: World, accounts: Accounts) -> list[Middleware]:
    """What `app.build` puts before the routes of a world."""

    def wrap(app: ASGIApp) -> ASGIApp:
        return Security(app, world=world, accounts=accounts)

    return [wrap]


async def _read_body(request: _Request, receive: Receive) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _KINDS:
        raise _Stopped(415, "forms and JSON are taken here, files are not")
    size = request.headers.get("content-length", "0")
    if not (size.isascii() and size.isdigit()) or int(size) > BODY_BYTES:
        raise _Stopped(413, f"at most {BODY_BYTES // 1024} KiB are taken")
    content, more = bytearray(), True
    try:
        async with asyncio.timeout(BODY_WITHIN.total_seconds()):
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    raise _Stopped(400, "the sender went away")
                content += message["body"]
                more = message["more_body"]
                if len(content) > BODY_BYTES:
                    raise _Stopped(413, f"at most {BODY_BYTES // 1024} KiB are taken")
    except TimeoutError:
        raise _Stopped(408, f"a body has {BODY_WITHIN.seconds} s to arrive") from None
    if kind == "application/json" and content:
        try:
            json.loads(content)
        except (ValueError, RecursionError):
            # Nested too deeply is no fault of ours; said here, it does not become one.
            raise _Stopped(400, "that is no JSON") from None
    return bytes(content)


def _csrf_field(request: _Request, body: bytes) -> str:
    if not request.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded"):
        return ""
    try:
        fields = parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=_FIELDS)
    except ValueError:
        raise _Stopped(400, "that is no form") from None
    found = fields.get("csrf", [])
    return found[0] if len(found) == 1 else ""


def _replayed(body: bytes, receive: Receive, may_stay: Callable[[], Awaitable[bool]]) -> Receive:
    """What hands over a body that was read already, then what comes after it: the sender's going away.

    Whoever may not stay counts as gone: a stream of events would outlive the session that it was begun with.
    """
    handed = False

    async def again() -> Any:  # noqa: ANN401 -- a message of ASGI
        nonlocal handed
        if not handed:
            handed = True
            return {"type": "http.request", "body": body, "more_body": False}
        while True:
            try:
                async with asyncio.timeout(LOOK_AGAIN.total_seconds()):
                    return await receive()
            except TimeoutError:
                if not await may_stay():
                    return {"type": "http.disconnect"}

    return again
