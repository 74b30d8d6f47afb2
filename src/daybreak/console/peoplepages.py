"""Pages about people: one's own account, and for admins everybody, the tokens and the audit log.

Shapes  whatever changes who may come in needs the second look (`stepup.fresh`); what is shown once (a token, codes on
        paper) is in the answer itself and nowhere else.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from litestar import Response, get, post
from litestar.params import FromQuery
from litestar.types import ControllerRouterHandler

from daybreak.console import charts, cookies
from daybreak.console.accounts import VERBS, Accounts, By, Passkey, User
from daybreak.console.accounts.words import SHORTEST_PASSWORD, role_of
from daybreak.console.guards import needs
from daybreak.console.paging import page
from daybreak.console.people import Role
from daybreak.console.signing import (
    Asked,
    Fields,
    address_of,
    at,
    going,
    named,
    place,
    require_twice,
    session_of,
    world_of,
)
from daybreak.console.stepup import fresh, require_typed
from daybreak.errors import UsageError
from daybreak.units import rfc3339

_PAGE: Final = 100
#: So many rows are computed again whenever somebody looks; all of them when somebody asks.
_LOOKED: Final = 1000
#: A day's work of an auditor, not the memory of this host.
_CSV_ROWS: Final = 100_000
_DAYS: Final = (7, 30, 90, 365)
#: What is filled in of a form that comes for the first time.
_NOTHING: Final[Mapping[str, str]] = {}


def handlers(accounts: Accounts) -> list[ControllerRouterHandler]:
    """The routes about people."""
    return [*_own(accounts), *_own_factor(accounts), *_people(accounts), *_tokens(accounts), *_audit(accounts)]


def by(request: Asked) -> By:
    """Who asks, for the audit log."""
    return By(who=session_of(request).user.name, address=address_of(request))


def _own(accounts: Accounts) -> list[ControllerRouterHandler]:
    def shown(request: Asked, *, done: str = "", fault: UsageError | None = None) -> Response[Any]:
        session = session_of(request)
        return page(
            request,
            "accounts/account.html",
            status=200 if fault is None else 400,
            user=session.user,
            here=session,
            sessions=accounts.sessions.list(session.user, at(request)),
            codes_left=accounts.factors.codes_left(session.user),
            passkeys=accounts.passkeys.list(session.user),
            place=place(request),
            named=named(request),
            shortest=SHORTEST_PASSWORD,
            done=done,
            fault=fault,
        )

    @get("/account", sync_to_thread=True, include_in_schema=False, guards=[needs(Role.VIEWER)])
    def account(request: Asked, done: FromQuery[str] = "") -> Response[Any]:
        return shown(request, done=_DONE.get(done, ""))

    @get("/account/password", sync_to_thread=False, include_in_schema=False, guards=[needs(Role.VIEWER)])
    def back() -> Response[Any]:
        return going("/account")  # where its form came again, whoever had to show who he is comes to this

    @post("/account/password", sync_to_thread=True, include_in_schema=False, guards=[needs(Role.VIEWER), fresh()])
    def password(request: Asked, data: Fields) -> Response[Any]:
        session, new = session_of(request), data.get("password", "")
        try:
            require_twice(new, data.get("again", ""))
            accounts.users.set_password(session.user.name, new, at(request), by(request))
        except UsageError as fault:
            return shown(request, fault=fault)
        return _new_session(accounts, request, session.user, going("/account?done=password"))

    @post("/account/sessions/end", sync_to_thread=True, include_in_schema=False, guards=[needs(Role.VIEWER)])
    def end(request: Asked, data: Fields) -> Response[Any]:
        user, ended = session_of(request).user, accounts.sessions.end_by_handle
        if not ended(session_of(request).user, data.get("session", "")):
            raise UsageError("that session has ended already", hint="look at the list again")
        accounts.audit.add(user.name, "end session", data["session"], "done", at(request), address=address_of(request))
        return going("/account?done=session")

    return [account, back, password, end]


def _own_factor(accounts: Accounts) -> list[ControllerRouterHandler]:
    own = [needs(Role.VIEWER), fresh()]

    @post("/account/factor", sync_to_thread=True, include_in_schema=False, guards=own)
    def begin(request: Asked) -> Response[Any]:
        accounts.factors.begin(session_of(request).user)
        return going("/account/factor")

    @get("/account/factor", sync_to_thread=True, include_in_schema=False, guards=own)
    def show(request: Asked) -> Response[Any]:
        return _factor(accounts, request)

    @get("/account/factor/confirm", sync_to_thread=False, include_in_schema=False, guards=[needs(Role.VIEWER)])
    def back() -> Response[Any]:
        return going("/account/factor")  # where its form came again, whoever had to show who he is comes to this

    @post("/account/factor/confirm", sync_to_thread=True, include_in_schema=False, guards=own)
    def confirm(request: Asked, data: Fields) -> Response[Any]:
        session = session_of(request)
        try:
            codes = accounts.factors.confirm(
                session.user, data.get("code", ""), at(request), by(request), but=session.hash
            )
        except UsageError as fault:  # the same key again: the app has it already
            return _factor(accounts, request, fault)
        return page(request, "accounts/codes.html", codes=codes)

    @post("/account/codes", sync_to_thread=True, include_in_schema=False, guards=own)
    def codes(request: Asked) -> Response[Any]:
        user = session_of(request).user
        if not user.has_totp:
            raise UsageError("codes on paper stand in for a second factor", hint="switch that on first")
        return page(request, "accounts/codes.html", codes=accounts.factors.renew_codes(user, at(request), by(request)))

    @post("/account/factor/off", sync_to_thread=True, include_in_schema=False, guards=own)
    def off(request: Asked) -> Response[Any]:
        accounts.factors.switch_off(session_of(request).user, at(request), by(request))
        return going("/account?done=factor-off")

    return [begin, show, back, confirm, codes, off]


def _factor(accounts: Accounts, request: Asked, fault: UsageError | None = None) -> Response[Any]:
    """The page with the key that waits for its first code; without one there is nothing to confirm."""
    user = session_of(request).user
    secret = accounts.factors.waiting(user)
    if not secret:
        return going("/account")
    address = accounts.factors.address(user, secret)
    return page(
        request,
        "accounts/factor.html",
        status=200 if fault is None else 400,
        secret=" ".join(secret[n : n + 4] for n in range(0, len(secret), 4)),
        address=address,
        picture=charts.code(address),
        fault=fault,
    )


def _people(accounts: Accounts) -> list[ControllerRouterHandler]:
    admin = [needs(Role.ADMIN), fresh()]

    @get("/people", sync_to_thread=True, include_in_schema=False, guards=[needs(Role.ADMIN)])
    def people(request: Asked, done: FromQuery[str] = "") -> Response[Any]:
        session_of(request)
        return _everybody(accounts, request, done=_DONE.get(done, ""))

    @get("/people/add", sync_to_thread=False, include_in_schema=False, guards=[needs(Role.ADMIN)])
    def back() -> Response[Any]:
        return going("/people")  # where its form came again, whoever had to show who he is comes to this

    @post("/people/add", sync_to_thread=True, include_in_schema=False, guards=admin)
    def add(request: Asked, data: Fields) -> Response[Any]:
        try:
            require_twice(data.get("password", ""), data.get("again", ""))
            role = role_of(data.get("role", ""))
            accounts.users.add(data.get("name", ""), data.get("password", ""), role, at(request), by(request))
        except UsageError as fault:
            return _everybody(accounts, request, fault=fault, given=data)
        return going("/people?done=added")

    @post("/people/role", sync_to_thread=True, include_in_schema=False, guards=admin)
    def change(request: Asked, data: Fields) -> Response[Any]:
        user = _must(accounts, data)
        accounts.users.set_role(user.name, role_of(data.get("role", "")), at(request), by(request))
        return going("/people?done=role")

    @post("/people/password", sync_to_thread=True, include_in_schema=False, guards=admin)
    def reset(request: Asked, data: Fields) -> Response[Any]:
        user = _must(accounts, data)
        require_twice(data.get("password", ""), data.get("again", ""))
        accounts.users.set_password(user.name, data.get("password", ""), at(request), by(request))
        return going("/people?done=password")

    @post("/people/factor-off", sync_to_thread=True, include_in_schema=False, guards=admin)
    def factor_off(request: Asked, data: Fields) -> Response[Any]:
        accounts.factors.switch_off(_must(accounts, data), at(request), by(request))
        return going("/people?done=factor-off")

    @post("/people/passkey-remove", sync_to_thread=True, include_in_schema=False, guards=admin)
    def passkey_remove(request: Asked, data: Fields) -> Response[Any]:
        session, user = session_of(request), _must(accounts, data)
        accounts.passkeys.remove(user, data.get("passkey", ""), at(request), by(request), but=session.hash)
        return going("/people?done=passkey-removed")

    @post("/people/remove", sync_to_thread=True, include_in_schema=False, guards=admin)
    def remove(request: Asked, data: Fields) -> Response[Any]:
        user = _must(accounts, data)
        require_typed(data.get("typed", ""), user.name)
        accounts.users.remove(user.name, at(request), by(request))
        return going("/people?done=removed")

    return [people, back, add, change, reset, factor_off, passkey_remove, remove]


def _everybody(
    accounts: Accounts,
    request: Asked,
    *,
    done: str = "",
    fault: UsageError | None = None,
    given: Mapping[str, str] = _NOTHING,
) -> Response[Any]:
    """The page of people; where adding one failed, with the reason and what was filled in."""
    return page(
        request,
        "accounts/people.html",
        status=200 if fault is None else 400,
        users=accounts.users.list(),
        passkeys=_by_person(accounts),
        roles=list(Role),
        shortest=SHORTEST_PASSWORD,
        done=done,
        fault=fault,
        given=given,
    )


def _tokens(accounts: Accounts) -> list[ControllerRouterHandler]:
    admin = [needs(Role.ADMIN), fresh()]

    @get("/tokens", sync_to_thread=True, include_in_schema=False, guards=[needs(Role.ADMIN)])
    def tokens(request: Asked, done: FromQuery[str] = "") -> Response[Any]:
        return _all_tokens(accounts, request, done=_DONE.get(done, ""))

    @get("/tokens/add", sync_to_thread=False, include_in_schema=False, guards=[needs(Role.ADMIN)])
    def back() -> Response[Any]:
        return going("/tokens")  # where its form came again, whoever had to show who he is comes to this

    @post("/tokens/add", sync_to_thread=True, include_in_schema=False, guards=admin)
    def add(request: Asked, data: Fields) -> Response[Any]:
        verbs = [key.removeprefix("verb-") for key in data if key.startswith("verb-")]
        try:
            token, text = accounts.tokens.add(
                session_of(request).user,
                data.get("name", ""),
                verbs,
                lasting=_days(data.get("days", "")),
                at=at(request),
                by=by(request),
            )
        except UsageError as fault:
            return _all_tokens(accounts, request, fault=fault, given=data)
        return page(request, "accounts/token.html", token=token, text=text)

    @post("/tokens/remove", sync_to_thread=True, include_in_schema=False, guards=[needs(Role.ADMIN)])
    def remove(request: Asked, data: Fields) -> Response[Any]:
        accounts.tokens.remove(data.get("token", ""), at(request), by(request))
        return going("/tokens?done=token-removed")

    return [tokens, back, add, remove]


def _all_tokens(
    accounts: Accounts,
    request: Asked,
    *,
    done: str = "",
    fault: UsageError | None = None,
    given: Mapping[str, str] = _NOTHING,
) -> Response[Any]:
    """The page of tokens; where making one failed, with the reason and what was filled in."""
    user = session_of(request).user
    return page(
        request,
        "accounts/tokens.html",
        status=200 if fault is None else 400,
        tokens=accounts.tokens.list(),
        verbs=[(verb, role.word) for verb, role in VERBS.items() if role <= user.role],
        days=_DAYS,
        now=at(request),
        done=done,
        fault=fault,
        given=given,
    )


def _days(text: str) -> timedelta:
    """How long a token lasts. Raise UsageError."""
    if not (text.isascii() and text.isdigit() and len(text) < 5):  # noqa: PLR2004 -- more digits than any answer has
        raise UsageError("the days of a token are a whole number", hint=f"one of {_DAYS}")
    return timedelta(days=int(text))


def _audit(accounts: Accounts) -> list[ControllerRouterHandler]:
    @get("/audit", sync_to_thread=True, include_in_schema=False, guards=[needs(Role.ADMIN, "audit")])
    def audit(request: Asked, before: FromQuery[int | None] = None, whole: FromQuery[str] = "") -> Response[Any]:
        entries = accounts.audit.list(before=before, limit=_PAGE)
        older = entries[-1].id if len(entries) == _PAGE and entries[-1].id > 1 else None
        return page(
            request,
            "accounts/audit.html",
            entries=entries,
            older=older,
            verdict=accounts.audit.verify(newest=None if whole else _LOOKED),
        )

    @get("/audit.csv", sync_to_thread=True, include_in_schema=False, guards=[needs(Role.ADMIN, "audit")])
    def as_csv() -> Response[Any]:
        file = io.StringIO()
        writer = csv.writer(file)
        writer.writerow(["id", "at", "who", "address", "what", "subject", "outcome", "hash"])
        for one in accounts.audit.list(limit=_CSV_ROWS):
            words = [one.who, one.address, one.what, one.subject, one.outcome]
            writer.writerow([one.id, rfc3339(one.at), *map(cell, words), one.hash])
        return Response(
            content=file.getvalue(),
            media_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": 'attachment; filename="daybreak-audit.csv"'},
        )

    return [audit, as_csv]


def cell(text: str) -> str:
    """A text for a cell of a table: a spreadsheet must not take it for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


