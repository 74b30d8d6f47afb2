"""Who asks, and what a role may. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum


class Role(IntEnum):
    """Each may what the ones before it may."""

    VIEWER = 1  # look at everything but secrets
    OPERATOR = 2  # run plans, cancel, hold and release
    RESTORER = 3  # refresh, restore, undo, accept, fetch
    ADMIN = 4  # forget; settings, people, tokens, audit

    @property
    def word(self) -> str:
        """As it stands on pages and in the database."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who has signed in, or a token."""

    name: str
    role: Role
    csrf: str = ""  # what his forms have to carry; "" for a token, which no browser sends by itself
    verbs: frozenset[str] | None = None  # what a token is for; None: whatever the role may
    fresh_until: datetime | None = None  # until when the second look at him counts (step-up)
