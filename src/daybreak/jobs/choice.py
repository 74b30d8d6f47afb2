"""Which archive is meant, pinned and compared with its manifest: a published one, one by its id, or a file.

Shapes  `choose` finds the file; `pinned` gives a `Pinned` for the time of the block. Nothing ever reads from a stable
        name: tonight's backup may rename over it.
Errors  `UsageError` for a word that means none, or several; `ArchiveError` for one that is not here any more, or is
        not what its manifest says; `PublishError` where this user may not look.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from daybreak import files
from daybreak.archive import Manifest, read_manifest
from daybreak.errors import ArchiveError, UsageError
from daybreak.jobs.run import RunContext
from daybreak.jobs.shelf import GLOBALS, JSON, Pinned, Shelf, sha256_of
from daybreak.model import ArchiveState, BackupPlan

LATEST: Final = "latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """An archive file that is meant."""

    path: Path
    shelf: Shelf | None  # where it stands among ours; None: a file by itself
    wanted: str | None = None  # the id that it must have


def choose(run: RunContext, word: str, backups: Sequence[BackupPlan]) -> Choice:
    """Find the archive: `latest` of the one backup, a backup's newest by its name, an archive's id, or a file.

    Raise UsageError, ArchiveError, PublishError.
    """
    if word == LATEST:
        return _latest(backups)
    if named := [plan for plan in backups if plan.name == word]:
        return _latest(named)
    if "/" in word or Path(word).is_file():
        return _file(Path(word))
    for plan in backups:
        shelf = Shelf(plan.archive)
        for path in _standing(shelf, word):
            found = shelf.manifest_of(path)
            if found is not None and found.id == word and path.exists():
                return Choice(path=path, shelf=shelf, wanted=word)
    raise _missing(run, word)


def _latest(backups: Sequence[BackupPlan]) -> Choice:
    if len(backups) != 1:
        names = ", ".join(plan.name for plan in backups) or "none"
        raise UsageError(
            f"the latest archive of which backup? There is: {names}",
            hint="name it instead of `latest`, or --backup NAME",
        )
    plan = backups[0]
    path = plan.archive
    with files.disk_errors(path, "cannot look at"):
        there = path.exists()
    if not there:
        raise ArchiveError(
            f"{path} is not there: nothing of backup {plan.name} stands on this host",
            hint=f"`daybreak backup {plan.name}` makes one"
            + ("; or bring one from off-site: daybreak fetch --to FILE" if plan.repositories else ""),
        )
    return Choice(path=path, shelf=Shelf(path))


def _standing(shelf: Shelf, archive_id: str) -> Iterator[Path]:
    """Where an archive may stand."""
    yield shelf.archive
    yield shelf.older_name(archive_id)
    yield shelf.proven_name
    yield shelf.root / "backlog" / f"{archive_id}.dump"
    yield shelf.root / "quarantine" / f"{archive_id}.dump"


def _file(path: Path) -> Choice:
    with files.disk_errors(path, "cannot look at"):
        there = path.is_file()
    if not there:
        raise UsageError(f"there is no archive file {path}", hint="daybreak archives lists what stands on this host")
    manifest = path.with_name(path.name + JSON)
    if not manifest.is_file():
        raise ArchiveError(
            f"{path} has no manifest beside it ({manifest.name}): whether it is whole, nobody could tell",
            hint="put the manifest there (`daybreak fetch` brings both); without one, pg_restore is the tool",
        )
    stored = path.parent / ".daybreak" / "manifests" / f"{read_manifest(manifest).sha256}{JSON}"
    return Choice(path=path, shelf=Shelf(path) if stored.exists() else None)


def _missing(run: RunContext, word: str) -> UsageError | ArchiveError:
    record = run.catalog.archives.get(word)
    if record is None:
        return UsageError(
            f"there is no archive {word!r}", hint="daybreak archives lists them; a file is named by its path"
        )
    copies = run.catalog.snapshots.list(archive=word)
    hint = "daybreak repository snapshots shows what is off-site"
    if copies:
        one = copies[0]
        hint = f"daybreak fetch {one.id[:12]} --repository {one.repository} --to FILE brings it back; then restore FILE"
    return ArchiveError(f"archive {word} is not on this host any more ({record.archive.path})", hint=hint)


@contextlib.contextmanager
def pinned(run: RunContext, choice: Choice) -> Generator[Pinned]:
    """The archive for the time of the block, equal to its manifest. Raise ArchiveError."""
    with run.step("archive") as facts, contextlib.ExitStack() as stack:
        if choice.shelf is None:
            found = _by_itself(run, choice.path)
        else:
            choice.shelf.prepare()
            for removed in choice.shelf.sweep_pins(run.engine.is_alive):
                run.log.write(f"removed what a dead run left: {removed}")
            found = stack.enter_context(choice.shelf.pin(choice.path, run.id, seen=run.engine.seen))
        manifest = found.manifest
        if choice.wanted is not None and manifest.id != choice.wanted:
            raise ArchiveError(
                f"{choice.path} is the archive {manifest.id} by now, not {choice.wanted}",
                hint="a backup was just published there: run again",
            )
        facts.update(archive=manifest.id, taken_at=manifest.taken_at.isoformat())
        _warn_of_state(run, manifest)
        held = stack.pop_all()
    with held:
        yield found


def _by_itself(run: RunContext, path: Path) -> Pinned:
    """A file that nobody publishes over: linked where that works, else used in its place."""
    run.private.mkdir(mode=0o700, parents=True, exist_ok=True)
    link = run.private / "archive.dump"
    try:
        os.link(path, link)
    except OSError:
        link = path.absolute()
    manifest = read_manifest(path.with_name(path.name + JSON))
    sha256 = sha256_of(link)
    if sha256 != manifest.sha256:
        raise ArchiveError(
            f"{path} is not what its manifest says (sha256 {sha256[:16]}…): cut, damaged or replaced",
            hint="fetch it again, or take another archive; `daybreak archive read` says what is wrong with it",
        )
    globals_sql = path.with_name(path.name + GLOBALS)
    if link != path.absolute() and globals_sql.exists():
        with files.disk_errors(link, "cannot copy the globals of"):
            link.with_name(link.name + GLOBALS).write_bytes(globals_sql.read_bytes())
    return Pinned(path=link, manifest=manifest)


def _warn_of_state(run: RunContext, manifest: Manifest) -> None:
    record = run.catalog.archives.get(manifest.id)
    if record is not None and record.archive.state is ArchiveState.QUARANTINED:
        run.warn(f"archive {manifest.id} is in quarantine: {record.quarantine_reason}")
