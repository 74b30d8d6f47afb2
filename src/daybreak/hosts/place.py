"""A file of ours, readable on another host: through a folder that a container mounts, or as a copy.

pg_restore opens the archive again in each worker, so it needs a file, never a stream.

Shapes  what was placed is what the manifest says: size and sha256 are compared over there, since a mount may be
        another folder of the same name.
Errors  `SourceError` where there is no room, or where the copy did not arrive whole.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path, PurePath, PurePosixPath
from typing import Final

from daybreak.errors import CommandError, DaybreakError, SourceError
from daybreak.hosts import container
from daybreak.hosts.host import Host
from daybreak.hosts.reach import explain, fault_of
from daybreak.process import Runner
from daybreak.units import show_bytes

#: Where a copy may lie, in this order.
_FOLDERS: Final = ("/var/tmp", "/tmp")  # noqa: S108 -- on the other host; the copy is made with O_EXCL and mode 0600
_KINDS: Final = ("dump", "load", "list")
_COPY: Final = re.compile(rf"/daybreak-([0-9a-z-]+)\.(?:{'|'.join(_KINDS)})$")
_BRIEFLY: Final = timedelta(minutes=1)
_SLOWEST: Final = 2 * 2**20  # bytes a second, for deadlines
_LOOK: Final = 'wc -c <"$1" && sha256sum <"$1"'
_ROOM: Final = (
    'for folder; do [ ! -w "$folder" ] || { set -- $(df -Pk "$folder" | tail -n 1); echo "$4 $folder"; }; done'
)
#: noclobber: nobody can have put a link of that name there before.
_TAKE: Final = 'set -C; umask 077; head -c "$2" >"$1" && [ "$(wc -c <"$1")" -eq "$2" ]'
_LIST: Final = 'for file in "$@"; do [ ! -f "$file" ] || echo "$file"; done'


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A file as a host sees it."""

    path: PurePath
    how: str  # here, mount, copy
    warnings: tuple[str, ...] = ()


@contextlib.contextmanager
def placed(
    path: Path, *, size: int, sha256: str, host: Host, runner: Runner, run: str, log: Callable[[str], None]
) -> Generator[Placed]:
    """The file `path` (.dump, .load or .list) of this host, as `host` can open it in the block. Raise SourceError."""
    if host.is_here:
        yield Placed(path=path, how="here")
        return
    warnings: list[str] = []
    if host.place.container and host.place.ssh is None:
        mounted = _through_mount(path, host, runner, warnings)
        if mounted is not None and _is_same(mounted, size, sha256, host, runner):
            yield Placed(path=mounted, how="mount", warnings=tuple(warnings))
            return
        if mounted is not None:
            log(f"{host.name} has another file at {mounted}, or cannot read it: the archive is copied in")
    folder = _folder_with_room(size, host, runner)
    inside = folder / f"daybreak-{run}{path.suffix}"
    # What is begun is removed also when the run is cancelled.
    remove = host.command(("rm", "-f", str(inside)), deadline=_BRIEFLY)
    try:
        _copy(path, inside, size, host, runner)
        if not _is_same(inside, size, sha256, host, runner):
            raise SourceError(f"the copy of {path.name} in {host.name} is not the archive", hint="run again")
        yield Placed(path=inside, how="copy", warnings=tuple(warnings))
    finally:
        try:
            Runner().run(remove)
        except DaybreakError as error:
            log(f"{inside} in {host.name} could not be removed, the next run will: {error.message}")


def sweep_copies(host: Host, runner: Runner, is_dead: Callable[[str], bool]) -> list[str]:
    """Remove the copies that dead runs left on a host; say what was removed."""
    if host.is_here:
        return []
    globs = " ".join(f"{folder}/daybreak-*.{kind}" for folder in _FOLDERS for kind in _KINDS)
    said = _run(host, runner, ("sh", "-c", f"set -- {globs}; {_LIST}"))
    left = [line for line in said.splitlines() if (match := _COPY.search(line)) and is_dead(match[1])]
    if left:
        _run(host, runner, ("rm", "-f", *left))
    return [f"copy {file} in {host.name}" for file in left]


def _through_mount(path: Path, host: Host, runner: Runner, warnings: list[str]) -> PurePosixPath | None:
    """Where the container sees a file of this host, by what its runtime says."""
    found = container.state(host, runner)
    real = PurePosixPath(path.resolve())
    # A runtime tells the folder as it was given to it, and that may be a link.
    sources = [(PurePosixPath(os.path.realpath(one.source)), one) for one in found.mounts] if found else []
    over = [(source, one) for source, one in sources if real.is_relative_to(source)]
    if not over:
        return None
    source, mount = max(over, key=lambda both: len(both[0].parts))
    if mount.writable:
        line = f"{mount.source}:{mount.inside}:ro"
        warnings.append(
            f"{host.name} mounts the folder of the archives writable: its superuser could destroy production's "
            f"backups. Mount it read-only:  - {shlex.quote(line)}"
        )
    return mount.inside / real.relative_to(source)


def _is_same(inside: PurePosixPath, size: int, sha256: str, host: Host, runner: Runner) -> bool:
    command = host.command(("sh", "-c", _LOOK, "sh", str(inside)), deadline=_time_for(size))
    try:
        said = runner.run(command).stdout.decode("ascii", "replace").split()
    except CommandError as error:
        if fault := explain(error, host, runner):
            raise fault from error
        return False
    return said[:2] == [str(size), sha256]


def _folder_with_room(size: int, host: Host, runner: Runner) -> PurePosixPath:
    free: dict[str, int] = {}
    for line in _run(host, runner, ("sh", "-c", _ROOM, "sh", *_FOLDERS)).splitlines():
        kib, _, folder = line.partition(" ")
        free[folder] = int(kib) * 1024 if kib.isdigit() else 0
    for folder, room in free.items():
        if room > size:
            return PurePosixPath(folder)
    there = ", ".join(f"{show_bytes(room)} in {folder}" for folder, room in free.items()) or "no folder can be written"
    raise SourceError(
        f"{host.name} has no room for a copy of the archive ({show_bytes(size)}): {there}",
        hint="make room there, or mount the archive's folder read-only into the container: then nothing is copied",
    )


def _copy(path: Path, inside: PurePosixPath, size: int, host: Host, runner: Runner) -> None:
    argv = ("sh", "-c", _TAKE, "sh", str(inside), str(size))
    try:
        runner.run(host.command(argv, deadline=_time_for(size), feed=path))
    except CommandError as error:
        if fault := explain(error, host, runner):
            raise fault from error
        said = error.tail[-1] if error.tail else "it was cut"
        raise SourceError(
            f"the archive could not be copied into {host.name}: {said}", hint="is the disk there full? Then run again"
        ) from error


def _run(host: Host, runner: Runner, argv: tuple[str, ...]) -> str:
    try:
        return runner.run(host.command(argv, deadline=_BRIEFLY)).stdout.decode("utf-8", "surrogateescape")
    except CommandError as error:
        raise fault_of(error, host, runner) from error


def _time_for(size: int) -> timedelta:
    return timedelta(seconds=60 + size / _SLOWEST)
