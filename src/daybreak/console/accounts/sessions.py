"""Sessions: what a browser's cookie stands for. They are kept here, so that signing out really ends them.

Shapes  the cookie is 256 random bits, drawn anew at every sign-in; the file has its sha256. A session ends after its
        time, or when nothing came for `IDLE`.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Row, delete, insert, select, update

from daybreak.console.accounts.schema import people, sessions
from daybreak.console.accounts.store import Store
from daybreak.console.accounts.users import User, user_of
from daybreak.console.accounts.words import clean, csrf_of, digest, draw
from daybreak.console.people import Person
from daybreak.errors import ConfigError

IDLE: Final = timedelta(hours=2)
#: How long a step-up counts.
FRESH: Final = timedelta(minutes=5)
#: More of one person than this, and the oldest end.
_MOST: Final = 20
#: A session is not written at every page that it looks at.
_NOTE_EVERY: Final = timedelta(minutes=1)
_HANDLE: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One browser that has signed in."""

    hash: str
    user: User
    made_at: datetime
    seen_at: datetime
    ends_at: datetime
    fresh_until: datetime | None
    address: str
    agent: str

    @property
    def handle(self) -> str:
        """What a page calls it by; it lets nobody in."""
        return self.hash[:_HANDLE]

    def person(self, cookie: str) -> Person:
        """Who that is, for guards and pages."""
        return Person(
            name=self.user.name, role=self.user.role, csrf=csrf_of(cookie), verbs=None, fresh_until=self.fresh_until
        )


class Sessions:
    """All sessions of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def begin(self, user: User, at: datetime, lasting: timedelta, *, address: str, agent: str) -> str:
        """A new session; its cookie."""
        cookie = draw()
        with self._store.write() as connection:
            connection.execute(delete(sessions).where((sessions.c.ends_at <= at) | (sessions.c.seen_at <= at - IDLE)))
            newest = select(sessions.c.hash).where(sessions.c.person == user.id).order_by(sessions.c.made_at.desc())
            kept = newest.limit(_MOST - 1).scalar_subquery()
            connection.execute(delete(sessions).where(sessions.c.person == user.id, sessions.c.hash.not_in(kept)))
            connection.execute(
                insert(sessions).values(
                    hash=digest(cookie),
                    person=user.id,
                    made_at=at,
                    seen_at=at,
                    ends_at=at + lasting,
                    fresh_until=None,
                    address=clean(address),
                    agent=clean(agent),
                )
            )
            connection.execute(update(people).where(people.c.id == user.id).values(seen_at=at))
        return cookie

    def get(self, cookie: str, at: datetime) -> Session | None:
        """The session of a cookie, if it has not ended. Notes now and then that it is used."""
        found = self.by_hash(digest(cookie), at)
        if found is None:
            return None
        if at >= found.seen_at + _NOTE_EVERY:
            # Where the disk has no room for it, whoever has signed in stays: that is when one has to look.
            with contextlib.suppress(ConfigError), self._store.write() as connection:
                connection.execute(update(sessions).where(sessions.c.hash == found.hash).values(seen_at=at))
        return found

    def by_hash(self, hash_: str, at: datetime) -> Session | None:
        """The session with this hash, if it has not ended."""
        with self._store.read() as connection:
            row = connection.execute(_both().where(sessions.c.hash == hash_)).first()
        found = None if row is None else _session_of(row)
        return None if found is None or at >= found.ends_at or at >= found.seen_at + IDLE else found

    def list(self, user: User, at: datetime) -> list[Session]:
        """What is open of a person, the newest first."""
        mine = _both().where(sessions.c.person == user.id, sessions.c.ends_at > at, sessions.c.seen_at > at - IDLE)
        with self._store.read() as connection:
            return [_session_of(row) for row in connection.execute(mine.order_by(sessions.c.seen_at.desc()))]

    def end(self, cookie: str) -> None:
        """Sign out: the cookie lets nobody in any more."""
        with self._store.write() as connection:
            connection.execute(delete(sessions).where(sessions.c.hash == digest(cookie)))

    def end_by_handle(self, user: User, handle: str) -> bool:
        """End another session of the same person."""
        if len(handle) != _HANDLE or not handle.isalnum():
            return False
        with self._store.write() as connection:
            its = sessions.c.hash.startswith(handle, autoescape=True)
            return bool(connection.execute(delete(sessions).where(sessions.c.person == user.id, its)).rowcount)

    def refresh(self, session: Session, until: datetime | None) -> None:
        """Let the second look count until then."""
        with self._store.write() as connection:
            connection.execute(update(sessions).where(sessions.c.hash == session.hash).values(fresh_until=until))


def _both():  # noqa: ANN202 -- a Select whose type has every column
    names = [column.label(f"its_{column.name}") for column in sessions.c]
    return select(people, *names).join(sessions, sessions.c.person == people.c.id)


def _session_of(row: Row[tuple[object, ...]]) -> Session:
    return Session(
        hash=row.its_hash,
        user=user_of(row),
        made_at=row.its_made_at,
        seen_at=row.its_seen_at,
        ends_at=row.its_ends_at,
        fresh_until=row.its_fresh_until,
        address=row.its_address,
        agent=row.its_agent,
    )
