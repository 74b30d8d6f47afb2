"""The audit log: who did what to what, and how it ended. Rows are added and never changed.

Shapes  each row has the hash of the one before and its own over all it says: whoever changes or drops a row in the
        file has to write all later ones again, and the head that was noted elsewhere does not fit any more.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, func, insert, select

from daybreak.console.accounts.schema import audit
from daybreak.console.accounts.store import Store
from daybreak.console.accounts.words import clean, same
from daybreak.errors import ConfigError
from daybreak.secret import mask

_LOG: Final = logging.getLogger("daybreak.console")
#: No row has a larger number: SQLite's own limit.
_LAST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class By:
    """Who does it, and where from ("" on the host itself)."""

    who: str
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row."""

    id: int
    at: datetime
    who: str
    address: str  # where from; "" on the host itself
    what: str
    subject: str
    outcome: str
    before: str
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a look through the whole chain found."""

    rows: int  # that were looked at
    head: str  # the hash of the last row; note it elsewhere
    broken_at: int | None = None  # the first row that does not fit
    whole: bool = True  # False: only the newest rows were looked at

    @property
    def text(self) -> str:
        """In words."""
        if self.broken_at is not None:
            return f"the audit log was changed: row {self.broken_at} does not fit the ones before it"
        which = "all" if self.whole else "the newest"
        if self.rows == 1:
            return "the one row of the audit log fits"
        return f"{which} {self.rows:,} rows of the audit log fit together"


class Audit:
    """The log of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, who: str, what: str, subject: str, outcome: str, at: datetime, *, address: str = "") -> Entry:
        """Add a row; it is on the disk when this returns."""
        with self._store.write() as connection:
            return add_row(connection, By(who=who, address=address), what, subject, at, outcome=outcome)

    def note(self, who: str, what: str, subject: str, outcome: str, at: datetime, *, address: str = "") -> None:
        """The same for what is done, or refused, already: where no row can be written, the service's log has it."""
        try:
            self.add(who, what, subject, outcome, at, address=address)
        except ConfigError as error:
            told = [clean(mask(one)) for one in (who, address, what, subject)]
            _LOG.error("%s; it lacks: %s", error.message, " | ".join([*told, clean(mask(outcome), 500)]))

    def list(self, *, before: int | None = None, limit: int = 100) -> list[Entry]:
        """The newest rows first; `before` goes on where a page ended."""
        query = select(audit).order_by(audit.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(audit.c.id < max(0, min(before, _LAST)))
        with self._store.read() as connection:
            return [Entry(**row) for row in connection.execute(query).mappings()]

    def verify(self, *, newest: int | None = None) -> Verdict:
        """Compute the whole chain again, or the newest so many rows of it."""
        with self._store.read() as connection:
            last = connection.execute(select(func.max(audit.c.id))).scalar() or 0
            start = 0 if newest is None else max(0, last - newest)
            before = connection.execute(select(audit.c.hash).where(audit.c.id == start)).scalar() or ""
            query = select(audit).where(audit.c.id > start).order_by(audit.c.id)
            count = 0
            for row in connection.execution_options(yield_per=1000).execute(query).mappings():
                entry, count = Entry(**row), count + 1
                fits = entry.id == start + count and same(entry.before, before) and same(entry.hash, _hash(entry))
                if not fits:
                    return Verdict(rows=count, head=before, broken_at=entry.id, whole=start == 0)
                before = entry.hash
        return Verdict(rows=count, head=before, whole=start == 0)


def add_row(connection: Connection, by: By, what: str, subject: str, at: datetime, *, outcome: str = "done") -> Entry:
    """Add a row within a transaction: what it tells of and the row are written together or not at all."""
    last = connection.execute(select(audit.c.id, audit.c.hash).order_by(audit.c.id.desc()).limit(1)).first()
    entry = Entry(
        id=1 if last is None else last.id + 1,
        at=at,
        who=clean(mask(by.who)),
        address=clean(by.address),
        what=clean(mask(what)),
        subject=clean(mask(subject)),
        outcome=clean(mask(outcome), 500),
        before="" if last is None else last.hash,
        hash="",
    )
    entry = replace(entry, hash=_hash(entry))
    connection.execute(insert(audit).values(asdict(entry)))
    return entry


def _hash(entry: Entry) -> str:
    at = entry.at.astimezone(UTC).isoformat(timespec="microseconds")
    words = [entry.before, entry.id, at, entry.who, entry.address, entry.what, entry.subject, entry.outcome]
    return hashlib.sha256(json.dumps(words, ensure_ascii=True).encode()).hexdigest()
