"""The tables of the console's own database: people, sessions, tokens, passkeys, the first user's token, the audit log.

Shapes  of whatever lets somebody in only a hash is kept: argon2id for passwords, sha256 for what we drew ourselves
        from 128 random bits or more. The one exception is a TOTP secret, which has to be read to be compared. Of a
        passkey only its public half is here.
        The audit log's rows cannot be changed or deleted: triggers refuse it.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import JSON, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, Text

from daybreak.catalog.schema import Instant

#: The schema that this Daybreak knows; it stands in the file as `user_version`. 2: passkeys. What a version adds are
#: tables, which are made where they are missing; one that changes a table has to say how.
VERSION: Final = 2

metadata: Final = MetaData()

people: Final = Table(
    "people",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("key", String(64), nullable=False, unique=True),  # the name without differences of case
    Column("role", String(16), nullable=False),
    Column("password", Text, nullable=False),  # "": comes by single sign-on
    Column("subject", Text, unique=True),  # issuer and subject of single sign-on
    Column("totp", Text, nullable=False),  # "": no second factor
    Column("totp_next", Text, nullable=False),  # a secret that is shown and not yet confirmed
    Column("totp_last", Integer, nullable=False),  # the newest 30 s whose code was used: none counts twice
    Column("made_at", Instant, nullable=False),
    Column("seen_at", Instant),  # the last sign-in
)

sessions: Final = Table(
    "sessions",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("person", Integer, ForeignKey("people.id", ondelete="CASCADE"), nullable=False),
    Column("made_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("ends_at", Instant, nullable=False),
    Column("fresh_until", Instant),
    Column("address", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Index("ix_sessions_person", "person"),
)

tokens: Final = Table(
    "tokens",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("person", Integer, ForeignKey("people.id", ondelete="CASCADE"), nullable=False),
    Column("verbs", JSON, nullable=False),
    Column("made_at", Instant, nullable=False),
    Column("ends_at", Instant, nullable=False),
    Column("used_at", Instant),
)

first: Final = Table(
    "first",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("ends_at", Instant, nullable=False),
)

recovery: Final = Table(
    "recovery",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("person", Integer, ForeignKey("people.id", ondelete="CASCADE"), nullable=False),
)

passkeys: Final = Table(
    "passkeys",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("person", Integer, ForeignKey("people.id", ondelete="CASCADE"), nullable=False),
    Column("credential", LargeBinary, nullable=False, unique=True),  # what an authenticator calls it
    Column("public_key", LargeBinary, nullable=False),  # as COSE writes it
    Column("handle", LargeBinary, nullable=False),  # what an authenticator calls the person
    Column("uses", Integer, nullable=False),  # as the authenticator counts them; 0 of those that do not count
    Column("made_at", Instant, nullable=False),
    Column("used_at", Instant),
    Index("ix_passkeys_person", "person"),
)

audit: Final = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),  # 1, 2, 3 … without a gap
    Column("at", Instant, nullable=False),
    Column("who", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("before", String(64), nullable=False),  # the hash of the row before, "" in the first
    Column("hash", String(64), nullable=False),
)

_NO: Final = "SELECT RAISE(ABORT, 'the audit log is only added to')"
_LAST: Final = "(SELECT max(id) FROM audit)"
#: What keeps the audit log as it was written. INSERT OR REPLACE would delete a row without asking the second one.
TRIGGERS: Final = (
    f"CREATE TRIGGER IF NOT EXISTS audit_stays BEFORE UPDATE ON audit BEGIN {_NO}; END",
    f"CREATE TRIGGER IF NOT EXISTS audit_keeps BEFORE DELETE ON audit BEGIN {_NO}; END",
    f"CREATE TRIGGER IF NOT EXISTS audit_adds BEFORE INSERT ON audit WHEN NEW.id <= {_LAST} BEGIN {_NO}; END",
)
