"""Look whether the storage has what a backup says that it stored.

A storage may answer a PUT with a success and keep nothing: an error stands in the body of the answer, a proxy lies,
a disk lies. restic believes the answer, its cache then has the pack, and even a list of the snapshot's files reads
well; worse, the next backup sees the pack in the index and does not send it again. So the packs of every index that
came with a backup are looked for among those that the storage lists, and an index that names others is mended.

Shapes  a note stands in the state folder. From before a backup until all was found it says `sending`, and a run that
        finds it so, because the run before it died, looks first. Afterwards it tells the next night what it need not
        ask for: each call of restic spends half a second on the password alone.
Errors  `OffsiteError` (partial) that says how many packs are missing; those of a call that fails.
Source  tried with restic 0.14 and 0.18 behind a proxy that swallows.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from daybreak.errors import OffsiteError, PublishError
from daybreak.files import disk_errors, write_durable
from daybreak.restic import Restic

#: So many indexes at most are looked at one by one where the next night could ask for all names in one call.
_FEW: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a repository was when somebody looked."""

    version: int  # of its format
    indexes: frozenset[str]


def known(note: Path) -> Known | None:
    """What the last backup found stored, if nothing was sent since that nobody looked at."""
    sending, found = _read(note)
    return None if sending else found


def _read(note: Path) -> tuple[bool, Known | None]:
    """Whether a backup began that nobody looked at, and what was known then. Nothing where the note says nothing."""
    if not note.exists():
        return False, None
    with disk_errors(note, "cannot read"):
        raw = note.read_bytes()
    with contextlib.suppress(ValueError, RecursionError):  # damaged: no JSON, or brackets without an end
        match json.loads(raw):
            case {"sending": bool(sending), "version": int(version), "indexes": [*indexes]}:
                return sending, Known(version=version, indexes=frozenset(map(str, indexes)))
            case _:  # another release's
                pass
    return False, None


def _write(note: Path, what: Known, *, sending: bool) -> None:
    text = json.dumps({"sending": sending, "version": what.version, "indexes": sorted(what.indexes)})
    with disk_errors(note, "cannot write"):
        write_durable(note, text.encode(), group_of=note.parent)


class RequireStored:
    """Call `begin` after the backup, then the object itself: it raises where a pack is missing."""

    def __init__(self, restic: Restic, threads: ThreadPoolExecutor, note: Path, before: Known) -> None:
        self._restic = restic
        self._threads = threads
        self._note = note
        self._before = before
        self._looked: Future[_Looked] | None = None

    def begin(self) -> None:
        """Look, beside what is done meanwhile."""
        self._looked = self._threads.submit(_look, self._restic, self._before.indexes)

    def __call__(self) -> None:
        """Raise OffsiteError (partial) for a pack that is not there; the index is mended before."""
        looked = self._looked.result() if self._looked else _look(self._restic, self._before.indexes)
        if looked.missing:
            self._restic.repair_index()
        if looked.missing or not looked.continues(self._before.indexes):
            self._note.unlink(missing_ok=True)
        else:
            with contextlib.suppress(PublishError):  # all is there; the next night looks at it again
                _write(self._note, Known(version=self._before.version, indexes=looked.indexes), sending=False)
        if looked.missing:
            count = "a pack" if looked.missing == 1 else f"{looked.missing} packs"
            raise OffsiteError(
                f"repository {self._restic.name} does not hold what was sent: the storage took {count} and has none",
                hint="what is missing is sent again by `daybreak ship`; if this comes again, do not trust this storage"
                f" before you know why (`daybreak repository check {self._restic.name} --read 100%`)",
                reason="partial",
            )


@contextlib.contextmanager
def stored(restic: Restic, note: Path, before: Known) -> Generator[RequireStored]:
    """Note what an opened repository has, and hand over what looks for the rest.

    `before` is of some time before; what others have sent since is looked for too.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"stored in {restic.name}") as threads:
        sending, left = _read(note)
        if sending and left:
            if _look(restic, left.indexes).missing:
                restic.repair_index()
            before = Known(version=before.version, indexes=restic.indexes())
        _write(note, before, sending=True)
        yield RequireStored(restic, threads, note, before)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    """What a look found."""

    indexes: frozenset[str]  # all that there are
    missing: int  # packs that the indexes which came since name, and the storage has not

    def continues(self, before: frozenset[str]) -> bool:
        """Whether this is the repository of before with little more in it: not another one, nor pruned, nor much used.

        Else the next night asks what there is, for it would have to look at each index that it does not know.
        """
        return len(self.indexes - before) <= _FEW and (not before or bool(self.indexes & before))


def _look(restic: Restic, before: frozenset[str]) -> _Looked:
    indexes = restic.indexes()
    new = indexes - before
    if not new:
        return _Looked(indexes=indexes, missing=0)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"packs in {restic.name}") as threads:
        there = threads.submit(restic.packs)
        named = frozenset[str]().union(*(restic.indexed_packs(index) for index in sorted(new)))
        return _Looked(indexes=indexes, missing=len(named - there.result()))
