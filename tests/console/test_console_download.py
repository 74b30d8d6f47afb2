"""An archive leaves through the browser only where that is switched on, for whoever may, and only as what it is."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from console_guests import PASSWORD, Guest, Served
from playwright.sync_api import Browser, expect

from daybreak.console.accounts import open_accounts
from daybreak.console.people import Role

pytestmark = pytest.mark.postgres


def audited(served: Served) -> list[tuple[str, str, str]]:
    with open_accounts(served.town.site.state / "console") as accounts:
        return [(one.who, one.subject, one.outcome) for one in accounts.audit.list() if one.what == "download"]


def fetched(guest: Guest, path: str) -> httpx.Response:
    guest.step_up()
    return guest.get(path)


def test_nothing_leaves_unless_it_is_switched_on(served: Served) -> None:
    archive = served.town.site.backup()["archive"]["id"]
    with served.up():
        ada = served.guest("ada")
        assert "/download" not in ada.get(f"/archives/{archive}").text
        answer = fetched(ada, f"/archives/{archive}/download")
        assert (answer.status_code, "downloads of [console]" in answer.text) == (404, True)
    assert audited(served) == []


def test_what_leaves_is_the_archive_and_is_noted(served: Served) -> None:
    served.town.more("downloads = true\n")  # the last table is the console's
    told = served.town.site.backup()["archive"]
    path, content = f"/archives/{told['id']}/download", served.town.site.archive.read_bytes()
    with served.up():
        ada, olga = served.guest("ada", Role.RESTORER), served.guest("olga", Role.OPERATOR)
        assert f'href="{path}"' in ada.get(f"/archives/{told['id']}").text
        assert f'href="{path}"' not in olga.get(f"/archives/{told['id']}").text
        assert olga.get(path).status_code == 403
        assert served.guest().get(path).headers["location"].startswith("/sign-in")
        asked = ada.get(path).headers["location"]
        back = path.replace("/download", "?begin=download")
        assert asked == f"/step-up?to={quote(back, safe='')}"
        assert ada.get(f"/api{path}").status_code == 403
        answer = fetched(ada, path)
        assert answer.status_code == 200
        assert answer.content == content
        assert answer.headers["x-archive-sha256"] == told["sha256"] == hashlib.sha256(content).hexdigest()
        assert answer.headers["content-disposition"] == f'attachment; filename="nightly-{told["id"]}.dump"'
        assert ada.get("/archives/20000101-000000-0000/download").status_code == 404
        # Another file under its name is not it, of the same size or not, and neither is a link to something.
        archive = served.town.site.archive
        archive.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert ada.get(path).status_code == 409
        archive.unlink()
        archive.symlink_to("/etc/passwd")
        answer = ada.get(path)
        assert (answer.status_code, "root:" in answer.text) == (409, False)
    assert audited(served) == [("ada", f"archive {told['id']}", "begun")]


def test_whoever_shows_who_he_is_has_the_file_and_stands_on_its_page(
    served: Served, chromium: Browser, tmp_path: Path
) -> None:
    served.town.more("downloads = true\n")
    told = served.town.site.backup()["archive"]
    with served.up():
        served.person("ada", Role.RESTORER)
        page = chromium.new_context(base_url=served.base).new_page()
        page.goto(f"/sign-in?to=/archives/{told['id']}")
        for name, value in (("Name", "ada"), ("Password", PASSWORD)):
            page.get_by_label(name).fill(value)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("link", name="Download it").click()
        page.get_by_label("Password").fill(PASSWORD)
        with page.expect_download() as found:
            page.get_by_role("button", name="Go on").click()
        found.value.save_as(tmp_path / "taken")
        expect(page.get_by_role("heading", level=1)).to_contain_text("nightly of")
        expect(page.get_by_role("status").first).to_contain_text("The download begins")
        page.context.close()
    assert (tmp_path / "taken").read_bytes() == served.town.site.archive.read_bytes()
