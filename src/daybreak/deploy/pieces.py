"""The parts of a server, each with two questions: what is other than it should be, and how is it made so.

Shapes  `look` gives "" where all is well, else the difference in words; `make` takes it away, and is only called then.
        A part that a person has to bring (a secret, a key) raises `ByHand` from `make`.
Errors  OSError and DaybreakError of a `make` are told for its part; the others are made all the same.
Source  a user's home is his: what root writes there goes through a handle of the folder, so that no link of his leads
        root elsewhere.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shlex
import stat
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, Protocol

from daybreak.deploy.keys import key_line, with_keys
from daybreak.errors import ConfigError, DaybreakError
from daybreak.process import Command, Runner
from daybreak.server import ServerKey

_SOON: Final = timedelta(minutes=2)
_LONGEST_KEY: Final = 16_384
ROOT: Final = "root"


class ByHand(Exception):  # noqa: N818 -- no fault of ours: a person's turn
    """Something that only a person can bring; the hint says how."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Piece(Protocol):
    """One part of a server."""

    @property
    def what(self) -> str:
        """Its name for people."""
        ...

    def look(self) -> str:
        """What is other than it should be; "" where all is well."""
        ...

    def make(self) -> None:
        """Make it as it should be."""
        ...


def _run(*words: str) -> None:
    Runner().run(Command(argv=words, deadline=_SOON))


def _says(*words: str) -> str:
    """The first line that a program says, whatever its exit status."""
    done = Runner().run(Command(argv=words, deadline=_SOON, ok=frozenset(range(256))))
    return done.stdout.decode("utf-8", "replace").strip()


@dataclass(frozen=True, kw_only=True)
class Group:
    """A group of the system."""

    name: str

    @property
    def what(self) -> str:
        return f"group {self.name}"

    def look(self) -> str:
        return "" if _gid(self.name) is not None else "is not there"

    def make(self) -> None:
        _run("groupadd", "--system", self.name)


_NO_SHELL: Final = "/usr/sbin/nologin"


