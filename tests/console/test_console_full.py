"""A console whose own disk is full: whoever has signed in goes on looking, and acting is told as it was."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from console_people_samples import HOST, STARTED, House, make_house

from daybreak.console.people import Role
from daybreak.errors import ConfigError


@pytest.fixture
def full(tmp_path: Path) -> Iterator[House]:
    """A house on a small file system; `fill` takes what room there is."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=1m", "daybreak-test", folder], check=True, timeout=30)
    try:
        house = make_house(folder)
        yield house
        house.accounts.close()
    finally:
        subprocess.run(["/bin/umount", "-l", folder], check=True, timeout=30)


def fill(house: House) -> None:
    folder = house.accounts.path.parent
    with contextlib.suppress(OSError), (folder / "ballast").open("wb", buffering=0) as file:
        while file.write(b"x" * 1024):
            pass
    with pytest.raises(ConfigError, match="full"):
        house.accounts.audit.add("x" * 200, "fill", "y" * 200, "z" * 400, house.clock.now)


def test_whoever_has_signed_in_or_has_a_token_goes_on_looking(full: House) -> None:
    browser = full.signed_in("ada", Role.ADMIN)
    user = full.accounts.users.get("ada")
    assert user
    days, now = timedelta(days=1), full.clock.now
    _, text = full.accounts.tokens.add(user, "watcher", ["look"], lasting=days, at=now, by=HOST)
    fill(full)
    full.clock.move(minutes=5)
    assert browser.get("/").status_code == 200
    assert full.browser().get("/api/things", headers={"Authorization": f"Bearer {text}"}).status_code == 200
    full.clock.move(hours=2)  # which nobody could note: quiet for two hours
    assert browser.get("/").status_code == 303


def test_what_the_audit_log_cannot_take_stands_in_the_log_of_the_service(
    full: House, caplog: pytest.LogCaptureFixture
) -> None:
    browser = full.signed_in("ada")
    csrf = browser.csrf("/account")
    fill(full)
    before = len(STARTED)
    answer = browser.http.post("/danger", data={"csrf": csrf}, headers={"Origin": browser.base})
    assert answer.status_code == 403
    assert len(STARTED) == before
    assert "ada | " in caplog.text
    assert "POST /danger | " in caplog.text
    assert "refused (403)" in caplog.text
