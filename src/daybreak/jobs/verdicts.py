"""What a proof says, and the rules by which it is said. Pure.

Shapes  a `RowSet` is what is compared together: one table, or all partitions that are loaded through one root; a
        `Compared` is the verdict on it, a `Proof` all verdicts.
Errors  `ProofError`, by `Proof.require`.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from daybreak.archive import Digest, Manifest, TableRecord
from daybreak.errors import ProofError
from daybreak.postgres.sql import literal
from daybreak.units import show_count

#: So many of the differences are named.
_NAMED: Final = 5


class Verdict(StrEnum):
    """What the comparison of one set of rows found."""

    EQUAL = "equal"
    REORDERED = "reordered"  # the same rows in another order
    DIFFERENT = "different"
    SKIPPED = "skipped"  # not compared, with the reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The verdict on one table, set of partitions, or kind of object."""

    name: str
    verdict: Verdict
    tables: int = 1  # how many tables of the archive it stands for
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """All verdicts of one restore."""

    compared: tuple[Compared, ...] = field(default_factory=tuple)

    def count(self, verdict: Verdict) -> int:
        """How many tables have this verdict."""
        return sum(one.tables for one in self.compared if one.verdict is verdict)

    @property
    def differences(self) -> tuple[Compared, ...]:
        """What makes the proof fail."""
        return tuple(one for one in self.compared if one.verdict is Verdict.DIFFERENT)

    def summary(self) -> dict[str, object]:
        """As in `--json`: counts of tables, and the names of those that are not simply equal."""
        tables = sum(one.tables for one in self.compared)
        skipped = self.count(Verdict.SKIPPED)
        return {
            "tables": tables,
            "compared": tables - skipped,
            "equal": self.count(Verdict.EQUAL),
            "reordered": self.count(Verdict.REORDERED),
            "different": self.count(Verdict.DIFFERENT),
            "skipped": skipped,
            "details": [
                {"name": one.name, "result": one.verdict.value, "why": one.why}
                for one in self.compared
                if one.verdict is not Verdict.EQUAL
            ],
        }

    def differs(self) -> str:
        """What differs, in words."""
        named = "; ".join(f"{one.name}: {one.why}" for one in self.differences[:_NAMED])
        more = f" and {len(self.differences) - _NAMED} more" if len(self.differences) > _NAMED else ""
        return f"{named}{more}"

    def require(self) -> None:
        """Raise ProofError that names what differs."""
        if self.differences:
            raise ProofError(
                f"restored, but not equal to the manifest: {self.differs()}",
                hint="the target is as it was; look for triggers or defaults that change rows, or a damaged disk",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """A partitioned table that rows are loaded through, in words that a server takes."""

    relation: str
    columns: str
    options: str

    def printing(self, relation: str) -> str:
        """The statement that prints what a part of it has; COPY of a partitioned table itself is not allowed."""
        return f"COPY (SELECT {self.columns} FROM {relation}) TO STDOUT{self.options}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turned:
    """A table behind a root that was dumped with its columns in another order than the first one."""

    table: TableRecord
    order: tuple[int, ...]  # where the first one's columns stand in it


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSet:
    """Rows that are compared together."""

    name: str
    statements: tuple[str, ...]  # together they print the rows
    tables: int
    want: Digest  # without `unordered`: the archive has to be asked, where the order differs
    table: tuple[str, str] | None = None  # schema and name of the one table; None: loaded through a partition root
    root: Root | None = None
    turned: tuple[Turned, ...] = ()  # those of its tables that `want` knows only the rows and bytes of
    created: bool = True  # False: an extension makes the table, and may put rows of its own into it


def sets_of(manifest: Manifest) -> Iterator[RowSet]:
    """The sets of rows that stand for the tables of a manifest."""
    # The archive's data is in the encoding of its database; names that we send are in ours.
    encoded = f" (ENCODING {literal(manifest.encoding)})"
    codec = codec_of(manifest.encoding)
    roots: dict[str, list[TableRecord]] = {}
    for table in manifest.tables:
        if table.root is None:
            statement = in_utf8(table.statement.copy_out, codec) + encoded
            yield RowSet(
                name=table.label,
                statements=(statement,),
                tables=1,
                want=table.digest,
                table=(table.schema, table.name),
                created=table.created,
            )
        else:
            roots.setdefault(table.root, []).append(table)
    for name, parts in roots.items():
        names = parts[0].statement.names
        turned = tuple(
            Turned(table=part, order=tuple(map(part.statement.names.index, names)))
            for part in parts
            if part.statement.names != names
        )
        alike = [part for part in parts if part.statement.names == names]
        want = Digest(
            rows=sum(part.digest.rows for part in parts),
            size_bytes=sum(part.digest.size_bytes for part in parts),
            sha256="",  # the order between the parts is nobody's
            unordered=added(part.digest.unordered for part in alike),
        )
        columns = in_utf8(parts[0].statement.columns or "", codec)
        root = Root(relation=in_utf8(name, codec), columns=columns, options=encoded)
        statements = (root.printing(root.relation),)
        yield RowSet(name=name, statements=statements, tables=len(parts), want=want, root=root, turned=turned)


def added(digests: Iterable[str]) -> str:
    """The order-free digest of the rows of several tables together."""
    return f"{sum(int(one, 16) for one in digests) % 2**128:032x}"


def codec_of(encoding: str) -> str:
    """Python's name for an encoding of PostgreSQL; utf-8 where it has none."""
    name = re.sub(r"^WIN(\d+)$", r"cp\1", encoding).replace("KOI8", "KOI8-")
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "utf-8"


def in_utf8(text: str, codec: str) -> str:
    """A text of an archive, read as if it were UTF-8, as what it is: names are in the encoding of its data."""
    return text.encode("utf-8", "surrogateescape").decode(codec, "surrogateescape")


def judge(one: RowSet, found: Digest) -> Compared:
    """Compare what the archive holds with what was read. Pure."""
    want = one.want
    if found == want:
        return Compared(name=one.name, tables=one.tables, verdict=Verdict.EQUAL)
    if found.rows != want.rows:
        why = f"{show_count(want.rows, 'row')} in the archive, {show_count(found.rows)} restored"
    elif found.unordered and found.unordered == want.unordered and found.size_bytes == want.size_bytes:
        why = "the same rows in another order"
        return Compared(name=one.name, tables=one.tables, verdict=Verdict.REORDERED, why=why)
    else:
        why = f"the number of rows agrees ({want.rows}), their content does not"
    if not one.created:
        why = f"an extension makes this table and may fill it by itself ({why})"
        return Compared(name=one.name, tables=one.tables, verdict=Verdict.SKIPPED, why=why)
    return Compared(name=one.name, tables=one.tables, verdict=Verdict.DIFFERENT, why=why)
