"""Somebody who comes to a console by HTTP, as a browser or as a program, and a `daybreak serve` to come to."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from daybreak.console.accounts import By, open_accounts
from daybreak.console.people import Role
from installation import Started, wait_for
from town import Town

PASSWORD = "correct horse battery staple"


@dataclass
class Guest:
    """Keeps cookies and follows nothing by itself."""

    base: str
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.base, headers={"Origin": self.base}, timeout=60)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.http.get(path, **more)

    def field(self, path: str, name: str = "csrf") -> str:
        """The value of a hidden field of a page."""
        page = self.get(path)
        found = re.search(rf'name="{name}" value="([^"]*)"', page.text)
        assert found, (page.status_code, page.headers, page.text)
        return found[1]

    def post(self, path: str, data: dict[str, Any] | None = None, *, page: str = "/account") -> httpx.Response:
        """Send a form of `page`."""
        return self.http.post(path, data={"csrf": self.field(page), **(data or {})})

    def form(self, path: str, **fields: str) -> httpx.Response:
        """Fill in the form of a page that asks, and send it with its own key."""
        page = self.get(path)
        assert page.status_code == 200, (page.status_code, page.headers.get("location"), page.text)
        hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text))
        return self.http.post(path, data={**hidden, **fields})

    def sign_in(self, name: str, password: str = PASSWORD) -> Guest:
        answer = self.post("/sign-in", {"name": name, "password": password}, page="/sign-in")
        assert answer.status_code == 303, answer.text
        return self

    def step_up(self, password: str = PASSWORD) -> None:
        answer = self.post("/step-up", {"password": password}, page="/step-up")
        assert answer.status_code == 303, answer.text


@dataclass(kw_only=True)
class Served:
    """A `daybreak serve` of a town, with people who can sign in."""

    town: Town
    port: int
    process: Started | None = None
    guests: list[Guest] = field(default_factory=list[Guest])

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def person(self, name: str, role: Role) -> None:
        with open_accounts(self.town.site.state / "console") as accounts:
            accounts.users.add(name, PASSWORD, role, datetime.now(UTC), By(who="host"))

    def guest(self, name: str = "", role: Role = Role.ADMIN) -> Guest:
        """Somebody; with a name he has signed in."""
        guest = Guest(self.base)
        self.guests.append(guest)
        if not name:
            return guest
        with open_accounts(self.town.site.state / "console") as accounts:
            known = accounts.users.get(name) is not None
        if not known:
            self.person(name, role)
        return guest.sign_in(name)

    def close(self) -> None:
        """Let everybody go."""
        for guest in self.guests:
            guest.http.close()

    @contextmanager
    def up(self, *words: str, healthy: bool = True) -> Iterator[Started]:
        """It serves inside the block."""
        with self.town.site.start("serve", *words) as process:
            self.process = process
            wait_for(lambda: self._answers(process, healthy=healthy), within_s=60, what="the console")
            yield process
            process.process.terminate()
            assert process.end(30).code == 0

    def said(self) -> str:
        assert self.process is not None
        return self.process.err.read_text()

    def state(self, run: str) -> str:
        return str(self.town.site.json("run", "show", run)["state"])

    def ended(self, run: str) -> str:
        """How a run ended."""
        return wait_for(
            lambda: found if (found := self.state(run)) not in {"waiting", "running"} else None,
            within_s=90,
            what=f"the end of {run}",
        )

    def _answers(self, process: Started, *, healthy: bool) -> bool:
        assert process.process.poll() is None, process.err.read_text()
        try:
            answer = httpx.get(f"{self.base}/healthz", timeout=5)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200 or not healthy


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def make_served(town: Town) -> Served:
    """The town's own console, at a port of its own; not started yet."""
    port = free_port()
    town.more(f"\n[console]\nport = {port}\n")
    return Served(town=town, port=port)


def resident_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
