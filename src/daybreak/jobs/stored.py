"""Look whether the storage has what a backup says that it stored.

A storage may answer a PUT with a success and keep nothing: an error stands in the body of the answer, a proxy lies,
a disk lies. restic believes the answer, its cache then has the pack, and even a list of the snapshot's files reads
well; worse, the next backup sees the pack in the index and does not send it again. So the packs of every index that
came with a backup are looked for among those that the storage lists, and an index that names others is mended.

Shapes  a note, one index a line, stands in the state folder from before the backup until all was found; a run that
        finds one, because the run before it died, looks first.
Errors  `OffsiteError` (partial) that says how many packs are missing; those of a call that fails.
Source  tried with restic 0.14 and 0.18 behind a proxy that swallows. The calls run beside others, because each of
        them spends half a second on the password alone.
"""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from daybreak.errors import OffsiteError
from daybreak.files import disk_errors, write_durable
from daybreak.restic import Restic


class RequireStored:
    """Call `begin` after the backup, then the object itself: it raises where a pack is missing."""

    def __init__(self, restic: Restic, threads: ThreadPoolExecutor, note: Path, before: frozenset[str]) -> None:
        self._restic = restic
        self._threads = threads
        self._note = note
        self._before = before
        self._missing: Future[int] | None = None

    def begin(self) -> None:
        """Look, beside what is done meanwhile."""
        self._missing = self._threads.submit(_missing, self._restic, self._before)

    def __call__(self) -> None:
        """Raise OffsiteError (partial) for a pack that is not there; the index is mended before."""
        missing = self._missing.result() if self._missing else _missing(self._restic, self._before)
        if missing:
            self._restic.repair_index()
        self._note.unlink(missing_ok=True)
        if missing:
            count = "a pack" if missing == 1 else f"{missing} packs"
            raise OffsiteError(
                f"repository {self._restic.name} does not hold what was sent: the storage took {count} and has none",
                hint="what is missing is sent again by `daybreak ship`; if this comes again, do not trust this storage"
                f" before you know why (`daybreak repository check {self._restic.name} --read 100%`)",
                reason="partial",
            )


@contextmanager
def stored(restic: Restic, note: Path, before: frozenset[str]) -> Generator[RequireStored]:
    """Note what an opened repository has, and hand over what looks for the rest.

    `before` are its indexes at some time before; what others have sent since is looked for too.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"stored in {restic.name}") as threads:
        if note.exists():
            with disk_errors(note, "cannot read"):
                unsure = frozenset(note.read_text().split())
            if _missing(restic, unsure):
                restic.repair_index()
                before = restic.indexes()
        with disk_errors(note, "cannot write"):
            write_durable(note, "\n".join(sorted(before)).encode(), group_of=note.parent)
        yield RequireStored(restic, threads, note, before)


def _missing(restic: Restic, before: frozenset[str]) -> int:
    """How many packs the indexes that came since name, and the storage has not."""
    new = restic.indexes() - before
    if not new:
        return 0
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"packs in {restic.name}") as threads:
        there = threads.submit(restic.packs)
        named = frozenset[str]().union(*(restic.indexed_packs(index) for index in sorted(new)))
        return len(named - there.result())
