"""The configuration, changed in the browser: seen before it is saved, taken without a restart, refused to others."""

from __future__ import annotations

import os
import re
from hashlib import sha256
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from console_guests import PASSWORD, Guest, Served
from console_npm_samples import modules
from playwright.sync_api import Page, expect
from test_console_axe import looked_at
from test_console_browser import sign_in, tab

from daybreak.console.people import Role
from installation import wait_for
from town import Town

__all__ = ["modules", "tab"]

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(600)]
SCHEDULE = "backups.nightly.schedule"
PAGE = "/settings/change"
#: A folder to put pictures of the pages into, for whoever wants to look at them.
PICTURES = os.environ.get("DAYBREAK_PICTURES", "")


@pytest.fixture
def town(town: Town) -> Town:
    """A town whose file somebody wrote by hand."""
    town.site.plan |= {"schedule": "02:00", "timezone": "America/Chicago"}
    town.site.configure()
    return town


@pytest.fixture
def served(served: Served) -> Served:
    file = served.town.site.file
    file.write_text("# by hand\n" + file.read_text().replace('"02:00"', '"02:00"  # when nobody works'))
    return served


def asked(setting: str, value: str | None = None) -> str:
    return f"{PAGE}?{urlencode({'setting': setting} | ({} if value is None else {'value': value}))}"


def sent(guest: Guest, setting: str, value: str, **other: str) -> Any:
    """The form that the preview shows, sent."""
    text = guest.get(asked(setting, value)).text
    form = dict(
        re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', text.partition('method="post" action="/settings')[2])
    )
    return guest.http.post(PAGE, data={name: unescape(one) for name, one in form.items()} | other)


def base(served: Served) -> str:
    return sha256(served.town.site.file.read_bytes()).hexdigest()


def test_it_is_chosen_looked_at_and_saved_after_a_second_look(served: Served) -> None:
    file = served.town.site.file
    with served.up():
        before = file.read_text()
        ada = served.guest("ada")
        settings = ada.get("/settings").text
        assert f"<option>{SCHEDULE}</option>" in settings
        assert "<option>backups.nightly.archive" not in settings
        chosen = ada.get(asked(SCHEDULE)).text
        assert 'value="02:00"' in chosen
        assert "five cron fields" in chosen
        assert "not taken away" in chosen
        assert "taken out of the file" not in chosen
        assert "taken out of the file" in ada.get(asked("backups.nightly.timezone")).text
        assert "What would change" not in chosen
        late = ada.get(asked(SCHEDULE, "03:30"))
        assert late.status_code == 303
        assert late.headers["location"].startswith("/step-up?to=%2Fsettings%2Fchange%3Fsetting%3D")
        ada.step_up()
        preview = unescape(ada.get(asked(SCHEDULE, "03:30")).text)
        assert '-schedule = "02:00"  # when nobody works' in preview
        assert '+schedule = "03:30"  # when nobody works' in preview
        assert "[repositories.safe]" not in preview
        assert file.read_text() == before
        saved = sent(ada, SCHEDULE, "03:30")
        assert (saved.status_code, saved.headers["location"]) == (303, f"{asked(SCHEDULE)}&done=taken")
        assert "It counts from the next run on" in ada.get(saved.headers["location"]).text
        assert "did not take it yet" in ada.get(f"{asked(SCHEDULE)}&done=saved").text
        assert file.read_text() == before.replace('"02:00"', '"03:30"')
        assert "03:30" in ada.get("/schedule").text
        log = ada.get("/api/audit").json()["entries"][0]
        assert (log["who"], log["what"], log["subject"]) == ("ada", "set", SCHEDULE)
        assert log["outcome"] == "'02:00' → '03:30'"
        assert "change: " in served.said()
        assert "ada in the console of" in served.said()


