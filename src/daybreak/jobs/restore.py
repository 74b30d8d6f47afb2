"""Restore an archive into a database that does not exist yet: beside development, or to bring production back.

    lock → guard → archive → rehearse → (confirm → roles) → shadow → restore → proof → analyze → views → carry over
    → name

The database has a shadow's name until it is whole and proven; then it gets its own in one statement. So who finds the
name finds all of it, and what a killed restore leaves is known as a shadow's remains and dropped by the next run.
Nothing that exists is written, renamed or dropped.

Shapes  the run's result gets `target, database, archive, proof, left_out, notes`; for production also `roles, sql,
        then`.
Errors  `Refused` (4), `Busy` (5), `ArchiveError` (12), `RefreshError` (15), `ProofError` (18): nothing new is there.
        `Unfinished` (19): it is there and proven, but what was to follow failed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from daybreak import files
from daybreak.catalog.records import Role
from daybreak.errors import (
    Cancelled,
    CommandError,
    RefreshError,
    Refused,
    SourceError,
    Unfinished,
    UsageError,
)
from daybreak.jobs import cron, homecoming
from daybreak.jobs.analyze import analyze
from daybreak.jobs.backup import archive_of
from daybreak.jobs.choice import Choice, pinned
from daybreak.jobs.ground import hold_ground
from daybreak.jobs.rebuild import Rebuild
from daybreak.jobs.rehearsal import Rehearsal, rehearse
from daybreak.jobs.run import RunContext, now
from daybreak.jobs.shelf import Pinned
from daybreak.jobs.target import Ground, clean_up
from daybreak.jobs.views import fill_views
from daybreak.model import Database
from daybreak.postgres import shadow
from daybreak.postgres.faults import SqlError
from daybreak.postgres.sql import derived_name, identifier, literal
from daybreak.replacement import CronJobs, Replacement
from daybreak.units import rfc3339

WAIT: Final = timedelta(minutes=10)
AGAIN: Final = "each line names what solves it; then restore again"
_LONGEST_NAME_BYTES: Final = 63
_IN_USE: Final = "55006"
_TAKEN: Final = "42P04"
_TRIES: Final = 5


def restore(
    run: RunContext,
    target: Database,
    *,
    choose: Callable[[RunContext], Choice],
    new: str | None,
    protected: Iterable[Database],
    how: Callable[[Choice], Replacement],
    confirm: Callable[[str], str | None],
) -> None:
    """Restore the archive that `choose` finds as database `new` on the server of `target`.

    Without `new` it becomes `target` itself, where that does not exist. For production `confirm` is asked, with what
    will be done in words, for the name that a person typed.
    """
    run.result["target"] = target.name
    at_home = target.name in {one.name for one in protected}
    if at_home and new is None:
        raise Refused(
            f"{target.name} is protected: nothing is ever restored into it",
            hint="a new database on its server is: --new NAME; it gets production's name from you",
        )
    choice = choose(run)
    with hold_ground(run, target, protected, WAIT) as ground:
        name = _free_name(ground, target, new)
        run.begin()
        run.result["database"] = name
        with pinned(run, choice) as archive:
            run.result["archive"] = archive_of(run, archive.manifest)
            if at_home:
                _bring_back(run, ground, archive, name=name, how=how(choice), confirm=confirm)
            else:
                _beside(run, ground, archive, name, how(choice))


def _free_name(ground: Ground, target: Database, new: str | None) -> str:
    """The name of the new database. Raise Refused for one that exists, UsageError for none that PostgreSQL takes."""
    name = ground.name if new is None else new
    if not name or "\0" in name or len(name.encode()) > _LONGEST_NAME_BYTES:
        raise UsageError(
            f"{name!r} cannot be the name of a database",
            hint=f"PostgreSQL takes 1 to {_LONGEST_NAME_BYTES} bytes",
        )
    if ground.server.find(name) is None:
        return name
    if new is None:
        raise Refused(
            f"{target.name} exists ({ground.server.where()}), and a restore overwrites nothing",
            hint="`daybreak refresh` or `daybreak pull` replaces it; --new NAME makes another database beside it, "
            "--table SCHEMA.TABLE brings single tables into a schema of their own",
        )
    raise Refused(
        f"there is a database {name} already on {ground.server.where()}, and a restore overwrites nothing",
        hint="take another name: --new NAME",
    )


# -- beside development ---------------------------------------------------------------------------


def _beside(run: RunContext, ground: Ground, archive: Pinned, name: str, how: Replacement) -> None:
    """A database like the configured one would be after a refresh, under another name."""
    if not ground.exists and how.cron is CronJobs.DEV:
        how = replace(how, cron=CronJobs.NONE)  # there are none of dev's
    with run.step("rehearse") as facts:
        rehearsal = rehearse(ground.server, name, archive.path, archive.manifest, how, replaces=False)
        _heed(run, rehearsal, facts)
    work = _work(run, ground, archive, how, rehearsal)

    def finish() -> None:
        if ground.exists:
            work.carry_over()
            return
        with run.step("hand over"):
            shadow.hand_over(ground.server, work.name, how.owner or ground.facts.owner)
            shadow.carry_over(ground.server, work.name, ground.facts)

    manifest = archive.manifest
    build(work, name, finish, comment=f"{manifest.database} of {rfc3339(manifest.taken_at)}, archive {manifest.id}")
    if name == ground.name:
        target = ground.server.database.name
        identity = ground.server.identity(name)
        run.best_effort(lambda: run.catalog.databases.enrol(target, identity, at=now()))
        run.log.write(f"enrolled {target} as {identity}")
    _follow_up(work, name)


def _heed(run: RunContext, rehearsal: Rehearsal, facts: dict[str, object]) -> None:
    rehearsal.require(AGAIN)
    facts.update(items=len(rehearsal.selection.restored), left_out=len(rehearsal.selection.left_out))
    run.result["left_out"] = rehearsal.left_out
    run.result["notes"] = list(rehearsal.notes)


def _work(
    run: RunContext, ground: Ground, archive: Pinned, how: Replacement, rehearsal: Rehearsal, *, owners: bool = False
) -> Rebuild:
    return Rebuild(
        run=run,
        held=ground,
        pinned=archive,
        name=derived_name(ground.name, f"shadow_{run.id}"),
        how=how,
        rehearsal=rehearsal,
        owners=owners,
    )


# -- production -----------------------------------------------------------------------------------


def _bring_back(
    run: RunContext,
    ground: Ground,
    archive: Pinned,
    *,
    name: str,
    how: Replacement,
    confirm: Callable[[str], str | None],
) -> None:
    """Production as it was, with its roles, owners and privileges, in a new database on its own server."""
    server = ground.server
    how = replace(how, foreign=True, event_triggers=True, owner=None, cron=CronJobs.PRODUCTION)
    with run.step("rehearse") as facts:
        plan = homecoming.plan_roles(run, server, archive)
        rehearsal = rehearse(
            server,
            name,
            archive.path,
            archive.manifest,
            how,
            home=lambda entries: homecoming.needs(entries, archive.manifest, plan),
            replaces=False,
        )
        _heed(run, rehearsal, facts)
    known = run.catalog.databases.enrolled(server.database.name)
    if known is not None and known.identity.system_identifier != ground.system_identifier:
        run.warn(f"{server.where()} is another cluster than the one that was enrolled as {known.identity}")
    _require_word(name, homecoming.question(server, archive.manifest, plan, name), confirm)
    ground = replace(ground, facts=homecoming.facts_of_manifest(archive.manifest, ground.facts))
    work = _work(run, ground, archive, how, rehearsal, owners=True)
    with homecoming.roles(run, server, plan):
        build(work, name, lambda: homecoming.give_properties(work), comment=ground.facts.comment)
        _follow_up(work, name)
    run.result.update(homecoming.what_is_left_to_do(ground, name, rehearsal))


def _require_word(name: str, question: str, confirm: Callable[[str], str | None]) -> None:
    said = confirm(question)
    if said != name:
        typed = "nobody confirmed it" if said is None else f"what was confirmed is {said!r}"
        raise Refused(f"{question}; {typed}", hint=f"if that is meant, type the name {name}, or say --confirm {name}")


# -- both -----------------------------------------------------------------------------------------


def build(work: Rebuild, name: str, finish: Callable[[], None], *, comment: str | None) -> None:
    """Make the shadow, restore, prove, `finish` it, and give it its name. Raise RefreshError, ProofError."""
    with shadow_of(work):
        work.restore_and_prove()
        analyze(work)
        fill_views(work)
        finish()
        if work.run.cancel.is_set():
            raise Cancelled("the run was cancelled before the new database got its name")
        with work.run.step("name") as facts:
            facts["database"] = name
            _give_name(work, name, comment)


@contextlib.contextmanager
def shadow_of(work: Rebuild) -> Generator[None]:
    """The shadow for the time of the block: recorded, made, and dropped at the end if it still is one.

    Raise RefreshError for what the server refuses inside.
    """
    databases = work.run.catalog.databases
    creation = databases.add_creation(
        target=work.held.server.database.name,
        system_identifier=work.held.system_identifier,
        database=work.name,
        run=work.run.id,
        role=Role.SHADOW,
        at=now(),
    )
    try:
        databases.set_oid(creation.id, work.create())
        yield
    except (SqlError, CommandError, SourceError, OSError) as error:
        message, hint = files.told(error, work.run.private)
        raise RefreshError(f"{message} (what was there is as it was)", hint=hint) from error
    finally:
        clean_up(work.run, work.held)


def _give_name(work: Rebuild, name: str, comment: str | None) -> None:
    """Rename and comment in one transaction; from here on the database is its owner's, and never dropped by us."""
    run, server = work.run, work.held.server.steadfast
    renamed = (
        f"ALTER DATABASE {identifier(work.name)} RENAME TO {identifier(name)}; "
        f"COMMENT ON DATABASE {identifier(name)} IS {literal(comment)}"
    )
    sessions = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = {literal(work.name)}"
    oid = server.identity(work.name).oid
    for left in reversed(range(_TRIES)):
        try:
            server.execute(renamed, dbname=server.maintenance_db)
        except SqlError as error:
            if error.sqlstate == _TAKEN:
                raise RefreshError(
                    f"somebody made a database {name} meanwhile", hint="take another name: --new NAME"
                ) from error
            if error.sqlstate != _IN_USE or not left:
                raise
            server.execute(sessions, dbname=server.maintenance_db)  # monitoring that looks into every database
        else:
            break
    creation = run.catalog.databases.find_creation(work.held.system_identifier, oid)
    if creation is not None:
        run.best_effort(lambda: run.catalog.databases.forget_creation(creation.id))


def _follow_up(work: Rebuild, name: str) -> None:
    """pg_cron, where it can live in the new database. Raise Unfinished."""
    if not (work.rehearsal.selection.has_cron and work.rehearsal.abilities.in_cron(name)):
        return
    run = work.run
    named = replace(work.held, name=name, server=work.held.server.steadfast)
    try:
        owner = work.how.owner or named.facts.owner
        jobs = cron.remember(run, named, work.pinned, work.how, incoming=name, owner=owner, in_archive=True)
        assert jobs is not None
        cron.bring_back(run, named, work.how, jobs)
        if work.rehearsal.selection.deferred:
            replace(work, held=named).restore_deferred(name)
        cron.require_launcher(run, named, work.how)
    except (SqlError, CommandError, SourceError, RefreshError, OSError) as error:
        message, _ = files.told(error, run.private)
        raise Unfinished(
            f"{name} is restored and proven, but what was to follow failed: {message}", hint="do it by hand"
        ) from error
