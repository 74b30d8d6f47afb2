"""A console with people in it: its application, a clock that can be moved, and a browser that keeps its cookies."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
from litestar import Litestar, get, post
from litestar.params import Body
from litestar.response import ServerSentEvent
from litestar.testing import TestClient

from daybreak.console import passkeys, peopleapi, peoplepages, security, signing
from daybreak.console.accounts import Accounts, By, open_accounts
from daybreak.console.app import build
from daybreak.console.guards import needs
from daybreak.console.people import Role
from daybreak.console.stepup import fresh
from daybreak.console.world import World
from daybreak.web import Console

HOST = By(who="host")
PASSWORD = "correct horse battery staple"
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


Json = Annotated[dict[str, Any], Body()]


@dataclass
class Clock:
    """It stands still until it is moved."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)


@get("/", guards=[needs(Role.VIEWER)], sync_to_thread=False)
def overview() -> str:
    return "all is well"


@get("/danger", guards=[needs(Role.RESTORER, "refresh"), fresh("refresh")], sync_to_thread=False)
def danger() -> str:
    return "are you sure?"


@post("/danger", guards=[needs(Role.RESTORER, "refresh"), fresh("refresh")], sync_to_thread=False, status_code=200)
def refresh(data: Json) -> str:
    STARTED.append(data)
    return "refreshed"


@get("/api/things", guards=[needs(Role.VIEWER)], sync_to_thread=False)
def things() -> dict[str, str]:
    return {"things": "many"}


@post("/api/backup", guards=[needs(Role.OPERATOR, "backup")], sync_to_thread=False, status_code=200)
def backup(data: Json) -> dict[str, Any]:
    STARTED.append(data)
    return data


@post("/api/unnamed", guards=[needs(Role.VIEWER)], sync_to_thread=False, status_code=200)
def unnamed(data: Json) -> dict[str, Any]:
    return data


@get("/broken", guards=[needs(Role.VIEWER)], sync_to_thread=False)
def broken() -> str:
    raise RuntimeError("SELECT secret FROM /etc/daybreak")


@get("/stream", guards=[needs(Role.VIEWER)])
async def stream() -> ServerSentEvent:
    async def events() -> AsyncIterator[str]:
        while True:
            yield "still here"
            await asyncio.sleep(0.05)

    return ServerSentEvent(events())


#: What was begun by the sample routes above.
STARTED: list[Any] = []
ROUTES = [overview, danger, refresh, things, backup, unnamed, broken, stream]


@dataclass
class House:
    """An application and what it stands on."""

    app: Litestar
    accounts: Accounts
    world: World
    clock: Clock

    def person(self, name: str, role: Role = Role.VIEWER, password: str = PASSWORD) -> Any:
        return self.accounts.users.add(name, password, role, self.clock.now, HOST)

    def browser(self, base: str = "http://127.0.0.1:8317") -> Browser:
        return Browser(self, base)

    def signed_in(self, name: str, role: Role = Role.VIEWER, base: str = "http://127.0.0.1:8317") -> Browser:
        if self.accounts.users.get(name) is None:
            self.person(name, role)
        browser = self.browser(base)
        assert browser.sign_in(name).status_code == 303
        return browser


@dataclass
class Browser:
    """What keeps cookies, sends what a browser sends and follows nothing by itself."""

    house: House
    base: str
    http: TestClient[Litestar] = field(init=False)

    def __post_init__(self) -> None:
        self.http = TestClient(self.house.app, raise_server_exceptions=False)
        self.http.base_url = self.base  # it warns of `localhost` where it is told so before
        self.http.follow_redirects = False

    def get(self, path: str, **more: Any) -> Any:
        return self.http.get(path, **more)

    def csrf(self, path: str) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.get(path).text)
        assert found, self.get(path).text
        return found[1]

    def post(self, path: str, data: dict[str, Any] | None = None, *, page: str = "/account", **more: Any) -> Any:
        """Send a form of `page`."""
        headers = {"Origin": self.base, "Sec-Fetch-Site": "same-origin"} | more.pop("headers", {})
        csrf = more.pop("csrf", None)
        csrf = self.csrf(page) if csrf is None else csrf
        return self.http.post(path, data={"csrf": csrf, **(data or {})}, headers=headers, **more)

    def sign_in(self, name: str, password: str = PASSWORD, **more: Any) -> Any:
        return self.post("/sign-in", {"name": name, "password": password, **more}, page="/sign-in")

    def step_up(self, password: str = PASSWORD, **more: Any) -> Any:
        return self.post("/step-up", {"password": password, **more}, page="/step-up")

    @property
    def cookies(self) -> dict[str, str]:
        return dict(self.http.cookies)


def make_house(folder: Path, console: Console | None = None) -> House:
    clock = Clock()
    world = World(console=console or Console(), folder=folder, settings=None, catalog=None, clock=clock)
    accounts = open_accounts(folder / "console")
    desk = signing.Desk(accounts)
    coming = [*signing.handlers(accounts, desk), *passkeys.handlers(accounts, desk)]
    handlers = [*ROUTES, *coming, *peoplepages.handlers(accounts), *peopleapi.handlers(accounts)]
    app = build(world, handlers=handlers, middleware=security.middleware(world, accounts))
    return House(app, accounts, world, clock)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    STARTED.clear()
    found = make_house(tmp_path)
    yield found
    found.accounts.close()
