"""The three cookies: the session's, the one before signing in, and the one that waits for single sign-on.

Shapes  HttpOnly, SameSite=Strict, path /, no domain; with TLS also Secure and `__Host-`, so that no other host and no
        page without TLS can set it. Only what has to survive the way back from single sign-on is Lax.
"""

from __future__ import annotations

from typing import Final, Literal

from litestar.datastructures import Cookie

from daybreak.console.origins import is_secure
from daybreak.web import Console

_SESSION: Final = "daybreak"
_DOOR: Final = "daybreak-door"
_WAY: Final = "daybreak-way"
_WAY_S: Final = 600


def session_name(console: Console) -> str:
    """What the session's cookie is called."""
    return _named(console, _SESSION)


def door_name(console: Console) -> str:
    """What the cookie before signing in is called: by it the sign-in form has its csrf."""
    return _named(console, _DOOR)


def way_name(console: Console) -> str:
    """What the cookie is called that waits for single sign-on."""
    return _named(console, _WAY)


def session_cookie(console: Console, value: str) -> Cookie:
    """The session's cookie; it goes with the browser, its time is kept here."""
    return _cookie(console, session_name(console), value)


def door_cookie(console: Console, value: str) -> Cookie:
    """The cookie before signing in."""
    return _cookie(console, door_name(console), value)


def way_cookie(console: Console, value: str) -> Cookie:
    """The cookie that waits for single sign-on: the way back begins on a page of another site."""
    return _cookie(console, way_name(console), value, samesite="lax", max_age=_WAY_S)


def gone(console: Console, name: str) -> Cookie:
    """A cookie that takes another one away."""
    return _cookie(console, name, "", max_age=0)


def read(header: str, name: str) -> str:
    """The value of a cookie, "" where there is none."""
    for part in header.split(";"):
        found, _, value = part.strip().partition("=")
        if found == name:
            return value
    return ""


def _named(console: Console, name: str) -> str:
    return f"__Host-{name}" if is_secure(console) else name


def _cookie(
    console: Console,
    name: str,
    value: str,
    *,
    samesite: Literal["strict", "lax"] = "strict",
    max_age: int | None = None,
) -> Cookie:
    return Cookie(
        key=name, value=value, path="/", httponly=True, secure=is_secure(console), samesite=samesite, max_age=max_age
    )
