"""The folder around one archive: what stands there under which name, and the order in which names change.

    NAME.dump  NAME.dump.json  NAME.dump.globals.sql     the newest, published
    NAME-<id>.dump …                                     older ones, as many as `keep_local` says
    .daybreak/staging/      what is being dumped; no name there ends in .dump
    .daybreak/manifests/    <sha256>.json and .globals.sql of every archive here, written before it is renamed
    .daybreak/pins/         hard links that readers work from: tonight's backup may rename over the name
    .daybreak/quarantine/   suspicious archives that wait for a person
    .daybreak/backlog/      archives that a repository still lacks
    .daybreak/proven.dump   the newest proven archive, when the published one is not proven

Errors  `PublishError` for what the disk refuses, `ConfigError` for a folder that cannot work at all,
        `ArchiveError` for an archive that is not its manifest's.
Source  the order is: bytes, fsync, manifest under the sha256, rename, folder fsync, manifest's name.
        Whoever finds a manifest that is not the archive's takes the one stored under its sha256.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import shlex
import shutil
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Final

from daybreak import files
from daybreak.archive import Manifest, read_manifest
from daybreak.archive.readback import sha256_from_disk
from daybreak.errors import ArchiveError, ConfigError, PublishError, UnreadableError
from daybreak.units import show_bytes

JSON: Final = ".json"
GLOBALS: Final = ".globals.sql"
_FOLDERS: Final = ("staging", "manifests", "pins", "ship", "backlog", "quarantine", "locks")
#: https://bford.info/cachedir/: backup programs leave such a folder out.
_CACHEDIR_TAG: Final = b"Signature: 8a477f597d28d172789f06886806bc55\n# Daybreak's working files\n"
_QUARANTINED: Final = 3
#: A manifest without its archive is left from a run that died, if it has lain there so long.
_ORPHANED_S: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """An archive that will not change or vanish while it is in use."""

    path: Path  # the manifest and the globals lie beside it
    manifest: Manifest
    folder: Path | None = None  # where a file that starts with the run's id may lie for the time of the pin


class Shelf:
    """The names around one archive. Changes are made under `lock` only, pins excepted."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self.folder = archive.parent
        self.root = self.folder / ".daybreak"
        self.proven_name = self.root / "proven.dump"

    # -- before a dump ------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make our folders. Raise PublishError or ConfigError before any load falls on production."""
        with files.disk_errors(self.folder, "cannot look at"):
            there = self.folder.is_dir()
        if not there:
            raise PublishError(
                f"the archive's folder {self.folder} is not there",
                hint=f"install -d -m 2770 {shlex.quote(str(self.folder))}   # or mend the path in the configuration",
            )
        if files.is_read_only(self.folder):
            raise PublishError(
                f"the archive's folder {self.folder} is not writable: its file system is read-only",
                hint=f"look why (dmesg), then {files.how_to_write(self.folder)}; "
                "a service of systemd writes only where its unit says: `daybreak systemd install` again",
            )
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise PublishError(
                f"the archive's folder {self.folder} is not writable", hint="run as a member of its group (mode 2770)"
            )
        if self.archive.is_symlink() or self.archive.is_dir():
            raise PublishError(
                f"{self.archive} is a {'link' if self.archive.is_symlink() else 'folder'}, not a file",
                hint="remove it, or name another file in the configuration",
            )
        with files.disk_errors(self.root, "cannot prepare"):
            files.make_folder(self.root, group_of=self.folder)
            for name in _FOLDERS:
                files.make_folder(self.root / name, group_of=self.folder)
            tag = self.root / "CACHEDIR.TAG"
            if not tag.exists():
                files.write_durable(tag, _CACHEDIR_TAG, group_of=self.folder)
        if (self.root / "staging").stat().st_dev != self.folder.stat().st_dev:
            raise ConfigError(
                f"{self.root / 'staging'} is on another file system than {self.folder}: a rename would not work",
                hint="unmount it, so that both are one file system",
            )

    def require_room(self, needed_bytes: int) -> None:
        """Raise PublishError when an archive of this size would not fit."""
        free = files.free_bytes(self.folder)
        if free < needed_bytes:
            raise PublishError(
                f"{self.folder} has {show_bytes(free)} free; the next archive needs about {show_bytes(needed_bytes)}",
                hint="make room there, or lower keep_local, then run again",
            )

    @contextlib.contextmanager
    def lock(self, *, wait: timedelta, cancel: Event, holder: str) -> Generator[None]:
        """Hold the archive: one dump and publish at a time."""
        path = self.root / "locks" / f"{self.archive.name}.lock"
        with files.lock(path, wait=wait, cancel=cancel, holder=holder):
            yield

    def is_busy(self) -> bool:
        """Whether a dump of this archive is going on."""
        return files.is_locked(self.root / "locks" / f"{self.archive.name}.lock")

    def staged(self, run: str) -> Path:
        """The file that a run dumps into."""
        return self.root / "staging" / f"{self.archive.name}.{run}.partial"

    # -- publishing ---------------------------------------------------------------------------

    def store_manifest(self, manifest: Manifest, globals_sql: bytes) -> None:
        """Write manifest and globals under the archive's sha256, before the archive gets a name."""
        stored = self._stored(manifest.sha256)
        with files.disk_errors(stored, "cannot write"):
            files.write_durable(stored.with_name(manifest.sha256 + GLOBALS), globals_sql, group_of=self.folder)
            files.write_durable(stored, manifest.to_json(), group_of=self.folder)

    def publish(self, complete: Path, manifest: Manifest, *, keep_as: Path | None) -> None:
        """Give a complete archive the stable name; the one before first becomes `keep_as`, if wanted.

        The bytes are on the disk and the manifest is stored. The previous archive stands until the rename.
        """
        with files.disk_errors(self.archive, "cannot publish"):
            if keep_as is not None and self.archive.exists():
                self._link_with_names(self.archive, keep_as)
            files.share(complete, group_of=self.folder, mode=files.FILE_MODE)
            complete.replace(self.archive)
            files.fsync_folder(self.folder)
            files.fsync_folder(complete.parent)
            self._name_manifest(manifest.sha256)

    def quarantine(self, complete: Path, manifest: Manifest) -> Path:
        """Put a suspicious archive aside under its id; it stays until a person accepts it or newer ones come."""
        aside = self.root / "quarantine" / f"{manifest.id}.dump"
        with files.disk_errors(aside, "cannot quarantine"):
            files.share(complete, group_of=self.folder, mode=files.FILE_MODE)
            complete.replace(aside)
            self._link_names(manifest.sha256, aside)
            files.fsync_folder(aside.parent)
            for old in sorted(aside.parent.glob("*.dump"), reverse=True)[_QUARANTINED:]:
                _remove(old)
        return aside

    def older_name(self, archive_id: str) -> Path:
        """The name of an archive that is no longer the newest."""
        return self.archive.with_name(f"{self.archive.stem}-{archive_id}{self.archive.suffix}")

    def older(self) -> list[tuple[Path, Manifest]]:
        """Older archives that stand here, newest first. A file is ours only if its manifest gives it its name."""
        found = [
            (path, manifest)
            for path in self.folder.glob(f"{_escape(self.archive.stem)}-*{_escape(self.archive.suffix)}")
            if (manifest := self.manifest_of(path)) is not None and self.older_name(manifest.id) == path
        ]
        return sorted(found, key=lambda one: one[1].taken_at, reverse=True)

    def keep_proven(self, path: Path) -> None:
        """Give the newest proven archive its own place; the one that was there before goes."""
        with files.disk_errors(self.proven_name, "cannot keep"):
            self._link_with_names(path, self.proven_name)

    def enlist(self, path: Path, archive_id: str) -> bool:
        """Let an archive wait for the repositories that lack it; False where it does already."""
        waiting = self.root / "backlog" / f"{archive_id}.dump"
        if waiting.exists() and self.manifest_of(waiting) is not None:
            return False
        with files.disk_errors(waiting, "cannot keep"):
            self._link_with_names(path, waiting)
        return True

    def backlog(self) -> list[tuple[Path, Manifest]]:
        """The archives that wait to be sent, oldest first."""
        paths: list[Path] = []
        # Path.glob finds nothing in a folder that is closed to us; that would be told as "nothing waits".
        with files.disk_errors(self.root / "backlog", "cannot read"), contextlib.suppress(FileNotFoundError):
            paths = [path for path in (self.root / "backlog").iterdir() if path.suffix == ".dump"]
        found = [(path, manifest) for path in paths if (manifest := self.manifest_of(path)) is not None]
        return sorted(found, key=lambda one: (one[1].taken_at, one[1].id))

    def remove(self, path: Path) -> None:
        """Delete an archive with its manifest and globals."""
        with files.disk_errors(path, "cannot delete"):
            _remove(path)

    # -- reading ------------------------------------------------------------------------------

    def manifest_of(self, path: Path) -> Manifest | None:
        """The manifest that lies beside an archive; None where there is none that can be read."""
        try:
            return read_manifest(path.with_name(path.name + JSON))
        except ArchiveError:
            return None

    def read(self, stop: Callable[[], bool]) -> str:
        """The sha256 of the published archive. Raise UnreadableError, and Cancelled where `stop` says so meanwhile."""
        return sha256_of(self.archive, again=False, stop=stop)

    def mend(self, read: Callable[[], str]) -> Manifest | None:
        """See that the published archive has its own manifest; name the stored one where it has not.

        `read` gives its sha256, or waits for it. None where nothing is published. Raise ArchiveError for
        an archive that no manifest belongs to, UnreadableError for one that the disk does not give.
        """
        if not self.archive.exists():
            return None
        sha256 = read()
        named = self.manifest_of(self.archive)
        if named is not None and named.sha256 == sha256:
            return named
        if not self._stored(sha256).exists():
            raise ArchiveError(
                f"{self.archive} has changed since it was published: no manifest here has its sha256 {sha256[:16]}…",
                hint="do not restore from it; take one from off-site (`daybreak fetch`) and find out what wrote there",
            )
        with files.disk_errors(self.archive, "cannot mend the manifest of"):
            self._name_manifest(sha256)
        return read_manifest(self.archive.with_name(self.archive.name + JSON))

    @contextlib.contextmanager
    def pin(self, path: Path, run: str, *, seen: files.Seen | None = None) -> Generator[Pinned]:
        """A hard link to an archive for the time of the block, checked against its manifest.

        It is read through for that, unless `seen` knows it.
        """
        pinned = self.root / "pins" / f"{run}.dump"
        with files.disk_errors(path, "cannot pin"):
            try:
                os.link(path, pinned)
            except PermissionError:
                # The kernel lets nobody link a file that he neither owns nor may write (protected_hardlinks).
                self.require_room(path.stat().st_size)
                shutil.copyfile(path, pinned)
        try:
            known = seen.sha256(pinned) if seen else None
            manifest = self._manifest_for(path, known or sha256_of(pinned))
            with files.disk_errors(pinned, "cannot pin"):
                self._link_names(manifest.sha256, pinned)
            yield Pinned(path=pinned, manifest=manifest, folder=pinned.parent)
        finally:
            for suffix in ("", GLOBALS, JSON):
                files.discard(pinned.with_name(pinned.name + suffix))

    def _manifest_for(self, path: Path, sha256: str) -> Manifest:
        stored = self._stored(sha256)
        if stored.exists():
            manifest = read_manifest(stored)
            if manifest.sha256 == sha256:
                return manifest
        raise ArchiveError(
            f"{path} is not what its manifest says (sha256 {sha256[:16]}…): cut, damaged or replaced",
            hint="run a new backup, or take one from off-site with `daybreak fetch`",
        )

    # -- cleaning up --------------------------------------------------------------------------

    def sweep(self, is_alive: Callable[[str], bool]) -> list[str]:
        """Remove what dead runs left here, under the lock; say what was removed."""
        removed: list[str] = []
        with files.disk_errors(self.root, "cannot clean up"):
            for left in (self.root / "staging").glob(f"{_escape(self.archive.name)}.*.partial"):
                left.unlink(missing_ok=True)
                removed.append(f"unfinished dump {left.name}")
            removed += self.sweep_pins(is_alive)
            for left in (*_partials(self.root), *self.folder.glob(f".{_escape(self.archive.stem)}*.partial")):
                if left.parent.name != "pins" and not files.is_being_written(left):
                    left.unlink(missing_ok=True)
                    removed.append(f"unfinished file {left.name}")
            for left in self._orphans():
                left.unlink(missing_ok=True)
                removed.append(f"{left.name}, whose archive is gone")
        return removed

    def _orphans(self) -> Iterator[Path]:
        """Manifests and globals of older archives that are gone: a run died while it linked or removed one.

        They get their names before the archive does, also from runs without the lock, so they are left for a while.
        """
        older = f"{_escape(self.archive.stem)}-*{_escape(self.archive.suffix)}"
        for archives in (self.folder / older, *(self.root / one / "*.dump" for one in ("backlog", "quarantine"))):
            for suffix in (JSON, GLOBALS):
                for one in archives.parent.glob(archives.name + suffix):
                    if one.with_name(one.name.removesuffix(suffix)).exists():
                        continue
                    with contextlib.suppress(FileNotFoundError):
                        if time.time() - one.stat().st_ctime > _ORPHANED_S:
                            yield one

    def sweep_pins(self, is_alive: Callable[[str], bool]) -> list[str]:
        """Remove the pins of dead runs; it needs no lock."""
        removed: list[str] = []
        for left in (self.root / "pins").iterdir():
            # RUN.dump, RUN.dump.json …, and .RUN.dump.json.PID.partial: the pins of those who live are in use.
            if not is_alive(left.name.lstrip(".").partition(".")[0]):
                left.unlink(missing_ok=True)
                removed.append(f"pin {left.name}")
        return removed

    def forget_manifests(self) -> None:
        """Remove stored manifests of archives that stand nowhere here any more, under the lock.

        Not while a pin has no manifest beside it: its holder is about to look for the stored one.
        """
        pins = (self.root / "pins").glob("*.dump")
        if not all(pin.with_name(pin.name + JSON).exists() for pin in pins):
            return
        wanted: set[str] = set()
        named = [
            *self.folder.glob(f"{_escape(self.archive.stem)}*{JSON}"),
            *(self.root / "quarantine").glob(f"*{JSON}"),
            *(self.root / "backlog").glob(f"*{JSON}"),
            self.proven_name.with_name(self.proven_name.name + JSON),
        ]
        for place in named:
            with contextlib.suppress(ArchiveError):
                wanted.add(read_manifest(place).sha256)
        for stored in (self.root / "manifests").iterdir():
            if stored.name.split(".")[0] not in wanted:
                stored.unlink(missing_ok=True)

    # -- names --------------------------------------------------------------------------------

    def _stored(self, sha256: str) -> Path:
        return self.root / "manifests" / f"{sha256}{JSON}"

    def _name_manifest(self, sha256: str) -> None:
        self._link_names(sha256, self.archive)
        files.fsync_folder(self.folder)

    def _link_names(self, sha256: str, archive: Path) -> None:
        stored = self._stored(sha256)
        globals_sql = stored.with_name(sha256 + GLOBALS)
        if globals_sql.exists():
            files.link_over(globals_sql, archive.with_name(archive.name + GLOBALS))
        files.link_over(stored, archive.with_name(archive.name + JSON))

    def _link_with_names(self, source: Path, name: Path) -> None:
        """The archive last: whoever finds it has its manifest."""
        for suffix in (JSON, GLOBALS):
            beside = source.with_name(source.name + suffix)
            if beside.exists():
                files.link_over(beside, name.with_name(name.name + suffix))
        files.fsync_folder(name.parent)
        files.link_over(source, name)
        files.fsync_folder(name.parent)


def sha256_of(archive: Path, *, again: bool = True, stop: Callable[[], bool] = lambda: False) -> str:
    """The sha256 of an archive that is read `again` soon, or else may be stopped. Raise UnreadableError, Cancelled."""
    try:
        return files.sha256_file(archive) if again else sha256_from_disk(archive, stop=stop)
    except OSError as error:
        raise UnreadableError(
            f"{archive} cannot be read: {error.strerror}", hint="suspect the disk, or look at the rights of the file"
        ) from error


def _partials(folder: Path) -> Iterator[Path]:
    """Half-written files below a folder in which others make and remove folders meanwhile."""
    for place, _, names in os.walk(folder):  # which passes over a folder that is gone by now; Path.rglob does not
        yield from (Path(place, name) for name in fnmatch.filter(names, ".*.partial"))


def _remove(archive: Path) -> None:
    """The archive first, so that one without a manifest is never left to wonder about; `sweep` takes the others."""
    for suffix in ("", GLOBALS, JSON):
        archive.with_name(archive.name + suffix).unlink(missing_ok=True)


def _escape(name: str) -> str:
    """A file name as a literal in a glob."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)
