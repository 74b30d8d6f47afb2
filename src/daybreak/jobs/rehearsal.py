"""The rehearsal of a refresh: an archive's table of contents held against the target, before anything is made there.

Errors  `RefreshError` (15) with every obstacle, each with what solves it; the target is not touched by anything here.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from daybreak.archive import Entry, Manifest, read_restorable
from daybreak.errors import CommandError, RefreshError, UsageError
from daybreak.jobs.case import Case, Homecoming, Obstacle
from daybreak.jobs.obstacles import (
    BEHIND_ROWS_ONLY,
    left_out_lines,
    missing_tablespaces,
    named_tablespaces,
    newer_reader,
    notes,
    obstacles,
    spare_bytes,
)
from daybreak.jobs.selection import Selection, label_providers, select
from daybreak.postgres.abilities import Abilities, abilities_of, unknown_providers
from daybreak.postgres.client import Postgres
from daybreak.replacement import Replacement

_LOCAL: Final = {"localhost", "127.0.0.1", "::1"}
_BRIEFLY: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What a refresh by this archive would meet."""

    case: Case
    obstacles: tuple[Obstacle, ...]
    notes: tuple[str, ...]

    @property
    def selection(self) -> Selection:
        """Which entries are restored."""
        return self.case.selection

    @property
    def abilities(self) -> Abilities:
        """What the target's server can take in."""
        return self.case.abilities

    @property
    def reader(self) -> int:
        """The version of pg_restore to use: the target's own wherever it can read the archive."""
        return newer_reader(self.case) or self.abilities.major

    @property
    def tablespaces(self) -> bool:
        """Whether the target has every tablespace that the archive names."""
        return not missing_tablespaces(self.case)

    @property
    def spare_bytes(self) -> int | None:
        """The room that will be left on the disk of the target's tables, where that is known."""
        return spare_bytes(self.case)

    @property
    def left_out(self) -> list[str]:
        """What is not restored as it stands, with the reasons."""
        return left_out_lines(self.selection)

    def require(self, hint: str = "each line names what solves it; `daybreak refresh --plan` looks again") -> None:
        """Raise RefreshError that names every obstacle."""
        if self.obstacles:
            count = "something" if len(self.obstacles) == 1 else f"{len(self.obstacles)} things"
            lines = "\n".join(f"  {one}" for one in self.obstacles)
            raise RefreshError(
                f"{count} on {self.case.target}'s server would not take the archive; nothing was made there:\n{lines}",
                hint=hint,
            )


def rehearse(
    server: Postgres,
    target: str,
    path: Path,
    manifest: Manifest,
    how: Replacement,
    *,
    narrow: Callable[[Selection], Selection] = lambda selection: selection,
    home: Callable[[Sequence[Entry]], Homecoming] | None = None,
    replaces: bool = True,
) -> Rehearsal:
    """Hold the archive at `path` against the server and its database `target`. Reads only.

    `narrow` leaves out what is not wanted; with `home` production comes back; without `replaces` the database is a new
    one, of the name `target`. Raise ArchiveError, and UsageError for what a person cannot leave out.
    """
    entries = read_restorable(path)
    abilities = abilities_of(server, target)
    labelled = label_providers(entries)
    unknown = unknown_providers(server, sorted({one for providers in labelled.values() for one in providers}))
    selection = narrow(select(entries, how, cron_here=abilities.in_cron(target), is_copy=home is None, unknown=unknown))
    _require_sense(selection, how.quirks.insisted)
    case = Case(
        manifest=manifest,
        selection=selection,
        how=how,
        abilities=abilities,
        target=target,
        tools=frozenset(server.installed),
        free_bytes=None,
        replaces=replaces,
        home=None if home is None else home(selection.restored),
        unknown_providers=unknown,
    )
    if room := _free_bytes(server, case):
        case = replace(case, free_bytes=room[0], elsewhere_bytes=sum(room[1:]))
    return Rehearsal(case=case, obstacles=tuple(obstacles(case)), notes=tuple(notes(case)))


def _require_sense(selection: Selection, insisted: Collection[str]) -> None:
    """Raise UsageError where a person says to leave out what is not there, or rows."""
    for one in (one for one in selection.unknown if one in insisted):
        near = difflib.get_close_matches(one, [entry.label for entry in selection.restored], n=1, cutoff=0.6)
        raise UsageError(
            f"--leave-out {shlex.quote(one)}: the archive does not have it",
            hint=f"did you mean {shlex.quote(near[0])}?" if near else "say it as the failed restore named it",
        )
    for rows, name in ((rows, name) for rows, name in selection.lost.items() if name in insisted):
        raise UsageError(
            f"--leave-out {shlex.quote(name)}: the rows of {rows} would be left out with it", hint=BEHIND_ROWS_ONLY
        )


def _free_bytes(server: Postgres, case: Case) -> list[int]:
    """The room on the disk of the target's tables, then that on each other one of a tablespace that will be used.

    Only where the target's tools run on the same host as its server.
    """
    place, abilities = server.database.conninfo.get("host", ""), case.abilities
    here = server.host.place.container or not place or place.startswith("/") or place in _LOCAL
    if abilities.directory is None or not here:
        return []
    used = set[str]() if missing_tablespaces(case) else named_tablespaces(case)
    others = sorted({folder for name in used if (folder := abilities.tablespaces[name])})
    command = server.host.command(("df", "-Pk", "--", abilities.directory, *others), deadline=_BRIEFLY)
    try:
        lines = server.runner.run(command).stdout.decode("utf-8", "replace").splitlines()[1:]
        room: dict[str, int] = {}
        for line in lines:
            _, _, _, free, _, disk = line.split(maxsplit=5)
            room.setdefault(disk, int(free) * 1024)
        return list(room.values())
    except (CommandError, ValueError):
        return []
