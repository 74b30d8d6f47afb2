"""What stands in a repository that is a folder of this host: its names need no key.

restic makes a key of the password at each call, which takes half a second of processor.

Source  restic's manual: "Repository Layout" has `index/ID` and `data/XX/ID`; "Local" has the address. A path that is
        not absolute is meant from where restic is started, so it is left to restic.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_ID: Final = re.compile(r"[0-9a-f]{64}")


def folder_of(url: str) -> Path | None:
    """The folder that a repository's address names; None where it names something else."""
    path = Path(url.removeprefix("local:"))
    return path if path.is_absolute() else None


def has_snapshot(repository: Path, snapshot: str) -> bool:
    """Whether a snapshot stands in this folder: then it is the one that restic means, whatever restic is here."""
    try:
        return any(name.startswith(snapshot) for name in _ids(repository / "snapshots"))
    except OSError:
        return False


def names_in(repository: Path, kind: str) -> frozenset[str] | None:
    """The ids of all of a `kind`, index or packs; None for another kind, and where the folder does not tell."""
    try:
        match kind:
            case "index":
                return frozenset(_ids(repository / "index"))
            case "packs":
                parts = (one for one in (repository / "data").iterdir() if one.is_dir())
                return frozenset(name for part in parts for name in _ids(part))
            case _:
                return None
    except OSError:
        return None


def _ids(folder: Path) -> list[str]:
    """What restic has finished writing there; what it has not bears another name. Raise OSError."""
    return [one.name for one in folder.iterdir() if _ID.fullmatch(one.name)]
