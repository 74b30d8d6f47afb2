"""A page that stays open goes on, or says that it does not, in a real Chromium; and it keeps no serve from its end."""

from __future__ import annotations

import fcntl
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from console_open_samples import Open, opened
from console_view_samples import begin_run, write_years
from playwright.sync_api import Browser, Page, expect

from daybreak.catalog import Catalog

#: Longer than a page waits before it says anything, and than a refused stream takes to be refused.
SAID_MS = 25_000
NOT_LIVE = re.compile(r"Not live since \d\d:\d\d ")


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Open]:
    with Catalog.open(tmp_path) as catalog:
        write_years(catalog, nights=5, tables=5, at=datetime.now(UTC))
    with opened(tmp_path) as made:
        yield made


def test_an_overview_says_when_serve_is_away_and_no_longer_when_it_is_back(console: Open, chromium: Browser) -> None:
    page = console.tab(chromium, console.cookie())
    page.goto("/")
    notice = page.get_by_role("alert")
    console.stop()
    page.wait_for_timeout(5_000)
    assert notice.count() == 0  # a restart takes no longer
    expect(notice).to_contain_text(NOT_LIVE, timeout=SAID_MS)
    page.mouse.wheel(0, 4_000)
    expect(notice).to_be_in_viewport()
    console.start()
    expect(notice).to_have_count(0, timeout=SAID_MS)


def test_an_overview_says_so_at_once_when_it_may_not_look_any_more(console: Open, chromium: Browser) -> None:
    cookie = console.cookie()
    page = console.tab(chromium, cookie)
    page.goto("/")
    page.wait_for_timeout(1_000)  # its stream has begun
    console.accounts.sessions.end(cookie)
    notice = page.get_by_role("alert")
    expect(notice).to_contain_text(NOT_LIVE, timeout=15_000)
    notice.get_by_role("link", name="Load it again").click()
    expect(page).to_have_url(f"{console.base}/sign-in")


def test_an_overview_that_was_signed_out_while_serve_was_away_says_so(console: Open, chromium: Browser) -> None:
    cookie = console.cookie()
    page = console.tab(chromium, cookie)
    page.goto("/")
    page.wait_for_timeout(1_000)
    console.stop()
    console.accounts.sessions.end(cookie)
    console.start()
    expect(page.get_by_role("alert")).to_contain_text(NOT_LIVE, timeout=SAID_MS)
    page.wait_for_timeout(5_000)
    expect(page.get_by_role("alert")).to_have_count(1)  # and goes on saying it


def test_the_page_of_a_run_counts_the_lines_that_come(console: Open, chromium: Browser) -> None:
    with Catalog.open(console.folder) as catalog:
        run = begin_run(catalog, console.folder, datetime.now(UTC))
    log = console.folder / "logs" / f"{run}.log"
    log.write_text("step dump\n")
    page = console.tab(chromium, console.cookie())
    with (console.folder / "runs" / f"{run}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        page.goto(f"/runs/{run}")
        told = page.locator("#log-told")
        expect(told).to_have_text("1 line.")
        with log.open("a") as file:
            file.write("one more\nand another\n")
        expect(told).to_have_text("3 lines.", timeout=SAID_MS)
        page.get_by_label("Find").fill("more")
        expect(told).to_contain_text("1 of the lines that are shown")
        page.get_by_label("Find").fill("")
        expect(told).to_have_text("3 lines.")


def test_marked_text_does_not_keep_the_verdict_from_changing(console: Open, chromium: Browser) -> None:
    page = console.tab(chromium, console.cookie())
    page.goto("/")
    live = page.locator("#live")
    page.evaluate("document.getSelection().selectAllChildren(document.getElementById('live'))")
    page.wait_for_timeout(1_000)
    with Catalog.open(console.folder) as catalog:
        begin_run(catalog, console.folder, datetime.now(UTC))  # nothing of it lives: it was lost
    page.wait_for_timeout(5_000)
    before = live.inner_html()
    assert page.evaluate("String(document.getSelection()).length") > 100  # he may copy it
    expect(live).to_contain_text("lost", timeout=SAID_MS)
    assert live.inner_html() != before


def test_a_link_that_is_pressed_while_something_changes_is_followed(console: Open, chromium: Browser) -> None:
    page = console.tab(chromium, console.cookie())
    page.goto("/")
    page.get_by_role("link", name="All runs").hover()
    page.mouse.down()
    with Catalog.open(console.folder) as catalog:
        begin_run(catalog, console.folder, datetime.now(UTC))
    page.wait_for_timeout(5_000)  # it is looked at every three seconds
    page.mouse.up()
    expect(page).to_have_url(f"{console.base}/runs")


def seen(page: Page, *, is_seen: bool) -> None:
    """Another tab stands before this one, or none does any more; a browser without a window shows them all."""
    page.evaluate(
        "away => { Object.defineProperty(document, 'hidden', { get: () => away, configurable: true });"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        not is_seen,
    )


def test_more_tabs_than_a_browser_has_connections_can_be_open(console: Open, chromium: Browser) -> None:
    first = console.tab(chromium, console.cookie())
    tabs = [first, *(first.context.new_page() for _ in range(8))]
    for tab in tabs:
        tab.goto("/", timeout=SAID_MS)
        seen(tab, is_seen=False)
    with first.expect_request("**/events") as begun:
        seen(first, is_seen=True)
    answer = begun.value.response()
    assert answer
    assert answer.status == 200
    assert first.get_by_role("alert").count() == 0


def test_a_run_that_nobody_saw_for_a_while_goes_on_where_it_was(console: Open, chromium: Browser) -> None:
    with Catalog.open(console.folder) as catalog:
        run = begin_run(catalog, console.folder, datetime.now(UTC))
    with (console.folder / "runs" / f"{run}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        page = console.tab(chromium, console.cookie())
        page.goto(f"/runs/{run}")
        log = console.folder / "logs" / f"{run}.log"
        lines = page.locator("#log li")
        before = lines.count()

        def write(text: str) -> None:
            with log.open("a") as file:
                file.write(f"{text}\n")

        write("while it is seen")
        expect(lines).to_have_count(before + 1, timeout=SAID_MS)
        seen(page, is_seen=False)
        write("while nobody looks")
        page.wait_for_timeout(3_000)
        assert lines.count() == before + 1
        seen(page, is_seen=True)
        expect(lines).to_have_count(before + 2, timeout=SAID_MS)
        write("seen again")
        expect(lines).to_have_count(before + 3, timeout=SAID_MS)
        assert lines.all_inner_texts()[before:] == ["while it is seen", "while nobody looks", "seen again"]


def test_whoever_watches_is_let_go_at_once_when_serve_stops(console: Open, caplog: pytest.LogCaptureFixture) -> None:
    cookie = {"Cookie": f"daybreak={console.cookie()}"}
    with ExitStack() as stack:
        watching = [
            stack.enter_context(httpx.stream("GET", f"{console.base}/events", headers=cookie, timeout=20))
            for _ in range(3)
        ]
        lines = [one.iter_lines() for one in watching]
        for one in lines:
            next(one)
        began = time.monotonic()
        console.stop()
        assert time.monotonic() - began < 1.5  # what uvicorn gives an answer that has not ended is more
        for one in lines:
            assert list(one)  # to its end: a stream that is cut off raises
    assert [record for record in caplog.records if record.name.startswith("uvicorn") and record.exc_info] == []
