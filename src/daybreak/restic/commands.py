"""What is asked of restic, as values. Pure: nothing is started here.

Shapes  an `Access` says which program, which repository and with which secrets; each function adds a verb.
        The repository's address stands in the environment like the secrets: it may hold a password.
Units   deadlines: `quick` for what only looks, `slow` for what moves data, `CHANGE` for what lies between.
Errors  `ValueError` for a tag with a comma (restic would read two).
Source  restic's manual, "Scripting" and "Environment variables"; RESTIC_REPOSITORY and
        RESTIC_PASSWORD_FILE are read by 0.14 and later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from daybreak.command import Command
from daybreak.secret import Secret

#: For init, forget, unlock: a few small objects are written, after waiting for nobody.
CHANGE: Final = timedelta(minutes=10)
_REPAIRS: Final = (0, 16, 0)
#: How often restic tells its progress, per second.
PROGRESS_FPS: Final = "2"
#: How hard restic compresses: its own variable.
COMPRESSION: Final = "RESTIC_COMPRESSION"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach one repository."""

    program: str  # name or path of restic
    env: Mapping[str, str | Secret] = field(default_factory=dict[str, str | Secret])  # address, password, keys
    quick: timedelta  # for calls that only look
    slow: timedelta  # for calls that move data
    limits: tuple[str, ...] = ()  # --limit-upload and --limit-download, as restic takes them


def version(program: str) -> Command:
    """`restic version`; no repository is needed."""
    return Command(argv=(program, "version"), deadline=timedelta(seconds=30))


def init(access: Access) -> Command:
    """Make a new repository with the password that is configured."""
    return _command(access, CHANGE, "init", "--json")


def cat_config(access: Access) -> Command:
    """The cheapest question that proves address, keys and password at once, and tells the format."""
    return _command(access, access.quick, "cat", "config", "--no-lock")


def snapshots(access: Access, *, tags: Sequence[str] = (), host: str = "", ids: Sequence[str] = ()) -> Command:
    """Snapshots that have all of `tags`, were made on `host`, or are named. Without: all.

    The tags go into one list: `--tag a,b` means a and b, `--tag a --tag b` means a or b.
    """
    words = ["snapshots", "--json", "--no-lock"]
    if tags:
        words += ["--tag", _tag_list(tags)]
    if host:
        words += ["--host", host]
    return _command(access, access.quick, *words, *_ids(ids))


def ls(access: Access, snapshot: str, *, cache: bool = True) -> Command:
    """The files and folders of one snapshot; without the cache, as the storage itself has them."""
    words = ["ls", "--json", "--no-lock", *([] if cache else ["--no-cache"])]
    return _command(access, access.quick, *words, *_ids([snapshot]))


def backup(
    access: Access,
    paths: Sequence[Path],
    *,
    tags: Sequence[str],
    host: str,
    taken_at: datetime,
    folder: Path | None = None,
    compression: str = "",
) -> Command:
    """Store `paths` as one snapshot whose time is `taken_at` (restic keeps whole seconds).

    A path relative to `folder` stands in the snapshot as it is, without the folders above it. `compression` is
    restic's word; the repository's own environment counts before it.
    restic reads `--time` in the local zone, so the zone of this one command is UTC.
    """
    at = taken_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    words = ["backup", "--json", "--host", host, "--time", at, "--tag", _tag_list(tags)]
    more = {"RESTIC_PROGRESS_FPS": PROGRESS_FPS, "TZ": "UTC"}
    if compression and COMPRESSION not in access.env:
        more[COMPRESSION] = compression
    command = _command(access, access.slow, *words, "--", *map(str, paths), env=more)
    return replace(command, folder=folder)


def forget(access: Access, ids: Sequence[str]) -> Command:
    """Forget exactly these snapshots. Their data stays until somebody prunes."""
    if not ids:
        raise ValueError("forget without an id would be a question of policy")
    return _command(access, CHANGE, "forget", "--json", *_ids(ids))


def dump(access: Access, snapshot: str, path: str) -> Command:
    """One file of a snapshot to standard output."""
    return _command(access, access.slow, "dump", "--no-lock", *_ids([snapshot]), path)


def restore(access: Access, snapshot: str, to: Path, *, paths: Sequence[str] = ()) -> Command:
    """A snapshot, or these of its paths, below the folder `to`."""
    words = [word for path in paths for word in ("--include", _literal(path))]
    return _command(access, access.slow, "restore", "--no-lock", *_ids([snapshot]), "--target", str(to), *words)


def check(access: Access, *, read_data_subset: str = "") -> Command:
    """Check the repository's structure; with a subset (`5%`, `1/10`) the data of that part too."""
    words = ["check", *(["--read-data-subset", read_data_subset] if read_data_subset else [])]
    return _command(access, access.slow, *words)


def prune(access: Access) -> Command:
    """Remove what no snapshot needs any more."""
    return _command(access, access.slow, "prune")


def repair_index(access: Access, version: tuple[int, int, int]) -> Command:
    """Write the index anew from the packs that are there. Before 0.16 it has another name."""
    words = ["repair", "index"] if version >= _REPAIRS else ["rebuild-index"]
    return _command(access, access.slow, *words)


def find(access: Access, kind: str, ids: Sequence[str]) -> Command:
    """The snapshots that need packs or trees (`kind`: pack, tree), the parts of restic's own that ids name."""
    return _command(access, access.slow, "find", "--json", "--no-lock", f"--{kind}", *_ids(ids))


def list_all(access: Access, kind: str) -> Command:
    """The names of everything of one kind that the storage has (`kind`: packs, index, locks), one a line."""
    return _command(access, access.slow if kind == "packs" else access.quick, "list", kind, "--no-lock")


def cat_index(access: Access, index: str) -> Command:
    """What one index says: which pack holds what."""
    return _command(access, access.quick, "cat", "index", "--no-lock", *_ids([index]))


def stats(access: Access) -> Command:
    """What the repository weighs."""
    return _command(access, access.slow, "stats", "--json", "--no-lock", "--mode", "raw-data")


def key_list(access: Access) -> Command:
    """The keys of the repository; the one that the password opens is marked."""
    return _command(access, access.quick, "key", "list", "--json", "--no-lock")


def cat_lock(access: Access, lock: str) -> Command:
    """Who holds one lock."""
    return _command(access, access.quick, "cat", "lock", "--no-lock", *_ids([lock]))


def unlock(access: Access) -> Command:
    """Remove the locks that restic itself calls stale; never `--remove-all`."""
    return _command(access, CHANGE, "unlock")


def _command(access: Access, deadline: timedelta, *words: str, env: Mapping[str, str] | None = None) -> Command:
    verb, *rest = words
    return Command(
        argv=(access.program, verb, *access.limits, *rest), deadline=deadline, env={**access.env, **(env or {})}
    )


def _literal(path: str) -> str:
    """A path as a pattern that means itself."""
    return "".join(f"\\{char}" if char in "*?[]\\" else char for char in path)


def _tag_list(tags: Sequence[str]) -> str:
    for tag in tags:
        if "," in tag or not tag:
            raise ValueError(f"restic would not read {tag!r} as one tag")
    return ",".join(tags)


def _ids(ids: Sequence[str]) -> Sequence[str]:
    """Names of snapshots as restic makes them: nothing that could be an option or a pattern."""
    for name in ids:
        if not name or set(name) - set("0123456789abcdef"):
            raise ValueError(f"{name!r} is not the id of a snapshot")
    return ids
