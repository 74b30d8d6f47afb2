"""The runner's socket: `runner.sock` in the state folder, for the members of the folder's group.

Who asks is known from the kernel (SO_PEERCRED) and stands in the log and as the trigger of what was started. A caller
has one request, a bounded line and a bounded time; one who does not read is let go. Nothing that he sends can hold
up another one or bring a traceback about.

Errors  `Busy` where another runner of this state folder listens, `ConfigError` for a folder that cannot have a socket.
Source  unix(7): a path has at most 107 bytes; a socket is made under another name and renamed, so that nobody sees it
        before its mode and group are right.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Generator
from datetime import timedelta
from pathlib import Path
from typing import Final

from daybreak import files
from daybreak.documents import fault_document
from daybreak.errors import Busy, ConfigError, DaybreakError, UsageError
from daybreak.runner.acts import Acts, Reply, SiteLoader
from daybreak.runner.words import LONGEST_LINE, SOCKET, Act, Follow, Look, Request, Start, State, read_request
from daybreak.secret import mask, masked

_MODE: Final = 0o660
_LONGEST_PATH: Final = 107
_MOST_CALLERS: Final = 32
_ASKS_WITHIN_S: Final = 5.0
_READS_WITHIN_S: Final = 10.0
_LOOK_S: Final = 0.5
_ENDS_WITHIN_S: Final = 5.0
_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid


def _to_stderr(line: str) -> None:
    sys.stderr.write(mask(line) + "\n")
    sys.stderr.flush()


class RunnerSocket:
    """Listens in threads of its own between `start` and `stop`. What it started goes on afterwards."""

    def __init__(
        self,
        load: SiteLoader,
        folder: Path,
        *,
        log: Callable[[str], None] = _to_stderr,
        take: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = folder / SOCKET
        self._acts = Acts(load, through="the runner", take=take)
        self._log = log
        self._stop = threading.Event()
        self._room = threading.BoundedSemaphore(_MOST_CALLERS)
        self._held = contextlib.ExitStack()
        self._listener = threading.Thread(target=self._listen, name="runner", daemon=True)
        self._socket: socket.socket | None = None
        self._callers: set[threading.Thread] = set()

    def start(self) -> None:
        """Listen. Raise Busy, ConfigError."""
        lock = self.path.with_suffix(".lock")
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(files.lock(lock, wait=timedelta(0), holder=f"the runner, process {os.getpid()}"))
            except Busy as busy:
                raise Busy(f"another runner listens at {self.path}", hint="daybreak serve runs already") from busy
            self._socket = held.enter_context(_bound(self.path))
            self._held = held.pop_all()
        self._listener.start()

    def stop(self) -> None:
        """Listen no longer; whoever follows a run is let go and asks again later."""
        self._stop.set()
        if self._listener.is_alive():
            self._listener.join()
        if self._socket is not None:
            self.path.unlink(missing_ok=True)
        until = time.monotonic() + _ENDS_WITHIN_S
        for caller in self._callers:
            caller.join(max(0.0, until - time.monotonic()))
        self._held.close()
        self._acts.close()

    def _listen(self) -> None:
        assert self._socket is not None
        while not self._stop.is_set():
            self._acts.reap()
            ready, _, _ = select.select([self._socket], [], [], _LOOK_S)
            if not ready:
                continue
            try:
                caller, _ = self._socket.accept()
            except OSError:  # gone before it was answered, or there are no file handles just now
                time.sleep(_LOOK_S / 10)
                continue
            if not self._room.acquire(blocking=False):
                _refuse(caller)
                continue
            thread = threading.Thread(target=self._serve, args=(caller,), name="caller", daemon=True)
            self._callers = {one for one in self._callers if one.is_alive()} | {thread}
            thread.start()

    def _serve(self, caller: socket.socket) -> None:
        try:
            with caller, contextlib.suppress(OSError):  # one who went away, or does not read
                self._talk(caller)
                _drain(caller)
        finally:
            self._room.release()

    def _talk(self, caller: socket.socket) -> None:
        person = _person(caller)
        try:
            request = read_request(_line(caller))
            caller.settimeout(_READS_WITHIN_S)
            for reply in self._acts.answer(request, person, self._stop):
                self._note(person, request, reply)
                _say(caller, reply)
        except DaybreakError as error:
            self._log(f"runner: {person} was refused: {error.message}")
            _say(caller, {"fault": fault_document(error)})
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 -- one caller's bug must not become everybody's
            self._log(f"runner: a bug: {type(error).__name__}: {error}")
            _say(caller, {"fault": {"code": "Bug", "message": f"a bug of Daybreak: {type(error).__name__}: {error}"}})

    def _note(self, person: str, request: Request, reply: Reply) -> None:
        if isinstance(request, Start):
            how = "joined" if reply["joined"] else "started"
            self._log(f"runner: {person} asked for {request.kind} {request.plan}: run {reply['run']} {how}")
        elif isinstance(request, Act):
            how = "joined" if reply["joined"] else "started"
            whom = f" for {request.who}" if request.who else ""
            self._log(f"runner: {person} asked{whom} for {request.ask}: run {reply['run']} {how}")
        elif not isinstance(request, Follow | State | Look):  # whoever only looks leaves no trace
            self._log(f"runner: {person} asked for {request.ask}: {reply}")


@contextlib.contextmanager
def _bound(path: Path) -> Generator[socket.socket]:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    if len(os.fsencode(beside)) > _LONGEST_PATH:
        raise ConfigError(
            f"{path} is too long for a socket's name", hint="name a shorter state folder with `state = …`"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        beside.unlink(missing_ok=True)
        try:
            made.bind(str(beside))
            files.share(beside, group_of=path.parent, mode=_MODE)
            made.listen(_MOST_CALLERS)
            beside.replace(path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise ConfigError(
                f"cannot listen at {path}: {error.strerror}", hint="the state folder must be writable for the runner"
            ) from error
        made.setblocking(False)
        yield made


def _line(caller: socket.socket) -> bytes:
    """The one line of a caller. Raise UsageError where it is too long, does not end, or is not the only one."""
    until, said = time.monotonic() + _ASKS_WITHIN_S, b""
    while b"\n" not in said:
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise UsageError(f"nothing that ends was asked for within {_ASKS_WITHIN_S:.0f} s")
        caller.settimeout(left_s)
        try:
            chunk = caller.recv(LONGEST_LINE + 1)
        except TimeoutError:
            continue
        said += chunk
        if not chunk or len(said) > LONGEST_LINE:
            raise UsageError(f"a request is one line of at most {LONGEST_LINE} bytes, with its end")
    line, _, more = said.partition(b"\n")
    if more:
        raise UsageError("a caller has one request: ask again for more")
    return line


def _say(caller: socket.socket, reply: Reply) -> None:
    caller.sendall(json.dumps(masked(reply), ensure_ascii=True, default=str).encode() + b"\n")


def _refuse(caller: socket.socket) -> None:
    fault = Busy(f"{_MOST_CALLERS} callers are talking with the runner", hint="ask again in a moment")
    with caller, contextlib.suppress(OSError):
        caller.setblocking(False)
        _say(caller, {"fault": fault_document(fault)})
        _drain(caller)


def _drain(caller: socket.socket) -> None:
    """Take what came and was not read: closing before that would take our answer from the caller again."""
    caller.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        for _ in range(_MOST_CALLERS):  # one who never stops is cut
            caller.recv(LONGEST_LINE)


def _person(caller: socket.socket) -> str:
    """Who called, as the kernel knows it: a name where there is one."""
    _, uid, _ = _CREDENTIALS.unpack(caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return f"user {uid}"
