"""Pictures of every page of the console, in both themes and on a phone: docs/screens/*.png.

The demo plays to its end and keeps its servers; a real `daybreak serve` shows what it left, and a real Chromium looks.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import httpx
from playwright.sync_api import Browser, Page, sync_playwright


def free_port() -> int:
    """One that nobody has just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


ROOT: Final = Path(__file__).parents[1]
PORT: Final = free_port()
BASE: Final = f"http://localhost:{PORT}"  # a name, so that the pages offer passkeys
PASSWORD: Final = "four words for pictures"  # noqa: S105 -- of a demo that is gone a minute later
DESK: Final = {"width": 1280, "height": 900}
PHONE: Final = {"width": 390, "height": 844}
Theme = Literal["light", "dark"]
THEMES: Final[tuple[Theme, Theme]] = ("light", "dark")
PAGES: Final = {
    "overview": "/",
    "runs": "/runs",
    "archives": "/archives",
    "off-site": "/off-site",
    "repository": "/off-site/r2",
    "dev": "/dev",
    "schedule": "/schedule",
    "doctor": "/doctor",
    "settings": "/settings",
    "change": "/settings/change?setting=backups.nightly.schedule&value=03:30",
    "plan": "/dev/weekly/plan",
    "back-up": "/backups/nightly/backup",
    "hold": "/dev/dev/hold",
    "refresh": "/dev/weekly/refresh",
    "forget": "/off-site/r2/forget",
    "locks": "/off-site/r2/locks",
    "account": "/account",
    "people": "/people",
    "tokens": "/tokens",
    "audit": "/audit",
}


def main() -> None:
    """Take them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "screens")
    parser.add_argument("--scale", default="0.2", help="how much data the demo has")
    arguments = parser.parse_args()
    arguments.to.mkdir(parents=True, exist_ok=True)
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        sys.exit("screenshots need chromium: ./run servers installs it")
    with (
        demo(arguments.scale) as config,
        serve(config),
        sync_playwright() as playwright,
    ):
        daybreak(config, "ship")
        daybreak(config, "drill")
        daybreak(config, "console", "user", "add", "ada", "--role", "admin", said=PASSWORD)
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        for theme in THEMES:
            take(browser, arguments.to, theme, config)
        browser.close()


def take(browser: Browser, to: Path, theme: Theme, config: Path) -> None:
    """Every page in one theme, and some on a phone."""
    context = browser.new_context(base_url=BASE, viewport=DESK, color_scheme=theme, reduced_motion="reduce")
    page = context.new_page()
    page.goto("/sign-in")
    page.screenshot(path=to / f"sign-in-{theme}.png")
    page.get_by_label("Name", exact=True).fill("ada")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(f"{BASE}/")
    page.goto("/step-up")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Go on").click()
    page.wait_for_url(f"{BASE}/")
    if theme == "light":
        page.goto("/doctor")
        page.get_by_role("button", name="Will tonight work?").click()
        page.wait_for_url(f"{BASE}/doctor", timeout=120_000)
    for name, path in {**PAGES, **found(config)}.items():
        picture(page, to / f"{name}-{theme}.png", path)
    page.set_viewport_size(PHONE)
    for name in ("overview", "dev", "runs"):
        picture(page, to / f"{name}-phone-{theme}.png", PAGES[name])
    context.close()


def picture(page: Page, file: Path, path: str) -> None:
    """One page as it stands."""
    page.goto(path)
    page.screenshot(path=file)
    print(file.name, page.title())


def found(config: Path) -> dict[str, str]:
    """Pages of single things."""
    runs = json.loads(daybreak(config, "runs", "--json"))["runs"]
    refresh = next(one["run"] for one in runs if one["kind"] == "refresh")
    archive = json.loads(daybreak(config, "archives", "--json"))["archives"][0]["id"]
    snapshot = json.loads(daybreak(config, "repository", "snapshots", "--json"))["snapshots"][0]["id"]
    return {
        "run": f"/runs/{refresh}",
        "archive": f"/archives/{archive}",
        "restore": f"/archives/{archive}/restore",
        "snapshot": f"/off-site/r2/snapshots/{snapshot}",
    }


def daybreak(config: Path, *words: str, said: str = "") -> str:
    """What a call of Daybreak prints."""
    argv = [sys.executable, "-m", "daybreak.cli.main", "--config", str(config), *words]
    done = subprocess.run(argv, input=said, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout


@contextmanager
def demo(scale: str) -> Iterator[Path]:
    """The demo's configuration, while its servers run."""
    with tempfile.TemporaryFile("w+") as said:
        argv = [sys.executable, "-u", "-m", "daybreak.demo", "--keep", "--scale", scale]
        process = subprocess.Popen(argv, stdout=said, stderr=subprocess.STDOUT)
        try:
            while True:
                said.seek(0)
                told = said.read()
                named = re.search(r"DAYBREAK_CONFIG=(\S+)", told)
                if named is not None:
                    break
                if process.poll() is not None:
                    sys.exit(f"the demo ended: {told[-2000:]}")
                time.sleep(1)
            yield Path(named[1].strip("'"))
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


@contextmanager
def serve(config: Path) -> Iterator[None]:
    """A `daybreak serve` for the demo's configuration."""
    text = config.read_text("utf-8")
    config.write_text(f"{text}\n[console]\nport = {PORT}\n", "utf-8")
    argv = [sys.executable, "-m", "daybreak.cli.main", "--config", str(config), "serve"]
    with subprocess.Popen(argv, env=dict(os.environ)) as process:
        try:
            for _ in range(120):
                time.sleep(0.5)
                try:
                    httpx.get(f"{BASE}/healthz", timeout=5).raise_for_status()
                except httpx.HTTPError:
                    continue
                break
            yield
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
