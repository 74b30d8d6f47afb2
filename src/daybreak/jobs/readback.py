"""Read a snapshot back: it is in the repository, it is what was sent, and its data comes.

Shapes  the listing is compared with everything that was sent: tags, host, paths, and the size of each file; a sample
        of the files is restored and hashed: the manifest always, then some of what is new.
Errors  `OffsiteError` (partial); the snapshot is forgotten then, for it must not become anybody's `latest`.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from daybreak.errors import OffsiteError
from daybreak.files import sha256_file
from daybreak.jobs.pack import Packed
from daybreak.model import Snapshot
from daybreak.restic import Listing, Restic
from daybreak.units import show_bytes

#: So many files are restored: the first of the sample, and the rest at random.
_FILES: Final = 6
#: From so many of the first ones, which are new; those behind them were read in the nights before.
_NEW: Final = 2000
#: How many faults a message has.
_SHOWN: Final = 5
_T = TypeVar("_T")


def read_back(packed: Packed, restic: Restic, snapshot: str, *, host: str, scratch: Path) -> Snapshot:
    """The snapshot as the repository has it, if it holds exactly what was sent. `scratch` is a folder with room."""
    with ThreadPoolExecutor(max_workers=1) as pool:  # opening a repository costs more than what is asked of it
        sample = pool.submit(_read_sample, packed, restic, snapshot, scratch)
        listing = _unless_broken(lambda: restic.ls(snapshot))
        read = _unless_broken(sample.result)
    faults = ["its data does not read"] if read is None else read
    if listing is None:
        faults = ["its folders do not read", *faults]
    else:
        faults = [*islice(_differences(packed, listing, host), _SHOWN), *faults]
        if not faults:
            return listing.snapshot
    with contextlib.suppress(OffsiteError):  # the fault that brought us here is the one to tell
        restic.forget([snapshot])
    raise OffsiteError(
        f"repository {restic.name} does not hold what was sent: snapshot {snapshot[:8]}: {', '.join(faults)}",
        hint=f"`daybreak repository check {restic.name}`, then `daybreak ship`",
        reason="partial",
    )


def _unless_broken(read: Callable[[], _T]) -> _T | None:
    """What is read; None where restic can read the repository, but not this of it."""
    try:
        return read()
    except OffsiteError as fault:
        if fault.reason not in {"failed", "missing", "absent"}:
            raise
        return None


def _differences(packed: Packed, listing: Listing, host: str) -> Iterator[str]:
    found = listing.snapshot
    entries = {entry.path: entry.size_bytes for entry in listing.entries if entry.kind != "dir"}
    sent = packed.files
    for path in sorted(sent.keys() - entries.keys()):
        yield f"{Path(path).name} is missing"
    for path in sorted(entries.keys() - sent.keys()):
        yield f"{path} was not sent"
    for path in sorted(sent.keys() & entries.keys()):
        if entries[path] != sent[path]:
            yield f"{Path(path).name} has {show_bytes(entries[path])} of {show_bytes(sent[path])}"
    for tag in packed.tags:
        if tag not in found.tags:
            yield f"tag {tag} is missing"
    if found.host != host:
        yield f"its host is {found.host}"
    if set(found.paths) != set(packed.recorded):
        yield "its paths differ"


def _read_sample(packed: Packed, restic: Restic, snapshot: str, scratch: Path) -> list[str]:
    """What is wrong with a sample of the files; they are new ones first."""
    first, *others = packed.sample
    chosen = [first, *random.sample(others[:_NEW], min(len(others), _FILES - 1, _NEW))]
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".sample-") as folder:
        restic.restore(snapshot, Path(folder), paths=chosen)
        return [
            f"{Path(path).name} does not read as it was sent"
            for path in chosen
            if not (came := Path(folder) / path.lstrip("/")).is_file() or sha256_file(came) != packed.sample[path]
        ]
