"""`daybreak serve`: keeps the schedule, answers whoever asks the runner, and shows the console.

All of it is one process, or two with two users: one that acts (`--only runner`: schedule and runner), and one that
shows (`--only console`), which reads the state folder and asks the first through its socket.

The console is there also where nothing else can be: with a configuration that has faults, or a catalog that cannot be
opened, it says so, and what is to be kept is tried again until it can be.

Errors  `ConfigError` (3) at the start where there is no configuration file, and, without the console, for its faults
        and those of the state folder; `Busy` (5) where another one serves this state folder.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import select
import shlex
import signal
import tomllib
from collections.abc import Callable, Generator
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

from daybreak import config, files
from daybreak.catalog.folder import KEPT
from daybreak.config.console import sound_console
from daybreak.errors import Busy, ConfigError, DaybreakError
from daybreak.jobs.listener import Listener
from daybreak.jobs.run import now
from daybreak.scheduler import ACCEPTED, LOOK, Keeper, Say, keeping
from daybreak.site import load, state_of
from daybreak.systemd.notify import Supervisor
from daybreak.web import Console

if TYPE_CHECKING:
    from daybreak.config import Settings
    from daybreak.console.listening import Pages
    from daybreak.console.world import World


class Part(StrEnum):
    """What one process does."""

    RUNNER = "runner"  # the schedule, and those who ask
    CONSOLE = "console"


BOTH: Final = frozenset(Part)
#: Single pieces of a file: the rest may be no TOML.
_STATE: Final = re.compile(r"^state\s*=.*$", re.MULTILINE)
_CONSOLE: Final = re.compile(r"^\[console\].*?(?=^\[(?!console\.)|\Z)", re.MULTILINE | re.DOTALL)


def serve(explicit: Path | None, *, listener: Listener, say: Say, parts: frozenset[Part] = BOTH) -> None:
    """Serve until TERM or INT; HUP reads the configuration again."""
    supervisor = Supervisor(os.environ)
    file = config.find_file(explicit, os.environ, here=config.here_now())
    with contextlib.ExitStack() as stack:
        signals = stack.enter_context(_signals())
        serving = stack.enter_context(contextlib.closing(_Serving(file, listener, say, parts)))
        serving.begin()
        supervisor.ready(serving.outlook(now()))
        while True:
            at = now()
            pause = serving.tick(at)
            supervisor.alive(serving.outlook(at))
            if supervisor.patience is not None:
                pause = min(pause, supervisor.patience / 3)
            received = signals(pause)
            if received & {signal.SIGTERM, signal.SIGINT}:
                break
            if signal.SIGHUP in received:
                supervisor.reloading()
                serving.reload()
                supervisor.ready(serving.outlook(now()))
        supervisor.stopping()
        goes_on = f"; what was begun goes on: {', '.join(serving.running)}" if serving.running else ""
        say(f"stopped{goes_on}")


class _Serving:
    """The parts of this process, as far as they are up."""

    def __init__(self, file: Path, listener: Listener, say: Say, parts: frozenset[Part]) -> None:
        self._file = file
        self._listener = listener
        self._say = say
        self._parts = parts
        self._kept = contextlib.ExitStack()
        self._keeper: Keeper | None = None
        self._pages: Pages | None = None
        self._fault = ""  # why nothing is kept
        self._unseen = ""  # why nobody can look

    @property
    def running(self) -> list[str]:
        """What was begun and goes on, in words."""
        return self._keeper.running if self._keeper is not None else []

    def begin(self) -> None:
        """Bring everything up that can be. Raise Busy, and without the console whatever it is."""
        if Part.RUNNER in self._parts:
            self._keep()
        if Part.CONSOLE in self._parts:
            self._show()
        self._say(f"serving {self._file}: {self.outlook(now())}")

    def tick(self, at: datetime) -> timedelta:
        """Begin what is due, try again what could not be; how long to wait before the next look."""
        if Part.RUNNER in self._parts and self._keeper is None:
            self._keep()
        if Part.CONSOLE in self._parts and self._pages is None:
            self._show()
        return self._keeper.tick(at) if self._keeper is not None else LOOK

    def outlook(self, at: datetime) -> str:
        """One line: what runs, what comes next."""
        if self._keeper is not None:
            return self._keeper.outlook(at)
        return f"no schedule is kept: {self._fault}" if self._fault else "the console alone"

    def reload(self) -> None:
        """Read the configuration again."""
        if self._keeper is not None:
            self._keeper.reload()
        elif Part.RUNNER in self._parts:
            self._keep()
        if self._pages is not None:
            self._see(self._pages.world)

    def close(self) -> None:
        """Let go of everything; what was begun goes on."""
        if self._pages is not None:
            self._pages.stop()
        self._kept.close()

    def _keep(self) -> None:
        try:
            self._keeper = self._kept.enter_context(keeping(self._file, listener=self._listener, say=self._say))
        except Busy:
            raise
        except (DaybreakError, OSError) as error:
            if Part.CONSOLE not in self._parts:
                raise
            fault = _in_words(error)
            if fault != self._fault:
                self._say(f"no schedule is kept, nobody can ask the runner: {fault}")
            self._fault = fault
        else:
            if self._fault:
                self._say(f"the schedule is kept: {self._keeper.outlook(now())}")
                self._invite()
            self._fault = ""
        if self._pages is not None:
            self._see(self._pages.world)

    def _show(self) -> None:
        # Only a process with a console pays for it with its memory.
        from daybreak.console.listening import Pages  # noqa: PLC0415 -- see above
        from daybreak.console.world import World  # noqa: PLC0415 -- see above

        settings, folder, fault = _look(self._file)
        console = settings.console if settings is not None else _console_of(self._file)
        world = World(console=console, folder=folder, settings=settings, catalog=None, alone=self._parts == BOTH)
        world.reread = lambda: self._see(world)
        world.unread = lambda: _unread(self._file, world.folder)
        world.reread()
        pages = Pages(world)
        try:
            address = pages.start()
        except (DaybreakError, OSError) as error:
            if Part.RUNNER not in self._parts:
                raise
            unseen = _in_words(error)
            if unseen != self._unseen:  # the schedule is kept all the same
                self._say(f"nobody can look at the console: {unseen}")
            self._unseen = unseen
            return
        self._pages, self._unseen = pages, ""
        self._say(f"the console is at {address}")
        if not fault:  # `console first` would not take the file either
            self._invite()

    def _invite(self) -> None:
        """Say how the first person comes in, where there is nobody yet."""
        if self._pages is not None and self._pages.awaits_first:
            self._say("nobody can sign in yet: `daybreak console first` on this host makes the way in")

    def _see(self, world: World) -> None:
        """Let the console have the configuration as it is now, and what is wrong."""
        world.settings, _, fault = _look(self._file, world.folder)
        world.faults = tuple(dict.fromkeys(one for one in (fault, self._fault) if one))


def _look(file: Path, known: Path | None = None) -> tuple[Settings | None, Path, str]:
    """The configuration, the state folder, and what is wrong; of a file with faults what was accepted last counts.

    `known` is the state folder, where it is known already.
    """
    try:
        settings = load(file)
    except ConfigError as error:
        folder = known or _folder_of(file)
        with contextlib.suppress(ConfigError):
            return load(folder / ACCEPTED), folder, f"{_in_words(error)}; what was accepted before counts until then"
        return None, folder, _in_words(error)
    return settings, state_of(settings), ""


def _unread(file: Path, folder: Path) -> str:
    """That the file is another one by now than what counts, or gone, in words; "" where it is that, or nobody knows."""
    accepted = folder / ACCEPTED
    try:
        if not files.is_locked(folder / KEPT):  # nobody keeps the schedule: what lies there is of an earlier day
            return ""
        counts = accepted.stat()
        try:
            present = file.stat()
        except FileNotFoundError:
            back = shlex.join(["cp", str(accepted), str(file)])
            return f"{file} is not there any more; what was read of it counts until serve ends (`{back}` puts it back)"
        stamps = tuple((status.st_mtime_ns, status.st_size, status.st_ino) for status in (present, counts))
        if not _differs(file, accepted, stamps):
            return ""
    except OSError:
        return ""
    return (
        f"{file} was changed since `daybreak serve` read it, and what was read counts until it reads it again "
        "(`systemctl reload daybreak daybreak-console`; before that `daybreak config check`)"
    )


@functools.lru_cache(maxsize=4)
def _differs(file: Path, accepted: Path, _stamps: tuple[tuple[int, int, int], ...]) -> bool:
    """Whether two files differ; read again only where one of them was written. Raise OSError."""
    return file.read_bytes() != accepted.read_bytes()


def _folder_of(file: Path) -> Path:
    """The state folder of a file that has faults: as it says, if it says so much, else where it is by itself."""
    named = str(_piece(file, _STATE).get("state", ""))
    state = Path(named) if Path(named).is_absolute() else None
    return config.choose_state(state, os.environ, is_root=os.geteuid() == 0, home=config.home_now())


def _console_of(file: Path) -> Console:
    """The console of a file that has faults: as it says, if that much of it is sound, else as it is by itself."""
    return sound_console(_piece(file, _CONSOLE).get("console", {})) or Console()


def _piece(file: Path, pattern: re.Pattern[str]) -> dict[str, object]:
    """What a piece of a file says; nothing where it is not there, or no TOML by itself."""
    with contextlib.suppress(OSError, ValueError):
        found = pattern.search(file.read_text("utf-8"))
        return tomllib.loads(found[0]) if found else {}
    return {}


def _in_words(error: DaybreakError | OSError) -> str:
    if not isinstance(error, DaybreakError):
        return str(error)
    several = error.problems if isinstance(error, ConfigError) else ()
    said = "; ".join([error.message, *(one for one in several if one not in error.message)])
    return f"{said} ({error.hint})" if error.hint else said


@contextlib.contextmanager
def _signals() -> Generator[Callable[[timedelta], set[int]]]:
    """A wait that ends early when TERM, INT or HUP comes; which came."""
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def note(_number: int, _frame: FrameType | None) -> None:
        """Nothing: its number is in the pipe already."""

    def wait(pause: timedelta) -> set[int]:
        ready, _, _ = select.select([reading], [], [], pause.total_seconds())
        return set(os.read(reading, 4096)) if ready else set()

    # Written by the handler that is no Python: one that is would wait for the end of a wait that it came just before.
    heard = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield wait
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(heard)
        os.close(reading)
        os.close(writing)
