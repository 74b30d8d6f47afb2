"""The second factor: codes of an authenticator app (TOTP), and codes on paper for the day the phone is gone.

Shapes  a code counts once: the newest 30 seconds of which one was used are kept, and a code on paper is struck off.
"""

from __future__ import annotations

import base64
import secrets
from datetime import datetime
from typing import Final

from pyotp.totp import TOTP
from sqlalchemy import Connection, delete, insert, select, update

from daybreak.console.accounts.audit import By, add_row
from daybreak.console.accounts.schema import people, recovery
from daybreak.console.accounts.store import Store
from daybreak.console.accounts.users import User, end_sessions
from daybreak.console.accounts.words import digest, same
from daybreak.errors import UsageError

_STEP_S: Final = 30
_CODES: Final = 10
_ISSUER: Final = "Daybreak"


class Factors:
    """Second factors of the people of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def begin(self, user: User) -> str:
        """Draw a secret; it counts only after `confirm`."""
        secret = base64.b32encode(secrets.token_bytes(20)).decode()
        with self._store.write() as connection:
            connection.execute(update(people).where(people.c.id == user.id).values(totp_next=secret))
        return secret

    def address(self, user: User, secret: str) -> str:
        """The secret as an authenticator app reads it."""
        return TOTP(secret).provisioning_uri(name=user.name, issuer_name=_ISSUER)

    def waiting(self, user: User) -> str:
        """The secret that is shown and not confirmed yet, or ""."""
        with self._store.read() as connection:
            return connection.execute(select(people.c.totp_next).where(people.c.id == user.id)).scalar() or ""

    def confirm(self, user: User, code: str, at: datetime, by: By, *, but: str = "") -> list[str]:
        """Switch it on with a first code; the new codes on paper, told this once. Other sessions end.

        Raise UsageError where the code does not fit.
        """
        with self._store.write() as connection:
            secret = connection.execute(select(people.c.totp_next).where(people.c.id == user.id)).scalar() or ""
            step = _step_of(secret, code, at) if secret else None
            if step is None:
                raise UsageError(
                    "that code does not fit",
                    hint="look at the clocks of this host and of the phone, then try again",
                )
            connection.execute(
                update(people).where(people.c.id == user.id).values(totp=secret, totp_next="", totp_last=step)
            )
            end_sessions(connection, user.id, but=but)
            add_row(connection, by, "switch second factor on", user.name, at)
            return _new_codes(connection, user.id)

    def renew_codes(self, user: User, at: datetime, by: By) -> list[str]:
        """New codes on paper; the ones before count no more."""
        with self._store.write() as connection:
            add_row(connection, by, "renew recovery codes", user.name, at)
            return _new_codes(connection, user.id)

    def codes_left(self, user: User) -> int:
        """How many codes on paper were not used."""
        with self._store.read() as connection:
            return len(connection.execute(select(recovery.c.hash).where(recovery.c.person == user.id)).all())

    def switch_off(self, user: User, at: datetime, by: By) -> None:
        """Go without; codes on paper go too."""
        with self._store.write() as connection:
            connection.execute(update(people).where(people.c.id == user.id).values(totp="", totp_next=""))
            connection.execute(delete(recovery).where(recovery.c.person == user.id))
            add_row(connection, by, "switch second factor off", user.name, at)

    def use(self, user: int, code: str, at: datetime) -> bool:
        """Whether this code is right and was not used before; from now on it was."""
        code = "".join(code.split())
        with self._store.write() as connection:
            secret = connection.execute(select(people.c.totp).where(people.c.id == user)).scalar() or ""
            if not secret:
                return False
            step = _step_of(secret, code, at)
            if step is not None:
                newer = people.c.totp_last < step
                used = update(people).where(people.c.id == user, newer).values(totp_last=step)
                return bool(connection.execute(used).rowcount)
            paper = delete(recovery).where(recovery.c.person == user, recovery.c.hash == digest(_plain(code)))
            return bool(connection.execute(paper).rowcount)


def _step_of(secret: str, code: str, at: datetime) -> int | None:
    """Which 30 seconds a code belongs to: those of `at` or their neighbours, for clocks that differ."""
    totp, now, found = TOTP(secret), int(at.timestamp()) // _STEP_S, None
    for step in (now - 1, now, now + 1):
        if same(totp.generate_otp(step), "".join(code.split())):
            found = step
    return found


def _new_codes(connection: Connection, person: int) -> list[str]:
    codes = [base64.b32encode(secrets.token_bytes(10)).decode().lower() for _ in range(_CODES)]
    connection.execute(delete(recovery).where(recovery.c.person == person))
    connection.execute(insert(recovery), [{"hash": digest(code), "person": person} for code in codes])
    return ["-".join(code[at : at + 4] for at in range(0, 16, 4)) for code in codes]


def _plain(code: str) -> str:
    return code.replace("-", "").lower()
