"""What is drawn, hashed, compared and allowed as a name. Pure but for the dice."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import unicodedata
from typing import Final

from daybreak.console.people import Role
from daybreak.errors import UsageError

#: Scanners for secrets that were published by mistake know a token by it.
TOKEN_PREFIX: Final = "daybreak_"  # noqa: S105 -- what stands before a secret
_NAME: Final = re.compile(r"[^\W_][\w.@+-]{0,63}")
_TITLE_LENGTH: Final = 64
SHORTEST_PASSWORD: Final = 12
#: Longer ones only make the hash slow.
LONGEST_PASSWORD: Final = 256
_FEWEST_LETTERS: Final = 5

#: What a token may be for, and the least role that its person needs for it.
VERBS: Final = {
    "look": Role.VIEWER,
    **dict.fromkeys(
        (
            "backup",
            "ship",
            "check",
            "prune",
            "drill",
            "doctor",
            "notify",
            "cancel",
            "retry",
            "hold",
            "release",
        ),
        Role.OPERATOR,
    ),
    **dict.fromkeys(("refresh", "restore", "undo", "accept", "fetch", "download"), Role.RESTORER),
    **dict.fromkeys(("forget", "audit", "set"), Role.ADMIN),
}


def draw() -> str:
    """256 random bits as text."""
    return secrets.token_urlsafe(32)


def digest(value: str) -> str:
    """What is kept of something that we drew: its sha256."""
    return hashlib.sha256(value.encode()).hexdigest()


def csrf_of(value: str) -> str:
    """What forms have to carry for whoever holds the cookie `value`; it does not tell the cookie."""
    return hmac.new(value.encode(), b"daybreak csrf", hashlib.sha256).hexdigest()


def same(one: str, other: str) -> bool:
    """Whether two texts are equal, in a time that does not tell how far they are."""
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))


def clean(text: str, longest: int = 200) -> str:
    """Somebody's text on one line: control characters and marks of direction are written out, the rest is cut."""
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[:longest])
    return shown if len(text) <= longest else f"{shown}…"


def name_of(text: str) -> str:
    """A person's name as it is kept. Raise UsageError."""
    name = unicodedata.normalize("NFKC", text.strip())
    if _NAME.fullmatch(name) is None:
        raise UsageError(
            "a name begins with a letter or digit and has letters, digits and . _ @ + - (at most 64)",
            hint="choose another name",
        )
    return name


def key_of(text: str) -> str:
    """By what a person is found: the name without differences of case. Never raises; nobody has an odd one."""
    return unicodedata.normalize("NFKC", text.strip()[:256]).casefold()


def title_of(text: str, what: str) -> str:
    """What a token or a passkey is called. Raise UsageError."""
    title = text.strip()
    if not title or not title.isprintable() or len(title) > _TITLE_LENGTH:
        raise UsageError(f"a {what}'s name has 1 to {_TITLE_LENGTH} letters on one line", hint="choose another name")
    return title


def role_of(word: str) -> Role:
    """A role by its word. Raise UsageError."""
    found = next((role for role in Role if role.word == word), None)
    if found is None:
        raise UsageError(f"{clean(word)!r} is no role", hint=f"one of: {', '.join(role.word for role in Role)}")
    return found


def require_password(password: str, name: str) -> None:
    """Refuse a password that is guessed soon. Raise UsageError, which never repeats it."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise UsageError(
            f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} letters",
            hint="four or five words that do not belong together are easy to keep in mind",
        )
    plain = password.casefold()
    if len(set(plain)) < _FEWEST_LETTERS or (len(name) > 2 and name.casefold() in plain):  # noqa: PLR2004 -- shorter ones stand in many words
        raise UsageError(
            "that password is guessed soon: it holds the name, or few different letters",
            hint="four or five words that do not belong together are easy to keep in mind",
        )
