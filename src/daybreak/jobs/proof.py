"""Is a restored database the archive? Every table is read again and compared with the manifest.

Shapes  a `Prover` gives a `Proof` with one `Compared` per set of rows. It may begin while the restore goes on: a table
        whose rows are in is read while the restore builds indexes. Tables loaded through a partition
        root are one set; so is every large object by its oid, and every sequence by its value.
        Where the bytes differ and the number of rows and bytes agrees, the order-free digest decides: both sides are
        read once more for it.
Errors  `ProofError` is raised by the caller, who knows what to do about it; reading faults are raised.
Source  COPY keeps the order of rows after one parallel restore from a file; the columns are the
        archive's own, since an INHERITS child may have another order.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType, TracebackType
from typing import Final, Self

from daybreak.archive import Manifest, SequenceRecord, TableRecord, are_the_same, digest_of
from daybreak.errors import Cancelled, CommandError, ProofError, SourceError
from daybreak.jobs.leaves import narrowed, with_turned
from daybreak.jobs.verdicts import Compared, Proof, RowSet, Verdict, codec_of, in_utf8, judge, sets_of
from daybreak.postgres.client import Postgres
from daybreak.postgres.faults import SqlError
from daybreak.postgres.sql import portions, qualified
from daybreak.postgres.tools import READ_BY_ITSELF
from daybreak.units import show_count

#: Tables smaller than this share one psql session; together they stay below twice as much.
_SMALL_BYTES: Final = 2 * 2**20
_SHARED_TABLES: Final = 100
#: A line that COPY's text format cannot print as data: a backslash in a value is doubled.
_END: Final = re.compile(rb"^\\\.\n", re.MULTILINE)
#: How long the restore's last sessions may take to tell what they did.
_SETTLES_WITHIN_S: Final = 1.0
_COUNTS: Final = """
SELECT n.nspname AS schema, c.relname AS name, pg_stat_get_tuples_inserted(c.oid) AS inserted,
       pg_stat_get_tuples_updated(c.oid) + pg_stat_get_tuples_deleted(c.oid) AS changed,
       pg_relation_size(c.oid) AS size_bytes
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND c.oid >= 16384"""
_PIECE_BYTES: Final = 16 * 2**20


class Prover:
    """One proof of one database; leaving its block ends whatever is still being read.

    `archived` gives the archive's COPY data of a table, by schema and name.
    Without `alone` there is more in the database than the archive's, and large objects are not looked at.
    `skip` says of tables and sequences, by (schema, name), why they were not restored.
    `on_progress` hears (table, rows so far, bytes so far), from several threads.
    """

    def __init__(
        self,
        server: Postgres,
        dbname: str,
        manifest: Manifest,
        *,
        archived: Callable[[str, str], Iterable[bytes]],
        jobs: int,
        deadline: timedelta,
        skip: Mapping[tuple[str, str], str] = MappingProxyType({}),
        alone: bool = True,
        on_progress: Callable[[str, int, int], None] = lambda _table, _rows, _bytes: None,
    ) -> None:
        self._absent = [_skipped(one, skip[_key(one)]) for one in manifest.tables if _key(one) in skip]
        self._manifest = replace(
            manifest,
            tables=tuple(one for one in manifest.tables if _key(one) not in skip),
            sequences=tuple(one for one in manifest.sequences if _key(one) not in skip),
        )
        self._server, self._dbname = server, dbname
        self._alone = alone
        self._jobs = max(1, jobs)
        self._stop = threading.Event()
        stoppable = server.with_runner(server.runner.also_ended_by(self._stop))
        self._reader = _Reader(
            stoppable,
            dbname,
            archived=archived,
            settings=_reading(server, manifest),
            deadline=deadline,
            on_progress=self._tell,
        )
        sets = sorted(sets_of(self._manifest), key=lambda one: -one.want.size_bytes)
        self._large: dict[tuple[str, ...], RowSet] = {
            one.table or (one.name,): one for one in sets if one.want.size_bytes >= _SMALL_BYTES
        }
        self._small = [one for one in sets if one.want.size_bytes < _SMALL_BYTES]
        #: One at a time beside the restore, which has the processors first.
        self._early = ThreadPoolExecutor(max_workers=1, thread_name_prefix="early-proof")
        self._begun: dict[tuple[str, ...], Future[Compared]] = {}
        self._on_progress = on_progress
        self._loud = False  # while the restore goes on, its progress is what a person sees

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._early.shutdown(wait=True, cancel_futures=True)

    def _tell(self, table: str, rows: int, size_bytes: int) -> None:
        if self._loud:
            self._on_progress(table, rows, size_bytes)

    @property
    def begun(self) -> int:
        """How many tables were read, or are being read, before the rest; at the end, how many of these counted."""
        return sum(one.running() or one.done() for one in self._begun.values())

    def loaded(self, schema: str, name: str) -> None:
        """The rows of a table are in, and only indexes and constraints follow: read it as soon as one can."""
        if one := self._large.get((schema, name)):
            self._begun[schema, name] = self._early.submit(self._reader.read_alone, one)

    def finish(self) -> Proof:
        """Read all that was not read yet, and give the verdicts."""
        self._loud = True
        behind = narrowed(self._server, self._dbname, self._manifest, (*self._large.values(), *self._small))
        self._large = {key: behind.get(one.name, one) for key, one in self._large.items()}
        self._small = [behind.get(one.name, one) for one in self._small]
        # What waits in the queue is read with the others, by as many workers as there are.
        early = {key: future for key, future in self._begun.items() if not future.cancel()}
        for key in self._touched(early):
            del early[key]  # and so it is read again
        self._begun = early
        work: list[Callable[[], list[Compared]]] = [
            *(lambda one=one: [self._reader.read_alone(one)] for key, one in self._large.items() if key not in early),
            *(lambda group=group: self._reader.read_together(group) for group in _groups(self._small)),
            *([lambda: self._reader.large_objects(self._manifest)] if self._alone else []),
            lambda: self._reader.sequences(self._manifest),
        ]
        with ThreadPoolExecutor(max_workers=self._jobs, thread_name_prefix="proof") as pool:
            waiting = [pool.submit(one) for one in work]
            try:
                verdicts = [verdict for each in waiting for verdict in each.result()]
                return Proof(compared=(*self._absent, *(one.result() for one in early.values()), *verdicts))
            except BaseException:
                self._stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _touched(self, early: Mapping[tuple[str, ...], object]) -> set[tuple[str, ...]]:
        """Tables that something wrote to beside their one COPY, by the server's statistics: what was read may be old.

        A server that does not count, or has not told yet, only makes more work.
        """
        want = {key: self._large[key].want.rows for key in early}
        until = time.monotonic() + _SETTLES_WITHIN_S
        while True:
            rows = self._server.query(_COUNTS, dbname=self._dbname) if want else []
            sound = {
                key
                for row in rows
                if (key := (row["schema"], row["name"])) in want
                and (row["inserted"], row["changed"]) == (want[key], 0)
                and row["size_bytes"]
            }
            if len(sound) == len(want) or time.monotonic() > until:
                return want.keys() - sound
            time.sleep(0.05)


def prove(
    server: Postgres,
    dbname: str,
    manifest: Manifest,
    *,
    archived: Callable[[str, str], Iterable[bytes]],
    jobs: int,
    deadline: timedelta,
    skip: Mapping[tuple[str, str], str] = MappingProxyType({}),
    alone: bool = True,
) -> Proof:
    """Read everything that the manifest names from `dbname` and compare it, `jobs` tables at a time."""
    with Prover(
        server, dbname, manifest, archived=archived, jobs=jobs, deadline=deadline, skip=skip, alone=alone
    ) as prover:
        return prover.finish()


def _key(one: TableRecord | SequenceRecord) -> tuple[str, str]:
    return one.schema, one.name


def _skipped(table: TableRecord, why: str) -> Compared:
    return Compared(name=table.label, verdict=Verdict.SKIPPED, why=why)


def _groups(small: Sequence[RowSet]) -> Iterator[list[RowSet]]:
    """Small tables in groups for one psql each: bounded in tables, bytes and length of the command."""
    group: list[RowSet] = []
    size = length = 0
    for one in small:
        if group and (
            len(group) == _SHARED_TABLES
            or size + one.want.size_bytes > 2 * _SMALL_BYTES
            or length + sum(map(len, one.statements)) > 2**16
        ):
            yield group
            group, size, length = [], 0, 0
        group.append(one)
        size += one.want.size_bytes
        length += sum(map(len, one.statements))
    if group:
        yield group


def _reading(server: Postgres, manifest: Manifest) -> Mapping[str, str]:
    """How tables are read: with the setting under which `money` was printed, where this server has that locale."""
    wanted = str(manifest.globals.facts.get("lc_monetary") or "") if manifest.globals else ""
    settings = {"row_security": "off", **READ_BY_ITSELF}
    if wanted:
        try:
            server.execute("SELECT 1", dbname=server.maintenance_db, settings={"lc_monetary": wanted})
        except (SqlError, SourceError, CommandError):
            return settings  # tables with money may come out different, and say so
        return {**settings, "lc_monetary": wanted}
    return settings


class _Reader:
    """Reads sets of rows from one restored database."""

    def __init__(
        self,
        server: Postgres,
        dbname: str,
        *,
        archived: Callable[[str, str], Iterable[bytes]],
        settings: Mapping[str, str],
        deadline: timedelta,
        on_progress: Callable[[str, int, int], None],
    ) -> None:
        self._server = server
        self._dbname = dbname
        self._archived = archived
        self._settings = settings
        self._deadline = deadline
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._rows = self._bytes = 0

    def _read(self, *statements: str) -> Iterator[bytes]:
        try:
            for some in portions(statements):
                with self._server.stream(
                    *some, dbname=self._dbname, deadline=self._deadline, settings=self._settings
                ) as copy:
                    while chunk := copy.read():
                        yield chunk
        except CommandError as error:
            raise self._server.explain(error) from error

    def _count(self, name: str, rows: int, size_bytes: int) -> None:
        with self._lock:
            self._rows += rows
            self._bytes += size_bytes
            total_rows, total_bytes = self._rows, self._bytes
        self._on_progress(name, total_rows, total_bytes)

    def read_alone(self, one: RowSet) -> Compared:
        """A large set: streamed, whatever its size."""

        def data() -> Iterator[bytes]:
            size = told = 0
            for chunk in self._read(*one.statements):
                size += len(chunk)
                rows = one.want.rows * size // max(1, one.want.size_bytes)  # counting would cost more than reading
                self._count(one.name, rows - told, len(chunk))
                told = rows
                yield chunk

        return self._compare(one, data)

    def _compare(self, one: RowSet, data: Callable[[], Iterable[bytes]]) -> Compared:
        """Row by row only where the bytes differ, or have no order; the archive's rows too, if the order may be all."""
        want = one.want
        if want.sha256 and are_the_same(data(), want):
            return Compared(name=one.name, tables=one.tables, verdict=Verdict.EQUAL)
        found = digest_of(data(), unordered=True)
        if (found.rows, found.size_bytes) != (want.rows, want.size_bytes):
            return judge(one, found)
        if one.turned:
            want = with_turned(one, self._in_archive)
        elif one.table and not want.unordered:
            held = digest_of(self._in_archive(*one.table), unordered=True)
            want = held if held == want else want  # an archive that is not its manifest's decides nothing
        return judge(replace(one, want=want), found)

    def _in_archive(self, schema: str, name: str) -> Iterator[bytes]:
        """The archive's rows of a table; a large one is no reason to go on when the run, or the proof, is ended."""
        for piece in self._archived(schema, name):
            if self._server.runner.cancel.is_set():
                raise Cancelled("the run was cancelled")
            yield piece

    def read_together(self, group: Sequence[RowSet]) -> list[Compared]:
        """Small sets through one session, an impossible line between them."""
        statements = [text for one in group for text in (*one.statements, r"\echo '\\.'")]
        expected = sum(one.want.size_bytes for one in group)
        output = bytearray()
        for chunk in self._read(*statements):
            output += chunk
            if len(output) > 4 * expected + 64 * 2**20:
                some = ", ".join(one.name for one in group[:5])
                raise ProofError(
                    f"much more data than in the archive came back from one of {some} …",
                    hint="look for triggers in the schema that write rows while they are restored",
                )
        parts = _END.split(bytes(output))
        if len(parts) != len(group) + 1:
            raise ProofError("the restored tables could not be told apart", hint="this is a bug of Daybreak")
        verdicts: list[Compared] = []
        for one, part in zip(group, parts, strict=False):
            self._count(one.name, part.count(b"\n"), len(part))
            verdicts.append(self._compare(one, lambda part=part: [part]))
        return verdicts

    def large_objects(self, manifest: Manifest) -> list[Compared]:
        """Every large object by its oid: content, missing ones, and ones too many."""
        wanted = {item.oid: item for item in manifest.large_objects}
        rows = self._server.query("SELECT oid::bigint AS oid FROM pg_largeobject_metadata", dbname=self._dbname)
        present = {int(row["oid"]) for row in rows}
        wrong = [f"{oid} is missing" for oid in sorted(wanted.keys() - present)]
        wrong += [f"{oid} is not in the archive" for oid in sorted(present - wanted.keys())]
        oids = sorted(wanted.keys() & present)
        small = [oid for oid in oids if wanted[oid].size_bytes <= _PIECE_BYTES]
        for at in range(0, len(small), 1000):
            listed = ",".join(map(str, small[at : at + 1000]))
            found = self._server.query(
                "SELECT o::bigint AS oid, encode(sha256(lo_get(o)), 'hex') AS sha256 "
                f"FROM unnest('{{{listed}}}'::oid[]) o",
                dbname=self._dbname,
                deadline=self._deadline,
            )
            wrong += [f"{row['oid']} differs" for row in found if wanted[row["oid"]].sha256 != row["sha256"]]
        wrong += [
            f"{oid} differs"
            for oid in oids
            if wanted[oid].size_bytes > _PIECE_BYTES and self._sha256(oid, wanted[oid].size_bytes) != wanted[oid].sha256
        ]
        if not wanted and not wrong:
            return []
        name = show_count(len(wanted), "large object")
        if wrong:
            return [Compared(name=name, tables=0, verdict=Verdict.DIFFERENT, why="; ".join(wrong[:5]))]
        return [Compared(name=name, tables=0, verdict=Verdict.EQUAL)]

    def _sha256(self, oid: int, size_bytes: int) -> str:
        """The sha256 of one large object too big to be one value, piece by piece, and of one byte more."""
        sql = (
            f"COPY (SELECT encode(lo_get({oid}, at, {_PIECE_BYTES}), 'hex') "
            f"FROM generate_series(0::bigint, {size_bytes}, {_PIECE_BYTES}) at) TO STDOUT"
        )
        digest = hashlib.sha256()
        rest = b""
        for chunk in self._read(sql):
            text = rest + chunk.replace(b"\n", b"")
            even = len(text) // 2 * 2
            digest.update(bytes.fromhex(text[:even].decode("ascii")))
            rest = text[even:]
        return digest.hexdigest()

    def sequences(self, manifest: Manifest) -> list[Compared]:
        """Every sequence by its value."""
        wrong: list[str] = []
        codec = codec_of(manifest.encoding)
        for at in range(0, len(manifest.sequences), 200):
            some = manifest.sequences[at : at + 200]
            union = " UNION ALL ".join(
                f"SELECT {number} AS number, last_value, is_called "
                f"FROM {in_utf8(qualified(one.schema, one.name), codec)}"
                for number, one in enumerate(some)
            )
            for row in self._server.query(union, dbname=self._dbname):
                one = some[int(row["number"])]
                if (row["last_value"], row["is_called"]) != (one.last_value, one.is_called):
                    wrong.append(f"{one.schema}.{one.name} is {row['last_value']}, not {one.last_value}")
        if not manifest.sequences:
            return []
        name = show_count(len(manifest.sequences), "sequence")
        verdict = Verdict.DIFFERENT if wrong else Verdict.EQUAL
        return [Compared(name=name, tables=0, verdict=verdict, why="; ".join(wrong[:5]))]
