"""The leaves of a partition tree whose rows are loaded through its root, where others are loaded by themselves.

pg_dump loads through the root only what is below hash partitions on an enum. Beside these the tree may have leaves that
are compared by themselves, and foreign ones, which lead to another server and of which an archive has no rows. A leaf
that was attached may have its columns in another order, and so has what was dumped of it: these rows are turned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any, Final

from daybreak.archive import Digest, Manifest, digest_of
from daybreak.jobs.verdicts import RowSet, added, codec_of, in_utf8
from daybreak.postgres.client import Postgres
from daybreak.postgres.sql import literal, qualified

_ROOTS_AT_ONCE: Final = 200
_LEAVES: Final = """
SELECT root.number, n.nspname AS schema, c.relname AS name, c.relkind = 'r' AS local
  FROM (VALUES {roots}) AS root (number, oid)
 CROSS JOIN LATERAL pg_partition_tree(root.oid) AS leaf
  JOIN pg_class c ON c.oid = leaf.relid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE leaf.isleaf ORDER BY 1, 2, 3"""


def narrowed(server: Postgres, dbname: str, manifest: Manifest, sets: Iterable[RowSet]) -> dict[str, RowSet]:
    """Those of the sets behind a root whose trees have leaves that are not theirs, by name, without these leaves."""
    codec = codec_of(manifest.encoding)
    alone = {(in_utf8(one.schema, codec), in_utf8(one.name, codec)) for one in manifest.tables if one.root is None}
    behind = [(one, one.root) for one in sets if one.root is not None]
    found: dict[str, RowSet] = {}
    for at in range(0, len(behind), _ROOTS_AT_ONCE):
        some = behind[at : at + _ROOTS_AT_ONCE]
        for number, leaves in _leaves(server, dbname, [root.relation for _, root in some]):
            own = [leaf for leaf in leaves if leaf["local"] and (leaf["schema"], leaf["name"]) not in alone]
            if len(own) < len(leaves):
                one, root = some[number]
                relations = (f"ONLY {qualified(leaf['schema'], leaf['name'])}" for leaf in own)
                found[one.name] = replace(one, statements=tuple(map(root.printing, relations)))
    return found


def _leaves(server: Postgres, dbname: str, roots: list[str]) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    values = ", ".join(f"({number}, {literal(root)}::regclass)" for number, root in enumerate(roots))
    rows = server.query(_LEAVES.format(roots=values), dbname=dbname)
    return ((number, list(leaves)) for number, leaves in groupby(rows, key=lambda row: int(row["number"])))


def with_turned(one: RowSet, archived: Callable[[str, str], Iterable[bytes]]) -> Digest:
    """What a set is to be when it is read by its root: the turned tables are asked of the archive, row by row."""
    digests = [one.want.unordered]
    for turned in one.turned:
        name = (turned.table.schema, turned.table.name)
        if digest_of(archived(*name), unordered=True) != turned.table.digest:
            return one.want  # an archive that is not its manifest's decides nothing
        digests.append(digest_of(_turn(archived(*name), turned.order), unordered=True).unordered)
    return replace(one.want, unordered=added(digests))


def _turn(data: Iterable[bytes], order: tuple[int, ...]) -> Iterator[bytes]:
    """Rows of COPY's text format with their columns in another order; a tab in a value is escaped there."""
    rest = b""
    for piece in data:
        *lines, rest = (rest + piece).split(b"\n")
        fields = (line.split(b"\t") for line in lines)
        yield b"".join(b"\t".join(each[at] for at in order) + b"\n" for each in fields)