@dataclass(frozen=True, kw_only=True)
class Account:
    """A user, and that he is a member of a group. One that is made has no password: only a key lets him in.

    One of a service (`system`) has neither a home nor a shell.
    """

    name: str
    group: str
    system: bool = False

    @property
    def what(self) -> str:
        return f"user {self.name} in group {self.group}"

    def look(self) -> str:
        try:
            user = pwd.getpwnam(self.name)
        except KeyError:
            return "there is no such user"
        with contextlib.suppress(KeyError):
            group = grp.getgrnam(self.group)
            if self.name in group.gr_mem or user.pw_gid == group.gr_gid:
                return ""
        return "is no member"

    def make(self) -> None:
        with contextlib.suppress(KeyError):
            pwd.getpwnam(self.name)
            _run("usermod", "--append", "--groups", self.group, self.name)
            return
        if self.system:
            _run("useradd", "--system", "--no-create-home", "--shell", _NO_SHELL, "--groups", self.group, self.name)
            return
        # A `*` is no password that anybody could type, and unlike a `!` it does not lock the account for keys.
        words = ("--create-home", "--shell", "/bin/sh", "--password", "*", "--groups", self.group)
        _run("useradd", *words, self.name)


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder with an owner, a group and a mode; with `deep`, everything in it has the group."""

    path: Path
    mode: int
    group: str = ROOT
    deep: bool = False

    @property
    def what(self) -> str:
        return f"folder {self.path}"

    def look(self) -> str:
        if not self.path.is_dir():
            return "is not there"
        found = _differences(self.path, self.mode, self.group)
        foreign = self._foreign()
        if foreign:
            found.append(f"{len(foreign)} in it not of group {self.group}")
        return ", ".join(found)

    def make(self) -> None:
        _make_folders(self.path.parent)
        self.path.mkdir(exist_ok=True)
        _give(self.path, self.mode, self.group)
        for path in self._foreign():
            os.chown(path, -1, _required_gid(self.group), follow_symlinks=False)

    def _foreign(self) -> list[Path]:
        gid = _gid(self.group)
        if not self.deep or gid is None:
            return []
        return [path for path in self.path.rglob("*") if path.lstat().st_gid != gid]


@dataclass(frozen=True, kw_only=True)
class Text:
    """A file of ours: its content, its mode; root owns it."""

    path: Path
    content: bytes
    mode: int
    group: str = ROOT
    replaces: bool = True  # another content is ours to replace, not a person's

    @property
    def what(self) -> str:
        return f"file {self.path}"

    def look(self) -> str:
        if self._is_masked():
            return "is masked"
        if not self.path.is_file():
            return "is not there"
        found = [] if self.path.read_bytes() == self.content else ["its content is another one"]
        return ", ".join([*found, *_differences(self.path, self.mode, self.group)])

    def _is_masked(self) -> bool:
        """Whether a person turned this unit off: `systemctl mask` puts a link to /dev/null in its place."""
        return self.path.is_symlink() and os.path.realpath(self.path) == os.devnull

    def make(self) -> None:
        if self._is_masked():
            raise _masked(self.path.name)
        if not self.replaces and self.path.is_file() and self.path.read_bytes() != self.content:
            raise ByHand(
                f"{self.path} is there with another content, and stays as it is",
                hint="look at the difference; then copy one over the other by hand, or call this with --config of it",
            )
        beside = self.path.with_name(f".{self.path.name}.new")
        beside.unlink(missing_ok=True)
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(self.content)
            file.flush()
            os.fsync(file.fileno())
        _give(beside, self.mode, self.group)
        beside.replace(self.path)


def _masked(unit: str) -> ByHand:
    return ByHand(
        f"{unit} is masked, so somebody does not want it to run; it stays so",
        hint=f"systemctl unmask {unit}; then call this again",
    )


@dataclass(frozen=True, kw_only=True)
class Private:
    """A file that a person brings and root alone reads."""

    path: Path
    holds: str

    @property
    def what(self) -> str:
        return f"secret {self.path}"

    def look(self) -> str:
        if not self.path.is_file():
            return f"is not there ({self.holds})"
        return ", ".join(_differences(self.path, 0o600, ROOT))

    def make(self) -> None:
        if not self.path.is_file():
            raise ByHand(
                f"{self.path} is missing: {self.holds}",
                hint=f"write it: sudo install -D -m 0600 /dev/stdin {shlex.quote(str(self.path))}",
            )
        _give(self.path, 0o600, ROOT)


@dataclass(frozen=True, kw_only=True)
class Service:
    """A unit that systemd starts now and at every boot. Nothing is asked of a host with another init."""

    name: str
    system: Path  # there where systemd runs

    @property
    def what(self) -> str:
        return f"service {self.name}"

    def look(self) -> str:
        if not self.system.is_dir():
            return ""
        said = [_says("systemctl", word, self.name) for word in ("is-enabled", "is-active")]
        if said != ["enabled", "active"]:
            return f"is {said[0] or 'unknown'} and {said[1] or 'unknown'}"
        return "runs by its unit of before" if self._is_outdated() else ""

    def make(self) -> None:
        if _says("systemctl", "is-enabled", self.name) in {"masked", "masked-runtime"}:
            raise _masked(self.name)
        outdated = self._is_outdated()
        _run("systemctl", "daemon-reload")
        _run("systemctl", "enable", "--now", self.name)
        if outdated:  # runs that go on are processes of their own, and outlive this
            _run("systemctl", "try-restart", self.name)

    def _is_outdated(self) -> bool:
        """Whether the unit on disk is another one than systemd has read."""
        return _says("systemctl", "show", "--property=NeedDaemonReload", "--value", self.name) == "yes"


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The lines of our keys among a user's authorized keys."""

    user: str
    keys: tuple[ServerKey, ...]
    program: Path
    configuration: Path
    path: Path | None = None  # None: in the user's home

    @property
    def what(self) -> str:
        return f"keys of {self.user}"

    def look(self) -> str:
        try:
            user = pwd.getpwnam(self.user)
        except KeyError:
            return "there is no such user"
        try:
            wanted = self._lines()
        except (DaybreakError, ByHand) as error:
            return error.message
        path = self.path or Path(user.pw_dir) / ".ssh" / "authorized_keys"
        if not path.is_file():
            return f"{path} is not there"
        found = path.read_text("utf-8", "surrogateescape")
        return "" if with_keys(found, wanted) == found else f"{path} has not these lines, or a key of ours elsewhere"

    def make(self) -> None:
        user, lines = pwd.getpwnam(self.user), self._lines()
        if self.path is not None:
            folder, owner, mode = self.path.parent, (0, 0), 0o644
            _make_folders(folder)
        else:
            folder, owner, mode = Path(user.pw_dir) / ".ssh", (user.pw_uid, user.pw_gid), 0o600
            if not folder.is_dir():
                folder.mkdir(mode=0o700)
                os.chown(folder, *owner)
        name = "authorized_keys" if self.path is None else self.path.name
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if os.fstat(handle).st_uid not in {0, owner[0]}:
                raise ConfigError(f"{folder} belongs to somebody else", hint=f"give it to {self.user} (mode 0700)")
            _replace_in(handle, name, lines, owner, mode)
        finally:
            os.close(handle)

    def _lines(self) -> list[str]:
        lines: list[str] = []
        for key in self.keys:
            if not key.file.is_file():
                raise ByHand(
                    f"{key.file} is missing: the public key that may ask for {', '.join(key.may)}",
                    hint="make it on your own machine with ssh-keygen -t ed25519, and copy the file.pub",
                )
            try:
                text = key.file.read_bytes()[:_LONGEST_KEY].decode("utf-8", "replace")
                lines.append(key_line(text, key.may, program=self.program, configuration=self.configuration))
            except ConfigError as error:
                raise ConfigError(f"{key.file} {error.message}", hint=error.hint) from None
        return lines


