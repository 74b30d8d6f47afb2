"""From the configuration to ready objects; the only place that picks classes. Doors talk to a `Site`.

Shapes  each verb of the command line is one method; those that work give the recorded `Run`.
Errors  those of the jobs; `UsageError` for a name that is not in the configuration or that is ambiguous.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Generator
from enum import Enum
from pathlib import Path
from typing import Any, Final

from daybreak import config, files
from daybreak.catalog import Catalog
from daybreak.catalog.ids import RUN_ID
from daybreak.errors import ConfigError, PublishError, UsageError
from daybreak.jobs.alerts import shout
from daybreak.jobs.listener import Listener
from daybreak.site.archives import Archives
from daybreak.site.configuring import Configuring
from daybreak.site.doctoring import Doctoring
from daybreak.site.looking import Looking
from daybreak.site.offsite import OffSite
from daybreak.site.repositories import Repositories
from daybreak.site.restoring import Restoring
from daybreak.site.targets import Targets
from daybreak.site.telling import Telling
from daybreak.site.timing import Timing

__all__ = ["Record", "Site", "load", "open_site", "state_of"]


_MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- mkdtemp makes the folder, safely


class Record(Enum):
    """Whether a site needs the state folder. One of its own, in its stead, is gone when the site is closed."""

    MUST = "must"
    IF_ROOM = "if there is room"  # a full disk of state and logs is no reason to go without a backup
    LOOK = "to look"  # what is written there is shown where nothing can be written any more
    ANYHOW = "anyhow"  # the same, and as if nothing were written there where it cannot be read either
    NOT = "not"


class Site(Archives, Targets, Restoring, OffSite, Repositories, Looking, Timing, Telling, Doctoring, Configuring):
    """One configuration and its state folder, with every verb."""


def load(explicit: Path | None) -> config.Settings:
    """Read and check the configuration file; dial nobody. Raise ConfigError with all its faults."""
    return config.check(config.find_file(explicit, os.environ, here=config.here_now()))


def state_of(settings: config.Settings) -> Path:
    """The state folder of a configuration, for everybody on this host."""
    return config.choose_state(settings.state, os.environ, is_root=os.geteuid() == 0, home=config.home_now())


@contextlib.contextmanager
def open_site(
    explicit: Path | None,
    listener: Listener,
    *,
    cancel: threading.Event | None = None,
    trigger: str = "cli",
    first_id: str = "",
    alarm: str = "",
    record: Record = Record.MUST,
) -> Generator[Site]:
    """A `Site` for the configuration file that applies here; `first_id` is what its first run is called.

    `alarm` is a job in words: where its state folder cannot be used, so that no run can tell of itself, whoever wants
    to know of failures is told.
    """
    settings = load(explicit)
    cancel = cancel or threading.Event()
    with contextlib.ExitStack() as stack:

        def alone(*, tell: bool, looked_at: Catalog | None = None) -> Site:
            own = Path(stack.enter_context(_folder_for_now()))
            catalog = stack.enter_context(looked_at or Catalog.open(own))
            asked: dict[str, Any] = {"trigger": trigger, "first_id": first_id, "state": own}
            return Site(settings, catalog, listener, cancel=cancel, alone=True, tell=tell, **asked)

        if record is Record.NOT:
            yield alone(tell=False)
            return
        try:
            folder = state_of(settings)
            try:
                catalog = stack.enter_context(Catalog.open(folder))
                _require_new(catalog, first_id)
                site = Site(settings, catalog, listener, cancel=cancel, trigger=trigger, first_id=first_id)
            except ConfigError as error:
                if record in {Record.LOOK, Record.ANYHOW}:
                    looked_at = _looked_at(folder)
                    if looked_at is None and record is Record.LOOK:
                        raise
                    site = alone(tell=False, looked_at=looked_at or Catalog.empty(folder))
                    site.unusable, site.remembers = error, looked_at is not None
                    listener.warning(f"{error.message}; this goes on without writing there ({error.hint})")
                elif record is Record.MUST or not files.is_full(folder):
                    raise
                else:
                    listener.warning(f"{error.message}: no room in {folder}; this run is not recorded")
                    with files.disk_errors(folder, "no other place either for what belongs into"):
                        site = alone(tell=True)
        except (ConfigError, PublishError) as error:
            if alarm:
                for fault in shout(settings.alerts.values(), alarm, error):
                    listener.warning(fault)
            raise
        yield site


def _looked_at(folder: Path) -> Catalog | None:
    """The catalog of a state folder that cannot be written, to look at; None where it cannot be read either."""
    with contextlib.suppress(ConfigError):
        return Catalog.look(folder)
    return None


def _folder_for_now() -> tempfile.TemporaryDirectory[str]:
    """A folder that is gone afterwards; in memory, where the state folder shares its full disk with /tmp."""
    usual = Path(os.environ.get("TMPDIR") or "/tmp")  # noqa: S108 -- mkdtemp makes the folder, safely
    full = files.is_full(usual) or files.is_read_only(usual)
    return tempfile.TemporaryDirectory(prefix="daybreak-", dir=_MEMORY if full and _MEMORY.is_dir() else None)


def _require_new(catalog: Catalog, run: str) -> None:
    """What a first run is to be called, if anything, is nobody's name yet. Raise UsageError."""
    if run and (RUN_ID.fullmatch(run) is None or catalog.runs.get(run) is not None):
        raise UsageError(f"{run!r} can be no new run's id", hint="unset DAYBREAK_RUN_ID; the runner sets it")
