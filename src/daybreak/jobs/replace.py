"""Replace a held target by an archive, and ask a person before that is done for the first time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from daybreak import files
from daybreak.catalog.records import Role
from daybreak.errors import CommandError, RefreshError, Refused, SourceError, Unfinished
from daybreak.jobs import cron
from daybreak.jobs.analyze import analyze
from daybreak.jobs.backup import archive_of
from daybreak.jobs.checks import run_checks
from daybreak.jobs.exchange import exchange
from daybreak.jobs.hold import require_not_held
from daybreak.jobs.hooks import require_ready, run_hooks
from daybreak.jobs.keep import carry_kept
from daybreak.jobs.rebuild import Rebuild
from daybreak.jobs.rehearsal import rehearse
from daybreak.jobs.run import RunContext, now
from daybreak.jobs.shelf import Pinned
from daybreak.jobs.target import Held, clean_up
from daybreak.jobs.views import fill_views
from daybreak.jobs.written import count_writes, remember_writes
from daybreak.postgres.faults import SqlError
from daybreak.postgres.sql import derived_name
from daybreak.replacement import HookTime, Replacement


def require_confirmed(run: RunContext, held: Held, confirm_first: Callable[[str], bool]) -> None:
    """Nobody's database is replaced for the first time without a person's word."""
    if run.catalog.databases.was_refreshed(held.server.database.name):
        return
    target = f"{held.server.where()}, {held.identity}"
    if not confirm_first(target):
        raise Refused(
            f"{target} was never refreshed by Daybreak: all its data would be replaced",
            hint="if that is meant, say so once: --first",
        )


def replace_target(run: RunContext, held: Held, pinned: Pinned, how: Replacement) -> None:
    """Build the archive beside a target that is held, prove it, and swap; whatever fails before leaves it as it was.

    The run's result gets `archive`, `proof` and what the swap says. Raise RefreshError, ProofError.
    """
    run.result["archive"] = archive_of(run, pinned.manifest)
    require_ready(how.hooks, held.server.host)
    server, name = held.server, derived_name(held.name, f"shadow_{run.id}")
    with run.step("rehearse") as facts:
        rehearsal = rehearse(server, held.name, pinned.path, pinned.manifest, how)
        rehearsal.require()
        facts.update(items=len(rehearsal.selection.restored), left_out=len(rehearsal.selection.left_out))
        for note in rehearsal.notes:
            run.log.write(f"note: {note}")
    run.result["left_out"] = rehearsal.left_out
    work = Rebuild(run=run, held=held, pinned=pinned, name=name, how=how, rehearsal=rehearsal)
    run_hooks(work, HookTime.BEFORE)
    creation = run.catalog.databases.add_creation(
        target=server.database.name,
        system_identifier=held.system_identifier,
        database=name,
        run=run.id,
        role=Role.SHADOW,
        at=now(),
    )
    try:
        oid = work.create()
        run.catalog.databases.set_oid(creation.id, oid)
        with work.flushing() as flush:
            work.restore_and_prove(flush)
            run_hooks(work, HookTime.AFTER_RESTORE)
            if server.find(held.previous) is not None:  # it will be dropped
                flush()
            analyze(work)
            fill_views(work)
            work.carry_over()
            carry_kept(run, held, incoming=name, wishes=how.keep, deadline=how.deadline)
            run_checks(work)
        run_hooks(work, HookTime.BEFORE_SWAP)
        require_not_held(run, server.database.name)
        counted = count_writes(server, name, settle=True)
        jobs = _remember_cron(run, work)
        exchange(run, held, incoming=name, oid=oid, within=how.swap_within)
        remember_writes(run, held, oid, counted)
    except (SqlError, CommandError, SourceError, OSError) as error:
        message, hint = files.told(error, run.private)
        raise RefreshError(f"{message} ({held.name} is as it was)", hint=hint) from error
    finally:
        clean_up(run, held)
    try:
        # The new data is there: what belongs to it is finished, also when somebody cancels.
        finishing = replace(held, server=server.steadfast)
        _follow_up(run, replace(work, held=finishing), jobs)
    except (SqlError, CommandError, SourceError, RefreshError, OSError) as error:
        message, _ = files.told(error, run.private)
        raise Unfinished(
            f"{held.name} has production's data, but what was to follow failed: {message}",
            hint=f"mend it and, for pg_cron, call `daybreak repair`; or bring the old {held.name} back: daybreak undo",
        ) from error


def _remember_cron(run: RunContext, work: Rebuild) -> cron.Jobs | None:
    """The jobs of pg_cron as they are just before the swap, where it lives in the target."""
    if not work.rehearsal.abilities.in_cron(work.held.name):
        return None
    return cron.remember(
        run,
        work.held,
        work.pinned,
        work.how,
        incoming=work.name,
        owner=work.how.owner or work.held.facts.owner,
        in_archive=work.rehearsal.selection.has_cron,
    )


def _follow_up(run: RunContext, work: Rebuild, jobs: cron.Jobs | None) -> None:
    """What can only be done in a database that has the target's name."""
    if jobs is not None:
        cron.bring_back(run, work.held, work.how, jobs)
        if work.rehearsal.selection.deferred:
            work.restore_deferred(work.held.name)
    if work.rehearsal.abilities.in_cron(work.held.name):
        cron.require_launcher(run, work.held, work.how)
    run_hooks(work, HookTime.AFTER_SWAP)
