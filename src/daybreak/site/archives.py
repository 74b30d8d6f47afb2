"""The verbs that make and judge archives."""

from __future__ import annotations

from daybreak.catalog.records import ArchiveRecord
from daybreak.errors import UsageError
from daybreak.jobs import accept as accepting
from daybreak.jobs import backup as backing
from daybreak.jobs.run import RunContext
from daybreak.model import Run
from daybreak.site.base import send_offsite
from daybreak.site.drills import Drills
from daybreak.site.timing import in_slot


class Archives(Drills):
    """Backup, accept, archives."""

    def backup(self, name: str | None, *, fresh: bool = False, slot: str | None = None) -> Run:
        """`daybreak backup`; with a slot only where nobody took that one."""
        plan = self.backup_plan(name)

        def job(run: RunContext) -> None:
            backing.backup(run, plan, ship=send_offsite, fresh=fresh, drill=self.drill_if_due)

        return self._execute(plan.name, "backup", in_slot("backup", plan.name, plan.schedule, slot, job))

    def accept(self, archive: str) -> Run:
        """`daybreak accept`."""
        plan = self.backup_plan(self.archive(archive).archive.plan)
        return self._execute(plan.name, "accept", lambda run: accepting.accept(run, plan, archive))

    def archive(self, archive: str) -> ArchiveRecord:
        """What is known of one archive. Raise UsageError."""
        record = self.catalog.archives.get(archive)
        if record is None:
            raise UsageError(f"there is no archive {archive}", hint="daybreak archives lists them")
        return record

    def archives(self) -> list[ArchiveRecord]:
        """`daybreak archives`, newest first."""
        return self.catalog.archives.list()