#: What a page says after a form, by the word in its address: nobody's own words are shown that way.
_DONE: Final = {
    "password": "The password was changed. All other sessions of that person have ended.",
    "session": "That session has ended.",
    "factor-off": "The second factor is off.",
    "passkey-added": "That passkey lets you in from now on, without name, password or code.",
    "passkey-removed": "That passkey lets nobody in any more. All other sessions of that person have ended.",
    "added": "That person may sign in now.",
    "role": "The role was changed. That person has to sign in again.",
    "removed": "That person may not sign in any more.",
    "token-removed": "That token lets nobody in any more.",
}


def _by_person(accounts: Accounts) -> dict[int, list[Passkey]]:
    """Everybody's passkeys by the number of the person."""
    found: dict[int, list[Passkey]] = {}
    for one in accounts.passkeys.list():
        found.setdefault(one.user.id, []).append(one)
    return found


def _must(accounts: Accounts, data: dict[str, str]) -> User:
    user = accounts.users.get(data.get("name", ""))
    if user is None:
        raise UsageError("there is nobody of that name any more", hint="look at the list again")
    return user


def _new_session(accounts: Accounts, request: Asked, user: User, answer: Response[Any]) -> Response[Any]:
    """After a new password all sessions have ended; whoever changed it gets a new one."""
    console = world_of(request).console
    agent = request.headers.get("user-agent", "")
    cookie = accounts.sessions.begin(user, at(request), console.session, address=address_of(request), agent=agent)
    answer.set_cookie(cookies.session_cookie(console, cookie))
    return answer