def _replace_in(folder: int, name: str, lines: list[str], owner: tuple[int, int], mode: int) -> None:
    """Write our lines into a file of a folder that is open, and follow no link on the way."""
    found = ""
    with contextlib.suppress(FileNotFoundError):
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
        with os.fdopen(handle, encoding="utf-8", errors="surrogateescape") as file:
            found = file.read()
    beside = f".{name}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(beside, dir_fd=folder)
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(with_keys(found, lines))
        file.flush()
        os.fchown(file.fileno(), *owner)
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)


def _make_folders(path: Path) -> None:
    """Make a folder and those above it, for everybody to pass: a umask must not close the way to what is shared."""
    missing = [one for one in (path, *path.parents) if not one.is_dir()]
    for one in reversed(missing):
        one.mkdir()
        one.chmod(0o755)


def _differences(path: Path, mode: int, group: str) -> list[str]:
    status = path.stat()
    found: list[str] = []
    if status.st_uid != 0:
        found.append("not root's")
    if status.st_gid != _gid(group):
        found.append(f"not of group {group}")
    if stat.S_IMODE(status.st_mode) != mode:
        found.append(f"mode {stat.S_IMODE(status.st_mode):04o}, not {mode:04o}")
    return found


def _give(path: Path, mode: int, group: str) -> None:
    os.chown(path, 0, _required_gid(group))
    path.chmod(mode)


def _gid(group: str) -> int | None:
    with contextlib.suppress(KeyError):
        return grp.getgrnam(group).gr_gid
    return None


def _required_gid(group: str) -> int:
    gid = _gid(group)
    if gid is None:
        raise ConfigError(f"there is no group {group}", hint="it is made first; why that failed stands above")
    return gid
