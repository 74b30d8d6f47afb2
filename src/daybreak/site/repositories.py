"""What is done with a repository: make it, look after it, free it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from daybreak import config
from daybreak.config import editing
from daybreak.config.fields import NAME
from daybreak.credentials import read_secret
from daybreak.errors import OffsiteError, Refused, UsageError
from daybreak.jobs import forget, repository, upkeep
from daybreak.jobs.offsite import host_name
from daybreak.jobs.run import RunContext, now
from daybreak.model import BackupPlan, Repository, Run, SecretSource
from daybreak.process import Runner
from daybreak.restic import Listing, Lock, Restic
from daybreak.rotation import require_part
from daybreak.secret import Secret
from daybreak.site.base import Base
from daybreak.site.configuring import CONFIGURATION, save
from daybreak.site.timing import in_slot
from daybreak.upkeep import Upkeep


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A repository that the configuration has now."""

    repository: str
    id: str
    config: Path
    password_file: Path
    made_password: bool


class Repositories(Base):
    """Every repository of the configuration."""

    def add_repository(
        self,
        name: str,
        values: Mapping[str, str],
        *,
        password_file: Path | None,
        backups: Sequence[str],
        confirm: Callable[[Secret], bool] | None,
    ) -> Added:
        """`daybreak repository add`: into the configuration, with a password, and made.

        A password that is made here is shown to `confirm` before anything is written; None: a person has said that
        it will be copied from the file. Raise Refused where nobody confirms it, UsageError for what is no name.
        """
        if NAME.fullmatch(name) is None:
            raise UsageError(
                f"{name!r} cannot be the name of a repository",
                hint="it must be made of letters, digits, _ and - (at most 63)",
            )
        path = self.file.resolve()
        before = path.read_bytes()
        file = password_file or path.with_name(f"{name}.password")
        text = editing.add_repository(before.decode(), name, {**values, "password_file": str(file)}, backups=backups)
        chosen = config.check_content(path, text.encode()).repositories[name]
        made = not file.exists()
        restic = self._restic(chosen)
        with contextlib.ExitStack() as undo:
            if made:
                password = repository.make_password()
                if confirm is not None and not confirm(password):
                    raise Refused(
                        f"the password of {name} was not written down, and nothing was changed",
                        hint="without its password a repository is lost for ever. On a terminal it is shown, and its"
                        " last block is asked for; elsewhere --written-down says that you copy it from the file",
                    )
                undo.callback(file.unlink, missing_ok=True)
                repository.write_password(password, file)
            else:
                read_secret(SecretSource(file=file), Runner(cancel=self.cancel))
            repository.exists(restic)  # an address of no use, or with another password, leaves nothing behind
            save(path, before=before, after=text.encode(), lock=self.engine.lock_path(CONFIGURATION))
            undo.pop_all()
        try:
            number = repository.init(restic)
        except OffsiteError as fault:
            fault.hint = f"{fault.hint}; {name} stands in {path} now, and `daybreak repository init {name}` makes it"
            raise
        return Added(repository=name, id=number, config=path, password_file=file, made_password=made)

    def init_repository(self, name: str | None) -> tuple[str, str]:
        """`daybreak repository init`: the repository's name and restic's id."""
        chosen = self.repository(name)
        return chosen.name, repository.init(self._restic(chosen))

    def check_repository(self, name: str | None, *, read: str, slot: str | None = None) -> Run:
        """`daybreak repository check`. Raise UsageError for a `read` that is none, before there is a run of it."""
        if read:
            require_part(read)
        plan = self.settings.upkeep[Upkeep.CHECK.plan_of(self.repository(name).name)]
        senders = self._senders(plan.repository)
        zones = {one.name: one.zone for one in self.settings.backups.values()}

        def job(run: RunContext) -> None:
            upkeep.check_repository(run, plan, senders=senders, zones=zones, connect=Restic, read=read)

        return self._execute(plan.name, plan.kind, in_slot(plan.kind, plan.name, plan.schedule, slot, job))

    def prune_repository(self, name: str | None, *, slot: str | None = None) -> Run:
        """`daybreak repository prune`."""
        plan = self.settings.upkeep[Upkeep.PRUNE.plan_of(self.repository(name).name)]
        senders = self._senders(plan.repository)

        def job(run: RunContext) -> None:
            upkeep.prune_repository(run, plan, senders=senders, connect=Restic)

        return self._execute(plan.name, plan.kind, in_slot(plan.kind, plan.name, plan.schedule, slot, job))

    def forget_snapshots(self, name: str | None, *, plan: str | None, host: str | None, seen: str = "") -> Run:
        """`daybreak repository forget`; `seen`: only if that is what would go, as `forget.seen_as` says it."""
        chosen = self.repository(name)
        plans = self._sending(chosen, plan)
        return self._execute(
            f"{chosen.name}-forget",
            "forget",
            lambda run: forget.forget_all(run, plans, chosen, host=host or host_name(), connect=Restic, seen=seen),
        )

    def look_at_forgetting(self, name: str | None, *, plan: str | None, host: str | None) -> list[forget.Outlook]:
        """`daybreak repository forget --dry-run`."""
        chosen = self.repository(name)
        restic = self._restic(chosen)
        return [
            forget.look(self.catalog, one, restic, host=host or host_name(), only_look=True)
            for one in self._sending(chosen, plan)
        ]

    def unlock_repository(self, name: str | None) -> repository.Unlocked:
        """`daybreak repository unlock`."""
        return repository.unlock(self._restic(self.repository(name)), at=now())

    def locks(self, name: str | None) -> tuple[Lock, ...]:
        """Who holds a repository."""
        return self._restic(self.repository(name)).locks()

    def snapshot_files(self, name: str | None, snapshot: str) -> Listing:
        """One snapshot of a repository with its files and folders. Raise UsageError where there is none of that id."""
        restic = self._restic(self.repository(name))
        restic.version()
        try:
            return restic.ls(snapshot)
        except OffsiteError as fault:
            if fault.reason != "absent":
                raise
            raise UsageError(f"repository {restic.name} has no snapshot {snapshot[:8]}", hint=fault.hint) from fault

    def repository_stats(self, name: str | None) -> repository.Stats:
        """`daybreak repository stats`."""
        return repository.stats(self._restic(self.repository(name)))

    def snapshots(self, name: str | None) -> list[repository.Listed]:
        """`daybreak repository snapshots`."""
        return repository.snapshots(self._restic(self.repository(name)))

    def _sending(self, chosen: Repository, plan: str | None) -> list[BackupPlan]:
        if plan is not None:
            return [self.backup_plan(plan)]
        return [one for one in self.settings.backups.values() if chosen in one.repositories]

    def _senders(self, chosen: Repository) -> Collection[str]:
        """The plans whose runs end with sending to a repository."""
        backups = {one.name for one in self._sending(chosen, None)}
        return backups | {one.name for one in self.settings.refreshes.values() if one.backup.name in backups}
