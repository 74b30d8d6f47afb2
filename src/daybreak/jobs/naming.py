"""What a new run is called: an id that no other run of this state folder has, or gets meanwhile.

Sixteen random bits are enough for a name that people read aloud, and too few to be told apart by chance alone:
hundreds of runs may begin in one second (a page that many look at, a night of many plans), and an installation
lives for years. So an id is taken, by making the file that its run locks.
"""

from __future__ import annotations

import os
import random
from datetime import datetime
from pathlib import Path

from daybreak import files
from daybreak.catalog import Catalog
from daybreak.catalog.ids import new_run_id


def take_id(catalog: Catalog, folder: Path, at: datetime) -> str:
    """An id for a run that was asked for at `at`; its lock file in `folder` is made, and belongs to the caller.

    A run writes its row before it removes its file, so what has neither was never used.
    Raise what `files.disk_errors` makes of a folder that cannot be written.
    """
    chance = random.SystemRandom()
    while True:
        run = new_run_id(at, chance)
        path = lock_file(folder, run)
        with files.disk_errors(path, "cannot lock"):
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o660))
            except FileExistsError:
                continue
        if catalog.runs.get(run) is None:
            return run
        path.unlink(missing_ok=True)


def lock_file(folder: Path, run: str) -> Path:
    """The file that `run` locks for as long as it lives."""
    return folder / f"{run}.lock"
