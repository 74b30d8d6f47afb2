"""What the pages about people show and do, as JSON.

Shapes  the same guards as the pages: an admin's session, for changes with the second look (403 with `step_up` without
        it; POST /step-up first). No token reaches people, passkeys or tokens; the audit log may be read by one made for
        `audit`. A passkey is added by a browser on its page, and by nothing else: only that can ask an authenticator.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, TypeAlias

from litestar import get, post
from litestar.exceptions import NotFoundException
from litestar.params import Body, FromPath, FromQuery
from litestar.types import ControllerRouterHandler

from daybreak.console.accounts import Accounts, Passkey, Token, User
from daybreak.console.accounts.words import role_of
from daybreak.console.guards import needs, person_of
from daybreak.console.people import Role
from daybreak.console.peoplepages import by
from daybreak.console.signing import Asked, at, session_of
from daybreak.console.stepup import fresh, require_typed

RoleWord: TypeAlias = Literal["viewer", "operator", "restorer", "admin"]
#: No token can be made for it.
_PEOPLE: Final = "people"
_ADMIN: Final = [needs(Role.ADMIN, _PEOPLE)]
_OWN: Final = [needs(Role.VIEWER, _PEOPLE)]
_CHANGES: Final = [needs(Role.ADMIN, _PEOPLE), fresh()]
_MOST: Final = 1000
_TAGS: Final = ["people"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Me:
    """Whoever asks."""

    name: str
    role: RoleWord
    verbs: list[str] | None  # of a token; null for a session: whatever the role may
    fresh_until: datetime | None  # until when the second look counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Somebody who may sign in."""

    name: str
    role: RoleWord
    single_sign_on: bool
    second_factor: bool
    made_at: datetime
    seen_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """Somebody to be added."""

    name: str
    role: RoleWord
    password: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRole:
    """Another role."""

    role: RoleWord


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPassword:
    """Another password."""

    password: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """The name once more."""

    typed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPasskey:
    """What is known of a passkey; a browser adds one, on the page of one's account."""

    id: str
    name: str
    made_at: datetime
    used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownToken:
    """What is known of a token."""

    id: str
    name: str
    acts_for: str
    verbs: list[str]
    made_at: datetime
    ends_at: datetime
    used_at: datetime | None
    token: str | None = None  # itself, in the one answer to its making


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """A token to be made; it acts for whoever makes it."""

    name: str
    verbs: list[str]
    days: int = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the audit log."""

    id: int
    at: datetime
    who: str
    address: str
    what: str
    subject: str
    outcome: str
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A piece of the audit log, the newest rows first, and whether all of it fits together."""

    rows: int  # that were computed again
    head: str
    broken_at: int | None
    entries: list[Row] = field(default_factory=list[Row])


def handlers(accounts: Accounts) -> list[ControllerRouterHandler]:
    """The routes about people below `/api/`."""
    return [*_reading(accounts), *_people(accounts), *_passkeys(accounts), *_tokens(accounts)]


def _reading(accounts: Accounts) -> list[ControllerRouterHandler]:
    @get("/api/me", sync_to_thread=False, guards=[needs(Role.VIEWER)], tags=_TAGS, summary="Whoever asks")
    def me(request: Asked) -> Me:
        person = person_of(request)
        if person is None:
            raise NotFoundException
        verbs = None if person.verbs is None else sorted(person.verbs)
        return Me(name=person.name, role=_word(person.role), verbs=verbs, fresh_until=person.fresh_until)

    @get("/api/people", sync_to_thread=True, guards=_ADMIN, tags=_TAGS, summary="Everybody who may sign in")
    def people() -> list[Known]:
        return [_known(one) for one in accounts.users.list()]

    @get("/api/tokens", sync_to_thread=True, guards=_ADMIN, tags=_TAGS, summary="Every token, but for itself")
    def tokens() -> list[KnownToken]:
        return [_token(one) for one in accounts.tokens.list()]

    @get(
        "/api/audit",
        sync_to_thread=True,
        guards=[needs(Role.ADMIN, "audit")],
        tags=_TAGS,
        summary="The audit log, and whether it fits together",
    )
    def audit(
        before: FromQuery[int | None] = None, limit: FromQuery[int] = 100, *, whole: FromQuery[bool] = False
    ) -> Log:
        verdict = accounts.audit.verify(newest=None if whole else _MOST)
        found = accounts.audit.list(before=before, limit=max(1, min(limit, _MOST)))
        rows = [
            Row(
                id=one.id,
                at=one.at,
                who=one.who,
                address=one.address,
                what=one.what,
                subject=one.subject,
                outcome=one.outcome,
                hash=one.hash,
            )
            for one in found
        ]
        return Log(rows=verdict.rows, head=verdict.head, broken_at=verdict.broken_at, entries=rows)

    return [me, people, tokens, audit]


