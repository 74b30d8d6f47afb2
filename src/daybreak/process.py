"""The one place that starts other programs.

A `Command` is a value; a `Runner` starts it in a session of its own, under a watchdog that ends it
when Daybreak dies, with a deadline, a cleaned environment and no way to ask a question.

Shapes  argv is never a shell string; stdin is never a terminal: it is the watchdog's lifeline, or a file's bytes.
Units   deadlines and idle limits are `timedelta`.
Errors  `CommandError` (bad exit status), `TimedOut`, `Cancelled`, `ConfigError` (program not found).
Source  `watchdog.py` has what every program is started under.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, Final, Protocol, Self

from daybreak.command import SPOKEN, Command, Completed, WithoutRows
from daybreak.errors import Cancelled, CommandError, DaybreakError, SourceError, TimedOut
from daybreak.programs import find_program, surroundings
from daybreak.secret import Secret, mask
from daybreak.watchdog import HERE

#: How long a program may take to obey TERM before it gets KILL.
GRACE_S: Final = 10.0
#: What `run` captures at most of a program's stdout; more is a fault of the caller.
CAPTURE_BYTES: Final = 256 * 2**20
TAIL_LINES: Final = 25
_POLL_S: Final = 0.2
_SIGNALLED: Final = 128
_PIPE_BYTES: Final = 2**20
#: Programs write 4 KiB at a time. Where much comes, it is left to gather in the pipe: to be woken for each costs both
#: sides more than what is done with it. In this time the fastest does not fill the pipe.
_GATHER_S: Final = 0.002
_BEAT_S: Final = 15.0


def _ignore(_line: str) -> None:
    """Do nothing with a line."""


class Running(Protocol):
    """A program whose stdout is being read. The end of stdout is not success: leave the `with`."""

    def read(self, size: int = _PIPE_BYTES, /) -> bytes:
        """Up to `size` bytes, b"" at the end. Raise TimedOut, Cancelled."""
        ...

    def ask(self, words: bytes, /, *, deadline: timedelta) -> None:
        """Speak to a program whose `feed` is SPOKEN; it may be read for so long from now on."""
        ...

    def ended(self) -> bool:
        """Whether it has ended by itself."""
        ...


class _Either(threading.Event):
    """An event that is set when one of two is."""

    def __init__(self, one: threading.Event, other: threading.Event) -> None:
        super().__init__()
        self._both = (one, other)

    def is_set(self) -> bool:
        return any(event.is_set() for event in self._both)


class Runner:
    """Starts commands; `cancel` ends whatever runs, `log` hears one masked line per start and end."""

    def __init__(self, *, cancel: threading.Event | None = None, log: Callable[[str], None] = _ignore) -> None:
        self.cancel = cancel or threading.Event()
        self.log = log

    def also_ended_by(self, stop: threading.Event) -> Runner:
        """A runner like this one, for programs that `stop` ends too."""
        return Runner(cancel=_Either(self.cancel, stop), log=self.log)

    def run(
        self,
        command: Command,
        *,
        on_line: Callable[[str], None] | None = None,
        on_stderr: Callable[[str], None] = _ignore,
    ) -> Completed:
        """Run to the end and return what it said.

        With `on_line`, stdout is handed over line by line and not captured.
        Raise CommandError for an exit status outside `command.ok`, TimedOut, Cancelled.
        """
        captured: list[bytes] = []
        size = 0
        rest = b""
        child = _Child(command, self.cancel, self.log, on_stderr)
        with child:
            while chunk := child.read():
                if on_line is not None:
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        on_line(line.decode("utf-8", "replace"))
                    continue
                size += len(chunk)
                if size > CAPTURE_BYTES:
                    raise DaybreakError(f"{command.program} said more than {CAPTURE_BYTES} bytes")
                captured.append(chunk)
            if on_line is not None and rest:
                on_line(rest.decode("utf-8", "replace"))
        return child.completed(b"".join(captured))

    @contextlib.contextmanager
    def stream(self, command: Command, *, on_stderr: Callable[[str], None] = _ignore) -> Generator[Running]:
        """Start `command` and give its stdout to read; leaving the block checks its exit status.

        An exception inside the block ends the program and goes on. Raise as `run` does.
        """
        with _Child(command, self.cancel, self.log, on_stderr) as child:
            yield child

    @contextlib.contextmanager
    def hold(self, command: Command, *, on_stderr: Callable[[str], None] = _ignore) -> Generator[Running]:
        """Start `command` and end it when the block is left, whatever its exit status.

        For a program that keeps something (a lock) as long as it lives.
        """
        child = _Child(command, self.cancel, self.log, on_stderr)
        try:
            yield child
        finally:
            child.end()

    def interact(self, argv: Sequence[str], *, env: Mapping[str, str]) -> int:
        """Give a program this terminal, with our environment and `env`, until it ends; its exit status.

        The one kind of program without a watchdog and a deadline: a person sits before it. Ctrl-C is the
        program's alone meanwhile; `cancel` ends it.
        """
        find_program(argv[0], os.environ.get("PATH"))
        self.log(f"run {shlex.join(argv)} on the terminal")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
        try:
            process = subprocess.Popen(argv, env={**inherited, **env})
            while process.poll() is None:
                if self.cancel.is_set():
                    process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_S)
        finally:
            signal.signal(signal.SIGINT, before)
        self.log(f"end {Path(argv[0]).name} status {process.returncode}")
        return process.returncode


class _Child:
    """One started program: pipes, watchdog, deadline."""

    def __init__(
        self, command: Command, cancel: threading.Event, log: Callable[[str], None], on_stderr: Callable[[str], None]
    ) -> None:
        self.command = command
        self._cancel = cancel
        self._log = log
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._without_rows = WithoutRows()
        self._for_log: deque[str] = deque(maxlen=TAIL_LINES)
        self._read_bytes = 0
        self._gathers = False
        self._started = time.monotonic()
        self._allow(command.deadline)
        log(f"run {command.shown()}")
        env = surroundings()
        argv = command.argv if command.far is None else command.far.argv
        find_program(argv[0], env.get("PATH"))
        if command.far is None:
            env |= {name: value.reveal() if isinstance(value, Secret) else value for name, value in command.env.items()}
            if command.feed is None:
                argv = ("/bin/sh", "-c", HERE, "daybreak-watchdog", *argv)
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        try:
            self._process = subprocess.Popen(
                argv, **pipes, env=env, cwd=command.folder, start_new_session=True, bufsize=0
            )
        except OSError as error:
            if error.errno != errno.E2BIG:
                raise
            raise SourceError(
                f"{command.program} cannot be started: its command has {sum(map(len, argv))} characters",
                hint="Linux ends a word at 128 KiB, and over ssh a command is one: run Daybreak on that host itself",
            ) from error
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._stdout = self._process.stdout.fileno()
        with contextlib.suppress(OSError):  # a smaller pipe is only slower
            fcntl.fcntl(self._stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._feeder: threading.Thread | None = None
        if command.far is not None:
            self._tell("".join(line.reveal() + "\n" for line in command.far.lines).encode())
        if command.feed is not None and command.feed != SPOKEN:
            self._feeder = threading.Thread(target=self._feed, args=(command.feed,), daemon=True)
            self._feeder.start()
        self._drain = threading.Thread(target=self._read_stderr, args=(self._process.stderr, on_stderr), daemon=True)
        self._drain.start()

    def _allow(self, longest: timedelta) -> None:
        self._allowed_s = longest.total_seconds()
        self._deadline = time.monotonic() + self._allowed_s

    def ask(self, words: bytes, /, *, deadline: timedelta) -> None:
        """Speak to the program. One that does not listen any more has ended, which reading tells."""
        self._allow(deadline)
        self._tell(words)

    def _read_stderr(self, stderr: IO[bytes], on_stderr: Callable[[str], None]) -> None:
        rest = b""
        beat = time.monotonic()
        beats = self.command.far is not None and self.command.feed is None
        while True:
            ready, _, _ = select.select([stderr], [], [], _BEAT_S if beats else None)
            if beats and time.monotonic() - beat >= _BEAT_S:
                beat = time.monotonic()
                self._tell(b"\n")
            if not ready:
                continue
            try:
                chunk = stderr.read(65536)
            except ValueError:  # closed by now: the program is gone, and an orphan of its own speaks on
                break
            if not chunk:
                break
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._keep(line, on_stderr)
        if rest:
            self._keep(rest, on_stderr)

    def _tell(self, words: bytes) -> None:
        """Write to a far watchdog, or to a program that is spoken to. That nobody reads any more, its end tells."""
        assert self._process.stdin is not None
        left = memoryview(words)
        with contextlib.suppress(BrokenPipeError, ValueError):  # ValueError: closed by now
            while left:
                left = left[self._process.stdin.write(left) :]

    def _feed(self, path: Path) -> None:
        """Give a file as standard input; one that cannot be read to its end is cut, which the program notices."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            with path.open("rb") as file:
                shutil.copyfileobj(file, self._process.stdin, _PIPE_BYTES)
            self._process.stdin.close()

    def _keep(self, raw: bytes, on_stderr: Callable[[str], None]) -> None:
        line = mask(raw.decode("utf-8", "replace").rstrip())
        if line:
            self._tail.append(line)
            self._for_log += self._without_rows(line)
            on_stderr(line)

    def read(self, size: int = _PIPE_BYTES, /) -> bytes:
        """Up to `size` bytes of stdout, b"" at its end."""
        idle = self.command.idle.total_seconds() if self.command.idle else None
        since = time.monotonic()
        if self._gathers:
            time.sleep(_GATHER_S)
        while True:
            ready, _, _ = select.select([self._stdout], [], [], _POLL_S)
            now = time.monotonic()
            self._check(now)  # also of one that never stops talking
            if ready:
                chunk = os.read(self._stdout, size)
                self._read_bytes += len(chunk)
                self._gathers = self._read_bytes > _PIPE_BYTES and len(chunk) < _PIPE_BYTES // 4
                return chunk
            if idle is not None and now - since > idle:
                raise TimedOut(
                    f"{self.command.program} said nothing for {idle:.0f} s and was ended",
                    hint="look at the server: is it hung, out of disk, or waiting for a lock?",
                )

    def _check(self, now: float) -> None:
        if self._cancel.is_set():
            raise Cancelled("the run was cancelled")
        if now > self._deadline:
            raise TimedOut(
                f"{self.command.program} was not done after {self._allowed_s:.0f} s: ended",
                hint="raise the deadline in the configuration if it was only slow",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self.end()
            return
        try:
            while self._process.poll() is None:
                self._check(time.monotonic())
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_POLL_S)
        except DaybreakError:
            self.end()
            raise
        self._close()
        seconds = time.monotonic() - self._started
        self._log(f"end {self.command.program} status {self._status()} after {seconds:.1f} s")
        if self._status() not in self.command.ok:
            self._log_last_lines()
            raise CommandError(self.command.shown(), self._status(), tuple(self._tail), program=self.command.program)

    def _status(self) -> int:
        code = self._process.returncode
        # The watchdog reports a program ended by a signal as 128 + signal, as shells do.
        return _SIGNALLED - code if _SIGNALLED < code < _SIGNALLED + signal.NSIG else code

    def completed(self, stdout: bytes) -> Completed:
        """What there is to say after the block was left."""
        return Completed(
            status=self._status(), stdout=stdout, stderr=tuple(self._tail), seconds=time.monotonic() - self._started
        )

    def end(self) -> None:
        """End the program: TERM by its watchdog, a grace, then KILL for all that is left of its group."""
        if self.command.feed is None:
            self._close_stdin()
        else:  # without a watchdog; a feeder ends with the pipe
            os.killpg(self._process.pid, signal.SIGTERM)
        until = time.monotonic() + GRACE_S
        while not self.ended() and time.monotonic() < until:
            time.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(
                self._process.pid, signal.SIGKILL
            )  # before the leader is reaped, so that its number is still its own
        self._process.wait()
        self._close()
        self._log(f"ended {self.command.program} after {time.monotonic() - self._started:.1f} s")
        self._log_last_lines()

    def _log_last_lines(self) -> None:
        for line in self._for_log:
            self._log(f"{self.command.program} said: {line}")

    def ended(self) -> bool:
        """Whether it has ended by itself."""
        # Not reaped, and orphans of the group are not waited for: some hosts have an init that reaps late or never.
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def _close_stdin(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def _close(self) -> None:
        if self._feeder is not None:
            self._feeder.join(timeout=GRACE_S)
        self._close_stdin()
        self._drain.join(timeout=GRACE_S)
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()


class Launched:
    """A program in a session of its own that goes on when we end; it speaks into `said`, else on our stderr."""

    def __init__(self, argv: tuple[str, ...], *, env: Mapping[str, str], said: IO[bytes] | None = None) -> None:
        how: dict[str, Any] = {"env": dict(env), "cwd": "/", "umask": 0o007, "start_new_session": True}
        how |= {"stdin": subprocess.DEVNULL, "stdout": said or subprocess.DEVNULL, "stderr": said}
        self._process = subprocess.Popen(argv, **how)
        self.pid = self._process.pid

    def ended(self) -> int | None:
        """Its exit status (negative: the signal), None while it goes on."""
        return self._process.poll()
