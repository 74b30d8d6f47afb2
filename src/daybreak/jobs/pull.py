"""Pull: a developer's own database gets the newest archive, from the server by ssh or from a repository.

    lock → guard → fetch → shadow → restore → proof → analyze → views → carry over → swap

Shapes  the archive comes into the run's private folder and is gone when the run ends; a source is a function that
        brings it there. The result is a refresh's.
Errors  those of a refresh, `SourceError` for a host that does not answer, `ArchiveError` for what is not equal to
        its manifest, `OffsiteError`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any, Final

from daybreak import files
from daybreak.archive import Manifest, parse_manifest, read_manifest
from daybreak.errors import ArchiveError, CommandError, PublishError, SourceError, UsageError
from daybreak.hosts import Host, explain, reach
from daybreak.jobs.fetch import fetch
from daybreak.jobs.hold import require_not_held
from daybreak.jobs.replace import replace_target, require_confirmed
from daybreak.jobs.run import RunContext
from daybreak.jobs.shelf import Pinned
from daybreak.jobs.target import hold_target, require_own_previous
from daybreak.model import Database, Place, SshHost
from daybreak.replacement import Replacement
from daybreak.restic import Restic
from daybreak.units import show_bytes

Bring = Callable[["RunContext", Path], Manifest]

_BRIEFLY: Final = timedelta(minutes=2)
#: pipx and uv put programs where a shell without a terminal may not look.
_ASK: Final = 'PATH=$PATH:/usr/local/bin:$HOME/.local/bin; exec daybreak "$@"'
_NO_PROGRAM: Final = 127
_SAID: Final = 200  # so much of an answer is shown that nobody expected
_WAIT: Final = timedelta(minutes=10)


def pull(
    run: RunContext,
    target: Database,
    *,
    bring: Bring,
    protected: Iterable[Database],
    confirm_first: Callable[[str], bool],
    how: Replacement,
) -> None:
    """Replace `target` by the archive that `bring` fetches, with a refresh's guards, proof and swap."""
    run.result["target"] = target.name
    require_not_held(run, target.name)
    with hold_target(run, target, protected, _WAIT) as held:
        require_own_previous(run, held.server, held.identity)
        require_confirmed(run, held, confirm_first)
        run.begin()
        run.private.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = run.private / "archive.dump"
        with run.step("fetch") as facts, files.disk_errors(path, "cannot write"):
            manifest = bring(run, path)
            facts.update(archive=manifest.id, size=show_bytes(manifest.size_bytes))
        replace_target(run, held, Pinned(path=path, manifest=manifest), how)


def from_host(ssh: SshHost, backup: str | None, path: PurePosixPath | None, *, deadline: timedelta) -> Bring:
    """The newest archive of `backup` on another host, as its own Daybreak knows it; or the one at `path` there."""

    def bring(run: RunContext, to: Path) -> Manifest:
        host = reach(Place(ssh=ssh), run.runner)
        there = path or _newest(run, host, backup)
        manifest = parse_manifest(_read(run, host, f"{there}.json"), f"{ssh.name}:{there}.json")
        _require_room(to, manifest.size_bytes)
        sha256 = _receive(run, host, there, to, size=manifest.size_bytes, deadline=deadline)
        if sha256 != manifest.sha256:
            # Replaced since we asked: what came is whole if the manifest of its own sha256 is there.
            stored = there.parent / ".daybreak" / "manifests" / f"{sha256}.json"
            try:
                manifest = parse_manifest(_read(run, host, str(stored)), f"{ssh.name}:{stored}")
            except SourceError:
                raise ArchiveError(
                    f"{ssh.name}:{there} is not what its manifest says (sha256 {sha256[:16]}…)",
                    hint="run again; if it stays so, look at that host with `daybreak archive read`",
                ) from None
        return manifest

    return bring


def from_repository(restic: Restic, backup: str) -> Bring:
    """The newest archive of `backup` in a repository."""

    def bring(run: RunContext, to: Path) -> Manifest:
        fetch(restic, to=to, plan=backup, on_file=run.progress)
        return read_manifest(to.with_name(f"{to.name}.json"))

    return bring


def _newest(run: RunContext, host: Host, backup: str | None) -> PurePosixPath:
    """Where the newest published archive stands over there. Raise SourceError, UsageError."""
    said = _ask(run, host, ("sh", "-c", _ASK, "daybreak", "archives", "--json"))
    try:
        listed: list[dict[str, Any]] = json.loads(said)["archives"]
        found = [(str(one["plan"]), str(one["path"])) for one in listed if one["state"] == "published"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        words = said.decode("utf-8", "replace").strip()[:_SAID]
        raise SourceError(
            f"{host.name} did not answer with its archives: {words or 'nothing'}",
            hint="try it there: daybreak archives --json prints one object and nothing else",
        ) from error
    plans = sorted({plan for plan, _ in found})
    if backup is None and len(plans) > 1:
        raise UsageError(f"which backup of {host.name}? There is: {', '.join(plans)}", hint="name one of them")
    of_plan = [path for plan, path in found if backup in {None, plan}]
    if not of_plan:
        raise SourceError(
            f"{host.name} has no archive{f' of backup {backup}' if backup else ''}",
            hint=f"there is: {', '.join(plans) or 'none'}; `daybreak backup` there makes one",
        )
    return PurePosixPath(of_plan[0])


def _ask(run: RunContext, host: Host, argv: tuple[str, ...]) -> bytes:
    try:
        return run.runner.run(host.command(argv, deadline=_BRIEFLY)).stdout
    except CommandError as error:
        if fault := explain(error, host, run.runner):
            raise fault from error
        said = error.tail[-1] if error.tail else error.message
        if error.status == _NO_PROGRAM:
            raise SourceError(
                f"{host.name} has no daybreak for this user to ask: {said}",
                hint="install it there, or say where the archive stands: --path /var/backups/…/name.dump",
            ) from error
        raise SourceError(f"{host.name}: {said}", hint="try it there: daybreak archives") from error


def _read(run: RunContext, host: Host, path: str) -> bytes:
    try:
        return run.runner.run(host.command(("cat", "--", path), deadline=_BRIEFLY)).stdout
    except CommandError as error:
        if fault := explain(error, host, run.runner):
            raise fault from error
        said = error.tail[-1] if error.tail else error.message
        raise SourceError(f"{host.name}: {said}", hint="may this user read the archive's folder there?") from error


def _receive(run: RunContext, host: Host, there: PurePosixPath, to: Path, *, size: int, deadline: timedelta) -> str:
    """Copy the far file to `to`, fsynced; its sha256."""
    digest = hashlib.sha256()
    done = 0
    command = host.command(("cat", "--", str(there)), deadline=deadline, idle=_BRIEFLY)
    try:
        with to.open("xb", buffering=0) as file, run.runner.stream(command) as stream:
            writer = files.EarlyWriter(file.fileno())
            while chunk := stream.read():
                digest.update(chunk)
                writer.write(chunk)
                done += len(chunk)
                run.progress(there.name, done_bytes=done, total_bytes=size)
            os.fsync(file.fileno())
    except CommandError as error:
        raise explain(error, host, run.runner) or SourceError(
            f"{host.name}:{there} could not be read to its end: {error.message}", hint="run again"
        ) from error
    return digest.hexdigest()


def _require_room(to: Path, size: int) -> None:
    free = files.free_bytes(to.parent)
    if free < size:
        raise PublishError(
            f"the archive needs {show_bytes(size)} in {to.parent}, and there are {show_bytes(free)}",
            hint="make room there, or set state = to a folder on a larger disk",
        )
