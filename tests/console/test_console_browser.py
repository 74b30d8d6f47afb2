"""The console in a real Chromium: a real `daybreak serve`, real servers behind it, the whole story, and a phone."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from console_guests import PASSWORD, Served
from playwright.sync_api import Browser, BrowserContext, CDPSession, Page, expect

from daybreak.console.accounts import By, open_accounts
from daybreak.console.accounts.passkeys import Drawn
from daybreak.console.people import Role
from installation import wait_for
from town import ROWS

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(600)]
PHONE = {"width": 390, "height": 844}
LONG_MS = 90_000
_ENDS_MS = 2_500
#: What reaches beyond the right edge of the window, outermost first.
_WIDEST = """[...document.querySelectorAll('body *')].filter(one => one.getBoundingClientRect().right > innerWidth
  && !one.closest('.scroll, nav')).map(one => `${one.tagName} ${one.textContent.trim().slice(0, 50)}`)"""


@pytest.fixture
def tab(chromium: Browser, served: Served) -> Callable[..., Page]:
    """`tab()` is a page of a new browser at the console; whatever it complains of fails the test at the end."""
    made: list[tuple[BrowserContext, list[str]]] = []

    def make(**options: object) -> Page:
        context = chromium.new_context(**{"base_url": served.base, **options})
        faults: list[str] = []
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda said: faults.append(f"{page.url}: {said.text}") if said.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(f"{page.url}: {error}"))
        made.append((context, faults))
        return page

    yield make
    for context, faults in made:
        context.close()
        # What the server refuses on purpose stands in a browser's console as well.
        own = [one for one in faults if "Failed to load resource" not in one]
        assert own == []


@contextmanager
def first_admin(served: Served, page: Page) -> Iterator[None]:
    """A serve in which the first person came in by the token that the host prints."""
    with served.up():
        made = served.town.site.json("console", "first")
        page.goto(made["url"])
        page.get_by_label("Token").fill(made["token"])
        page.get_by_label("Name", exact=True).fill("ada")
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_label("The same again").fill(PASSWORD)
        page.get_by_role("button", name="Make the first user").click()
        if page.url.endswith("/sign-in") or page.get_by_role("button", name="Sign in", exact=True).count():
            sign_in(page, "ada")
        expect(page).not_to_have_url(re.compile("/first"))
        yield


def sign_in(page: Page, name: str) -> None:
    page.goto("/sign-in")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page).not_to_have_url(re.compile("/sign-in"))


def second_look(page: Page) -> None:
    """Show again who it is, where that is asked for."""
    if "/step-up" in page.url:
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Go on").click()
        expect(page).not_to_have_url(re.compile("/step-up"))


def watched(page: Page, state: str) -> str:
    """The run whose page this is, watched to its end without loading the page again."""
    expect(page).to_have_url(re.compile(r"/runs/[0-9]"))
    expect(page.locator("#live, main").first).to_contain_text(state, timeout=LONG_MS)
    page.wait_for_timeout(_ENDS_MS)  # the page loads itself once more when its run has ended
    page.wait_for_load_state()
    return page.url.rpartition("/")[2].partition("#")[0]


def backs_up(page: Page) -> str:
    """A backup, begun by a click and watched."""
    page.goto("/")
    page.get_by_role("link", name="Back up prod now").click()
    page.get_by_role("button", name="Back up prod").click()
    backup = watched(page, "succeeded")
    expect(page.get_by_text("ada in the console of").first).to_be_visible()
    return backup


def looks_round(page: Page) -> None:
    """It is off-site, and the archive can be looked into."""
    page.goto("/off-site")
    expect(page.get_by_role("main")).to_contain_text("safe")
    page.get_by_role("main").get_by_role("link", name="safe").first.click()
    expect(page.get_by_role("main")).to_contain_text("archive")
    page.goto("/archives")
    page.locator("table a").first.click()
    expect(page.get_by_role("main")).to_contain_text("public.account")
    expect(page.get_by_role("main")).to_contain_text("Odd <b>name</b>")
    assert page.locator("main b", has_text="name").count() == 0


def refreshes(page: Page, dev_name: str) -> None:
    """Dev is refreshed, after its plan was read, a second look, and its name typed: wrongly first."""
    page.goto("/dev")
    page.get_by_role("link", name="Plan and rehearsal").click()
    expect(page.get_by_role("main")).to_contain_text("Nothing was changed")
    page.get_by_role("link", name="Refresh dev now").click()
    second_look(page)
    expect(page.get_by_role("main")).to_contain_text(dev_name)
    for typed in ("prod", "dev"):
        page.get_by_label(re.compile("I mean it")).check()
        page.get_by_label(re.compile("Type dev")).fill(typed)
        page.get_by_role("button", name="Replace dev now").click()
        if typed == "prod":
            expect(page.get_by_role("alert")).to_contain_text("is not dev")
    watched(page, "succeeded")


def undoes(page: Page) -> None:
    """And back."""
    page.goto("/dev")
    page.get_by_role("link", name="Undo the last refresh").click()
    second_look(page)
    page.get_by_label(re.compile("Type dev")).fill("dev")
    page.get_by_role("button", name="Bring back").click()
    watched(page, "succeeded")


def holds(page: Page) -> None:
    """Held for the demo, with a reason that tries to be markup."""
    page.goto("/dev")
    page.get_by_role("link", name="Hold it").click()
    page.get_by_label(re.compile("Why")).fill("the demo <i>on</i> Thursday")
    page.get_by_label("Until").fill("3d")
    page.get_by_role("button", name="Hold dev").click()
    expect(page).to_have_url(re.compile("/dev$"))
    expect(page.get_by_role("main")).to_contain_text("the demo <i>on</i> Thursday")


def fetches(page: Page) -> str:
    """A snapshot is browsed and fetched."""
    page.goto("/off-site/safe")
    page.locator("a[href*='/snapshots/']").first.click()
    expect(page.get_by_role("main")).to_contain_text("public.account")
    page.get_by_role("link", name="Fetch its archive").click()
    page.get_by_role("button", name=re.compile("Fetch")).click()
    return watched(page, "succeeded")


def fails(page: Page, served: Served) -> None:
    """A night that fails says why, and what to do next."""
    served.town.site.fake_dump("echo the disk of the server hums >&2; exit 3")
    assert served.process is not None
    served.process.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "was read again" in served.said(), what="the new configuration")
    page.goto("/backups/nightly/backup")
    page.get_by_role("button", name="Back up prod").click()
    watched(page, "failed")
    expect(page.get_by_role("main")).to_contain_text("the disk of the server hums")
    expect(page.get_by_role("main")).to_contain_text("Next")


def test_the_whole_story(served: Served, tab: Callable[..., Page]) -> None:
    town, page = served.town, tab()
    with first_admin(served, page):
        backup = backs_up(page)
        looks_round(page)
        refreshes(page, town.dev_name)
        assert town.dev_rows() == ROWS
        undoes(page)
        assert town.dev_rows() == 1
        holds(page)
        assert (town.site.state / "fetched" / fetches(page)).is_dir()
        fails(page, served)
        page.goto("/audit")
        expect(page.get_by_role("main")).to_contain_text(backup)


def test_somebody_with_a_lesser_role_sees_and_may_not(served: Served, tab: Callable[..., Page]) -> None:
    with served.up():
        served.town.site.backup()
        served.person("eve", Role.VIEWER)
        served.person("oscar", Role.OPERATOR)
        page = tab()
        sign_in(page, "eve")
        for path in ("/", "/runs", "/archives", "/off-site", "/dev", "/schedule", "/doctor"):
            page.goto(path)
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            assert page.get_by_role("link", name=re.compile("Back up|Refresh dev|Hold it|Undo|Forget")).count() == 0
        answer = page.goto("/dev/weekly/refresh")
        assert answer is not None
        assert answer.status == 403
        other = tab()
        sign_in(other, "oscar")
        other.goto("/dev")
        assert other.get_by_role("link", name=re.compile("Hold it")).count() == 1
        assert other.get_by_role("link", name=re.compile("Refresh dev now")).count() == 0


def test_on_a_phone_in_the_dark_and_by_keyboard_alone(served: Served, tab: Callable[..., Page]) -> None:
    with served.up():
        served.town.site.backup()
        served.person("ada", Role.ADMIN)
        page = tab(viewport=PHONE, color_scheme="dark", reduced_motion="reduce", has_touch=True)
        sign_in(page, "ada")
        snapshot = served.guest("ada").get("/api/off-site/safe/snapshots").json()["snapshots"][0]["id"]
        wide: dict[str, list[str]] = {}
        for path in (
            *("/", "/runs", "/archives", "/off-site", "/off-site/safe", "/dev", "/schedule", "/doctor", "/settings"),
            *("/account", "/people", "/tokens", "/audit", "/dev/weekly/plan", "/dev/dev/hold", "/off-site/safe/locks"),
            *(f"/off-site/safe/snapshots/{snapshot}", "/backups/nightly/backup", "/backups/nightly/drill"),
        ):
            page.goto(path)
            if page.evaluate("document.documentElement.scrollWidth") > PHONE["width"]:
                wide[path] = page.evaluate(_WIDEST)
        assert wide == {}
        page.goto("/backups/nightly/backup")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to content"
        page.get_by_role("button", name="Back up prod").focus()
        page.keyboard.press("Enter")
        watched(page, "succeeded")


def test_the_page_of_a_run_goes_on_when_serve_comes_back(served: Served, tab: Callable[..., Page]) -> None:
    hold = served.town.site.folder / "hold"
    hold.touch()
    served.town.site.fake_dump(f'"$real" "$@" | (head -c 100; while [ -e {hold} ]; do sleep 0.05; done; cat)')
    page = tab()
    with served.up():
        served.person("ada", Role.ADMIN)
        sign_in(page, "ada")
        page.goto("/backups/nightly/backup")
        page.get_by_role("button", name="Back up prod").click()
        expect(page).to_have_url(re.compile(r"/runs/[0-9]"))
        expect(page.get_by_role("main")).to_contain_text("running")
    with served.up():
        Path(hold).unlink()
        watched(page, "succeeded")  # by the stream that came back, or not at all: nobody loads the page again


def with_authenticator(page: Page) -> CDPSession:
    """A device that keeps passkeys and has just looked at its owner; it goes with its page."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    device = {"protocol": "ctap2", "transport": "internal", "automaticPresenceSimulation": True}
    session.send(
        "WebAuthn.addVirtualAuthenticator",
        {"options": {**device, "hasResidentKey": True, "hasUserVerification": True, "isUserVerified": True}},
    )
    return session


