"""Passkeys: the public halves of the keys by which people come in without a password.

Shapes  the private half never leaves the device or the password manager that made it: who reads this file comes in
        nowhere with what is here. All passkeys of one person have one handle, random bytes by which an authenticator
        tells people of one name and address apart. Removing one ends that person's sessions: the device may be gone.
Errors  `UsageError` for a name that will not do, one too many, one that is there already, one that is not there;
        `Refused` where it was used elsewhere.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from daybreak.console.accounts.audit import By, add_row
from daybreak.console.accounts.schema import passkeys, people
from daybreak.console.accounts.store import Store
from daybreak.console.accounts.users import User, end_sessions, user_of
from daybreak.console.accounts.words import title_of
from daybreak.errors import Refused, UsageError

#: Of one person; a list that is longer is looked at by nobody.
_MOST: Final = 20
_HANDLE_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Passkey:
    """What is known of a passkey."""

    id: str
    name: str
    user: User
    credential: bytes  # what an authenticator calls it
    public_key: bytes
    handle: bytes
    uses: int
    made_at: datetime
    used_at: datetime | None

    @property
    def said(self) -> str:
        """As it stands in the audit log."""
        return f"{self.name} of {self.user.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What an authenticator made for somebody: a passkey without a name."""

    credential: bytes
    public_key: bytes
    handle: bytes
    uses: int


class Passkeys:
    """All passkeys of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def any(self) -> bool:
        """Whether there is one at all."""
        with self._store.read() as connection:
            return connection.execute(select(passkeys.c.id).limit(1)).first() is not None

    def list(self, user: User | None = None) -> list[Passkey]:
        """Those of a person, or all, the oldest first."""
        query = _both().order_by(passkeys.c.made_at, passkeys.c.name, passkeys.c.id)
        if user is not None:
            query = query.where(passkeys.c.person == user.id)
        with self._store.read() as connection:
            return [_passkey_of(row) for row in connection.execute(query)]

    def find(self, credential: bytes) -> Passkey | None:
        """The one that an authenticator calls so."""
        with self._store.read() as connection:
            row = connection.execute(_both().where(passkeys.c.credential == credential)).first()
        return None if row is None else _passkey_of(row)

    def handle(self, user: User) -> bytes:
        """What an authenticator calls a person: as with the passkeys before, else drawn."""
        mine = select(passkeys.c.handle).where(passkeys.c.person == user.id).limit(1)
        with self._store.read() as connection:
            return connection.execute(mine).scalar() or secrets.token_bytes(_HANDLE_BYTES)

    def add(self, user: User, name: str, drawn: Drawn, at: datetime, by: By) -> Passkey:
        """One more passkey of a person. Raise UsageError."""
        name = title_of(name, "passkey")
        with self._store.write() as connection:
            mine = select(func.count()).where(passkeys.c.person == user.id)
            if connection.execute(mine).scalar_one() >= _MOST:
                raise UsageError(f"{_MOST} passkeys of one person are the most", hint="remove one that is not used")
            try:
                connection.execute(
                    insert(passkeys).values(
                        id=secrets.token_hex(6),
                        name=name,
                        person=user.id,
                        credential=drawn.credential,
                        public_key=drawn.public_key,
                        handle=drawn.handle,
                        uses=drawn.uses,
                        made_at=at,
                    )
                )
            except IntegrityError:
                raise UsageError("that passkey is here already", hint="sign in with it") from None
            made = _must(connection, passkeys.c.credential == drawn.credential)
            add_row(connection, by, "add passkey", made.said, at)
            return made

    def use(self, passkey: Passkey, uses: int, at: datetime) -> None:
        """Note a use. Raise Refused where its authenticator, or a copy of it, counted more before."""
        counts = bool(uses or passkey.uses)
        its = (passkeys.c.id == passkey.id) & ((passkeys.c.uses < uses) if counts else (passkeys.c.uses == 0))
        with self._store.write() as connection:
            if not connection.execute(update(passkeys).where(its).values(uses=uses, used_at=at)).rowcount:
                raise Refused("its counter did not go on: there may be a copy of it")

    def remove(self, user: User, passkey: str, at: datetime, by: By, *, but: str = "") -> None:
        """It lets nobody in any more; the person's sessions end, but for one. Raise UsageError where there is none."""
        with self._store.write() as connection:
            its = (passkeys.c.id == passkey) & (passkeys.c.person == user.id)
            found = _must(connection, its)
            connection.execute(delete(passkeys).where(its))
            end_sessions(connection, user.id, but=but)
            add_row(connection, by, "remove passkey", found.said, at)


def _must(connection: Connection, its: ColumnElement[bool]) -> Passkey:
    row = connection.execute(_both().where(its)).first()
    if row is None:
        raise UsageError("there is no such passkey any more", hint="look at the list again")
    return _passkey_of(row)


def _both():  # noqa: ANN202 -- a Select whose type has every column
    names = [column.label(f"its_{column.name}") for column in passkeys.c]
    return select(people, *names).join(passkeys, passkeys.c.person == people.c.id)


def _passkey_of(row: Row[tuple[object, ...]]) -> Passkey:
    return Passkey(
        id=row.its_id,
        name=row.its_name,
        user=user_of(row),
        credential=row.its_credential,
        public_key=row.its_public_key,
        handle=row.its_handle,
        uses=row.its_uses,
        made_at=row.its_made_at,
        used_at=row.its_used_at,
    )