def test_what_is_wrong_is_said_at_the_field_and_refused_where_somebody_insists(served: Served) -> None:
    with served.up():
        ada = served.guest("ada")
        ada.step_up()
        before = served.town.site.file.read_bytes()
        for setting, value, words in (
            (SCHEDULE, "25:00", "is not a schedule"),
            (SCHEDULE, "", "not taken away"),
            ("backups.nightly.keep_local", "many", "must be a whole number"),
            ("backups.nightly.backlog", "3", "can only grow from here: 7 or more"),
            ("refreshes.weekly.deadline", '"><script>', "is not a duration"),
        ):
            page = ada.get(asked(setting, value))
            assert page.status_code == 422
            assert words in unescape(page.text)
            assert "Save it" not in page.text
            assert "<script>" not in page.text.partition("<main")[2]
            insisted = ada.post(PAGE, {"setting": setting, "value": value, "base": base(served)})
            assert insisted.status_code == 422
            assert words in unescape(insisted.text)
            row = ada.get("/api/audit").json()["entries"][0]
            assert (row["subject"], row["outcome"].startswith(f"refused: {value!a}: ")) == (setting, True), row
        for setting in ("backups.nightly.archive", "databases.prod.protected", "console.port", "nothing", ""):
            assert ada.get(asked(setting)).status_code == 404
            assert ada.get(asked(setting, "x")).status_code == 404
            insisted = ada.post(PAGE, {"setting": setting, "value": "x", "base": base(served)})
            assert insisted.status_code in {404, 422}
        for value in ("02:00\n[hooks]", "\x1b[2J", "x" * 201):
            assert ada.post(PAGE, {"setting": SCHEDULE, "value": value, "base": base(served)}).status_code == 422
        assert served.town.site.file.read_bytes() == before
        assert "refused: " in ada.get("/audit").text


def test_a_file_that_changed_since_is_looked_at_again(served: Served) -> None:
    with served.up():
        ada = served.guest("ada")
        ada.step_up()
        stale = base(served)
        with served.town.site.file.open("a") as file:
            file.write("# somebody else\n")
        answer = sent(ada, SCHEDULE, "03:30", base=stale)
        assert answer.status_code == 409
        assert "has changed since it was looked at" in answer.text
        assert base(served) in answer.text  # the new difference can be confirmed
        assert "03:30" not in served.town.site.file.read_text()
        assert sent(ada, SCHEDULE, "03:30").status_code == 303


def test_a_role_too_small_another_site_and_nobody_change_nothing(served: Served) -> None:
    with served.up():
        before = served.town.site.file.read_bytes()
        admin = served.guest("ada")
        form = {"setting": SCHEDULE, "value": "03:30", "base": base(served)}
        for role in (Role.VIEWER, Role.OPERATOR, Role.RESTORER):
            guest = served.guest(f"the-{role.word}", role)
            guest.step_up()
            csrf = guest.field("/account")
            assert guest.get(asked(SCHEDULE)).status_code == 403
            assert guest.get(asked(SCHEDULE, "03:30")).status_code == 403
            assert guest.http.post(PAGE, data={"csrf": csrf, **form}).status_code == 403
            for path in ("preview", "change"):
                answer = guest.http.post(f"/api/settings/{path}", json=form, headers={"X-CSRF-Token": csrf})
                assert answer.status_code == 403
            assert guest.get("/api/settings/keys").status_code == 403
            assert "Change a setting" not in guest.get("/settings").text
        nobody = served.guest()
        assert nobody.get(asked(SCHEDULE)).status_code == 303
        assert nobody.http.post(PAGE, data={"csrf": "x", **form}).status_code in {401, 403}
        late = admin.post(PAGE, form)
        assert late.headers["location"].startswith("/step-up")  # no second look yet
        admin.step_up()
        csrf = admin.field("/account")
        assert admin.http.post(PAGE, data=form).status_code == 403
        for other in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            answer = admin.http.post(PAGE, data={"csrf": csrf, **form}, headers=other)
            assert answer.status_code == 403
        assert served.town.site.file.read_bytes() == before
        assert "refused (403)" in admin.get("/audit").text


