"""Which parts a server has, and the walk through them: look, make where asked to, look again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from daybreak.deploy.pieces import Account, ByHand, Folder, Group, Keys, Piece, Private, Text
from daybreak.deploy.scripts import scripts
from daybreak.errors import DaybreakError
from daybreak.model import BackupPlan, Database, RefreshPlan, Repository
from daybreak.server import Server

_SHARED: Final = 0o2770


class Outcome(StrEnum):
    """What became of a part."""

    THERE = "there"  # it was as it should be
    MADE = "made"
    DIFFERS = "differs"  # nobody wanted it made
    BY_HAND = "by hand"  # a person has to bring something
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One part after the walk."""

    what: str
    outcome: Outcome
    found: str = ""  # what was other than it should be
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What a configuration says about its server."""

    server: Server
    source: Path  # the configuration that was read
    state: Path
    program: Path  # daybreak, as a forced command calls it
    databases: Iterable[Database]
    repositories: Iterable[Repository]
    backups: Iterable[BackupPlan]
    refreshes: Iterable[RefreshPlan]


def pieces(deployment: Deployment) -> list[Piece]:
    """All parts, in the order in which they stand on each other."""
    server = deployment.server
    found: list[Piece] = [Group(name=server.group)]
    if server.user is not None:
        found.append(Account(name=server.user, group=server.group))
    found += [Folder(path=plan.archive.parent, mode=_SHARED, group=server.group) for plan in deployment.backups]
    found.append(Folder(path=deployment.state, mode=_SHARED, group=server.group, deep=True))
    found.append(Folder(path=server.configuration.parent, mode=0o2750, group=server.group))
    content = deployment.source.read_bytes()
    found.append(Text(path=server.configuration, content=content, mode=0o640, group=server.group, replaces=False))
    found += [Private(path=path, holds=holds) for path, holds in _secrets(deployment).items()]
    texts = scripts(server, _subjects(deployment))
    found += [Folder(path=folder, mode=0o755) for folder in dict.fromkeys(path.parent for path in texts)]
    found += [Text(path=path, content=text.encode(), mode=0o755) for path, text in texts.items()]
    if server.user is not None and server.keys:
        found.append(
            Keys(
                user=server.user,
                keys=server.keys,
                program=deployment.program,
                configuration=server.configuration,
                path=server.authorized_keys,
            )
        )
    return found


def walk(parts: Sequence[Piece], *, make: bool) -> list[Result]:
    """Look at every part, and make what differs; one that cannot be made does not hold up the others."""
    return [_one(part, make=make) for part in parts]


def _one(part: Piece, *, make: bool) -> Result:
    try:
        found = part.look()
        if found and make:
            _make(part)
    except ByHand as error:
        return Result(what=part.what, outcome=Outcome.BY_HAND, found=error.message, hint=error.hint)
    except DaybreakError as error:
        return Result(what=part.what, outcome=Outcome.FAILED, found=error.message, hint=error.hint)
    except OSError as error:
        hint = "call this as root" if isinstance(error, PermissionError) else "look at the folder and the disk"
        return Result(what=part.what, outcome=Outcome.FAILED, found=f"{error.strerror}: {error.filename}", hint=hint)
    outcome = Outcome.THERE if not found else Outcome.MADE if make else Outcome.DIFFERS
    return Result(what=part.what, outcome=outcome, found=found)


def _make(part: Piece) -> None:
    part.make()
    if left := part.look():
        raise DaybreakError(f"still {left}", hint="look at what changes it back")


def _secrets(deployment: Deployment) -> dict[Path, str]:
    """Every file with a secret, and what it holds."""
    found: dict[Path, str] = {}
    for one in deployment.databases:
        if one.password is not None and one.password.file is not None:
            found[one.password.file] = f"the password of database {one.name}"
    for one in deployment.repositories:
        if one.password.file is not None:
            found[one.password.file] = f"the password of repository {one.name}"
        if one.env_file is not None:
            found[one.env_file] = f"the keys of repository {one.name}, NAME=value lines"
    return found


def _subjects(deployment: Deployment) -> dict[str, str]:
    found = {f"backup:{plan.name}": plan.database.name for plan in deployment.backups}
    return found | {f"refresh:{plan.name}": plan.target.name for plan in deployment.refreshes}
