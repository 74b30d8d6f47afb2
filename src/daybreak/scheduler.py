"""What `daybreak serve` keeps: every job begins when its slot is due, as a process of its own, and outlives it.

It decides nothing: `jobs/slots.py` says what is due. What it begins is the same command that a person types, and that
command takes the slot; so a scheduler that is killed at any instant loses none and doubles none.

Errors  `ConfigError` (3) at the start for a faulty configuration or state folder, `Busy` (5) where another one serves
        this state folder. Later faults are said and tried again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from daybreak import files
from daybreak.catalog import Catalog
from daybreak.catalog.folder import KEPT, make_folder
from daybreak.catalog.slots import SCHEDULER
from daybreak.errors import Busy, DaybreakError
from daybreak.jobs.listener import Listener
from daybreak.jobs.run import now
from daybreak.jobs.slots import Turn
from daybreak.model import Timed
from daybreak.process import Launched
from daybreak.runner.server import RunnerSocket
from daybreak.schedule import next_slot
from daybreak.site import Site, load, open_site
from daybreak.systemd.notify import OWN_VARIABLES

#: The configuration that was accepted last, in the state folder.
ACCEPTED: Final = Path("serve") / "daybreak.toml"
#: How often it looks, at least: clocks are set, hosts sleep, runs die.
LOOK: Final = timedelta(seconds=20)
#: After a job that ended without taking its slot, a configuration that is gone for example: so long, doubled each time.
_AGAIN: Final = timedelta(minutes=1)
_AGAIN_AT_MOST: Final = timedelta(minutes=15)
_SOON: Final = timedelta(milliseconds=50)
#: How often people are told what is wrong or over, beside the end of each run.
_ROUND_S: Final = 600.0

Say = Callable[[str], None]


class Child(Protocol):
    """A job that was begun."""

    @property
    def pid(self) -> int:
        """Its process."""
        ...

    def ended(self) -> int | None:
        """Its exit status, None while it goes on."""
        ...


@dataclass(slots=True)
class _Tries:
    """How often a slot was begun and nobody took it."""

    count: int
    last_at: datetime


@dataclass(slots=True)
class Scheduler:
    """Looks at all plans; the world is handed in: `begin` starts a job, `say` tells a person."""

    site: Site
    begin: Callable[[Turn], Child]
    say: Say
    _children: dict[tuple[str, str], tuple[Turn, Child]] = field(
        default_factory=dict[tuple[str, str], "tuple[Turn, Child]"]
    )
    _tries: dict[tuple[str, str, str], _Tries] = field(default_factory=dict[tuple[str, str, str], _Tries])
    _said: dict[str, str] = field(default_factory=dict[str, str])

    def tick(self, at: datetime) -> timedelta:
        """Begin what is due at `at`; how long to wait before the next look."""
        self._reap(at)
        plans = self.site.timed()
        with self._spoken("catalog"):
            self.site.engine.mark_lost()
        for timed in plans:
            with self._spoken(str(timed)):
                turn = self.site.look(timed, at)
                if turn is not None:
                    self._begin(turn, at)
        coming = min((next_slot(one.schedule, at).due_at - at for one in plans), default=LOOK)
        return max(_SOON, min(LOOK, coming))

    @property
    def running(self) -> list[str]:
        """What was begun and goes on, in words."""
        return [f"{turn.timed} (process {child.pid})" for turn, child in self._children.values()]

    def outlook(self, at: datetime) -> str:
        """One line: what runs, what comes next."""
        coming: list[tuple[datetime, Timed]] = [(next_slot(one.schedule, at).due_at, one) for one in self.site.timed()]
        if not coming:
            return "no plan has a schedule"
        due_at, timed = min(coming, key=lambda one: one[0])
        running = f"{', '.join(self.running)}; " if self.running else ""
        return f"{running}next: {timed} at {due_at:%Y-%m-%d %H:%M} UTC"

    def _begin(self, turn: Turn, at: datetime) -> None:
        plan = (turn.timed.kind, turn.timed.plan)
        if plan in self._children:  # it has not taken its slot yet
            return
        tries = self._tries.get((*plan, turn.slot.key))
        if tries is not None:
            pause = min(_AGAIN * 2 ** min(tries.count - 1, 10), _AGAIN_AT_MOST)
            if timedelta(0) <= at - tries.last_at < pause:
                return
        child = self.begin(turn)
        self._children[plan] = turn, child
        self.say(f"{turn.timed} begins for the slot {turn.slot.key} (process {child.pid})")

    def _reap(self, at: datetime) -> None:
        for plan, (turn, child) in list(self._children.items()):
            status = child.ended()
            if status is None:
                continue
            del self._children[plan]
            self.say(f"{turn.timed} for the slot {turn.slot.key} ended with {status}")
            # Counts only where the slot is still open at the next look.
            key = (*plan, turn.slot.key)
            before = self._tries.get(key)
            self._tries = {one: tries for one, tries in self._tries.items() if one[:2] != plan}
            self._tries[key] = _Tries(count=1 if before is None else before.count + 1, last_at=at)

    @contextlib.contextmanager
    def _spoken(self, what: str) -> Generator[None]:
        """A fault is said once, until it is over or another one; it ends nothing."""
        try:
            yield
            self._said.pop(what, None)
        except (DaybreakError, OSError) as error:
            text = f"{error.message} → {error.hint}" if isinstance(error, DaybreakError) else str(error)
            if self._said.get(what) != text:
                self._said[what] = text
                self.say(f"{what}: {text}")


class Keeper:
    """Keeps the schedule of one state folder, and listens for those who ask; `keeping` makes it."""

    def __init__(self, scheduler: Scheduler, accepted: _Accepted, explicit: Path | None, say: Say) -> None:
        self._scheduler = scheduler
        self._accepted = accepted
        self._explicit = explicit
        self._say = say
        self._rounds = _Rounds(say)

    @property
    def site(self) -> Site:
        """The configuration that counts, and its state folder."""
        return self._scheduler.site

    @property
    def running(self) -> list[str]:
        """What was begun and goes on, in words."""
        return self._scheduler.running

    def tick(self, at: datetime) -> timedelta:
        """Begin what is due at `at`; how long to wait before the next look."""
        pause = self._scheduler.tick(at)
        self._rounds.tick(self.site)
        return pause

    def outlook(self, at: datetime) -> str:
        """One line: what runs, what comes next."""
        return self._scheduler.outlook(at)

    def reload(self) -> None:
        """Read the configuration again; one with faults is not taken."""
        _reload(self._scheduler, self._accepted, self._explicit, self._say)


class _Rounds:
    """Tells what no run would tell in time: that one died, that a slot is missed, what did not arrive before.

    In a thread of its own: a destination that hangs must not keep a backup waiting.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._said: list[str] = []
        self._thread: threading.Thread | None = None
        self._began: float | None = None

    def tick(self, site: Site) -> None:
        """Begin a round, if it is time for one."""
        if self._thread is not None and self._thread.is_alive():
            return
        if self._began is not None and time.monotonic() - self._began < _ROUND_S:
            return
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._go, args=(site,), name="round", daemon=True)
        self._thread.start()

    def _go(self, site: Site) -> None:
        try:
            faults = site.look_round(now())
        except (DaybreakError, OSError) as error:
            faults = [f"nobody could be told: {error.message if isinstance(error, DaybreakError) else error}"]
        for fault in faults:
            if fault not in self._said:
                self._say(fault)
        self._said = faults