def sign_out(page: Page) -> None:
    page.goto("/account")
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(re.compile("/sign-in$"))


def test_a_passkey_is_added_used_and_removed(served: Served, tab: Callable[..., Page]) -> None:
    with served.up():
        served.person("ada", Role.ADMIN)
        page = tab(base_url=f"http://localhost:{served.port}")
        with_authenticator(page)
        sign_in(page, "ada")
        page.goto("/account")
        page.get_by_role("link", name="Add a passkey").click()
        second_look(page)
        page.get_by_label("Name").fill("laptop")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text("lets you in from now on")
        expect(page.get_by_role("row", name=re.compile("laptop"))).to_contain_text("never")
        page.goto("/account/passkey")
        page.get_by_label("Name").fill("laptop again")
        page.get_by_role("button", name="Add it").click()
        expect(page.get_by_role("alert")).to_have_text("You have added that one already.")
        sign_out(page)
        page.goto("/sign-in?to=/runs")
        page.get_by_role("button", name="Sign in with a passkey").focus()
        page.keyboard.press("Enter")
        expect(page).to_have_url(f"http://localhost:{served.port}/runs")
        page.goto("/step-up?to=/account")
        page.get_by_role("button", name="Use a passkey instead").click()
        expect(page).to_have_url(f"http://localhost:{served.port}/account")
        served.guest("bob")
        with open_accounts(served.town.site.state / "console") as accounts:
            bob = accounts.users.get("bob")
            assert bob is not None
            other = Drawn(credential=b"other", public_key=b"", handle=b"bob", uses=0)
            accounts.passkeys.add(bob, "key", other, datetime.now(UTC), By(who="host"))  # so that the button stays
        page.get_by_role("button", name="Remove the passkey laptop").click()
        expect(page.get_by_role("status")).to_contain_text("lets nobody in any more")
        sign_out(page)
        page.get_by_role("button", name="Sign in with a passkey").click()
        expect(page.get_by_role("alert")).to_contain_text("That passkey was not accepted")
        sign_in(page, "ada")
        page.goto("/audit")
        for said in ("add passkey", "sign in with a passkey", "step up with a passkey", "nobody has that passkey"):
            expect(page.get_by_role("main")).to_contain_text(said)