def _people(accounts: Accounts) -> list[ControllerRouterHandler]:
    users = accounts.users

    @post("/api/people", sync_to_thread=True, guards=_CHANGES, tags=_TAGS, summary="Add somebody")
    def add(request: Asked, data: Annotated[Newcomer, Body()]) -> Known:
        return _known(users.add(data.name, data.password, role_of(data.role), at(request), by(request)))

    @post("/api/people/{name:str}/role", sync_to_thread=True, guards=_CHANGES, tags=_TAGS, summary="Another role")
    def role(request: Asked, name: FromPath[str], data: Annotated[NewRole, Body()]) -> Known:
        users.set_role(_there(accounts, name).name, role_of(data.role), at(request), by(request))
        return _known(_there(accounts, name))

    @post(
        "/api/people/{name:str}/password", sync_to_thread=True, guards=_CHANGES, tags=_TAGS, summary="Another password"
    )
    def password(request: Asked, name: FromPath[str], data: Annotated[NewPassword, Body()]) -> Known:
        users.set_password(_there(accounts, name).name, data.password, at(request), by(request))
        return _known(_there(accounts, name))

    @post(
        "/api/people/{name:str}/factor-off",
        sync_to_thread=True,
        guards=_CHANGES,
        tags=_TAGS,
        summary="Switch a second factor off",
    )
    def factor_off(request: Asked, name: FromPath[str]) -> Known:
        accounts.factors.switch_off(_there(accounts, name), at(request), by(request))
        return _known(_there(accounts, name))

    @post(
        "/api/people/{name:str}/remove", sync_to_thread=True, guards=_CHANGES, tags=_TAGS, summary="Take somebody out"
    )
    def remove(request: Asked, name: FromPath[str], data: Annotated[Typed, Body()]) -> Known:
        found = _there(accounts, name)
        require_typed(data.typed, found.name)
        users.remove(found.name, at(request), by(request))
        return _known(found)

    return [add, role, password, factor_off, remove]


def _passkeys(accounts: Accounts) -> list[ControllerRouterHandler]:
    passkeys = accounts.passkeys

    def removed(request: Asked, user: User, passkey: str) -> dict[str, Any]:
        passkeys.remove(user, passkey, at(request), by(request), but=session_of(request).hash)
        return {"id": passkey, "removed": True}

    @get(
        "/api/me/passkeys",
        sync_to_thread=True,
        guards=_OWN,
        tags=_TAGS,
        summary="One's own passkeys, which are added in a browser",
    )
    def own(request: Asked) -> list[KnownPasskey]:
        return [_passkey(one) for one in passkeys.list(session_of(request).user)]

    @post(
        "/api/me/passkeys/{passkey:str}/remove",
        sync_to_thread=True,
        guards=[*_OWN, fresh()],
        tags=_TAGS,
        summary="Remove a passkey of one's own",
    )
    def remove_own(request: Asked, passkey: FromPath[str]) -> dict[str, Any]:
        return removed(request, session_of(request).user, passkey)

    @get(
        "/api/people/{name:str}/passkeys", sync_to_thread=True, guards=_ADMIN, tags=_TAGS, summary="Somebody's passkeys"
    )
    def theirs(name: FromPath[str]) -> list[KnownPasskey]:
        return [_passkey(one) for one in passkeys.list(_there(accounts, name))]

    @post(
        "/api/people/{name:str}/passkeys/{passkey:str}/remove",
        sync_to_thread=True,
        guards=_CHANGES,
        tags=_TAGS,
        summary="Remove somebody's passkey",
    )
    def remove(request: Asked, name: FromPath[str], passkey: FromPath[str]) -> dict[str, Any]:
        return removed(request, _there(accounts, name), passkey)

    return [own, remove_own, theirs, remove]


def _tokens(accounts: Accounts) -> list[ControllerRouterHandler]:
    @post("/api/tokens", sync_to_thread=True, guards=_CHANGES, tags=_TAGS, summary="Make a token; it is told this once")
    def add(request: Asked, data: Annotated[NewToken, Body()]) -> KnownToken:
        days = max(0, min(data.days, _MOST))
        user, lasting = session_of(request).user, timedelta(days=days)
        made, text = accounts.tokens.add(user, data.name, data.verbs, lasting=lasting, at=at(request), by=by(request))
        return _token(made, text)

    @post("/api/tokens/{token:str}/remove", sync_to_thread=True, guards=_ADMIN, tags=_TAGS, summary="Remove a token")
    def remove(request: Asked, token: FromPath[str]) -> dict[str, Any]:
        accounts.tokens.remove(token, at(request), by(request))
        return {"id": token, "removed": True}

    return [add, remove]


def _there(accounts: Accounts, name: str) -> User:
    found = accounts.users.get(name)
    if found is None:
        raise NotFoundException("there is nobody of that name")
    return found


def _word(role: Role) -> RoleWord:
    words: dict[Role, RoleWord] = {
        Role.VIEWER: "viewer",
        Role.OPERATOR: "operator",
        Role.RESTORER: "restorer",
        Role.ADMIN: "admin",
    }
    return words[role]


def _known(one: User) -> Known:
    return Known(
        name=one.name,
        role=_word(one.role),
        single_sign_on=one.subject is not None,
        second_factor=one.has_totp,
        made_at=one.made_at,
        seen_at=one.seen_at,
    )


def _passkey(one: Passkey) -> KnownPasskey:
    return KnownPasskey(id=one.id, name=one.name, made_at=one.made_at, used_at=one.used_at)


def _token(one: Token, text: str | None = None) -> KnownToken:
    return KnownToken(
        id=one.id,
        name=one.name,
        acts_for=one.user.name,
        verbs=sorted(one.verbs),
        made_at=one.made_at,
        ends_at=one.ends_at,
        used_at=one.used_at,
        token=text,
    )