def test_documents_do_the_same(served: Served) -> None:
    with served.up():
        ada = served.guest("ada")
        head = {"X-CSRF-Token": ada.field("/account"), "Idempotency-Key": "k" * 24}
        keys = ada.get("/api/settings/keys").json()["settings"]
        assert next(one for one in keys if one["setting"] == SCHEDULE)["value"] == "02:00"
        wanted = {"setting": SCHEDULE, "value": "03:30"}
        looked = ada.http.post("/api/settings/preview", json=wanted, headers=head).json()
        assert looked["difference"][0].startswith("@@")
        wrong = ada.http.post("/api/settings/preview", json=wanted | {"value": "25:00"}, headers=head)
        assert (wrong.status_code, len(wrong.json()["faults"])) == (200, 1)
        closed = ada.http.post("/api/settings/preview", json=wanted | {"setting": "state"}, headers=head)
        assert (closed.status_code, closed.json()["message"]) == (422, "state is not set from here: it is a path")
        body = wanted | {"base": looked["base"]}
        first = ada.http.post("/api/settings/change", json=body, headers=head)
        assert (first.status_code, first.json()["step_up"]) == (403, True)
        ada.step_up()
        saved = ada.http.post("/api/settings/change", json=body, headers=head)
        assert (saved.status_code, saved.json()) == (200, {"setting": SCHEDULE, "taken": True, "joined": False})
        again = ada.http.post("/api/settings/change", json=body, headers=head)
        assert (again.status_code, again.json()["joined"]) == (200, True)
        other = ada.http.post("/api/settings/change", json=body | {"value": "04:00"}, headers=head)
        assert other.status_code == 409
        stale = ada.http.post("/api/settings/change", json=body, headers=head | {"Idempotency-Key": "j" * 24})
        assert (stale.status_code, "has changed since" in stale.json()["message"]) == (409, True)
        documented = ada.get("/api/schema/openapi.json").json()["paths"]
        assert {f"/api/settings/{one}" for one in ("keys", "preview", "change")} <= documented.keys()
        assert "03:30" in ada.get("/api/schedule").text


def test_a_console_alone_takes_it_too(served: Served) -> None:
    """Two processes: the runner writes and takes it, the console reads it again."""
    with served.up("--only", "console", healthy=False):
        ada = served.guest("ada")
        ada.step_up()
        away = ada.get(asked(SCHEDULE))
        assert away.status_code == 503
        assert "the runner is not there" in away.text
        with served.town.site.start("serve", "--only", "runner") as runner:
            wait_for(lambda: ada.get("/healthz").json()["runner"], within_s=30, what="the runner")
            assert sent(ada, SCHEDULE, "03:30").headers["location"].endswith("done=taken")
            assert "03:30" in ada.get("/schedule").text
            runner.process.terminate()
            assert runner.end(30).code == 0


def picture(page: Page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1280), ("dark", 390)], ids=["wide and light", "a phone in the dark"]
)
def test_a_schedule_is_changed_in_a_browser(served: Served, tab: Any, modules: Path, scheme: str, width: int) -> None:
    axe = (modules / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")
    page: Page = tab(color_scheme=scheme, viewport={"width": width, "height": 844}, reduced_motion="reduce")
    served.person("ada", Role.ADMIN)
    with served.up() as process:
        sign_in(page, "ada")
        page.goto("/settings")
        found = looked_at(page, axe, "/settings")
        picture(page, f"settings-{scheme}")
        page.get_by_label("Setting", exact=True).select_option(SCHEDULE)
        page.get_by_role("button", name="Change it").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Change {SCHEDULE}")
        found += looked_at(page, axe, "choosing")
        page.get_by_label("Value", exact=True).fill("Sun 27:30")
        page.get_by_role("button", name="Look what would change").click()
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_text("is not a schedule")).to_be_visible()
        expect(page.get_by_role("button", name="Save it")).to_have_count(0)
        found += looked_at(page, axe, "a fault")
        picture(page, f"fault-{scheme}")
        page.get_by_label("Value", exact=True).fill("Sun 04:44")
        page.get_by_role("button", name="Look what would change").click()
        expect(page.locator(".difference")).to_contain_text('+schedule = "Sun 04:44"  # when nobody works')
        found += looked_at(page, axe, "the difference")
        picture(page, f"difference-{scheme}")
        page.get_by_role("button", name="Save it").click()
        expect(page.get_by_role("status")).to_contain_text("It counts from the next run on")
        found += looked_at(page, axe, "saved")
        picture(page, f"saved-{scheme}")
        page.goto("/schedule")
        expect(page.get_by_role("main")).to_contain_text("Sun 04:44")
        page.goto(asked("backups.nightly.proof"))
        page.get_by_label("Value", exact=True).select_option("weekly")
        found += looked_at(page, axe, "one of some")
        picture(page, f"one-of-{scheme}")
        assert process.process.poll() is None
    text = served.town.site.file.read_text()
    assert text.startswith("# by hand\n")
    assert 'schedule = "Sun 04:44"  # when nobody works' in text
    assert found == []


