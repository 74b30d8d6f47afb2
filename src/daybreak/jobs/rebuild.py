"""Build a database beside the target from an archive, prove it, and make it ready to take the name.

    create → restore (one parallel pg_restore from a pinned file) → proof → (analyze → views) → carry over

Errors  `RefreshError` (15), `ProofError` (18); the target is not touched by anything here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Final

from daybreak.archive import Entry, table_data
from daybreak.archive.toc import TABLE_DATA
from daybreak.batch import as_batch
from daybreak.errors import Cancelled, CommandError, DaybreakError, RefreshError, SourceError
from daybreak.hosts import Placed, placed, sweep_copies
from daybreak.jobs.complaints import Complaints, explain
from daybreak.jobs.loading import Loading, loading
from daybreak.jobs.proof import Prover
from daybreak.jobs.proven import record_proof
from daybreak.jobs.rehearsal import Rehearsal
from daybreak.jobs.run import RunContext
from daybreak.jobs.selection import use_list
from daybreak.jobs.shelf import Pinned
from daybreak.jobs.target import Ground
from daybreak.postgres import grants, shadow
from daybreak.postgres.client import Postgres
from daybreak.postgres.faults import SqlError
from daybreak.postgres.sql import identifier
from daybreak.postgres.tools import READ_BY_ITSELF
from daybreak.replacement import Replacement

_FINISHED: Final = re.compile(r"pg_restore: finished item (\d+) (.+)")
#: The shadow is dropped when anything fails, so it need not be durable before it is whole.
_RESTORE_SETTINGS: Final = {
    "synchronous_commit": "off",
    # The workers of pg_restore fill the processors already; an index build that starts more only makes them wait.
    "max_parallel_maintenance_workers": "0",
    **READ_BY_ITSELF,
    # The next checkpoint waits until the disk has all rows: they are on their way there from the beginning. In pages.
    "backend_flush_after": "256",
}
#: A foreign key is checked with one query, which costs enough to be compiled; that takes longer than it saves.
_CHECK_SETTINGS: Final = {"jit": "off"}
#: What the build of one index gets, unless the server gives more by itself.
_BUILD_BYTES: Final = 256 * 2**20
_FLUSH_DEADLINE: Final = timedelta(hours=2)
#: What a disk writes in no time.
_LITTLE_BYTES: Final = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuild:
    """A shadow in the making: from which archive, for which target, by which run."""

    run: RunContext
    held: Ground
    pinned: Pinned
    name: str  # of the shadow
    how: Replacement
    rehearsal: Rehearsal
    owners: bool = False  # owners and privileges are restored as production has them
    whole: bool = True  # all tables of the archive are restored: then it counts as proven
    source: str = ""  # what the proof is recorded under; empty: the kind of the run

    @property
    def jobs(self) -> int:
        """How many workers: COPY keeps the order of rows only where at least two restore in parallel."""
        return self.how.jobs or max(2, os.cpu_count() or 2)

    @property
    def building(self) -> dict[str, str]:
        """The settings of a session that builds the shadow."""
        memory = max(self.rehearsal.abilities.build_bytes, _BUILD_BYTES)
        searched = ", ".join(map(identifier, self.how.quirks.search_path))
        return {
            **_RESTORE_SETTINGS,
            "maintenance_work_mem": f"{memory // 1024}kB",
            **({"search_path": searched} if searched else {}),
        }

    def create(self) -> int:
        """Make the shadow with production's encoding and locale, the target's owner and tablespace; its oid."""
        server, facts = self.held.server, self.held.facts
        source = self.pinned.manifest.facts
        if source:
            facts = replace(
                facts,
                encoding=str(source["encoding"]),
                lc_collate=str(source["lc_collate"]),
                lc_ctype=str(source["lc_ctype"]),
                locale_provider=str(source["locale_provider"]),
                locale=None if source["locale"] is None else str(source["locale"]),
                icu_rules=None if source["icu_rules"] is None else str(source["icu_rules"]),
            )
        with self.run.step("shadow") as said:
            said["name"] = self.name
            try:
                shadow.create(server, self.name, facts, run=self.run.id)
            except SqlError as error:
                raise RefreshError(
                    f"the shadow database could not be made: {error.message}",
                    hint=error.hint or "the target's server needs production's locale, and its role CREATEDB",
                ) from error
            return server.identity(self.name).oid

    def restore(self, loaded: Callable[[Entry], None] = lambda _entry: None) -> None:
        """Restore what was selected of the archive. Raise RefreshError that names the entry at which it failed.

        `loaded` hears of each table whose rows are in.
        """
        with self.run.step("restore") as facts:
            facts["left_out"] = self.rehearsal.left_out
            began = time.monotonic()
            self._restore(self.rehearsal.selection.built, self.name, facts, loaded)
            self.run.result["restore_s"] = round(time.monotonic() - began, 2)

    def restore_and_prove(self, flush: Callable[[], object] = lambda: None) -> None:
        """Restore, and read each table again as soon as it can be. Raise RefreshError, ProofError.

        `flush` is called when the rows of all tables are in, if they are many.
        """
        missing = {entry.id for entry in self.rehearsal.selection.built if entry.kind == TABLE_DATA}
        with as_batch(), self.prover() as prover:

            def loaded(entry: Entry) -> None:
                prover.loaded(entry.schema or "", entry.name)
                missing.discard(entry.id)
                if not missing and self.pinned.manifest.data_bytes > _LITTLE_BYTES:
                    flush()

            self.restore(loaded)
            self.prove(prover)

    def restore_deferred(self, dbname: str) -> None:
        """Restore what had to wait for the swap, into the database that has its name by now."""
        with self.run.step("restore the rest") as facts:
            self._restore(self.rehearsal.selection.deferred, dbname, facts)
            if not self.owners:
                shadow.hand_over(self.held.server, dbname, self.how.owner or self.held.facts.owner)

    def _restore(
        self,
        entries: Sequence[Entry],
        dbname: str,
        facts: dict[str, object],
        loaded: Callable[[Entry], None] = lambda _entry: None,
    ) -> None:
        done = 0
        said = Complaints()
        tables = {entry.id: entry for entry in entries if entry.kind == TABLE_DATA}
        server, reader = self.held.server, self.rehearsal.reader
        is_own = reader == self.rehearsal.abilities.major
        failed = threading.Event()

        def tell(line: str) -> None:
            nonlocal done
            if match := _FINISHED.match(line):
                done += 1
                self.run.progress(f"{done} of {len(entries)} items: {match[2]}", table=match[2])
                if entry := tables.get(int(match[1])):
                    loaded(entry)
            elif said.hear(line):
                failed.set()  # a newer pg_restore, which may not end at its first error, is ended at this one

        with (
            loading(
                self.run,
                self.pinned,
                entries,
                search_path=self.how.quirks.search_path,
                here=server.host.is_here,
                spare_bytes=self.rehearsal.spare_bytes,
            ) as file,
            self._readable(file) as archive,
            self._listed(file.entries) as listed,
        ):
            facts |= {"jobs": self.jobs, "archive": archive.how, "items": len(file.entries), "frozen": file.frozen}
            command = server.tools_of(reader).pg_restore(
                server.conninfo(dbname),
                archive.path,
                use_list=listed.path,
                jobs=self.jobs,
                tablespaces=self.rehearsal.tablespaces,
                owners=self.owners,
                exit_on_error=is_own,
                deadline=self.how.deadline,
                settings=server.settings({**self.building, **_CHECK_SETTINGS}),
            )
            server.close()  # as for a dump: nobody sits idle for hours, on a role that may have few connections
            try:
                runner = server.runner if is_own else server.runner.also_ended_by(failed)
                runner.run(command, on_stderr=tell)
            except (CommandError, Cancelled) as error:
                if isinstance(error, Cancelled) and (server.runner.cancel.is_set() or not said.faults):
                    raise
                # Status 1 of a newer pg_restore that went on: what matters is what it stumbled over.
                if is_own or isinstance(error, Cancelled) or error.status != 1 or said.faults:
                    raise explain(error, server, said, entries, whole=self.whole, older=self._older) from error

    @property
    def _older(self) -> str:
        """What a person should know of a target that is older than production; empty where it is not."""
        ours, theirs = self.pinned.manifest.major, self.rehearsal.abilities.major
        if theirs >= ours:
            return ""
        return (
            f"production is PostgreSQL {ours} and the target {theirs}: what {theirs} does not know yet has to be "
            f"changed in production, or needs a target of {ours}"
        )

    @contextlib.contextmanager
    def _readable(self, file: Loading) -> Generator[Placed]:
        """The file where the target's own pg_restore can open it. Raise RefreshError."""
        run, host = self.run, self.held.server.host

        def is_dead(owner: str) -> bool:
            return run.catalog.runs.get(owner) is not None and not run.engine.is_alive(owner)

        try:
            for removed in sweep_copies(host, run.runner, is_dead):
                run.log.write(f"removed what a dead run left: {removed}")
            with placed(
                file.path,
                size=file.size_bytes,
                sha256=file.sha256,
                host=host,
                runner=run.runner,
                run=run.id,
                log=run.log.write,
            ) as archive:
                for warning in archive.warnings:
                    run.warn(warning)
                yield archive
        except SourceError as error:
            raise RefreshError(error.message, hint=error.hint) from error

    @contextlib.contextmanager
    def _listed(self, entries: Sequence[Entry]) -> Generator[Placed]:
        """The list of entries as a file where the target's own pg_restore can open it."""
        run, content = self.run, use_list(entries)
        run.private.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = run.private / "entries.list"
        path.write_bytes(content)
        with placed(
            path,
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            host=self.held.server.host,
            runner=run.runner,
            run=run.id,
            log=run.log.write,
        ) as listed:
            yield listed

    def prover(self) -> Prover:
        """What compares the shadow with the manifest."""
        total = self.pinned.manifest.data_bytes

        def tell(table: str, rows: int, size_bytes: int) -> None:
            self.run.progress(table=table, rows=rows, done_bytes=size_bytes, total_bytes=total)

        return Prover(
            self.held.server,
            self.name,
            self.pinned.manifest,
            archived=partial(table_data, self.pinned.path),
            skip=self.rehearsal.selection.no_data,
            jobs=self.jobs,
            deadline=self.how.deadline,
            on_progress=tell,
        )

    def prove(self, prover: Prover) -> None:
        """Compare everything with the manifest; record how that went. Raise ProofError."""
        manifest = self.pinned.manifest
        began = time.monotonic()
        with self.run.step("proof") as facts:
            proof = prover.finish()
            facts["while_restoring"] = prover.begun
            summary = proof.summary()
            facts.update({key: value for key, value in summary.items() if key != "details"})
            self.run.result |= {"proof": summary, "proof_s": round(time.monotonic() - began, 2)}
            if self.whole:
                record_proof(self.run, manifest, proof, source=self.source or self.run.kind)
            proof.require()

    def carry_over(self) -> None:
        """Give the shadow what is the target's own, as it is by now: the restore may have taken hours."""
        with self.run.step("carry over") as said:
            facts = shadow.facts_of(self.held.server, self.held.name)
            shadow.hand_over(self.held.server, self.name, self.how.owner or facts.owner)
            shadow.carry_over(self.held.server, self.name, facts)
            self.run.private.mkdir(mode=0o700, parents=True, exist_ok=True)
            said["grants"] = grants.carry_over(
                self.held.server, old=self.held.name, new=self.name, script=self.run.private / "grants.sql"
            )

    @contextlib.contextmanager
    def flushing(self) -> Generator[Callable[[], None]]:
        """What has the server write out, beside the block, what it holds back.

        That is over at the end of the block, before the swap: its commits wait for the same disk, and so does whoever
        drops a database, which takes a checkpoint.
        """
        stop, server = threading.Event(), self.held.server
        stoppable = server.with_runner(server.runner.also_ended_by(stop))
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint") as beside:
            begun: list[Future[None]] = []
            try:
                yield lambda: begun.append(beside.submit(self._flush, stoppable))
                for one in begun:
                    one.result()
            finally:
                stop.set()  # what failed is told at once

    def _flush(self, server: Postgres) -> None:
        """Ask for a checkpoint. Nothing depends on it but time; Cancelled is raised."""
        abilities = self.rehearsal.abilities
        if not abilities.superuser and "pg_checkpoint" not in abilities.memberships:
            return
        try:
            server.execute("CHECKPOINT", dbname=server.maintenance_db, deadline=_FLUSH_DEADLINE)
        except Cancelled:
            raise
        except DaybreakError as error:
            self.run.log.write(f"no checkpoint before the swap: {error.message}")
