"""One console's accounts: people, sessions, tokens, second factors, passkeys and the audit log over one file."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Self

from sqlalchemy import delete, insert, select, update

from daybreak.console.accounts.audit import Audit, By, add_row
from daybreak.console.accounts.factors import Factors
from daybreak.console.accounts.passkeys import Passkeys
from daybreak.console.accounts.passwords import Passwords
from daybreak.console.accounts.schema import first, people
from daybreak.console.accounts.sessions import Sessions
from daybreak.console.accounts.store import Store, open_store
from daybreak.console.accounts.tokens import Tokens
from daybreak.console.accounts.users import User, Users, find, insert_person, user_of
from daybreak.console.accounts.words import digest, draw, name_of, require_password
from daybreak.console.people import Role
from daybreak.errors import Refused

#: How long the first user's token waits.
FIRST: Final = timedelta(hours=1)


class Accounts:
    """Who may come in. Usable from several threads; a context manager that closes the file."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._passwords = Passwords()
        self.users = Users(store, self._passwords)
        self.sessions = Sessions(store)
        self.tokens = Tokens(store)
        self.factors = Factors(store)
        self.passkeys = Passkeys(store)
        self.audit = Audit(store)

    @property
    def path(self) -> Path:
        """The file."""
        return self._store.path

    def fits(self, name: str, password: str, code: str, at: datetime) -> User | None:
        """The person with this name, password and, where there is a second factor, code; else None.

        It takes as long for a name that nobody has, and does not tell which of the three was wrong.
        """
        with self._store.read() as connection:
            row = find(connection, name)
        kept = "" if row is None else str(row.password)
        right = self._passwords.fits(password, kept)
        if row is None or not right or (row.totp and not self.factors.use(row.id, code, at)):
            return None
        if self._passwords.is_old(kept):
            renewed = self._passwords.hash(password)
            with self._store.write() as connection:
                same = people.c.password == kept
                connection.execute(update(people).where(people.c.id == row.id, same).values(password=renewed))
        return user_of(row)

    def draw_first(self, at: datetime, by: By) -> str:
        """A token by which the first user is made, for an hour; one that was drawn before counts no more.

        Raise Refused where there is somebody already.
        """
        token = draw()
        with self._store.write() as connection:
            if connection.execute(select(people.c.id).limit(1)).first() is not None:
                raise Refused(
                    "there is a first user already",
                    hint="`daybreak console user add NAME --role ROLE`; a password is gone: `… user password NAME`",
                )
            connection.execute(delete(first))
            connection.execute(insert(first).values(hash=digest(token), ends_at=at + FIRST))
            add_row(connection, by, "draw first token", "", at)
        return token

    def awaits_first(self, at: datetime) -> bool:
        """Whether somebody may make the first user now."""
        with self._store.read() as connection:
            open_ = connection.execute(select(first.c.hash).where(first.c.ends_at > at)).first()
            return open_ is not None and connection.execute(select(people.c.id).limit(1)).first() is None

    def make_first(self, token: str, name: str, password: str, at: datetime, *, address: str) -> User | None:
        """The first user, an admin, by the token; None where it does not fit. It counts once, whoever else has it."""
        name = name_of(name)
        require_password(password, name)
        kept = self._passwords.hash(password)
        with self._store.write() as connection:
            its = (first.c.hash == digest(token)) & (first.c.ends_at > at)
            taken = connection.execute(delete(first).where(its)).rowcount
            if not taken or connection.execute(select(people.c.id).limit(1)).first() is not None:
                return None
            made = insert_person(connection, name, kept, Role.ADMIN, at)
            add_row(connection, By(who=name, address=address), "add person", f"{name} (admin), by the first token", at)
            return made

    def close(self) -> None:
        """Let go of the file."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_accounts(folder: Path) -> Accounts:
    """The accounts of a folder, made where they are missing. Raise ConfigError where they cannot be used."""
    return Accounts(open_store(folder))


__all__ = ["Accounts", "By", "User", "open_accounts"]
