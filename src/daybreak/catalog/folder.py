"""The state folder on disk: made once, 2770, files 0660 whatever the umask, shared by a group.

Errors  `ConfigError` where the caller cannot write it, with the command that mends it. There is no
        other folder to fall back to: two catalogs on one host would let two backups run at once.
"""

from __future__ import annotations

import errno
import getpass
import grp
import os
import shlex
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from daybreak import files
from daybreak.errors import ConfigError

FOLDER_MODE: Final = 0o2770
FILE_MODE: Final = 0o660
#: Locked in the state folder by whoever keeps its schedule.
KEPT: Final = Path("locks") / "serve.lock"
CATALOG: Final = "catalog.sqlite3"
ACCOUNTS: Final = "console.sqlite3"  # in the folder of the console
#: What Daybreak makes in a state folder, whatever stands behind the first point.
_OURS: Final = frozenset(
    {"asked", "catalog", "console", "fetched", "locks", "logs", "lost+found", "private", "runs", "serve"}
)
ANOTHER: Final = "name another one with `state = …` or DAYBREAK_STATE"


def make_folder(folder: Path) -> None:
    """Make `folder` (2770) where it is missing and see that the caller can write it.

    One that exists keeps its mode: it may be anybody's, a wrong `state = "/tmp"` for example.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o770)
        folder.chmod(FOLDER_MODE)  # mkdir heeds the umask and ignores the group bit
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno == errno.EROFS:
            raise _read_only(folder) from error
        raise ConfigError(
            f"the state folder {folder} cannot be made: {error.strerror}",
            hint=f"make it once: sudo install -d -m 2770 -g {shlex.quote(_own_group())} {shlex.quote(str(folder))}",
        ) from error
    if not folder.is_dir():
        raise ConfigError(f"the state folder {folder} is not a folder", hint=ANOTHER)
    if files.is_read_only(folder):
        raise _read_only(folder)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError(f"the state folder {folder} is not writable for {_me()}", hint=_mend(folder))


def make_file(path: Path) -> None:
    """Make an empty file (0660) where it is missing and see that the caller can write it.

    One that exists is not opened: closing any descriptor of a database file drops the locks that SQLite
    holds on it elsewhere in this process.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigError(f"{path} cannot be made by {_me()}: {error.strerror}", hint=_mend(path.parent)) from error
    status = path.stat()
    if status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) != FILE_MODE:
        path.chmod(FILE_MODE)  # the umask took something away, just now or when its maker was killed
    if not os.access(path, os.R_OK | os.W_OK):
        raise ConfigError(f"{path} is not writable for {_me()}", hint=_mend(path.parent))


def _me() -> str:
    with suppress(KeyError, OSError):  # a number without a name, in a container
        return getpass.getuser()
    return f"user {os.geteuid()}"


def _group_name(gid: int) -> str:
    with suppress(KeyError):
        return grp.getgrgid(gid).gr_name
    return str(gid)


def _own_group() -> str:
    return _group_name(os.getegid())


def is_our_own(folder: Path) -> bool:
    """Whether nothing but Daybreak can be in there: a command for all that lies in /etc, or in a home, ends a host."""
    if len(folder.resolve().parts) <= len(Path("/etc").parts):
        return False
    try:
        names = {one.name for one in folder.iterdir()}
    except OSError:  # closed to us; what we made lets the group in, and what it makes there keeps it
        return bool(folder.stat().st_mode & stat.S_ISGID)
    return {name.partition(".")[0] for name in names} <= _OURS


def _read_only(folder: Path) -> ConfigError:
    """No mode helps there, and root cannot write it either."""
    return ConfigError(
        f"the state folder {folder} is on a file system that is read-only", hint=f"mount it for writing, or {ANOTHER}"
    )


def _mend(folder: Path) -> str:
    """The command that lets this caller write, by the group that the folder has.

    Folders within that shut the group out stay so: the console's own, and what a run keeps to itself.
    """
    if not is_our_own(folder):
        return ANOTHER
    status, where = folder.stat(), shlex.quote(str(folder))
    repair = (
        f"sudo chmod 2770 {where} && sudo find {where} -mindepth 1 -type d ! -perm /070 -prune"
        " -o -type d -exec chmod 2770 {} + -o ! -type l -exec chmod ug+rw,o= {} +"
    )
    if status.st_gid in {os.getegid(), *os.getgroups()}:
        return repair
    if status.st_gid == 0:  # nobody should have to join root's group
        return f"sudo chgrp -R {shlex.quote(_own_group())} {where} && {repair}"
    join = f"sudo usermod -aG {shlex.quote(_group_name(status.st_gid))} {shlex.quote(_me())}"
    return f"{join} && {repair}   # then log in again"
