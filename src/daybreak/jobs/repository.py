"""Make a repository, free it of dead locks, list what it holds.

Shapes  only `init` ever makes a repository, and only when a person asks for it.
Errors  `Refused` where one exists already, `ConfigError` for a password that is not there, `OffsiteError`.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from daybreak.errors import ConfigError, OffsiteError, Refused
from daybreak.files import disk_errors, fsync_folder
from daybreak.jobs.parcel import OURS, QUARANTINED
from daybreak.model import Snapshot
from daybreak.restic import Lock, Restic, is_dead, show_lock
from daybreak.secret import Secret

OTHERS: Final = "not Daybreak's"
#: Crockford's: no letter that looks like another one.
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_BLOCKS: Final = 8
_BLOCK: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One snapshot of a repository, ours or somebody else's."""

    snapshot: Snapshot
    ours: bool
    quarantined: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlocked:
    """A repository without a lock."""

    repository: str
    removed: tuple[str, ...]  # whose locks were removed, in words


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The snapshots of one plan and host."""

    snapshots: int
    oldest_at: datetime
    newest_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """A repository in numbers."""

    repository: str
    size_bytes: int
    snapshots: int
    plans: Mapping[str, Span]  # "nightly of db1"; `OTHERS` for what is not Daybreak's


def init(restic: Restic) -> str:
    """Make the repository with the configured password, as it is, and return its id.

    Raise Refused where one exists already, whatever its password.
    """
    if exists(restic):
        raise Refused(
            f"repository {restic.name} exists already, and the configured password opens it",
            hint="nothing is to be done: `daybreak ship` uses it",
        )
    return restic.init()


def exists(restic: Restic) -> bool:
    """Whether there is a repository that the configured password opens. Raise Refused for one with another password."""
    _require_password(restic)
    restic.version()
    try:
        restic.open()
    except OffsiteError as fault:
        if fault.reason == "password":
            raise Refused(
                f"repository {restic.name} exists already, and the configured password is not its password",
                hint="point the password source at the password that it was made with, or choose another address",
            ) from fault
        if fault.reason != "missing":
            raise
        return False
    return True


def unlock(restic: Restic, *, at: datetime) -> Unlocked:
    """Remove the locks that dead restics of this host left, if there are no others.

    Raise OffsiteError (locked) with every holder, and what a person can do, where one may be alive.
    """
    restic.version()
    held = restic.locks()
    shown = tuple(show_lock(lock, at) for lock in held)
    if held and not restic.unlock_dead():
        judged = "; ".join(f"{text} ({_judge(lock)})" for lock, text in zip(held, shown, strict=True))
        raise OffsiteError(
            f"repository {restic.name}: no lock was removed: {judged}",
            hint="wait for its holder, or end it. A lock of another host is removed there: `restic unlock`, once you"
            " have seen that no restic runs on it",
            reason="locked",
        )
    return Unlocked(repository=restic.name, removed=shown)


def _judge(lock: Lock) -> str:
    if lock.host != socket.gethostname():
        return "of another host, nobody here can tell whether it is alive"
    return "its process is gone" if is_dead(lock) else "its process lives"


def stats(restic: Restic) -> Stats:
    """What a repository holds and weighs."""
    restic.version()
    found = restic.snapshots()
    plans: dict[str, list[Snapshot]] = {}
    for one in found:
        plans.setdefault(f"{one.plan} of {one.host}" if OURS in one.tags and one.plan else OTHERS, []).append(one)
    return Stats(
        repository=restic.name,
        size_bytes=restic.size_bytes(),
        snapshots=len(found),
        plans={
            name: Span(snapshots=len(ones), oldest_at=ones[0].taken_at, newest_at=ones[-1].taken_at)
            for name, ones in plans.items()
        },
    )


def snapshots(restic: Restic) -> list[Listed]:
    """Everything that the repository holds, newest first; ours are marked."""
    return [
        Listed(snapshot=one, ours=OURS in one.tags and one.plan is not None, quarantined=QUARANTINED in one.tags)
        for one in reversed(restic.snapshots())
    ]


def make_password() -> Secret:
    """A password that a person can copy from a screen to paper: eight blocks of five, 200 bits."""
    letters = [secrets.choice(_ALPHABET) for _ in range(_BLOCKS * _BLOCK)]
    return Secret("-".join("".join(letters[at : at + _BLOCK]) for at in range(0, len(letters), _BLOCK)))


def write_password(password: Secret, file: Path) -> None:
    """Write a new password file, for its owner alone, durably. Raise PublishError; one that is there is not touched."""
    with disk_errors(file, "cannot write the password file"):
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as written:
            written.write(password.reveal() + "\n")
            written.flush()
            os.fsync(written.fileno())
        fsync_folder(file.parent)


def _require_password(restic: Restic) -> None:
    """Stop before restic does, and say how a password is made."""
    file = restic.repository.password.file
    if file and not file.exists():
        raise ConfigError(
            f"the password file {file} of repository {restic.name} is not there",
            hint=f"make one: (umask 077; openssl rand -base64 33 > {file}); then write it down somewhere else: "
            "without it every snapshot is lost for ever",
        )
