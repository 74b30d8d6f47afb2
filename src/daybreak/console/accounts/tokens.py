"""API tokens: for programs, each for some verbs and until a day. A token is shown once; the file has its sha256.

Shapes  a token acts for the person it belongs to and never may more: with that person it goes, and with a lesser role
        it may less.
Errors  `UsageError` for verbs that there are not, or that the person may not.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Row, delete, insert, select, update

from daybreak.console.accounts.audit import By, add_row
from daybreak.console.accounts.schema import people, tokens
from daybreak.console.accounts.store import Store
from daybreak.console.accounts.users import User, user_of
from daybreak.console.accounts.words import TOKEN_PREFIX, VERBS, digest, draw, title_of
from daybreak.console.people import Person
from daybreak.errors import ConfigError, UsageError

LONGEST: Final = timedelta(days=366)
_NOTE_EVERY: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What is known of a token; itself it is known only to its program."""

    id: str
    name: str
    user: User
    verbs: frozenset[str]
    made_at: datetime
    ends_at: datetime
    used_at: datetime | None

    @property
    def person(self) -> Person:
        """Who acts by it."""
        return Person(name=f"{self.user.name} (token {self.name})", role=self.user.role, verbs=self.verbs)


class Tokens:
    """All tokens of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(
        self, user: User, name: str, verbs: Collection[str], *, lasting: timedelta, at: datetime, by: By
    ) -> tuple[Token, str]:
        """A new token and its text, which is told this once."""
        name = title_of(name, "token")
        if not verbs or not set(verbs) <= set(VERBS):
            raise UsageError("a token is for verbs of Daybreak", hint=f"one or more of: {', '.join(VERBS)}")
        if above := sorted(verb for verb in verbs if VERBS[verb] > user.role):
            raise UsageError(
                f"{user.name} is {user.role.word} and may not {', '.join(above)}: no token of that person may",
                hint="leave them out, or give that person a higher role",
            )
        if not timedelta(0) < lasting <= LONGEST:
            raise UsageError(f"a token lasts 1 to {LONGEST.days} days", hint="name fewer days, and renew it")
        text, made = TOKEN_PREFIX + draw(), secrets.token_hex(6)
        with self._store.write() as connection:
            connection.execute(
                insert(tokens).values(
                    id=made,
                    name=name,
                    hash=digest(text),
                    person=user.id,
                    verbs=sorted(verbs),
                    made_at=at,
                    ends_at=at + lasting,
                )
            )
            said = f"{name} of {user.name}: {', '.join(sorted(verbs))}"
            add_row(connection, by, "add token", said, at)
        token = Token(
            id=made, name=name, user=user, verbs=frozenset(verbs), made_at=at, ends_at=at + lasting, used_at=None
        )
        return token, text

    def list(self) -> list[Token]:
        """All of them, also those that have ended."""
        with self._store.read() as connection:
            return [_token_of(row) for row in connection.execute(_both().order_by(people.c.key, tokens.c.name))]

    def get(self, text: str, at: datetime) -> Token | None:
        """The token with this text, if it has not ended."""
        if not text.startswith(TOKEN_PREFIX):
            return None
        with self._store.read() as connection:
            row = connection.execute(_both().where(tokens.c.hash == digest(text))).first()
        found = None if row is None else _token_of(row)
        if found is None or at >= found.ends_at:
            return None
        if found.used_at is None or at >= found.used_at + _NOTE_EVERY:
            with contextlib.suppress(ConfigError), self._store.write() as connection:  # as for sessions
                connection.execute(update(tokens).where(tokens.c.id == found.id).values(used_at=at))
        return found

    def remove(self, token: str, at: datetime, by: By) -> None:
        """It lets nobody in any more. Raise UsageError where there is none."""
        with self._store.write() as connection:
            row = connection.execute(select(tokens.c.name).where(tokens.c.id == token)).first()
            if row is None:
                raise UsageError("there is no such token", hint="`daybreak console token list` shows them")
            connection.execute(delete(tokens).where(tokens.c.id == token))
            add_row(connection, by, "remove token", row.name, at)


def _both():  # noqa: ANN202 -- a Select whose type has every column
    names = [column.label(f"its_{column.name}") for column in tokens.c]
    return select(people, *names).join(tokens, tokens.c.person == people.c.id)


def _token_of(row: Row[tuple[object, ...]]) -> Token:
    return Token(
        id=row.its_id,
        name=row.its_name,
        user=user_of(row),
        verbs=frozenset(row.its_verbs),
        made_at=row.its_made_at,
        ends_at=row.its_ends_at,
        used_at=row.its_used_at,
    )
