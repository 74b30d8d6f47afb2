"""restic for one repository: verbs that return records and raise one kind of fault.

Shapes  secrets are read once, at the first call, and go into the children's environment only.
Units   `quick` bounds every call that only looks: newer restics try wrong keys for ever, so what they complain
        of is read while they run, and they are stopped as soon as waiting is vain.
Errors  `OffsiteError` with its reason; `ConfigError` for a secret that cannot be read; `Cancelled`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

from daybreak.command import Command, Completed
from daybreak.errors import Cancelled, CommandError, ConfigError, OffsiteError, TimedOut
from daybreak.files import is_running
from daybreak.model import Repository, Snapshot
from daybreak.process import Runner, Running
from daybreak.programs import find_program
from daybreak.restic import commands, faults, messages
from daybreak.restic.commands import Access
from daybreak.restic.environment import environment
from daybreak.restic.findings import Findings
from daybreak.restic.folder import folder_of, has_snapshot, names_in
from daybreak.restic.messages import Listing, Lock, Progress, Summary
from daybreak.restic.watch import Watch
from daybreak.secret import Secret

QUICK: Final = timedelta(seconds=60)
#: How long another restic's lock is waited for.
LOCK_WAIT: Final = timedelta(minutes=5)
_LOCK_POLL_S: Final = 5.0

Said = TypeVar("Said")


#: So many names at most stand in one command line.
_AT_ONCE: Final = 100
_KIB: Final = 1024


def _ignore(_line: str) -> None:
    """Nobody else listens."""


def _silent(_progress: Progress) -> None:
    """Nobody wants to know."""


class Restic:
    """One repository and the restic that speaks to it."""

    def __init__(
        self, repository: Repository, runner: Runner, *, quick: timedelta = QUICK, lock_wait: timedelta = LOCK_WAIT
    ) -> None:
        self.repository = repository
        self.name = repository.name
        self._runner = runner
        self._quick = quick
        self._lock_wait = lock_wait
        self._program = str(repository.restic or "restic")
        self._folder: Path | None = None  # of the repository, once a snapshot was seen to arrive in it
        self._secrets: Mapping[str, str | Secret] | None = None
        self._reading = threading.Lock()

    def version(self) -> tuple[int, int, int]:
        """Which restic this is. Raise OffsiteError (tool) where it is missing or too old."""
        try:
            find_program(self._program)
        except ConfigError as error:
            raise faults.no_restic(self._program) from error
        said = self._watched(commands.version(self._program)).stdout.decode("utf-8", "replace")
        version = messages.parse_version(said)
        if version is None or version < faults.OLDEST:
            raise faults.too_old(self._program, version)
        return version

    def init(self) -> str:
        """Make the repository, with the configured password as it is, and return its id."""
        done = self._watched(commands.init(self._access()), creating=True)
        return self._read(messages.parse_init, done)

    def open(self) -> None:
        """Prove address, keys and password, see that every lock can be read, and change nothing.

        Restics of today wait for a lock that nobody can read for a quarter of an hour, and 0.14 breaks at an empty one.
        Raise OffsiteError (locked) with what a person has to do then.
        """
        self.locks()

    def format(self) -> int:
        """The version of the repository's format: 1 cannot compress."""
        return self._read(messages.parse_config, self._watched(commands.cat_config(self._access())))

    def key(self) -> str:
        """The id of the key that the configured password opens. It is no secret, and says nothing of the password."""
        return self._read(messages.parse_keys, self._watched(commands.key_list(self._access())))

    def snapshots(self, *, tags: Sequence[str] = (), host: str = "", ids: Sequence[str] = ()) -> tuple[Snapshot, ...]:
        """Snapshots that have all of `tags` and were made on `host`, or are named; oldest first."""
        done = self._watched(commands.snapshots(self._access(), tags=tags, host=host, ids=ids))
        found = self._read(messages.parse_snapshots, done)
        # What is forgotten follows from this list, so it does not hang on restic's reading of a filter alone.
        wanted = set(tags)
        return tuple(one for one in found if wanted <= set(one.tags) and host in {"", one.host})

    def ls(self, snapshot: str) -> Listing:
        """A snapshot with its files and folders. Raise OffsiteError (absent) where there is none of that id."""
        done = self._watched(commands.ls(self._access(), snapshot))
        if not done.stdout.strip():  # 0.14 only mentions it, and ends well
            raise faults.explain(self.name, status=None, lines=done.stderr)
        return self._read(messages.parse_ls, done)

    def backup(
        self,
        paths: Sequence[Path],
        *,
        tags: Sequence[str],
        host: str,
        taken_at: datetime,
        folder: Path | None = None,
        compression: str = "",
        on_progress: Callable[[Progress], None] = _silent,
    ) -> Summary:
        """Store `paths`, seen from `folder`, as one snapshot. The end is not yet success: read it back.

        Raise OffsiteError, its reason `partial` where something could not be read; no snapshot of the rest stays then,
        unless the storage deletes nothing.
        """
        command = commands.backup(
            self._access(), paths, tags=tags, host=host, taken_at=taken_at, folder=folder, compression=compression
        )
        ended: list[Summary] = []

        def hear(line: str) -> None:
            said = messages.parse_backup(line)
            if isinstance(said, Progress):
                on_progress(said)
            elif said is not None:
                ended.append(said)

        def attempt() -> None:
            ended.clear()
            try:
                self._watched(command, on_line=hear)
            except OffsiteError as fault:
                self._take_back(ended, fault)
                raise

        try:
            self._patiently(attempt)
        except OffsiteError as fault:
            if fault.reason != "denied":
                raise
            # A storage that keeps what it has refuses to take again what it took already when only its answer was
            # lost. A second attempt makes other packs of what is missing; keys that are really wrong show again.
            self._patiently(attempt)
        if not ended:
            raise faults.not_understood(self.name, ValueError("the backup ended without a summary"))
        folder = folder_of(self.repository.url)
        if folder is not None and has_snapshot(folder, ended[-1].snapshot):
            self._folder = folder
        return ended[-1]

    def _take_back(self, made: Sequence[Summary], fault: OffsiteError) -> None:
        """Where restic could not read everything, forget its snapshot of the rest: it bears our tags already."""
        with contextlib.suppress(OffsiteError):  # `fault` is the one to tell
            if made and fault.reason == "partial":
                self.forget([made[-1].snapshot])

    def forget(self, ids: Sequence[str]) -> None:
        """Forget exactly these snapshots; their data stays until somebody prunes.

        Raise OffsiteError, its reason `retained` where the storage deletes nothing.
        """
        command = commands.forget(self._access(), ids)
        self._patiently(lambda: self._require_gone(self._watched(command)))

    def _require_gone(self, done: Completed) -> None:
        fault = faults.stands(self.name, done.stderr)
        if fault is not None:
            raise fault

    def dump(self, snapshot: str, path: str, to: Path) -> None:
        """Write one file of a snapshot to the new file `to`, durably."""
        command = commands.dump(self._access(), snapshot, path)
        with to.open("xb", buffering=0) as file:
            with self._translated() as watch, watch.runner.stream(command, on_stderr=watch.hear) as running:
                _copy(running, file.write)
            os.fsync(file.fileno())

    def restore(self, snapshot: str, to: Path, *, paths: Sequence[str] = ()) -> None:
        """Write a snapshot, or these of its paths, below the folder `to`."""
        self._watched(commands.restore(self._access(), snapshot, to, paths=paths))

    def check(self, *, read_data_subset: str = "", on_line: Callable[[str], None] | None = None) -> Findings:
        """Let restic check the repository; return the damage that it found.

        Raise OffsiteError where it could not be checked, or where what restic says is not understood.
        """
        command = commands.check(self._access(), read_data_subset=read_data_subset)
        found = Findings()

        def hear(line: str) -> None:
            found.hear(line)
            if on_line is not None:
                on_line(line)

        try:
            self._patiently(lambda: self._watched(command, on_line=hear, on_stderr=found.hear))
        except OffsiteError as fault:
            if found.sound or fault.reason in {"timeout", "locked"}:
                raise
        return found

    def prune(self, *, on_line: Callable[[str], None] | None = None) -> str:
        """Remove what no snapshot needs any more; return what that was in restic's words. Raise OffsiteError."""
        command, said = commands.prune(self._access()), list[str]()

        def hear(line: str) -> None:
            said.append(line)
            if on_line is not None:
                on_line(line)

        self._patiently(lambda: self._require_gone(self._watched(command, on_line=hear)))
        return messages.parse_freed("\n".join(said))

    def needing(self, kind: str, ids: Sequence[str]) -> frozenset[str]:
        """The snapshots that need any of these packs or trees (`kind`), as far as a damaged repository tells."""
        found: set[str] = set()

        def hear(line: str) -> None:
            found.update(messages.parse_found(line))

        for start in range(0, len(ids), _AT_ONCE):
            with contextlib.suppress(OffsiteError):  # it ends badly at the first tree that it cannot read
                self._watched(commands.find(self._access(), kind, ids[start : start + _AT_ONCE]), on_line=hear)
        return frozenset(found)

    def is_readable(self, snapshot: str) -> bool:
        """Whether every folder of a snapshot can be read from the storage itself."""
        try:
            self._watched(commands.ls(self._access(), snapshot, cache=False))
        except OffsiteError as fault:
            if fault.reason not in {"failed", "absent"}:
                raise
            return False
        return True

    def packs(self) -> frozenset[str]:
        """The packs that the storage has."""
        return self._listed("packs")

    def indexes(self) -> frozenset[str]:
        """The indexes that the storage has."""
        return self._listed("index")

    def indexed_packs(self, index: str) -> frozenset[str]:
        """The packs that one index names."""
        return self._read(messages.parse_index, self._watched(commands.cat_index(self._access(), index)))

    def repair_index(self) -> None:
        """Let the index name only packs that are there, so that the next backup sends again what is missing."""
        command = commands.repair_index(self._access(), self.version())
        self._patiently(lambda: self._require_gone(self._watched(command)))

    def _listed(self, kind: str) -> frozenset[str]:
        if self._folder is not None and (found := names_in(self._folder, kind)) is not None:
            return found
        said = self._watched(commands.list_all(self._access(), kind)).stdout.decode("utf-8", "replace")
        # 0.14 writes the size behind the name of a pack.
        return frozenset(line.split()[0] for line in said.splitlines() if line.strip())

    def size_bytes(self) -> int:
        """What the repository weighs."""
        return self._read(messages.parse_total_size, self._watched(commands.stats(self._access())))

    def locks(self) -> tuple[Lock, ...]:
        """Who holds the repository's locks. Raise OffsiteError (locked) where one cannot be read."""
        held: list[Lock] = []
        for name in sorted(self._listed("locks")):
            try:
                held.append(self._read(messages.parse_lock, self._watched(commands.cat_lock(self._access(), name))))
            except OffsiteError as fault:
                if fault.reason not in {"failed", "missing"}:
                    raise
                if name in self._listed("locks"):  # else its holder ended meanwhile
                    raise faults.unreadable_lock(self.name, name, self.repository.url) from fault
        return tuple(held)

    def unlock_dead(self) -> bool:
        """Remove the repository's locks if each is of this host and its process is gone; else touch nothing."""
        held = self.locks()
        if not held or not all(map(is_dead, held)):
            return False
        self._watched(commands.unlock(self._access()))
        return True

    def look(self) -> tuple[int, tuple[messages.Lock, ...]]:
        """The format of the repository and who holds it, by what only reads; proves address, keys and password."""
        return self.format(), self.locks()

    def _patiently(self, call: Callable[[], object]) -> None:
        """Call; where another restic holds the repository, wait for it. A lock that a dead one left is removed once."""
        until = time.monotonic() + self._lock_wait.total_seconds()
        tried_unlock = False
        while True:
            try:
                call()
            except OffsiteError as fault:
                if fault.reason == "retained":
                    with contextlib.suppress(OffsiteError):  # 0.14 tries for long, is ended, and leaves its lock
                        self.unlock_dead()
                if fault.reason != "locked":
                    raise
                if not tried_unlock and self.unlock_dead():
                    tried_unlock = True
                    continue
                left = until - time.monotonic()
                if left <= 0:
                    raise faults.held(self.name, self.locks(), fault, at=datetime.now(UTC)) from fault
            else:
                return
            if self._runner.cancel.wait(min(_LOCK_POLL_S, left)):
                raise Cancelled(f"the run was cancelled while repository {self.name} was locked")

    def _access(self) -> Access:
        with self._reading:  # calls may run beside each other, and a password command is asked once
            self._secrets = self._secrets or environment(self.repository, self._runner)
        rates = {"--limit-upload": self.repository.limit_upload, "--limit-download": self.repository.limit_download}
        return Access(
            program=self._program,
            env=self._secrets,
            quick=self._quick,
            slow=self.repository.deadline,
            limits=tuple(word for name, rate in rates.items() if rate for word in (name, str(max(1, rate // _KIB)))),
        )

    def _watched(
        self,
        command: Command,
        *,
        on_line: Callable[[str], None] | None = None,
        on_stderr: Callable[[str], None] = _ignore,
        creating: bool = False,
    ) -> Completed:
        with self._translated(creating=creating) as watch:

            def hear(line: str) -> None:
                on_stderr(line)
                watch.hear(line)

            return watch.runner.run(command, on_line=on_line, on_stderr=hear)

    @contextmanager
    def _translated(self, *, creating: bool = False) -> Generator[Watch]:
        """Turn what goes wrong inside the block into an OffsiteError."""
        try:
            find_program(self._program)
        except ConfigError as error:
            raise faults.no_restic(self._program) from error
        watch = Watch(self._runner, creating=creating)
        try:
            yield watch
        except CommandError as error:
            raise faults.explain(self.name, status=error.status, lines=watch.lines or error.tail) from error
        except TimedOut as error:
            raise faults.explain(self.name, status=None, lines=watch.lines, timed_out=error.message) from error
        except Cancelled as error:
            if self._runner.cancel.is_set():
                raise
            raise faults.explain(self.name, status=None, lines=watch.lines) from error

    def _read(self, parse: Callable[[str], Said], done: Completed) -> Said:
        try:
            return parse(done.stdout.decode("utf-8", "replace"))
        except ValueError as error:
            raise faults.not_understood(self.name, error) from error


def _copy(running: Running, write: Callable[[memoryview], int | None]) -> None:
    while chunk := running.read():
        rest = memoryview(chunk)
        while rest:
            rest = rest[write(rest) or 0 :]


def is_dead(lock: Lock) -> bool:
    """Whether the holder of a lock was of this host and is gone. A number that came back counts as alive."""
    return lock.host == socket.gethostname() and not is_running(lock.pid)
