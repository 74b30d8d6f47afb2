"""axe looks at every page in a real Chromium, in both themes and on a phone, and finds nothing."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvicorn
from console_npm_samples import modules
from console_people_samples import HOST, PASSWORD
from console_view_samples import hold_dev, sample_settings, sample_world, write_years
from playwright.sync_api import Browser, Page

from daybreak.catalog import Catalog
from daybreak.console.accounts import open_accounts
from daybreak.console.accounts.passkeys import Drawn
from daybreak.console.entrance import application
from daybreak.console.people import Role

__all__ = ["modules"]

_AXE = """axe.run().then(found => found.violations.map(
  one => `${one.id}: ${one.nodes.map(node => node.html.slice(0, 150)).join(' | ')}`))"""
_WIDER = "document.documentElement.scrollWidth > innerWidth"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A console over some weeks of nights, with an admin, somebody else and a token."""
    folder, at = tmp_path_factory.mktemp("axe"), datetime.now(UTC)
    with Catalog.open(folder) as catalog:
        write_years(catalog, nights=40, tables=5, at=at)
        hold_dev(catalog, at)
    world = sample_world(folder, settings=sample_settings(folder), at=None)
    with open_accounts(folder / "console") as accounts:
        accounts.users.add("ada", PASSWORD, Role.ADMIN, at, HOST)
        ada = accounts.users.get("ada")
        assert ada is not None
        drawn = Drawn(credential=b"c", public_key=b"", handle=b"h", uses=0)
        accounts.passkeys.add(ada, "the key on my ring", drawn, at, HOST)
        bob = accounts.users.add("bob", PASSWORD, Role.OPERATOR, at, HOST)
        accounts.tokens.add(bob, "ci", ["look"], lasting=timedelta(days=9), at=at, by=HOST)
        quiet = {"log_config": None, "proxy_headers": False, "lifespan": "off"}
        server = uvicorn.Server(uvicorn.Config(application(world, accounts), host="127.0.0.1", port=0, **quiet))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://localhost:{server.servers[0].sockets[0].getsockname()[1]}"
        server.should_exit = True
        thread.join(20)


def looked_at(page: Page, axe: str, where: str) -> list[str]:
    # The page's own policy lets no script of anybody's in; what a debugger evaluates is not asked.
    page.evaluate(f"{axe}; 0")
    found = [f"{where}: {one}" for one in page.evaluate(_AXE)]
    return found + ([f"{where}: wider than its window"] if page.evaluate(_WIDER) else [])


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1280), ("dark", 390)], ids=["wide and light", "a phone in the dark"]
)
def test_axe_finds_nothing(address: str, modules: Path, chromium: Browser, scheme: str, width: int) -> None:
    axe = (modules / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")
    found: list[str] = []
    context = chromium.new_context(
        base_url=address, color_scheme=scheme, viewport={"width": width, "height": 844}, reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto("/sign-in")
    page.get_by_role("button", name="Sign in with a passkey").wait_for()
    found += looked_at(page, axe, "/sign-in")
    elsewhere = page.url.replace("localhost", "127.0.0.1")
    page.goto(elsewhere)
    page.get_by_text("Passkeys need the console to be opened by a name").wait_for()
    found += looked_at(page, axe, elsewhere)
    page.goto("/sign-in")
    page.get_by_label("Name", exact=True).fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.goto("/step-up?to=/account")
    found += looked_at(page, axe, "/step-up")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("button", name="Set up a second factor").click()
    found += looked_at(page, axe, "/account/factor")
    page.goto("/account/passkey")
    page.get_by_role("button", name="Add it").wait_for()
    found += looked_at(page, axe, "/account/passkey")
    for path in (
        "/",
        "/runs",
        "/archives",
        "/off-site",
        "/dev",
        "/schedule",
        "/doctor",
        "/settings",
        "/account",
        "/people",
        "/tokens",
        "/audit",
        "/nothing",
    ):
        page.goto(path)
        for one in page.locator("main details > summary").all():
            one.click()
        found += looked_at(page, axe, path)
        if path in {"/runs", "/archives", "/off-site"}:
            link = page.locator(f'main a[href^="{path}/"]').first.get_attribute("href")
            assert link
            page.goto(link)
            found += looked_at(page, axe, link)
    context.close()
    assert found == []