@contextlib.contextmanager
def keeping(explicit: Path | None, *, listener: Listener, say: Say) -> Generator[Keeper]:
    """A keeper for the time of the block. Raise ConfigError, Busy."""
    with contextlib.ExitStack() as stack:
        site = stack.enter_context(open_site(explicit, listener, trigger=SCHEDULER))
        stack.enter_context(_alone(site))
        keep = _Accepted(site)
        keep.store()
        stack.enter_context(_callers(keep, say))
        site.watch_only()
        yield Keeper(Scheduler(site, keep.begin, say), keep, explicit, say)


class _Accepted:
    """The configuration that was accepted, kept for the jobs: a file that somebody broke since stops no backup."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._folder = site.catalog.folder / ACCEPTED.parent
        self._file = site.catalog.folder / ACCEPTED

    @property
    def folder(self) -> Path:
        """The state folder."""
        return self._site.catalog.folder

    def store(self, site: Site | None = None) -> None:
        """Keep a copy of the file as it is now. Raise ConfigError where it has faults by now."""
        self._site = site or self._site
        make_folder(self._folder)
        found = self._folder / "next.toml"
        files.write_durable(found, self._site.settings.path.read_bytes(), group_of=self._folder)
        load(found)
        found.replace(self._file)

    @contextlib.contextmanager
    def opened(self) -> Generator[Site]:
        """A site of its own for somebody who asks the runner, with the configuration that was accepted."""
        settings, here = load(self._file), self._site
        with Catalog.open(here.catalog.folder) as catalog:
            cancel = threading.Event()
            yield Site(settings, catalog, here.engine.listener, cancel=cancel, trigger="runner", file=here.file)

    def begin(self, turn: Turn) -> Launched:
        """Start the command that a person would type, in a session of its own."""
        timed = turn.timed
        words = (*timed.words, "--slot", turn.slot.key, "--trigger", SCHEDULER)
        env = {name: value for name, value in os.environ.items() if name not in OWN_VARIABLES}
        env["DAYBREAK_STATE"] = str(self._site.catalog.folder)
        # -P: no module is taken from the folder that we happen to be in.
        argv = (sys.executable, "-P", "-m", "daybreak.cli.main", "--config", str(self._file), *words)
        return Launched(argv, env=env)


def _reload(scheduler: Scheduler, keep: _Accepted, explicit: Path | None, say: Say) -> None:
    before = scheduler.site
    try:
        settings = load(explicit)
        site = Site(settings, before.catalog, before.engine.listener, cancel=before.cancel, trigger=SCHEDULER)
        if settings.state != before.settings.state:
            say("state was changed: it counts from the next start of daybreak serve")
        keep.store(site)
        site.watch_only()
    except (DaybreakError, OSError) as error:
        text = error.message if isinstance(error, DaybreakError) else str(error)
        say(f"the configuration is not taken, the one before counts: {text}")
        return
    scheduler.site = site
    say(f"the configuration was read again: {scheduler.outlook(now())}")


@contextlib.contextmanager
def _callers(keep: _Accepted, say: Say) -> Generator[None]:
    """Listen for those who ask the runner. Where that cannot be, the schedule is kept all the same."""
    runner = RunnerSocket(keep.opened, keep.folder, log=say, take=_read_again)
    try:
        runner.start()
    except (DaybreakError, OSError) as error:
        say(f"nobody can ask the runner: {error.message if isinstance(error, DaybreakError) else error}")
    try:
        yield
    finally:
        runner.stop()


def _read_again() -> None:
    """Have this process do what `systemctl reload` has it do; its main thread keeps the schedule, and hears of it."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGHUP)


@contextlib.contextmanager
def _alone(site: Site) -> Generator[None]:
    """One scheduler for each state folder."""
    with contextlib.ExitStack() as stack:
        lock = files.lock(
            site.catalog.folder / KEPT, wait=timedelta(0), holder=f"daybreak serve, process {os.getpid()}"
        )
        try:
            stack.enter_context(lock)
        except Busy as error:
            raise Busy(
                f"{error.holder or 'another daybreak serve'} serves the state folder {site.catalog.folder}",
                hint="one is enough: systemctl status daybreak",
                holder=error.holder,
            ) from error
        yield
