"""What every page stands on: the configuration, the catalog, the runner, the clock.

A page that cannot have one of them shows the others and says what is wrong: `told` has the words. A catalog that could
not be read is tried again with the next page, so that nobody has to start the console anew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Final, TypeVar, cast
from zoneinfo import ZoneInfo

from daybreak.catalog import Catalog
from daybreak.catalog.store import FILE
from daybreak.config import Settings
from daybreak.console.people import Person, Role
from daybreak.errors import ConfigError, DaybreakError
from daybreak.jobs.doctor.finding import Finding
from daybreak.jobs.run import now
from daybreak.site.timing import timed_plans
from daybreak.web import Console

#: A catalog that cannot be read is not tried more often than this.
_AGAIN_S: Final = 2.0
#: So long, and so many of them, what was made for one is good for another.
_KEPT_S: Final = 1.0
_KEPT: Final = 64
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What the doctor found when somebody last asked here."""

    at: datetime
    by: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one page is made from, at one instant."""

    at: datetime
    folder: Path
    settings: Settings  # an empty one where the file has faults
    catalog: Catalog  # an empty one where it cannot be read
    zone: tzinfo  # in which this page shows its times
    configured: bool = True
    known: bool = True  # whether the catalog could be read
    faults: tuple[str, ...] = ()
    full: bool = False  # whoever looks may see paths, logs and what servers said


@dataclass(frozen=True, slots=True)
class _Kept:
    """What was made for somebody a moment ago."""

    stamp: object  # by which one sees that it is still so
    until: float
    shown: object


@dataclass(slots=True, kw_only=True)
class World:
    """One state folder and what is configured for it."""

    console: Console
    folder: Path  # the state folder: catalog, logs, the runner's socket
    settings: Settings | None  # None: the file has faults, see `faults`
    catalog: Catalog | None  # None: it cannot be read just now, see `told`
    faults: tuple[str, ...] = ()  # of the start and the configuration: in words, with what to do next
    alone: bool = True  # whether console, scheduler and runner are one process
    clock: Callable[[], datetime] = now
    reread: Callable[[], None] = lambda: None  # has `settings` and `faults` be what the file says now
    unread: Callable[[], str] = lambda: ""  # that the file says something else by now than what counts
    examined: dict[bool, Examined] = field(default_factory=dict[bool, Examined])  # by whether it was about tonight
    _fault: str = ""  # why the catalog cannot be read
    _tried: float = float("-inf")
    _file: tuple[int, int] | None = None  # the file that `catalog` has open
    _nothing: Catalog | None = None  # an empty catalog, made once
    _kept: dict[tuple[str, bool], _Kept] = field(default_factory=dict[tuple[str, bool], "_Kept"])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def told(self) -> tuple[str, ...]:
        """Everything that is wrong with what pages stand on, each once."""
        return tuple(dict.fromkeys([*self.faults, *([self._fault] if self._fault else [])]))

    @property
    def _unread(self) -> tuple[str, ...]:
        """Of a file with faults that is said already."""
        said = "" if self.faults else self.unread()
        return (said,) if said else ()

    def told_to(self, person: Person | None) -> tuple[str, ...]:
        """The same for whoever asks: nobody hears anything, and a viewer no path."""
        if person is None:
            return ()
        if person.role >= Role.OPERATOR:
            return (*self.told, *self._unread)
        general = {
            "The configuration has faults, so not everything can be shown.": self.settings is None,
            "The catalog cannot be read just now, so not everything can be shown.": bool(self._fault),
        }
        said = tuple(text for text, holds in general.items() if holds)
        return said or (("Something is wrong with this Daybreak; its operators see what.",) if self.told else ())

    def look(self, person: Person | None = None) -> Look:
        """What there is now for whoever asks; never raises."""
        with self._lock:
            catalog = self._open()
        return self._made(catalog, person)

    def show(self, view: Callable[[Look], _T], person: Person | None = None, *, key: str = "") -> tuple[Look, _T]:
        """What a view makes of now; of a catalog that fails meanwhile nothing is known.

        With a `key`, which names all that the view depends on beside its look, it may be what was made for somebody
        else within the last second, unless something was written since: many who look cost no more than one.
        """
        look = self.look(person)
        stamp = (look.faults, id(self.settings), _written(self.folder))
        kept = self._kept.get((key, look.full)) if key else None
        if kept is not None and kept.stamp == stamp and time.monotonic() < kept.until:
            return cast("tuple[Look, _T]", kept.shown)
        shown = self._shown(look, view, person)
        if key:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[key, look.full] = _Kept(stamp, time.monotonic() + _KEPT_S, shown)
        return shown

    def _shown(self, look: Look, view: Callable[[Look], _T], person: Person | None) -> tuple[Look, _T]:
        try:
            with look.catalog.still():
                return look, view(look)
        except ConfigError as error:
            if not look.known:
                raise
            with self._lock:
                self._lose(in_words(error))
            look = self._made(None, person)
            return look, view(look)

    def _made(self, catalog: Catalog | None, person: Person | None) -> Look:
        settings = self.settings
        return Look(
            at=self.clock(),
            folder=self.folder,
            settings=settings or Settings(path=Path(), databases={}),
            catalog=catalog or self._empty(),
            zone=zone_of(settings),
            configured=settings is not None,
            known=catalog is not None,
            faults=self.told_to(person),
            full=person is not None and person.role >= Role.OPERATOR,
        )

    def _empty(self) -> Catalog:
        with self._lock:
            self._nothing = self._nothing or Catalog.empty(self.folder)
            return self._nothing

    def _open(self) -> Catalog | None:
        """The catalog, opened again where it was not, or where another file has its name now."""
        present = _identity(self.folder)
        if self.catalog is not None:
            self._file = self._file or present  # the one that the world was made with
            try:
                if present is not None and present == self._file and self.catalog.is_current():
                    self._fault = ""
                    return self.catalog
            except ConfigError as error:
                self._lose(in_words(error))
                return None
            self._lose("")
        elif time.monotonic() - self._tried < _AGAIN_S:
            return None
        try:
            self.catalog = Catalog.look(self.folder)
        except ConfigError as error:
            self._lose(in_words(error))
            return None
        self._file, self._fault = present, ""
        return self.catalog

    def _lose(self, fault: str) -> None:
        """Let go of the catalog. A page that still reads it goes on with its own connection."""
        if self.catalog is not None:
            self.catalog.close()
        self.catalog, self._file, self._fault, self._tried = None, None, fault, time.monotonic()


def in_words(error: DaybreakError) -> str:
    """A fault as it stands on a page: what is so, and what to do next."""
    several = error.problems if isinstance(error, ConfigError) else ()
    said = "; ".join([error.message, *(one for one in several if one not in error.message)])
    return f"{said} ({error.hint})" if error.hint else said


def zone_of(settings: Settings | None) -> tzinfo:
    """The zone of the first plan that has a schedule; this machine's where none has."""
    timed = timed_plans(settings) if settings is not None else []
    if timed:
        return ZoneInfo(timed[0].schedule.timezone)
    return datetime.now(UTC).astimezone().tzinfo or UTC


def _identity(folder: Path) -> tuple[int, int] | None:
    """Which file has the catalog's name; None where there is none."""
    try:
        status = (folder / FILE).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _written(folder: Path) -> tuple[tuple[int, int], ...]:
    """When the catalog was last written, and how long its files are: other numbers mean other rows."""
    found: list[tuple[int, int]] = []
    for name in (FILE, f"{FILE}-wal"):
        try:
            status = (folder / name).stat()
        except OSError:
            continue
        found.append((status.st_mtime_ns, status.st_size))
    return tuple(found)
