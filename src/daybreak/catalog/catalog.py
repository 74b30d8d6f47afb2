"""One open catalog: its nouns over one file."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

from daybreak.catalog.alerts import Alerts
from daybreak.catalog.archives import Archives
from daybreak.catalog.databases import Databases
from daybreak.catalog.history import History
from daybreak.catalog.holds import Holds
from daybreak.catalog.looking import empty_store, look_store
from daybreak.catalog.proofs import Proofs
from daybreak.catalog.runs import Runs
from daybreak.catalog.schema import HEAD
from daybreak.catalog.slots import Slots
from daybreak.catalog.snapshots import Snapshots
from daybreak.catalog.store import Store, open_store


class Catalog:
    """What happened on this host. Usable from several threads; a context manager that closes it."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.folder = folder
        self.alerts = Alerts(store)
        self.runs = Runs(store)
        self.archives = Archives(store)
        self.databases = Databases(store)
        self.history = History(store)
        self.holds = Holds(store)
        self.proofs = Proofs(store)
        self.slots = Slots(store)
        self.snapshots = Snapshots(store)
        self._store = store

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the catalog of a state folder; make both where they are missing.

        Raise ConfigError where the caller cannot write them, or a newer Daybreak has been here.
        """
        return cls(open_store(folder), folder)

    @classmethod
    def look(cls, folder: Path) -> Self:
        """Open the catalog of a state folder for looking only: nothing is made, migrated or written.

        Raise ConfigError where it is missing, locked, damaged, older or newer than this Daybreak.
        """
        return cls(look_store(folder), folder)

    @classmethod
    def empty(cls, folder: Path) -> Self:
        """A catalog without anything in it, in memory: for whoever has to go on without the real one."""
        return cls(empty_store(folder), folder)

    def still(self) -> AbstractContextManager[None]:
        """Inside the block this thread reads the catalog as it is at one instant, whoever writes meanwhile."""
        return self._store.still()

    def is_current(self) -> bool:
        """Whether the file still has the schema that this Daybreak knows. Raise ConfigError."""
        return self._store.revision() == HEAD

    def close(self) -> None:
        """Let go of the file."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
