"""What a rehearsal judges: an archive and a server, and what stands between them. No behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from daybreak.archive import Manifest
from daybreak.jobs.selection import Selection
from daybreak.postgres.abilities import Abilities
from daybreak.replacement import Replacement


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Why the target would not take the archive, and what solves it."""

    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what} ({self.remedy})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Homecoming:
    """What production needs of a server to be there again, with its roles."""

    named: Mapping[str, str]  # role -> what names it
    coming: frozenset[str]  # roles that will be made first
    owners: frozenset[str]  # roles that own something


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that is judged."""

    manifest: Manifest
    selection: Selection
    how: Replacement
    abilities: Abilities
    target: str  # the database's own name
    tools: frozenset[int]  # the versions of pg_restore where the target is
    free_bytes: int | None  # on the target's disk; None: nobody can see it
    elsewhere_bytes: int = 0  # on other disks, of the tablespaces that are used
    replaces: bool = True  # it takes the target's place; False: a new database of that name
    home: Homecoming | None = None  # production comes back, with owners and privileges
    unknown_providers: frozenset[str] = frozenset()  # of security labels: not loaded there
