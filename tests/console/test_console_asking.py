"""Forms and documents that ask the runner, against a real serve: what they begin, for whom, and what they refuse."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from console_guests import Guest, Served

from daybreak.console.people import Role
from town import ROWS
from webhook import running_hook

pytestmark = pytest.mark.postgres
EVIL = '<script>alert("x")</script>'


def run_of(answer: httpx.Response) -> str:
    assert answer.status_code == 303, (answer.status_code, answer.text)
    where = answer.headers["location"]
    assert where.startswith("/runs/"), where
    return where.removeprefix("/runs/")


def audit(guest: Guest) -> str:
    return guest.get("/audit").text


def test_a_night_a_refresh_with_a_second_look_and_its_undo(served: Served) -> None:
    town = served.town
    with served.up():
        ada = served.guest("ada")
        backup = run_of(ada.form("/backups/nightly/backup"))
        assert served.ended(backup) == "succeeded"
        assert "ada in the console of" in ada.get(f"/runs/{backup}").text

        asked = ada.get("/dev/weekly/refresh")
        assert asked.status_code == 303
        assert asked.headers["location"].startswith("/step-up?to=")
        ada.step_up()
        page = ada.get("/dev/weekly/refresh").text
        assert town.dev_name in page
        assert f"127.0.0.1:{town.dev.port}" in page or str(town.dev.port) in page
        assert "I mean it" in page
        for typed in ("", "prod", "dev2", "DEV", town.dev_name):
            wrong = ada.form("/dev/weekly/refresh", typed=typed, first="yes")
            assert wrong.status_code == 422
            assert "the name that was typed is not dev" in wrong.text
        refresh = run_of(ada.form("/dev/weekly/refresh", typed="dev", first="yes"))
        assert served.ended(refresh) == "succeeded"
        assert town.dev_rows() == ROWS
        page = ada.get("/dev/dev/undo").text
        assert "enrolled as" in page
        assert "system" in page
        assert served.ended(run_of(ada.form("/dev/dev/undo", typed="dev"))) == "succeeded"
        assert town.dev_rows() == 1
        log = audit(ada)
        assert refresh in log
        assert "the name that was typed is not dev" in log


def test_an_archive_or_some_tables_come_into_something_new(served: Served) -> None:
    town = served.town
    with served.up():
        ada = served.guest("ada")
        archive = run_of(ada.form("/backups/nightly/backup"))
        assert served.ended(archive) == "succeeded"
        assert ada.get(f"/archives/{archive}/restore").headers["location"].startswith("/step-up")
        ada.step_up()
        page = ada.get(f"/archives/{archive}/restore").text
        assert town.dev_name in page
        assert f"/archives/{archive}/restore?database=prod" in page
        assert town.prod_name in ada.get(f"/archives/{archive}/restore?database=prod").text
        assert f'href="/archives/{archive}/restore?tables=public.account"' in ada.get(f"/archives/{archive}").text
        page = ada.get(f"/archives/{archive}/restore?tables=public.account").text  # filled in, for each server
        assert re.search(r'<textarea[^>]*name="tables"[^>]*>\s*public\.account', page)
        assert f"/archives/{archive}/restore?database=prod&amp;tables=public.account" in page
        wrong = ada.form(f"/archives/{archive}/restore", typed="prod", new=f"{town.dev_name}_new")
        assert (wrong.status_code, f'value="{town.dev_name}_new"' in wrong.text) == (422, True)
        for new in ("-x", "a b", 'x"; DROP DATABASE prod', "../x"):
            assert ada.form(f"/archives/{archive}/restore", typed="dev", new=new).status_code == 422
        bare = ada.form(f"/archives/{archive}/restore", typed="dev", tables="public.account\naccount")  # no schema
        assert (bare.status_code, "with its schema" in bare.text) == (422, True)
        assert re.search(r'<textarea[^>]*name="tables"[^>]*>\s*public\.account\naccount', bare.text)
        made = run_of(ada.form(f"/archives/{archive}/restore", typed="dev", new=f"{town.dev_name}_new"))
        assert served.ended(made) == "succeeded"
        assert town.dev.psql("SELECT count(*) FROM account", f"{town.dev_name}_new") == str(ROWS)
        some = ada.form(f"/archives/{archive}/restore", typed="dev", tables="public.account\n\n", schema="rescued")
        assert served.ended(run_of(some)) == "succeeded"
        assert town.dev.psql("SELECT count(*) FROM rescued.account", town.dev_name) == str(ROWS)
        assert town.dev_rows() == 1  # nothing that was there was touched
        assert ada.get("/archives/20200101-000000-0000/accept").status_code == 404


def test_hold_and_release_and_times_as_people_write_them(served: Served) -> None:
    with served.up():
        ada = served.guest("ada")
        for until in ("yesterday", "2020-01-01", "-3d", "2026-13-40T10:00"):
            wrong = ada.form("/dev/dev/hold", why="the demo", until=until)
            assert wrong.status_code == 422, until
            assert 'value="the demo"' in wrong.text  # what was filled in is there still
        assert ada.form("/dev/dev/hold", why=EVIL, until="3d").headers["location"] == "/dev"
        page = ada.get("/dev").text
        assert EVIL not in page
        assert "&lt;script&gt;" in page
        assert "Release it …" in ada.get("/dev/dev/hold").text
        assert ada.form("/dev/dev/hold", why="two\nlines").status_code == 422
        assert ada.form("/dev/dev/release").headers["location"] == "/dev"
        assert served.town.site.json("status")["holds"] == []


def test_off_site_is_browsed_fetched_and_forgotten_by_its_preview(served: Served) -> None:
    town = served.town
    with served.up():
        ada = served.guest("ada")
        assert served.ended(run_of(ada.form("/backups/nightly/backup"))) == "succeeded"
        listed = ada.get("/api/off-site/safe/snapshots").json()["snapshots"]
        snapshot = listed[0]["id"]
        page = ada.get(f"/off-site/safe/snapshots/{snapshot}").text
        assert "public.account" in page
        assert "&lt;b&gt;" in page
        assert "<b>name" not in page
        assert ada.get(f"/api/off-site/safe/snapshots/{snapshot}").json()["files"]
        fetch = run_of(ada.form(f"/off-site/safe/snapshots/{snapshot}/fetch"))
        assert served.ended(fetch) == "succeeded"
        assert (town.site.state / "fetched" / fetch).is_dir()
        assert "Nobody holds it" in ada.get("/off-site/safe/locks").text
        assert served.ended(run_of(ada.form("/off-site/safe/check"))) == "succeeded"
        ada.step_up()
        page = ada.get("/off-site/safe/forget").text
        assert "kept" in page
        assert str(town.site.folder / "repository") in page
        assert served.ended(run_of(ada.form("/off-site/safe/forget", typed="safe"))) in {"succeeded", "skipped"}
        stale = ada.form("/off-site/safe/forget", typed="safe", seen="0" * 64)
        assert stale.status_code == 409
        assert "is not what you looked at" in stale.text


def test_a_failing_night_is_told_and_done_again(served: Served) -> None:
    with served.up():
        ada = served.guest("ada")
        served.town.site.fake_dump("echo broken >&2; exit 3")
        served.process.process.send_signal(1)  # the configuration names other tools now
        bad = run_of(ada.form("/backups/nightly/backup"))
        assert served.ended(bad) == "failed"
        assert "broken" in ada.get(f"/runs/{bad}").text
        served.town.site.fake_dump('exec "$real" "$@"', tool="pg_dump")
        sent = {"csrf": ada.field("/account"), "key": ada.field(f"/runs/{bad}", "key")}
        again = run_of(ada.http.post(f"/runs/{bad}/retry", data=sent))
        assert again != bad
        assert served.ended(again) == "succeeded"
        assert run_of(ada.http.post(f"/runs/{bad}/retry", data=sent)) == again  # the same click once more
        told = {"X-CSRF-Token": ada.field("/account"), "Idempotency-Key": "r" * 24}
        third = ada.http.post(f"/api/runs/{bad}/retry", headers=told).json()
        assert served.ended(third["run"]) == "succeeded"
        fourth = ada.http.post(f"/api/runs/{bad}/retry", headers=told).json()
        assert (fourth["run"], fourth["joined"]) == (third["run"], True)
        late = ada.post(f"/runs/{again}/cancel")
        assert late.status_code == 422
        assert "has ended already" in late.text
        refused = ada.http.post(f"/api/runs/{third['run']}/cancel", headers=told)
        assert refused.status_code == 422
        assert f"run {third['run']}" in audit(ada)  # what was refused, too


def test_a_test_message_says_whether_it_arrived(served: Served) -> None:
    folder = served.town.site.folder
    with running_hook() as hook:
        for name, url in (("here", hook.url()), ("gone", "json://127.0.0.1:9/canary")):
            file = folder / f"{name}.url"
            file.write_text(url)
            file.chmod(0o600)
            served.town.more(f'\n[alerts.{name}]\nurl_file = "{file}"\n')
        with served.up():
            ada = served.guest("ada")
            sent = ada.post("/settings/notify/here", page="/settings")
            assert sent.status_code in {200, 201}, sent.text
            assert "did not arrive" not in sent.text
            assert len(hook.received) == 1
            lost = ada.post("/settings/notify/gone", page="/settings")
            assert "did not arrive" in lost.text
            assert "canary" not in lost.text
            told = ada.http.post("/api/notify/gone", headers={"X-CSRF-Token": ada.field("/account")})
            (one,) = told.json()["destinations"]
            assert (one["destination"], one["sent"]) == ("gone", False)
            assert one["fault"]
            assert "destination gone" in audit(ada)


def test_a_click_twice_is_one_run_and_other_words_are_a_conflict(served: Served) -> None:
    """L9."""
    with served.up():
        ada = served.guest("ada")
        sent = {"csrf": ada.field("/account"), "key": "k" * 24}
        first = run_of(ada.http.post("/backups/nightly/backup", data=sent))
        assert run_of(ada.http.post("/backups/nightly/backup", data=sent)) == first
        served.ended(first)
        assert run_of(ada.http.post("/backups/nightly/backup", data=sent)) == first
        other = ada.http.post("/backups/nightly/drill", data=sent | {"source": "local"})
        assert other.status_code == 409
        assert 'value="kkkk' in other.text
    with served.up():
        assert run_of(ada.http.post("/backups/nightly/backup", data=sent)) == first
    assert len(served.town.site.json("runs")["runs"]) == 1


ROUTES = {
    Role.OPERATOR: [
        "/backups/nightly/backup",
        "/backups/nightly/ship",
        "/backups/nightly/drill",
        "/off-site/safe/check",
        "/off-site/safe/prune",
        "/off-site/safe/unlock",
        "/dev/dev/hold",
        "/dev/dev/release",
    ],
    Role.RESTORER: ["/dev/weekly/refresh", "/dev/dev/undo", f"/off-site/safe/snapshots/{'0' * 64}/fetch"],
    Role.ADMIN: ["/off-site/safe/forget"],
}
ERRANDS = ["/runs/20200101-000000-0000/cancel", "/runs/20200101-000000-0000/retry", "/doctor", "/settings/notify/here"]


def test_a_role_too_small_gets_nothing_begun_by_any_way(served: Served) -> None:
    """A1: by page, form and document; nobody at all gets 401, or is led to the door."""
    with served.up():
        admin = served.guest("ada")
        guests = {role: served.guest(f"the-{role.word}", role) for role in Role}
        for least, paths in ROUTES.items():
            for path in paths:
                nobody = served.guest()
                assert nobody.get(path).status_code == 303
                assert nobody.http.post(path, data={"csrf": "x"}).status_code in {401, 403}
                assert nobody.http.post(f"/api{path}", json={}).status_code in {401, 403}
                for role, guest in guests.items():
                    if role >= least:
                        continue
                    csrf = guest.field("/account")
                    assert guest.get(path).status_code == 403, (role, path)
                    assert guest.http.post(path, data={"csrf": csrf}).status_code == 403, (role, path)
                    answer = guest.http.post(f"/api{path}", json={}, headers={"X-CSRF-Token": csrf})
                    assert answer.status_code == 403, (role, path)
                    assert guest.http.post(path, data={}).status_code == 403
        viewer = guests[Role.VIEWER]
        for path in ERRANDS:
            assert viewer.post(path).status_code == 403
        assert served.town.site.json("runs")["runs"] == []
        assert "refused (403)" in audit(admin)


def test_names_that_are_not_there_are_no_pages_and_bodies_name_no_target(served: Served) -> None:
    """A5."""
    with served.up():
        ada = served.guest("ada")
        ada.step_up()
        csrf = ada.field("/account")
        head = {"X-CSRF-Token": csrf}
        for path in (
            "/backups/nightly2/backup",
            "/dev/nightly/refresh",
            f"/dev/{EVIL}/hold".replace("/script", "script"),
            "/off-site/../check",
            "/off-site/saef/forget",
            "/archives/20200101-000000-0000/restore",
            "/runs/20200101-000000-0000",
        ):
            answer = ada.get(path)
            assert answer.status_code == 404, path
            assert "<script>alert" not in answer.text
        body: dict[str, Any] = {"typed": "dev", "first": True, "target": "prod", "database": "prod", "plan": "nightly"}
        answer = ada.http.post("/api/dev/weekly/refresh", json=body | {"typed": "prod"}, headers=head)
        assert (answer.status_code, "is not dev" in answer.json()["message"]) == (422, True)
        assert ada.http.post("/api/dev/weekly/refresh", json={"typed": 3}, headers=head).status_code == 400
        assert ada.http.post("/api/dev/weekly/refresh", content=b"{", headers=head).status_code == 400
        assert served.town.site.json("runs")["runs"] == []


def test_documents_do_the_same(served: Served) -> None:
    with served.up():
        ada = served.guest("ada")
        head = {"X-CSRF-Token": ada.field("/account"), "Idempotency-Key": "k" * 24}
        first = ada.http.post("/api/backups/nightly/backup", json={}, headers=head)
        assert first.status_code == 202, first.text
        run = first.json()["run"]
        assert ada.http.post("/api/backups/nightly/backup", json={}, headers=head).json()["run"] == run
        conflict = ada.http.post("/api/backups/nightly/ship", json={}, headers=head)
        assert (conflict.status_code, conflict.json()["status"]) == (409, 409)
        short = ada.http.post("/api/backups/nightly/ship", json={}, headers=head | {"Idempotency-Key": "x"})
        assert short.status_code == 422
        assert served.ended(run) == "succeeded"
        refused = ada.http.post("/api/dev/weekly/refresh", json={"typed": "dev", "first": True}, headers=head)
        assert (refused.status_code, refused.json()["step_up"]) == (403, True)
        held = ada.http.post("/api/dev/dev/hold", json={"why": "the demo"}, headers=head)
        assert (held.status_code, held.json()["said"]["why"]) == (200, "the demo")
        assert ada.get("/api/dev/weekly/plan").json()["target"] == "dev"
        found = ada.http.post("/api/doctor?tonight=true", headers=head).json()["findings"]
        assert found
        assert "Will tonight work?" in ada.get("/doctor").text
        documented = ada.get("/api/schema/openapi.json").json()["paths"]
        wish = documented["/api/dev/{plan}/refresh"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert wish["$ref"].endswith("Refreshing")
