"""A town with a real `daybreak serve` in it, for those who come by HTTP and for those who come with a browser."""

from __future__ import annotations

import functools
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from console_guests import Served, make_served
from playwright.sync_api import Browser, sync_playwright

from town import Town, make_town

if TYPE_CHECKING:
    from conftest import Servers

_SWITCHES = [
    "--no-sandbox",  # root's Chromium has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module", autouse=True)
def certificates_are_read_once() -> Iterator[None]:
    """Each client of httpx reads all that the machine trusts, for 40 ms; nobody speaks TLS here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
        yield


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A real browser. Gone with its module: as long as it is there, nothing else may have a loop of events."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.fail("the tests need chromium; install what the tests need with: ./run servers")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_SWITCHES)
        yield browser
        browser.close()


@pytest.fixture
def town(servers: Servers, dev_servers: Servers, restic: Path, tmp_path: Path) -> Iterator[Town]:
    """Production, development and a repository; nothing was backed up yet."""
    made = make_town(tmp_path, servers[18], dev_servers[18], restic)
    yield made
    made.drop()


@pytest.fixture
def served(town: Town) -> Iterator[Served]:
    """The town's `daybreak serve`, which `served.up()` starts."""
    made = make_served(town)
    yield made
    made.close()