def test_a_viewer_in_a_browser_finds_no_way(served: Served, tab: Any) -> None:
    page: Page = tab()
    served.person("vera", Role.VIEWER)
    with served.up():
        sign_in(page, "vera")
        page.goto(asked(SCHEDULE, "03:30"))
        expect(page.get_by_role("main")).to_contain_text("this needs the role admin")
        page.goto("/settings")
        expect(page.get_by_role("main")).to_contain_text("this needs the role operator")


def test_it_works_without_javascript(served: Served, tab: Any) -> None:
    page: Page = tab(java_script_enabled=False)
    served.person("ada", Role.ADMIN)
    with served.up():
        sign_in(page, "ada")
        page.goto(asked("log"))
        page.get_by_label("Value", exact=True).select_option("json")
        page.get_by_role("button", name="Look what would change").click()
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Go on").click()
        page.get_by_role("button", name="Save it").click()
        expect(page.get_by_role("status")).to_contain_text("It counts from the next run on")
    assert 'log = "json"\n' in served.town.site.file.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder read-only for one process")
def test_a_folder_that_serve_may_not_write_is_told_with_the_command_that_may(served: Served, tab: Any) -> None:
    """As below the hardened unit: the folder of the configuration is read-only for serve, by a mount of its own."""
    site = served.town.site
    folder = site.folder / "etc"
    folder.mkdir()
    site.file.rename(folder / "real.toml")
    site.file.symlink_to(folder / "real.toml")
    before = site.file.read_bytes()
    script = f'mount --bind "{folder}" "{folder}" && mount -o remount,bind,ro "{folder}" && exec "$@"'
    page: Page = tab()
    served.person("ada", Role.ADMIN)
    with site.start("serve", wrap=("unshare", "-m", "sh", "-c", script, "sh")) as process:
        wait_for(lambda: "the console is at" in process.err.read_text(), within_s=60, what="the console")
        sign_in(page, "ada")
        page.goto(asked(SCHEDULE, "Sun 04:44"))
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Go on").click()
        expect(page.locator(".difference")).to_contain_text('+schedule = "Sun 04:44"')
        expect(page.get_by_role("heading", name="It cannot be saved from here")).to_be_visible()
        expect(page.get_by_role("main")).to_contain_text(f"daybreak config set {SCHEDULE} 'Sun 04:44'")
        expect(page.get_by_role("main")).to_contain_text(f"ReadWritePaths={folder}")
        expect(page.get_by_role("button", name="Save it")).to_have_count(0)
        picture(page, "obstacle")
        guest = served.guest("ada")
        guest.step_up()
        form = {"setting": SCHEDULE, "value": "Sun 04:44", "base": base(served)}
        insisted = guest.post(PAGE, form)
        assert insisted.status_code == 503
        assert "cannot be written from here" in insisted.text
        process.process.terminate()
        assert process.end(30).code == 0
    assert site.file.read_bytes() == before
    assert site.call("config", "set", SCHEDULE, "Sun 04:44").code == 0  # what the page says
    assert site.file.is_symlink()
    assert b"Sun 04:44" in (folder / "real.toml").read_bytes()
