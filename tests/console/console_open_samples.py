"""A console that is really open at a port, without servers behind it, and a browser that has signed in to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from console_guests import free_port
from console_people_samples import HOST, PASSWORD
from console_view_samples import sample_settings, sample_world
from playwright.sync_api import Browser, Page

from daybreak.config import Settings
from daybreak.console.accounts import Accounts, User, open_accounts
from daybreak.console.listening import Pages
from daybreak.console.people import Role
from daybreak.web import Console


class Open:
    """The console of a state folder; its port stays when it is stopped and started again."""

    def __init__(self, folder: Path, accounts: Accounts, settings: Settings) -> None:
        self.accounts, self.folder = accounts, folder
        self._world = sample_world(folder, settings=settings, at=None)
        self._world.console = Console(port=free_port())
        self.base = f"http://localhost:{self._world.console.port}"
        self._pages: Pages | None = None

    def start(self) -> None:
        self._pages = Pages(self._world)
        self._pages.start()

    def stop(self) -> None:
        if self._pages is not None:
            self._pages.stop()
        self._pages = None

    def user(self, name: str = "ada", role: Role = Role.ADMIN) -> User:
        found = self.accounts.users.get(name)
        return found or self.accounts.users.add(name, PASSWORD, role, datetime.now(UTC), HOST)

    def cookie(self, name: str = "ada") -> str:
        """Somebody has signed in, and shown again who he is."""
        at = datetime.now(UTC)
        cookie = self.accounts.sessions.begin(self.user(name), at, timedelta(hours=1), address="", agent="")
        session = self.accounts.sessions.get(cookie, at)
        assert session is not None
        self.accounts.sessions.refresh(session, at + timedelta(hours=1))
        return cookie

    def tab(self, browser: Browser, cookie: str, **options: object) -> Page:
        """A page of a new browser that has that cookie."""
        context = browser.new_context(**{"base_url": self.base, **options})
        context.add_cookies([{"name": "daybreak", "value": cookie, "url": self.base}])
        return context.new_page()


@contextmanager
def opened(folder: Path, settings: Settings | None = None) -> Iterator[Open]:
    """A console that is open inside the block."""
    with open_accounts(folder / "console") as accounts:
        made = Open(folder, accounts, settings or sample_settings(folder))
        made.start()
        try:
            yield made
        finally:
            made.stop()
