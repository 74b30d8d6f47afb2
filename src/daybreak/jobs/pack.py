"""Pack an archive for off-site: as shards that stay here between nights, or linked as the file that it is.

    .daybreak/ship/<plan>/         what restic reads: the folder of the shards, or the linked files
    .daybreak/ship/<plan>.dirty    stands from the first write to the manifest's name: until then no shard is trusted

Shapes  a shard is written once under its sha256 and then never touched, so that restic knows it by its place and its
        times and reads only what is new. The order: mark, shards, one syncfs, manifest by rename, mark away, shards
        that nothing needs away.
Errors  `ArchiveError` where the archive is not its manifest's, `OffsiteError` for what the disk refuses.
        Where there is no room for shards, the file goes, with a warning.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Final

from daybreak.archive import Manifest, read_manifest
from daybreak.archive import shards as parts
from daybreak.archive.cutting import Cutting
from daybreak.archive.shards import Shard, ShardManifest, cut_archive, parse_shard_manifest
from daybreak.archive.toc import TABLE_DATA
from daybreak.errors import ArchiveError, OffsiteError
from daybreak.files import (
    FILE_MODE,
    FOLDER_MODE,
    free_bytes,
    fsync_folder,
    lacks_inodes,
    make_folder,
    sha256_file,
    share,
    write_durable,
)
from daybreak.jobs.parcel import Parcel, tags
from daybreak.model import ShipForm
from daybreak.units import show_bytes

#: Shards are compressed once and stored for ever.
SHARD_COMPRESSION: Final = "max"
#: Room for new shards that is there at least, as a part of the data: the archive may have changed so much.
_SPARE: Final = 10
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_GLOBALS: Final = b"-- The archive was made without its roles and settings.\n"

Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What restic is to read, and how it must look in the snapshot."""

    parcel: Parcel
    manifest: Manifest
    paths: tuple[Path, ...]  # for restic; relative ones are meant in `folder`
    files: Mapping[str, int]  # every path as it must stand in the snapshot, and its size
    sample: Mapping[str, str]  # path in the snapshot -> sha256, of what may be read again; the first ones are
    folder: Path | None = None
    compression: str = ""
    recorded: tuple[str, ...] = field(default=())  # the paths that the snapshot itself names

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of the snapshot."""
        return tags(self.parcel, self.manifest.id)


@contextlib.contextmanager
def packed(parcel: Parcel, folder: Path, *, warn: Warn) -> Generator[Packed]:
    """Pack `parcel` into `folder`, `.daybreak/ship/<plan>`, for the time of the block, under the plan's lock."""
    try:
        make_folder(folder, group_of=folder.parent)
        manifest = read_manifest(parcel.manifest)
        found = None
        if parcel.form is ShipForm.SHARDS:
            found = _pack_shards(parcel, manifest, folder, warn)
        if found is not None:
            yield found
            return
        try:
            yield _pack_file(parcel, manifest, folder)
        finally:
            with contextlib.suppress(OSError):  # the next ship empties it first
                _empty(folder)
    except OSError as error:
        raise OffsiteError(
            f"cannot prepare {folder} for off-site: {error.strerror or error}",
            hint="look at the folder's rights and the disk, then `daybreak ship`",
        ) from error


def distrust(folder: Path) -> None:
    """Have every shard hashed before the next ship."""
    write_durable(_mark(folder), b"", group_of=folder.parent)


# -- as a file ----------------------------------------------------------------------------------


def _pack_file(parcel: Parcel, manifest: Manifest, folder: Path) -> Packed:
    """Link the files under their stable names."""
    files = {parcel.name: parcel.dump, f"{parcel.name}.json": parcel.manifest}
    if parcel.globals:
        files[f"{parcel.name}.globals.sql"] = parcel.globals
    _empty(folder)  # of what a killed run left, and of shards
    for name, source in files.items():
        os.link(source, folder / name)
    paths = tuple(folder / name for name in files)
    hashes = {path: sha256_file(path) for path in paths}
    _require(hashes[paths[0]], manifest.sha256, f"archive {parcel.name}")
    if parcel.globals and manifest.globals:
        _require(hashes[paths[2]], manifest.globals.sha256, f"globals file of {parcel.name}")
    return Packed(
        parcel=parcel,
        manifest=manifest,
        paths=paths,
        files={str(path): path.stat().st_size for path in paths},
        sample={str(path): hashes[path] for path in paths[1:]},
        recorded=tuple(map(str, paths)),
    )


