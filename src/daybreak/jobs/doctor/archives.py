"""The folder of an archive: there, ours, with the right modes, room for tonight, nobody stuck in its lock."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from daybreak import files
from daybreak.catalog import Catalog
from daybreak.errors import DaybreakError
from daybreak.hosts.container import Mount
from daybreak.jobs.doctor.finding import Finding, Piece
from daybreak.jobs.shelf import Shelf
from daybreak.model import BackupPlan
from daybreak.units import show_bytes

#: With less room than for so many archives, tonight works and next month may not.
_COMFORT: Final = 3


def examine(catalog: Catalog, plan: BackupPlan, *, forecast_bytes: int | None) -> Iterator[Finding]:
    """All pieces around an archive. Nothing is made or mended."""
    folder = plan.archive.parent
    there = judge_folder(Piece("archive.folder", plan.name), plan.archive)
    yield there
    if not os.access(folder, os.R_OK | os.X_OK):
        return
    yield judge_mode(Piece("archive.mode", plan.name), folder)
    if forecast_bytes is not None:
        yield judge_room(Piece("archive.room", plan.name), folder, files.free_bytes(folder), forecast_bytes)
    yield _lock(Piece("archive.lock", plan.name), Shelf(plan.archive))
    yield _manifest(catalog, Piece("archive.manifest", plan.name), plan)


def judge_folder(piece: Piece, archive: Path) -> Finding:
    """Whether an archive could be published there."""
    folder = archive.parent
    where = shlex.quote(str(folder))
    try:
        is_there = folder.is_dir()
    except OSError as error:
        text = f"{folder} cannot be looked at by {_who(os.geteuid())}: {error.strerror}"
        return piece.error(text, f"namei -l {where}   # which of the folders above it is closed")
    if not is_there:
        return piece.error(f"{folder} is not there", f"sudo install -d -m 2770 {where}")
    if closed := _closed(piece, folder, where):
        return closed
    if archive.is_symlink() or archive.is_dir():
        return piece.error(f"{archive} is no file", "remove it, or name another file in the configuration")
    root = folder / ".daybreak"
    if root.exists() and (root / "staging").exists() and (root / "staging").stat().st_dev != folder.stat().st_dev:
        return piece.error(f"{root / 'staging'} is on another file system than {folder}", "unmount it")
    return piece.ok(f"{folder} can be written")


def _closed(piece: Piece, folder: Path, where: str) -> Finding | None:
    if files.is_read_only(folder):
        return piece.error(
            f"{folder} is not writable: its file system is read-only",
            f"sudo {files.how_to_write(folder)}   # dmesg says why",
        )
    if files.lacks_inodes(folder):
        return piece.error(
            f"no file can be made in {folder}: {files.NO_INODES}", f"df -i {where}   # remove files there"
        )
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return piece.error(f"{folder} is not writable for {_who(os.geteuid())}", f"ls -ld {where}   # its group writes")
    return None


def judge_mode(piece: Piece, folder: Path) -> Finding:
    """Whether others than the group see the archives: they hold everything that production holds."""
    status = folder.stat()
    mode = stat.S_IMODE(status.st_mode)
    where = shlex.quote(str(folder))
    if mode & stat.S_IRWXO:
        return piece.error(f"{folder} is open to every user (mode {mode:04o})", f"sudo chmod 2770 {where}")
    if not mode & stat.S_ISGID and mode & stat.S_IWGRP:
        return piece.warning(
            f"{folder} (mode {mode:04o}) does not hand its group on to what is made in it", f"sudo chmod g+s {where}"
        )
    return piece.ok(f"{folder} is {mode:04o}, of {_who(status.st_uid)}:{_group(status.st_gid)}")


def judge_room(piece: Piece, folder: Path, free_bytes: int, forecast_bytes: int) -> Finding:
    """Whether tonight's archive fits."""
    text = f"{show_bytes(free_bytes)} free in {folder}; the next archive needs about {show_bytes(forecast_bytes)}"
    if free_bytes < forecast_bytes:
        return piece.error(text, "make room there, or lower keep_local")
    if free_bytes < _COMFORT * forecast_bytes:
        return piece.warning(text, "make room there before it grows")
    return piece.ok(text)


def judge_mounts(piece: Piece, mounts: tuple[Mount, ...], folder: Path, *, is_target: bool) -> Finding:
    """How a container sees the folder of the archives: one that dev can write, dev's superuser can destroy."""
    real = folder.resolve()
    over = [one for one in mounts if real.is_relative_to(one.source)]
    if not over:
        if is_target:
            return piece.warning(
                f"the container does not mount {folder}: a refresh copies the archive in, which needs room and time",
                f"mount it read-only:  - {folder}:/backups:ro",
            )
        return piece.ok(f"the container does not mount {folder}, and needs not")
    mount = max(over, key=lambda one: len(one.source.parts))
    if mount.writable and is_target:
        return piece.warning(
            f"the container mounts {mount.source} writable: its superuser could destroy production's backups",
            f"mount it read-only:  - {mount.source}:{mount.inside}:ro",
        )
    return piece.ok(f"{mount.source} is {mount.inside} in the container")


def _lock(piece: Piece, shelf: Shelf) -> Finding:
    place = shelf.root / "locks"
    if place.exists() and not os.access(place, os.W_OK | os.X_OK) and not files.is_read_only(place):
        where = shlex.quote(str(shelf.root))
        return piece.error(f"{place} is not writable for {_who(os.geteuid())}", f"sudo chmod -R g+rwX {where}")
    with suppress(OSError):
        if shelf.is_busy():
            return piece.warning("a run holds the archive just now", "daybreak runs; daybreak run cancel ID")
    return piece.ok("nobody holds the archive")


def _manifest(catalog: Catalog, piece: Piece, plan: BackupPlan) -> Finding:
    shelf = Shelf(plan.archive)
    known = catalog.archives.newest(plan.name)
    if not plan.archive.exists():
        if known is None:
            return piece.warning("there is no archive yet", f"daybreak backup {plan.name}")
        return piece.error(f"{plan.archive} is gone", f"daybreak backup {plan.name}, or daybreak fetch --to FILE")
    try:
        manifest = shelf.manifest_of(plan.archive)
    except DaybreakError as error:
        return piece.fault(error)
    if manifest is None or manifest.size_bytes != plan.archive.stat().st_size:
        return piece.error(
            f"{plan.archive} is not what its manifest says",
            f"daybreak archive read {shlex.quote(str(plan.archive))}; daybreak repair",
        )
    return piece.ok(f"archive {manifest.id} stands there, {show_bytes(manifest.size_bytes)}")


def _who(uid: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)


def _group(gid: int) -> str:
    with suppress(KeyError):
        return grp.getgrgid(gid).gr_name
    return str(gid)
