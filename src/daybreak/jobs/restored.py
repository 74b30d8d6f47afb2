"""An archive restored in a server that is gone afterwards, every table compared with the manifest.

    server → rehearse → roles → database → restore (one parallel pg_restore) → proof → views

Shapes  `restored` gives a `Restored` for the time of a block. What is left out is decided by entry, as for a refresh.
Errors  `ArchiveError` (12) where the archive cannot be restored, with what stands in the way by name; `ProofError` (18)
        where it is restored and differs; `ConfigError` (3), `PublishError` (13) where there is no server for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from daybreak.archive import parse_policy_roles, read_contents
from daybreak.errors import ArchiveError, ConfigError, ProofError, PublishError, RefreshError, SourceError
from daybreak.jobs.case import Obstacle
from daybreak.jobs.complaints import AS_IT_WAS
from daybreak.jobs.rebuild import Rebuild
from daybreak.jobs.rehearsal import Rehearsal, rehearse
from daybreak.jobs.restore import shadow_of
from daybreak.jobs.run import RunContext
from daybreak.jobs.shelf import Pinned
from daybreak.jobs.throwaway import Ready, Wish, choices, sweep
from daybreak.jobs.verdicts import codec_of, in_utf8
from daybreak.jobs.views import fill_views
from daybreak.postgres.faults import SqlError
from daybreak.postgres.sql import identifier
from daybreak.replacement import Replacement


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """An archive in a server of its own."""

    ready: Ready
    work: Rebuild


@contextlib.contextmanager
def restored(
    run: RunContext, pinned: Pinned, wish: Wish, how: Replacement, *, source: str, forgive: bool = False
) -> Generator[Restored]:
    """Restore a pinned archive in the first server that takes it, and prove it; `forgive` makes a difference a warning.

    The run's result gets `server`, `left_out`, `restore_s`, `proof` and `proof_s`.
    """
    for one in sweep(run):
        run.log.write(f"removed what a dead run left: {one}")
    refusals: list[str] = []
    ways = choices(wish, pinned.manifest)
    for number, choice in enumerate(ways, 1):
        with contextlib.ExitStack() as stack:
            try:
                with run.step("server") as facts:
                    ready = stack.enter_context(choice.open(run, pinned.manifest))
                    facts["server"] = ready.where
            except (ConfigError, PublishError) as error:
                if number == len(ways) and not refusals:
                    raise
                refusals.append(f"{choice.label}: {error.message}")
                continue
            rehearsal = _rehearse(run, ready, pinned, how)
            if rehearsal.obstacles:
                refusals += [f"{choice.label}: {_told(one, ready)}" for one in rehearsal.obstacles]
                continue
            run.result |= {"server": ready.where, "left_out": rehearsal.left_out}
            work = Rebuild(
                run=run, held=ready.held, pinned=pinned, name=ready.name, how=how, rehearsal=rehearsal, source=source
            )
            try:
                if ready.own:
                    work.create()
                else:
                    stack.enter_context(shadow_of(work))
            except RefreshError as error:  # a locale that this server lacks
                refusals.append(f"{choice.label}: {error.message}")
                continue
            _restore_and_prove(work, forgive=forgive)
            yield Restored(ready=ready, work=work)
            return
    lines = "\n".join(f"  {one}" for one in refusals)
    raise ArchiveError(
        f"archive {pinned.manifest.id} was not restored, no server here can take it:\n{lines}",
        hint="install what is missing on this host, or name an image that has it (--image, drill_image) or a "
        "database whose server has it (--on, drill_on)",
    )


def _rehearse(run: RunContext, ready: Ready, pinned: Pinned, how: Replacement) -> Rehearsal:
    server, manifest = ready.held.server, pinned.manifest
    with run.step("rehearse") as facts:
        try:
            if ready.own:
                facts["roles"] = _make_roles(ready, pinned)
            rehearsal = rehearse(server, ready.name, pinned.path, manifest, how, replaces=False)
        except (SqlError, SourceError) as error:
            raise ConfigError(f"{ready.where} cannot be asked: {error.message}", hint=error.hint) from error
        facts.update(items=len(rehearsal.selection.restored), left_out=len(rehearsal.selection.left_out))
        for note in rehearsal.notes:
            run.log.write(f"note: {note}")
        for one in rehearsal.obstacles:
            run.log.write(f"obstacle: {one}")
        return rehearsal


def _make_roles(ready: Ready, pinned: Pinned) -> list[str]:
    """Make the roles that the archive's policies are for: they are all that a restore without owners needs."""
    _, entries = read_contents(pinned.path)
    codec = codec_of(pinned.manifest.encoding)
    wanted = {
        role
        for entry in entries
        if entry.kind == "POLICY"
        for role in parse_policy_roles(in_utf8(entry.definition or "", codec))
    }
    server = ready.held.server
    rows: list[dict[str, Any]] = server.query("SELECT rolname FROM pg_roles")
    missing = sorted(wanted - {row["rolname"] for row in rows})
    if missing:
        server.execute(*(f"CREATE ROLE {identifier(role)} NOLOGIN" for role in missing))
    return missing


def _told(one: Obstacle, ready: Ready) -> str:
    """An obstacle in words; of a server that goes with the run nobody can mend anything."""
    if not ready.own:
        return str(one)
    return one.what.replace("the target's server", "it").replace("the target", "it")


def _restore_and_prove(work: Rebuild, *, forgive: bool) -> None:
    """Both, with faults that are told of the archive and not of a target. Raise ArchiveError, ProofError."""
    archive = work.pinned.manifest.id
    try:
        work.restore_and_prove()
        fill_views(work)
    except ProofError as error:
        if not forgive:
            raise ProofError(
                f"archive {archive}: {error.message}",
                hint="it stays published but counts as proven no more, and nothing is forgotten off-site until a proof "
                "passes; make a new backup and drill it",
            ) from error
        work.run.warn(f"archive {archive}: {error.message}")
    except (RefreshError, SqlError, SourceError) as error:
        # In a server that took everything on paper: the archive's fault, until somebody has looked.
        advice = error.hint.removeprefix(f"{AS_IT_WAS}; ") or "`daybreak run show` names the log with the last lines"
        raise ArchiveError(
            f"archive {archive} could not be restored: {error.message}",
            hint=f"{advice}; production and dev were not touched",
        ) from error
