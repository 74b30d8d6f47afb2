"""No page is wider than its window in a real Chromium, on phones and on a desk, whatever things are called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from console_wide_samples import LONG, PLAIN, Wide, wide
from playwright.sync_api import Browser

WIDTHS = (320, 390, 1280)
#: Which of what must not be squeezed is narrower than its words.
_SQUEEZED = """[...document.querySelectorAll('.badge, .button, button, .pages a, .brand')].filter(
  one => one.scrollWidth > one.clientWidth + 1).map(one => one.textContent.trim())"""
#: What reaches beyond the right edge and scrolls in no box of its own, outermost first.
_BEYOND = """[...document.querySelectorAll('body *')].filter(one => one.getBoundingClientRect().right > innerWidth + 1
  && !one.closest('.scroll, .across, .table, .log, nav')).map(
  one => `${one.tagName} ${one.textContent.trim().slice(0, 50)}`).slice(0, 3)"""


@pytest.fixture(params=[PLAIN, LONG], ids=["ordinary names", "names of 63 letters"])
def shown(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wide]:
    names: Mapping[str, str] = request.param
    with wide(tmp_path_factory.mktemp("wide"), names) as made:
        yield made


@pytest.mark.timeout(300)
def test_no_page_is_wider_than_its_window(shown: Wide, chromium: Browser) -> None:
    page = shown.console.tab(chromium, shown.console.cookie(shown.person), reduced_motion="reduce")
    found: list[object] = []
    for name, path in shown.pages.items():
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == (404 if name == "nowhere" else 200), path
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 844})
            if page.evaluate("document.scrollingElement.scrollWidth > innerWidth"):
                found.append((name, width, "wider", page.evaluate(_BEYOND)))
            elif beyond := page.evaluate(_BEYOND):
                found.append((name, width, "beyond", beyond))
            if shown.names is PLAIN and (squeezed := page.evaluate(_SQUEEZED)):
                found.append((name, width, "squeezed", squeezed))
    page.context.close()
    assert found == []
