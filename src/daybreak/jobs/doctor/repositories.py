"""Repositories: restic there and new enough, address and password right, format 2, nobody stuck in a lock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from daybreak.errors import DaybreakError
from daybreak.jobs.doctor.finding import Finding, Piece
from daybreak.model import Repository
from daybreak.restic import Restic
from daybreak.restic.messages import Lock
from daybreak.units import show_duration

_FORMAT: Final = 2
#: restic's own age of a lock that it takes for left behind.
_STALE: Final = timedelta(minutes=30)


def examine(
    restic: Restic, repository: Repository, at: datetime, *, written_down: Mapping[str, bool] | None
) -> Iterator[Finding]:
    """All pieces of one repository. `written_down`: of which a person kept the password elsewhere, if known."""
    name = repository.name
    tool, reached = Piece("restic.version", name), Piece("repository.reachable", name)
    try:
        yield tool.ok(f"restic {'.'.join(map(str, restic.version()))}")
    except DaybreakError as error:
        yield tool.fault(error)
        return
    try:
        version, locks = restic.look()
    except DaybreakError as error:
        yield reached.fault(error)
        return
    yield reached.ok("address, keys and password are right")
    yield judge_format(Piece("repository.format", name), version)
    yield judge_locks(Piece("repository.locks", name), locks, at)
    yield judge_rules(Piece("repository.keep", name), repository)
    if written_down is not None:
        yield judge_key(Piece("repository.key", name), kept=written_down.get(name, False))


def judge_format(piece: Piece, version: int) -> Finding:
    """Format 2 has compression; without it the repository is three times as large."""
    if version < _FORMAT:
        return piece.warning(f"format {version}: nothing in it is compressed", "restic migrate upgrade_repo_v2")
    return piece.ok(f"format {version}")


def judge_locks(piece: Piece, locks: tuple[Lock, ...], at: datetime) -> Finding:
    """A lock that is old was left behind, or somebody's prune goes on for very long."""
    old = [one for one in locks if at - one.made_at > _STALE]
    if not old:
        return piece.ok("no lock" if not locks else f"{len(locks)} in use")
    oldest = min(old, key=lambda one: one.made_at)
    age = show_duration((at - oldest.made_at).total_seconds())
    text = f"process {oldest.pid} of {oldest.host} has held it for {age}"
    fix = f"is that process still there? If not: restic unlock (never --remove-all), on {oldest.host}"
    return piece.error(text, fix) if oldest.exclusive else piece.warning(text, fix)


def judge_rules(piece: Piece, repository: Repository) -> Finding:
    """Without rules nothing is ever forgotten, and the bill grows."""
    if repository.keep is None:
        return piece.warning("no keep: nothing is ever forgotten", "keep = { daily = 7, weekly = 4, monthly = 12 }")
    return piece.ok("rules say what is kept")


def judge_key(piece: Piece, *, kept: bool) -> Finding:
    """A password that only this server has is lost with it, and every snapshot too."""
    if kept:
        return piece.ok("a person has said that its password is kept elsewhere too")
    return piece.error(
        "nobody has said that its password is kept anywhere but here: without it no snapshot can be read",
        "write it down where this server's end does not reach, and say so",
    )
