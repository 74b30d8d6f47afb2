"""One dump: pg_dump's stream goes through the reader into the staged file, and what went wrong is put in words.

Errors  `DumpError` for a pg_dump that ended badly, `SourceError` where it never began, `ArchiveError`
        for a stream that is not one complete archive, `PublishError` for the disk, `TimedOut`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from daybreak import files
from daybreak.archive import Progress, Scan, scan
from daybreak.batch import as_batch
from daybreak.command import Command
from daybreak.errors import ArchiveError, CommandError, DaybreakError, DumpError, SourceError
from daybreak.jobs.run import RunContext, now
from daybreak.model import BackupPlan
from daybreak.postgres.client import Postgres
from daybreak.postgres.globals import describe
from daybreak.postgres.sql import literal
from daybreak.postgres.tools import STATISTICS_SINCE

#: What PostgreSQL keeps of them, compressed, for some 5000 columns; a table of contents is held in memory.
_MOST_STATISTICS_BYTES: Final = 8 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Dumped:
    """A dump that stands in the staging folder, complete and fsynced."""

    path: Path
    scan: Scan
    facts: dict[str, Any]
    taken_at: datetime
    seconds: float


def dump_source(run: RunContext, plan: BackupPlan, server: Postgres, staged: Path) -> Dumped:
    """Dump the database of `plan` into `staged`, complete and fsynced. Nothing is published."""
    facts = describe(server)
    last = run.catalog.archives.newest(plan.name)
    # The first has nothing to go by: a fifth of the database is a usual compressed dump.
    total = last.archive.size_bytes if last else int(facts["size_bytes"]) // 5
    command = server.tools.pg_dump(
        server.conninfo(),
        statistics=_with_statistics(server, facts),
        lock_wait=plan.lock_wait,
        deadline=plan.deadline,
        idle=plan.idle,
        settings=server.settings(),
    )
    server.close()  # production's role may have one connection only
    began = time.monotonic()

    def tell(progress: Progress) -> None:
        seconds = time.monotonic() - began
        run.progress(
            table=progress.label,
            rows=progress.total_rows,
            done_bytes=progress.read_bytes,
            total_bytes=total,
            bytes_per_s=progress.total_bytes / seconds if seconds else None,
        )

    taken_at = now()
    with as_batch(), files.disk_errors(staged, "cannot write"), staged.open("xb", buffering=0) as file:
        found = _scan(run, server, command, files.EarlyWriter(file.fileno()).write, tell)
        os.fsync(file.fileno())
    return Dumped(path=staged, scan=found, facts=facts, taken_at=taken_at, seconds=time.monotonic() - began)


def _with_statistics(server: Postgres, facts: Mapping[str, Any]) -> bool:
    """Whether the planner's statistics are dumped as well: they stand uncompressed in the table of contents.

    Some take the right to read them from everybody, and pg_dump would end there.
    """
    size: int | None = facts["statistics_bytes"]
    return server.version_num // 10000 >= STATISTICS_SINCE and size is not None and size <= _MOST_STATISTICS_BYTES


def _scan(
    run: RunContext,
    server: Postgres,
    command: Command,
    write: Callable[[bytes], None],
    tell: Callable[[Progress], None],
) -> Scan:
    """Read pg_dump to its end. That it ended badly says more than that its output was cut."""
    fault: ArchiveError | None = None
    found: Scan | None = None
    ended = False

    def read(size: int) -> bytes:
        nonlocal ended
        chunk = dump.read(size)
        ended = not chunk
        return chunk

    try:
        with run.runner.stream(command) as dump:
            try:
                found = scan(read, write=write, on_progress=tell)
            except ArchiveError as error:
                if not ended:
                    raise
                fault = error
    except CommandError as error:
        raise _explain_dump(server, error) from error
    if found is None:
        raise fault or DumpError("pg_dump said nothing")
    return found


def _explain_dump(server: Postgres, error: CommandError) -> DaybreakError:
    fault = server.explain(error)
    text = "\n".join(error.tail)
    last = error.tail[-1] if error.tail else error.message
    told = next((line for line in error.tail if "error:" in line), last).removeprefix("pg_dump: error: ")
    if "row-level security" in text or "row security" in text:
        role = server.database.conninfo.get("user", "the dumping role")
        hint = f'ALTER ROLE "{role}" BYPASSRLS; (a dump that leaves out hidden rows would be worthless)'
        return DumpError(f"pg_dump may not see every row: {told}", hint=hint)
    if "permission denied" in text:
        return DumpError(
            f"pg_dump may not read everything: {told}",
            hint="GRANT pg_read_all_data to the dumping role; large objects need their owner or a superuser",
        )
    if "LOCK TABLE" in text:  # pg_dump's --lock-wait-timeout is a statement_timeout
        return DumpError(
            f"pg_dump waited for a lock in vain: {told}{_who_locks(server)}",
            hint="let that end, or raise lock_wait; then run again",
        )
    if isinstance(fault, SourceError) and not isinstance(fault, DumpError):
        return fault if "connection to server" in text else DumpError(fault.message, hint=fault.hint)
    how = f"signal {-error.status}" if error.status < 0 else f"exit status {error.status}"
    return DumpError(
        f"pg_dump of {server.where()} failed ({how}): {told}",
        hint="the previous archive still stands; the run log has pg_dump's last lines",
    )


def _who_locks(server: Postgres) -> str:
    """Which tables are locked against reading, and by whom, as far as the server still says so."""
    sql = (
        "SELECT c.oid::regclass::text AS table, l.pid, a.usename AS role, a.application_name AS program, p.gid "
        "FROM pg_locks l JOIN pg_class c ON c.oid = l.relation LEFT JOIN pg_stat_activity a USING (pid) "
        # What is prepared has no process any more; its own number is among its locks.
        "LEFT JOIN pg_locks t ON l.pid IS NULL AND t.pid IS NULL AND t.virtualtransaction = l.virtualtransaction "
        "AND t.locktype = 'transactionid' LEFT JOIN pg_prepared_xacts p ON p.transaction = t.transactionid "
        "WHERE l.granted AND l.mode = 'AccessExclusiveLock' AND c.relkind IN ('r', 'p') AND l.database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database()) LIMIT 5"
    )
    try:
        found = server.query(sql)
    except DaybreakError:
        return ""
    return "".join(
        f"; {one['table']} is locked by process {one['pid']} ({one['role']}, {one['program'] or 'unnamed'})"
        if one["gid"] is None
        else f"; {one['table']} is locked by the prepared transaction {one['gid']} "
        f"(COMMIT PREPARED {literal(one['gid'])} or ROLLBACK PREPARED {literal(one['gid'])} there ends it)"
        for one in found
    )