def test_who_does_not_want_to_show_a_passkey_is_told_how_it_goes_on(served: Served, tab: Callable[..., Page]) -> None:
    with served.up():
        served.person("ada", Role.ADMIN)
        page = tab(base_url=f"http://localhost:{served.port}")
        sign_in(page, "ada")
        page.goto("/account/passkey")
        second_look(page)
        device = with_authenticator(page)
        with open_accounts(served.town.site.state / "console") as accounts:
            ada = accounts.users.get("ada")
            assert ada is not None
            for session in accounts.sessions.list(ada, datetime.now(UTC)):
                accounts.sessions.refresh(session, None)  # as after five minutes
        page.get_by_label("Name").fill("laptop")
        page.get_by_role("button", name="Add it").click()
        expect(page).to_have_url(re.compile("/step-up"))
        second_look(page)
        expect(page).to_have_url(f"http://localhost:{served.port}/account/passkey")
        page.get_by_label("Name").fill("laptop")
        page.get_by_role("button", name="Add it").click()
        expect(page.get_by_role("status")).to_contain_text("lets you in from now on")
        sign_out(page)
        device.send("WebAuthn.disable")
        with_authenticator(page)  # one that is empty
        page.get_by_role("button", name="Sign in with a passkey").click()
        expect(page.get_by_role("alert")).to_contain_text("No passkey was used", timeout=LONG_MS)
        page.get_by_role("button", name="Sign in", exact=True).click()  # the rest of the page is as it was
        expect(page).to_have_url(re.compile("/sign-in"))
        without = tab(base_url=f"http://localhost:{served.port}", java_script_enabled=False)
        without.goto("/sign-in")
        assert not without.get_by_text("Sign in with a passkey").is_visible()
        sign_in(without, "ada")
