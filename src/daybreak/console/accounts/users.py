"""The people of the console: who may sign in, with which role.

Shapes  whatever changes a person is written together with its row of the audit log, and ends that person's sessions:
        who signs in again has the new role and knows the new password.
Errors  `UsageError` for a name or password that will not do, `Refused` where the last admin would be gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from daybreak.console.accounts.audit import By, add_row
from daybreak.console.accounts.passwords import Passwords
from daybreak.console.accounts.schema import people, sessions
from daybreak.console.accounts.store import Store
from daybreak.console.accounts.words import clean, key_of, name_of, require_password, role_of
from daybreak.console.people import Role
from daybreak.errors import Refused, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody who may sign in."""

    id: int
    name: str
    role: Role
    has_password: bool
    subject: str | None  # of single sign-on
    has_totp: bool
    made_at: datetime
    seen_at: datetime | None


class Users:
    """All people of one store."""

    def __init__(self, store: Store, passwords: Passwords) -> None:
        self._store = store
        self._passwords = passwords

    def list(self) -> list[User]:
        """Everybody, by name."""
        with self._store.read() as connection:
            return [user_of(row) for row in connection.execute(select(people).order_by(people.c.key))]

    def get(self, name: str) -> User | None:
        """Somebody by name."""
        with self._store.read() as connection:
            row = find(connection, name)
            return None if row is None else user_of(row)

    def any(self) -> bool:
        """Whether there is anybody at all."""
        with self._store.read() as connection:
            return connection.execute(select(people.c.id).limit(1)).first() is not None

    def add(self, name: str, password: str, role: Role, at: datetime, by: By) -> User:
        """Somebody new, with a password. Raise UsageError."""
        name = name_of(name)
        require_password(password, name)
        kept = self._passwords.hash(password)
        with self._store.write() as connection:
            made = insert_person(connection, name, kept, role, at)
            add_row(connection, by, "add person", f"{name} ({role.word})", at)
            return made

    def set_password(self, name: str, password: str, at: datetime, by: By) -> None:
        """Another password; all sessions of that person end. Raise UsageError."""
        require_password(password, name)
        kept = self._passwords.hash(password)
        with self._store.write() as connection:
            row = _must(connection, name)
            if row.subject is not None:
                raise UsageError(
                    f"{row.name} comes by single sign-on and has no password here",
                    hint="change the password where single sign-on keeps it",
                )
            connection.execute(update(people).where(people.c.id == row.id).values(password=kept))
            end_sessions(connection, row.id)
            add_row(connection, by, "change password", row.name, at)

    def set_role(self, name: str, role: Role, at: datetime, by: By) -> None:
        """Another role; all sessions of that person end. Raise UsageError, Refused for the last admin."""
        with self._store.write() as connection:
            row = _must(connection, name)
            if role is not Role.ADMIN:
                _keep_an_admin(connection, row)
            connection.execute(update(people).where(people.c.id == row.id).values(role=role.word))
            end_sessions(connection, row.id)
            said = f"{row.name}: {row.role} → {role.word}"
            add_row(connection, by, "change role", said, at)

    def remove(self, name: str, at: datetime, by: By) -> None:
        """Take somebody out; sessions and tokens go with it. Raise UsageError, Refused for the last admin."""
        with self._store.write() as connection:
            row = _must(connection, name)
            _keep_an_admin(connection, row)
            connection.execute(delete(people).where(people.c.id == row.id))
            add_row(connection, by, "remove person", row.name, at)

    def from_single_sign_on(self, subject: str, name: str, role: Role, at: datetime, by: By) -> User:
        """The person of a subject, made or brought up to date: there the name and role are decided, not here.

        Raise UsageError where the name is odd or another person has it.
        """
        name = name_of(name)
        with self._store.write() as connection:
            row = connection.execute(select(people).where(people.c.subject == subject)).first()
            if row is None:
                made = insert_person(connection, name, "", role, at, subject=subject)
                add_row(connection, by, "add person", f"{name} ({role.word})", at)
                return made
            other = find(connection, name)
            if row.name != name and (other is None or other.id == row.id):  # else it stays what it was
                connection.execute(update(people).where(people.c.id == row.id).values(name=name, key=key_of(name)))
                add_row(connection, by, "change name", f"{row.name} → {name}", at)
            else:
                name = row.name
            if row.role != role.word:
                connection.execute(update(people).where(people.c.id == row.id).values(role=role.word))
                end_sessions(connection, row.id)
                said = f"{name}: {row.role} → {role.word}"
                add_row(connection, by, "change role", said, at)
            return user_of(_must(connection, name))


def insert_person(
    connection: Connection, name: str, kept: str, role: Role, at: datetime, *, subject: str | None = None
) -> User:
    """A new row. Raise UsageError where somebody has the name."""
    try:
        connection.execute(
            insert(people).values(
                name=name,
                key=key_of(name),
                role=role.word,
                password=kept,
                subject=subject,
                totp="",
                totp_next="",
                totp_last=0,
                made_at=at,
            )
        )
    except IntegrityError:
        raise UsageError(f"there is somebody called {name} already", hint="choose another name") from None
    return user_of(_must(connection, name))


def find(connection: Connection, name: str) -> Row[tuple[object, ...]] | None:
    """The row of a name."""
    return connection.execute(select(people).where(people.c.key == key_of(name))).first()


def user_of(row: Row[tuple[object, ...]]) -> User:
    """A row as the noun; what lets somebody in stays behind."""
    return User(
        id=row.id,
        name=row.name,
        role=role_of(row.role),
        has_password=bool(row.password),
        subject=row.subject,
        has_totp=bool(row.totp),
        made_at=row.made_at,
        seen_at=row.seen_at,
    )


def end_sessions(connection: Connection, person: int, *, but: str = "") -> int:
    """End the sessions of a person, but for the one of this hash; how many."""
    ended = delete(sessions).where(sessions.c.person == person, sessions.c.hash != but)
    return connection.execute(ended).rowcount


def _must(connection: Connection, name: str) -> Row[tuple[object, ...]]:
    row = find(connection, name)
    if row is None:
        raise UsageError(f"there is nobody called {clean(name)!r}", hint="`daybreak console user list` shows everybody")
    return row


def _keep_an_admin(connection: Connection, row: Row[tuple[object, ...]]) -> None:
    """Refuse to let the last admin go."""
    if row.role != Role.ADMIN.word:
        return
    admins = connection.execute(select(func.count()).where(people.c.role == Role.ADMIN.word)).scalar_one()
    if admins < 2:  # noqa: PLR2004 -- the last one
        raise Refused(f"{row.name} is the last admin", hint="make somebody else an admin first")
