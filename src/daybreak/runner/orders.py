"""What a person's wish is on the command line, and which run already carries it out.

Shapes  an `Order` is the words that a person would type; every name in them was found in the configuration, or has a
        form that no option has.
Errors  `UsageError` for a name that is not there, `Refused` where what was looked at is not so any more.
"""

from __future__ import annotations

from dataclasses import dataclass

from daybreak.errors import UsageError
from daybreak.jobs import forget
from daybreak.jobs.drill import LOCAL
from daybreak.model import Run
from daybreak.runner.words import (
    Accept,
    Act,
    Backup,
    Check,
    Drill,
    Fetch,
    Forget,
    Prune,
    Refresh,
    Rescue,
    Restore,
    Ship,
    Undo,
)
from daybreak.site import Site
from daybreak.upkeep import Upkeep


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One command of Daybreak."""

    kind: str  # of the run that it becomes
    plan: str
    words: tuple[str, ...]
    joins: bool = True  # whether a run of the same kind and plan that goes on is what is wanted
    source: str = ""  # of a drill: the copy that is to be proven

    def is_done_by(self, run: Run) -> bool:
        """Whether a run that goes on carries it out."""
        same = self.joins and run.kind == self.kind
        return same and (not self.source or run.result.get("source") == self.source)


def order_of(site: Site, act: Act) -> Order:
    """The command for what a person wants. Raise UsageError, Refused."""
    if isinstance(act, Backup | Ship | Drill):
        return _of_backup(site, act)
    if isinstance(act, Check | Prune | Forget | Fetch):
        return _of_repository(site, act)
    if isinstance(act, Refresh):
        plan = site.refresh_plan(act.plan).name
        return Order(kind="refresh", plan=plan, words=("refresh", plan, *(["--first"] if act.first else [])))
    if isinstance(act, Undo):
        target = site.undo_target(act.database).name
        return Order(kind="undo", plan=target, words=("undo", target, "--yes"))
    if isinstance(act, Accept):
        plan = site.archive(act.archive).archive.plan
        return Order(kind="accept", plan=plan, words=("accept", act.archive), joins=False)
    return _restoring(site, act)


def _of_backup(site: Site, act: Backup | Ship | Drill) -> Order:
    plan = site.backup_plan(act.plan).name
    if isinstance(act, Drill):
        source = LOCAL if act.source == LOCAL else site.repository(act.source).name
        return Order(kind=act.ask, plan=plan, words=(act.ask, plan, "--from", source), source=source)
    return Order(kind=act.ask, plan=plan, words=(act.ask, plan))


def _of_repository(site: Site, act: Check | Prune | Forget | Fetch) -> Order:
    name = site.repository(act.repository).name
    if isinstance(act, Check):
        return Order(kind="check", plan=Upkeep.CHECK.plan_of(name), words=("repository", "check", name))
    if isinstance(act, Prune):
        return Order(kind="prune", plan=Upkeep.PRUNE.plan_of(name), words=("repository", "prune", name))
    if isinstance(act, Fetch):
        words = ("fetch", act.snapshot, "--repository", name)
        return Order(kind="fetch", plan=f"{name}-fetch", words=words, joins=False)
    forget.require_seen(act.seen, site.look_at_forgetting(name, plan=act.only or None, host=None))
    plan = ("--plan", site.backup_plan(act.only).name) if act.only else ()
    # One that goes on may be of another backup, and what was confirmed is this list.
    words = ("repository", "forget", name, *plan, "--seen", act.seen)
    return Order(kind="forget", plan=f"{name}-forget", words=words, joins=False)


def _restoring(site: Site, act: Restore | Rescue) -> Order:
    site.archive(act.archive)
    target = site.database(act.database).name
    words = ["restore", act.archive, "--to", target]
    if act.backup:
        words += ["--backup", site.backup_plan(act.backup).name]
    if isinstance(act, Rescue):
        # What a table is called is somebody else's choice: behind `=` nothing is an option.
        words += [f"--table={one}" for one in act.tables]
        words += ["--as-schema", act.schema] if act.schema else []
    else:
        if act.confirm not in {"", act.new}:
            raise UsageError(
                f"{act.confirm!r} is not the name of the new database, {act.new!r}",
                hint="type it once more, or leave it",
            )
        words += ["--new", act.new] if act.new else []
        words += ["--confirm", act.confirm] if act.confirm else []
    return Order(kind="restore", plan=target, words=tuple(words), joins=False)