def _require(sha256: str, told: str, what: str) -> None:
    """Send only what was checked. Raise ArchiveError for anything else."""
    if sha256 != told:
        raise ArchiveError(
            f"the {what} is not what its manifest says, and was not sent off-site",
            hint="`daybreak archive read FILE` says what differs; `daybreak backup` makes a new archive",
        )


def _empty(folder: Path) -> None:
    """Remove everything but the manifest of shards: it knows how they are cut."""
    for path in folder.iterdir():
        if path.name != parts.MANIFEST:
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


# -- as shards ----------------------------------------------------------------------------------


class _Store:
    """The shards that lie here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / parts.SHARDS
        make_folder(self.folder, group_of=folder)
        self.there: dict[str, int] = {}  # sha256 -> size
        self.needed: set[str] = set()
        self.fresh: list[Shard] = []
        for inner in list(os.scandir(self.folder)):
            if not inner.is_dir(follow_symlinks=False):
                _remove(Path(inner))
                continue
            for file in list(os.scandir(inner)):
                if file.name[:2] == inner.name and file.is_file(follow_symlinks=False):
                    self.there[file.name] = file.stat(follow_symlinks=False).st_size
                else:  # nobody looks for it, but restic would send it
                    _remove(Path(file))
        self._folders = {name[:2] for name in self.there}

    @property
    def size_bytes(self) -> int:
        return sum(self.there.values())

    def path(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / sha256

    def hash_all(self) -> int:
        """Remove every file that is not the shard that it is called; how many were."""
        wrong = [name for name in self.there if sha256_file(self.path(name)) != name]
        for name in wrong:
            self._forget(name)
        return len(wrong)

    def put(self, shard: Shard, data: bytes) -> None:
        """Write a shard that is not there yet. Half of one may be left by a failure: the mark stands meanwhile."""
        if shard.sha256 in self.needed:
            return
        self.needed.add(shard.sha256)
        if self.there.get(shard.sha256) == shard.size_bytes:
            return
        path = self.path(shard.sha256)
        if shard.sha256[:2] not in self._folders:
            path.parent.mkdir(exist_ok=True)
            share(path.parent, group_of=self.folder, mode=FOLDER_MODE)
            self._folders.add(shard.sha256[:2])
        path.unlink(missing_ok=True)  # of another size
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        try:
            os.fchmod(handle, FILE_MODE)  # whatever the umask
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view) :]
        finally:
            os.close(handle)
        self.there[shard.sha256] = shard.size_bytes
        self.fresh.append(shard)

    def take(self, shards: tuple[Shard, ...]) -> bool:
        """Keep these, if every one of them lies here."""
        if any(self.there.get(shard.sha256) != shard.size_bytes for shard in shards):
            return False
        self.needed.update(shard.sha256 for shard in shards)
        return True

    def remove_unneeded(self) -> None:
        for name in self.there.keys() - self.needed:
            self._forget(name)

    def _forget(self, name: str) -> None:
        self.path(name).unlink(missing_ok=True)
        del self.there[name]


def _pack_shards(parcel: Parcel, manifest: Manifest, folder: Path, warn: Warn) -> Packed | None:
    """Bring the folder of the shards to this archive. None where there is no room, and nothing of them is left."""
    _sweep(folder)
    store = _Store(folder)
    needed = max(manifest.data_bytes - store.size_bytes, manifest.data_bytes // _SPARE)
    free = free_bytes(folder)
    if free < needed:
        warn(
            f"shards need {show_bytes(needed)} beside the archive and there are {show_bytes(free)} free: it goes "
            'off-site as one file, which adds more to the repository; make room, or say ship = "file"'
        )
        return None
    if _mark(folder).exists() and (wrong := store.hash_all()):
        warn(f"{wrong} shards that an interrupted run left were not whole; they are written again")
    before = _manifest_before(folder)
    try:
        distrust(folder)
        return _write_shards(parcel, manifest, folder, store, before)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        lacks = "the disk has no inodes left" if lacks_inodes(folder) else error.strerror
        _empty(folder)
        warn(f"no room was left for the shards ({lacks}): the archive goes off-site as one file")
        return None


def _write_shards(
    parcel: Parcel, manifest: Manifest, folder: Path, store: _Store, before: ShardManifest | None
) -> Packed:
    cutting = _cutting(parcel, manifest, before)
    blocks_before = before.blocks if before is not None and before.cutting == cutting else ()
    known = {block.sha256: block.shards for block in blocks_before if block.kind == TABLE_DATA}

    def unchanged(sha256: str) -> tuple[Shard, ...] | None:
        shards = known.get(sha256)
        return shards if shards is not None and store.take(shards) else None

    blocks, toc = cut_archive(parcel.dump, manifest, cutting, store.put, known=unchanged)
    globals_sql = parcel.globals.read_bytes() if parcel.globals else _NO_GLOBALS
    if manifest.globals and parcel.globals:
        _require(Shard.of(globals_sql).sha256, manifest.globals.sha256, f"globals file of {parcel.name}")
    contents = {parts.TOC: toc, parts.GLOBALS: globals_sql}
    made = ShardManifest(
        archive=manifest,
        cutting=cutting,
        files={name: Shard.of(content) for name, content in contents.items()},
        blocks=blocks,
    ).to_json()
    contents |= {parts.JOIN: _program(), parts.README: _readme(manifest)}
    for name, content in contents.items():
        path = folder / name
        if not path.exists() or path.read_bytes() != content:
            write_durable(path, content, group_of=folder.parent)
    _sync(folder)
    contents[parts.MANIFEST] = made
    write_durable(folder / parts.MANIFEST, made, group_of=folder.parent)
    _mark(folder).unlink(missing_ok=True)
    fsync_folder(folder.parent)
    store.remove_unneeded()
    top = f"/{parcel.plan}"
    sent = {shard.sha256: shard for block in blocks for shard in block.shards}
    return Packed(
        parcel=parcel,
        manifest=manifest,
        paths=(Path(parcel.plan),),
        folder=folder.parent,
        files={
            **{f"{top}/{name}": len(content) for name, content in contents.items()},
            **{f"{top}/{shard.path}": shard.size_bytes for shard in sent.values()},
        },
        sample={
            f"{top}/{parts.MANIFEST}": Shard.of(made).sha256,
            **{f"{top}/{shard.path}": shard.sha256 for shard in _unlike(store.fresh, sent.values())},
        },
        compression=SHARD_COMPRESSION,
        recorded=(str(folder),),
    )


def _unlike(fresh: Iterable[Shard], all_of_them: Iterable[Shard]) -> Iterable[Shard]:
    """New shards first: the others were in a snapshot that was read back."""
    return {shard.sha256: shard for shard in (*fresh, *all_of_them)}.values()


def _cutting(parcel: Parcel, manifest: Manifest, before: ShardManifest | None) -> Cutting:
    """As it is asked for; else as the last time, for another cutting would send everything again."""
    if parcel.shard_bytes is not None:
        return Cutting.of_average(parcel.shard_bytes)
    return before.cutting if before is not None else Cutting.for_size(manifest.data_bytes)


def _manifest_before(folder: Path) -> ShardManifest | None:
    path = folder / parts.MANIFEST
    try:
        return parse_shard_manifest(path.read_bytes(), str(path))
    except (FileNotFoundError, ArchiveError):
        return None


def _sweep(folder: Path) -> None:
    """Remove what is no part of the folder: linked files of a ship as a file, unfinished ones."""
    ours = {parts.MANIFEST, parts.TOC, parts.GLOBALS, parts.JOIN, parts.README, parts.SHARDS}
    for path in folder.iterdir():
        if path.name not in ours:
            _remove(path)


def _mark(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.dirty")


def _sync(folder: Path) -> None:
    """Force everything on the folder's file system to the disk, in one call for thousands of files."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(handle) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(folder))
    finally:
        os.close(handle)


def _program() -> bytes:
    return (resources.files("daybreak.archive") / parts.JOIN).read_bytes()


def _readme(manifest: Manifest) -> bytes:
    text = (resources.files("daybreak.archive") / "snapshot.txt").read_text("utf-8")
    return text.replace("DATABASE", manifest.database).encode()
