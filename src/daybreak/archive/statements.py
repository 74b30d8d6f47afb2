"""The few SQL statements of a table of contents that we understand: COPY, setval, policies, routines, partitions.

Shapes  a text as pg_dump wrote it goes in, its parts come out; any other text gives None or an error.
Errors  `ArchiveError` for a COPY statement that pg_dump does not write.
Source  PostgreSQL, src/bin/pg_dump/pg_dump.c: dumpTableData, dumpSequenceData, dumpEncoding, dumpPolicy, dumpFunc.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Final

from daybreak.archive.primitives import damaged

_ROOT: Final = "-- load via partition root "
#: A name as pg_dump writes it, quoted where it has to be.
IDENTIFIER: Final = r'(?:"(?:[^"]|"")+"|[^\s",.();]+)'
_COPY: Final = re.compile(
    rf"COPY (?P<relation>{IDENTIFIER}(?:\.{IDENTIFIER})?) "
    rf"(?:\((?P<columns>{IDENTIFIER}(?:, {IDENTIFIER})*)\))? ?FROM stdin;\n"
)
_NAME: Final = re.compile(IDENTIFIER)
_SETVAL: Final = re.compile(r"SELECT pg_catalog\.setval\(.*, (-?\d{1,19}), (true|false)\);\n", re.DOTALL)
_POLICY: Final = re.compile(
    rf"CREATE POLICY {IDENTIFIER} ON {IDENTIFIER}(?:\.{IDENTIFIER})?(?: AS RESTRICTIVE)?(?: FOR \w+)?"
    rf"(?: TO (?P<roles>{IDENTIFIER}(?:, {IDENTIFIER})*))?(?: USING| WITH|;)"
)
_WORD: Final = re.compile(r'(?:"(?:[^"]|"")*"|[^\s";,])+|[;,]')
#: In what pg_dump writes, these words are never names: as names they are quoted.
_BEFORE_A_ROLE: Final = {"TO", "FROM", "ROLE", "AUTHORIZATION"}
#: What ends the head of a routine's definition.
_BODY: Final = re.compile(r"\n(?:    AS |    RETURN |\s*BEGIN ATOMIC)")
_SET: Final = re.compile(r'^    SET "?([A-Za-z_][\w.]*)"? TO ', re.MULTILINE)
_ALTER: Final = re.compile(rf"ALTER TABLE (?:ONLY )?({IDENTIFIER}(?:\.{IDENTIFIER})?)")
_ATTACHED: Final = re.compile(rf"ATTACH PARTITION ({IDENTIFIER}(?:\.{IDENTIFIER})?) ")
_HASHED: Final = re.compile(
    rf"CREATE (?:UNLOGGED )?TABLE ({IDENTIFIER}(?:\.{IDENTIFIER})?) .*^PARTITION BY HASH \(", re.DOTALL | re.MULTILINE
)
_COLLATION: Final = re.compile(
    rf"CREATE COLLATION {IDENTIFIER}(?:\.{IDENTIFIER})? \(provider = (\w+)(?:, [^']*? ?locale = '([^']*)')?"
)
_LABEL: Final = re.compile(rf"^SECURITY LABEL FOR ({IDENTIFIER}) ON ", re.MULTILINE)
_ENCODING: Final = re.compile(r"SET client_encoding = '([^']+)';\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyStatement:
    """What a table's data is loaded with, as pg_dump wrote it."""

    relation: str  # qualified and quoted
    columns: str | None  # quoted, separated by comma and blank; None where the table has none

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, unquoted."""
        return tuple(map(plain_name, _NAME.findall(self.columns or "")))

    @property
    def copy_out(self) -> str:
        """The statement that prints the same columns of the same table; a partitioned table refuses it."""
        columns = f" ({self.columns})" if self.columns else ""
        return f"COPY {self.relation}{columns} TO STDOUT"

    @property
    def copy_in_frozen(self) -> str:
        """The statement that loads the same, frozen: only for a table made or emptied in the same transaction."""
        columns = f"({self.columns}) " if self.columns else ""
        return f"COPY {self.relation} {columns}FROM stdin WITH (FREEZE);\n"

    @property
    def select_out(self) -> str:
        """The same through a query: prints a partitioned table too, with the rows of all its partitions."""
        return f"COPY (SELECT {self.columns or ''} FROM {self.relation}) TO STDOUT"  # noqa: S608 -- pg_dump quoted it


def plain_name(name: str) -> str:
    """A name without the quotes that SQL may want."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def parse_copy(statement: str) -> CopyStatement:
    """Read pg_dump's COPY statement. Raise ArchiveError for any other text."""
    found = _COPY.fullmatch(statement)
    if found is None:
        raise damaged(f"not a COPY statement of pg_dump: {statement[:200]!r}")
    return CopyStatement(relation=found["relation"], columns=found["columns"])


def parse_setval(statement: str) -> tuple[int, bool] | None:
    """A sequence's last value, and whether it was given out."""
    found = _SETVAL.fullmatch(statement)
    return (int(found[1]), found[2] == "true") if found else None


def parse_encoding(statement: str) -> str | None:
    """The client encoding that is set, as PostgreSQL spells it."""
    found = _ENCODING.fullmatch(statement)
    return found[1] if found else None


def parse_policy_roles(statement: str) -> tuple[str, ...]:
    """The roles that a policy is made for, unquoted; none where it is for everybody."""
    found = _POLICY.match(statement)
    return CopyStatement(relation="", columns=found["roles"]).names if found and found["roles"] else ()


def parse_grantees(statements: str) -> tuple[str, ...]:
    """Every role that GRANT, REVOKE and ALTER DEFAULT PRIVILEGES statements name, unquoted, PUBLIC left out."""
    words = _WORD.findall(statements)
    found = [word for before, word in itertools.pairwise(words) if before in _BEFORE_A_ROLE]
    return tuple(dict.fromkeys(name for name in map(plain_name, found) if name not in {"PUBLIC", "ROLE", ";"}))


def parse_settings(statement: str) -> tuple[str, ...]:
    """The settings that a routine brings with it (`SET name TO …`), in lower case."""
    head = _BODY.split(statement, maxsplit=1)[0]
    return tuple(name.lower() for name in _SET.findall(head))


def parse_label_providers(statements: str) -> tuple[str, ...]:
    """Whose security labels these are, unquoted."""
    return tuple(dict.fromkeys(plain_name(name) for name in _LABEL.findall(statements)))


def parse_collation(statement: str) -> tuple[str | None, str | None]:
    """Whose collation it is (icu, libc or builtin), and its locale where that is one word for all."""
    found = _COLLATION.match(statement)
    return (found[1], found[2]) if found else (None, None)


def parse_altered(statement: str) -> str | None:
    """The table that an `ALTER TABLE` is about, as it is written there."""
    found = _ALTER.match(statement)
    return found[1] if found else None


def parse_attached(statement: str) -> str | None:
    """The partition that an `ALTER TABLE` attaches, as it is written there."""
    found = _ATTACHED.search(statement)
    return found[1] if found else None


def parse_hashed(statement: str) -> str | None:
    """The table that a `CREATE TABLE` makes, as it is written there, where its rows go by a hash."""
    found = _HASHED.match(statement)
    return found[1] if found else None


def parse_root(definition: str) -> str | None:
    """The partitioned table that data is loaded through, qualified and quoted, where the definition says so."""
    return definition.removeprefix(_ROOT).strip() or None if definition.startswith(_ROOT) else None
