"""What pages say of a target, a run and a setting is so: after an undo of an undo, under a hold, of another copy."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from console_view_samples import AT, AsPerson, begin_run, person_of, sample_settings, sample_world, write_years
from litestar.testing import TestClient

from daybreak.catalog import Catalog
from daybreak.catalog.records import Hold
from daybreak.cli.progress import Silent
from daybreak.config import Settings
from daybreak.console import api, asking, live, pages
from daybreak.console.app import build
from daybreak.console.origins import local_path
from daybreak.console.people import Role
from daybreak.console.retrying import again
from daybreak.model import Failure, Run, RunState
from daybreak.site import Site

SWAPPED: dict[str, object] = {"outage_ms": 12.0, "failed_connects": 0}
BROUGHT = SWAPPED | {
    "archive": {"id": "20261122-080003-0000", "taken_at": "2026-11-22T08:00:03+00:00"},
    "proof": {"tables": 40, "compared": 40, "equal": 40, "different": 0},
}


def ended(catalog: Catalog, kind: str, plan: str, at: datetime, *, result: Any = None, **more: Any) -> Run:
    """A run that ended, well where nothing else is said."""
    run = Run(
        id=f"{at:%Y%m%d-%H%M%S}-abcd",
        plan=plan,
        kind=kind,
        state=more.pop("state", RunState.SUCCEEDED),
        trigger="cli",
        requested_at=at,
        started_at=at,
        ended_at=at + timedelta(seconds=5),
        result=result or {},
        **more,
    )
    catalog.runs.insert(run)
    return run


def browser(folder: Path, settings: Settings | None = None) -> TestClient[Any]:
    """Somebody who may everything and has shown who he is; nobody answers for the runner."""
    person = replace(person_of(Role.ADMIN), fresh_until=AT + timedelta(minutes=5))
    world = sample_world(folder, settings=settings or sample_settings(folder))
    handlers = [*pages.handlers(), *api.handlers(), *asking.handlers(lambda *_: None)]
    return TestClient(build(world, handlers=handlers, middleware=[AsPerson(person)]))


def target_of(client: TestClient[Any]) -> dict[str, Any]:
    return client.get("/api/dev").json()["targets"][0]["fresh"]


def test_an_undo_that_was_undone_is_told_as_what_it_brought_back(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        ended(catalog, "refresh", "weekly", AT - timedelta(hours=9), result=BROUGHT)
    for number in range(1, 4):
        with Catalog.open(tmp_path) as catalog:
            ended(catalog, "undo", "dev", AT - timedelta(hours=9 - number), result=SWAPPED)
        with browser(tmp_path) as client:
            told, asked = target_of(client), client.get("/dev/dev/undo").text
            undone = number % 2 == 1
            assert told["undone"] is undone
            assert ("that was undone" in told["sentence"]) is undone
            assert ("production of Sunday 22 November" in told["sentence"]) is not undone
            assert told["proven"] is not undone
            assert (told["tone"] == "warning") is undone
            assert ("Undo the undo of dev" in asked) is undone
            assert ("Undo the last refresh of dev" in asked) is not undone
            assert ("that was undone" in client.get("/").text) is undone


def test_a_target_of_two_refreshes_is_what_the_newest_of_them_brought(tmp_path: Path) -> None:
    settings = sample_settings(tmp_path)
    weekly = settings.refreshes["weekly"]
    two = replace(settings, refreshes={"weekly": weekly, "monthly": replace(weekly, name="monthly")})
    with Catalog.open(tmp_path) as catalog:
        ended(catalog, "refresh", "weekly", AT - timedelta(days=9), result=BROUGHT)
        newer = BROUGHT | {"archive": {"id": "x", "taken_at": "2026-11-24T08:00:03+00:00"}}
        ended(catalog, "refresh", "monthly", AT - timedelta(days=1), result=newer)
    with browser(tmp_path, two) as client:
        sentences = {one["fresh"]["sentence"] for one in client.get("/api/dev").json()["targets"]}
        assert sentences == {"dev = production of Tuesday 24 November 02:00 CST, proven equal"}


def test_a_refresh_that_has_another_name_or_target_now_is_told_of_what_it_replaced(tmp_path: Path) -> None:
    settings = sample_settings(tmp_path)
    weekly, dev = settings.refreshes["weekly"], settings.databases["dev"]
    other = replace(weekly, target=replace(dev, name="stage"))
    now = replace(settings, refreshes={"weekly": other, "sunday": replace(weekly, name="sunday")})
    with Catalog.open(tmp_path) as catalog:
        ended(catalog, "refresh", "weekly", AT - timedelta(days=2), result=BROUGHT | {"target": "dev"})
    with browser(tmp_path, now) as client:
        told = {one["fresh"]["target"]: one["fresh"]["sentence"] for one in client.get("/api/dev").json()["targets"]}
        assert told["dev"].startswith("dev = production of Sunday 22 November")
        assert told["stage"] == "stage was never refreshed by Daybreak"


def test_a_refresh_of_what_is_held_says_so_before_anybody_decides(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        catalog.holds.set(Hold(database="dev", until=AT + timedelta(days=2), why="the demo", by="otto", at=AT))
    with browser(tmp_path) as client:
        page = client.get("/dev/weekly/refresh").text
        assert "by otto: the demo. As long as it is, a refresh is skipped." in page
        assert 'href="/dev/dev/release"' in page
    with Catalog.open(tmp_path) as catalog:
        catalog.holds.release("dev")
    with browser(tmp_path) as client:
        assert "a refresh is skipped" not in client.get("/dev/weekly/refresh").text


@pytest.mark.parametrize("text", ["2026-12-24", "2026-12-24T00:00"])
def test_the_date_of_a_hold_is_meant_where_the_target_is_refreshed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    settings = sample_settings(tmp_path)
    weekly = settings.refreshes["weekly"]
    assert weekly.schedule is not None
    tokyo = replace(weekly, schedule=replace(weekly.schedule, timezone="Asia/Tokyo"))
    asked: list[Any] = []

    def answer(_world: object, request: Any) -> dict[str, Any]:
        asked.append(request)
        return {}

    monkeypatch.setattr(asking, "answer", answer)
    with browser(tmp_path, replace(settings, refreshes={"weekly": tokyo})) as client:
        client.post("/dev/dev/hold", data={"why": "the demo", "until": text}, follow_redirects=False)
    until = datetime.fromisoformat(asked[-1].until)
    assert until.astimezone(UTC) == datetime(2026, 12, 23, 15, tzinfo=UTC)


ARCHIVE = {"archive": {"id": "20261122-080003-0000"}}
SNAPSHOT = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("kind", "plan", "result", "command"),
    [
        ("drill", "nightly", {"source": "r2"}, "daybreak drill nightly --from r2"),
        ("drill", "nightly", {}, ""),
        ("restore", "dev", {}, ""),
        ("restore", "dev", ARCHIVE | {"database": "a b"}, "daybreak restore {id} --to dev --new 'a b'"),
        ("restore", "dev", ARCHIVE | {"schema": "rescue"}, ""),
        (
            "restore",
            "dev",
            ARCHIVE | {"schema": "rescue", "tables": ["public.a", "public.b"]},
            "daybreak restore {id} --to dev --table=public.a --table=public.b",
        ),
        ("restore", "dev", ARCHIVE | {"schema": "rescue", "tables": ["public.A b"]}, ""),
        ("fetch", "r2-fetch", {"repository": "r2", "snapshot": SNAPSHOT}, "daybreak fetch 01234567 --repository r2"),
        ("fetch", "r2-fetch", {}, ""),
        ("accept", "nightly", {}, ""),
        ("accept", "nightly", ARCHIVE, "daybreak accept {id}"),
        ("pull", "dev", {}, ""),
        ("forget", "r2-forget", {"plans": [{"plan": "nightly"}]}, "daybreak repository forget r2 --plan nightly"),
        ("check", "r2-check", {}, "daybreak repository check r2"),
        ("doctor", "tonight", {}, "daybreak doctor --tonight --alert"),
    ],
)
def test_the_command_of_a_run_does_the_same_or_is_not_shown(
    tmp_path: Path, kind: str, plan: str, result: dict[str, Any], command: str
) -> None:
    with Catalog.open(tmp_path) as catalog:
        run = ended(catalog, kind, plan, AT - timedelta(hours=1), result=result)
    with browser(tmp_path) as client:
        told = client.get(f"/api/runs/{run.id}").json()["command"]
        assert told == command.format(id="20261122-080003-0000")
        assert f"daybreak run show {run.id}" in client.get(f"/runs/{run.id}").text


def test_a_run_that_was_cancelled_says_who_wanted_that(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        run = begin_run(catalog, tmp_path, AT - timedelta(minutes=1))
        catalog.runs.request_cancel(run, by="otto in the console of root", at=AT)
        catalog.runs.set_state(run, RunState.CANCELLED, at=AT, reason="the run was cancelled")
    with browser(tmp_path) as client:
        page = client.get(f"/runs/{run}").text
        assert "otto in the console of root asked for its end." in page
        assert "It stops as soon" not in page


def test_a_step_that_broke_off_does_not_grow_with_the_clock(tmp_path: Path) -> None:
    began = AT - timedelta(hours=3)
    with Catalog.open(tmp_path) as catalog:
        run = begin_run(catalog, tmp_path, began)
    with browser(tmp_path) as client:
        (step,) = client.get(f"/api/runs/{run}").json()["steps"]
        assert (step["word"], step["seconds"]) == ("broke off", None)
        assert client.get(f"/runs/{run}").status_code == 200
    with Catalog.open(tmp_path) as catalog:
        catalog.runs.set_state(run, RunState.LOST, at=began + timedelta(seconds=6), reason="its process died")
    with browser(tmp_path) as client:
        (step,) = client.get(f"/api/runs/{run}").json()["steps"]
        assert (step["word"], step["seconds"]) == ("broke off", 6.0)


def test_the_doctor_that_the_runner_asks_looks_at_the_file_that_a_person_writes(tmp_path: Path) -> None:
    settings, file = sample_settings(tmp_path), tmp_path / "daybreak.toml"
    accepted = replace(settings, path=tmp_path / "serve" / "daybreak.toml")
    with Catalog.open(tmp_path) as catalog:
        site = Site(accepted, catalog, Silent(), cancel=threading.Event(), trigger="runner", file=file)
        assert site.patient().file == file


def test_only_what_waits_can_be_accepted(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        archive = write_years(catalog, nights=3, tables=3).archives[-1]["id"]
    with browser(tmp_path) as client:
        for answer in client.get(f"/archives/{archive}/accept"), client.post(f"/archives/{archive}/accept", data={}):
            assert answer.status_code == 404
            assert f"archive {archive} waits for nobody: it is published" in answer.text


def test_a_log_that_grows_fast_is_followed_without_a_gap(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        run = begin_run(catalog, tmp_path, AT)
    world = sample_world(tmp_path, settings=sample_settings(tmp_path))
    lines = [f"line {number:04}" for number in range(9000)]
    (tmp_path / "logs" / f"{run}.log").write_text("".join(f"{line}\n" for line in lines))
    log, heard = live._Log(world, run, 0), list[str]()
    while (message := log.more()) is not None:
        heard += str(message.data).splitlines()
    assert heard == lines


@pytest.mark.parametrize(
    ("hours", "word", "text"),
    [(2, "failed later", "and 1 failed after it"), (-1, "ok later", "after 1 failed")],
)
def test_a_day_says_whether_its_failure_came_before_or_after_its_archive(
    tmp_path: Path, hours: int, word: str, text: str
) -> None:
    with Catalog.open(tmp_path) as catalog:
        night = write_years(catalog, nights=3, tables=3).archives[-1]["taken_at"]
        ended(catalog, "backup", "nightly", night + timedelta(hours=hours), state=RunState.FAILED, reason="no")
    with browser(tmp_path) as client:
        cell = client.get("/api/overview").json()["databases"][0]["lanes"][0]["cells"][-1]
        assert cell["word"] == word
        assert text in cell["text"]


def test_a_day_leads_to_all_that_it_is_about(tmp_path: Path) -> None:
    folder, settings = tmp_path, sample_settings(tmp_path)
    hourly = replace(settings.backups["nightly"], name="hourly", archive=folder / "hourly.dump")
    settings = replace(settings, backups={"hourly": hourly, **settings.backups})
    with Catalog.open(folder) as catalog:
        night = write_years(catalog, nights=3, tables=3).archives[-1]["taken_at"]
        late = ended(catalog, "backup", "nightly", night + timedelta(hours=2), state=RunState.FAILED, reason="no")
    with browser(folder, settings) as client:
        lanes = {one["name"]: one["cells"] for one in client.get("/api/overview").json()["databases"][0]["lanes"]}
        failed, nothing = lanes["backup"][-1], lanes["off-site"][0]
        assert (failed["word"], nothing["word"]) == ("failed later", "none")
        assert late.id in client.get(failed["href"]).text
        assert nothing["href"].startswith("/runs?since=")


def test_a_failed_check_of_a_repository_that_was_taken_out_worries_nobody_for_ever(tmp_path: Path) -> None:
    settings, failure = sample_settings(tmp_path), Failure(code="OffsiteError", message="no", hint="", exit_code=14)
    with Catalog.open(tmp_path) as catalog:
        write_years(catalog, nights=20, tables=3)
        at = AT - timedelta(hours=1)
        ended(catalog, "check", "attic-check", at, state=RunState.FAILED, reason="no", failure=failure)
    with browser(tmp_path, settings) as client:
        assert "attic-check" in client.get("/api/overview").json()["verdict"]["sentence"]
    nightly = settings.backups["nightly"]
    without = {"r2": settings.repositories["r2"]}
    backups = {"nightly": replace(nightly, repositories=tuple(without.values()))}
    spare = replace(settings, backups=backups)  # no backup sends to it, and it is there
    with browser(tmp_path, spare) as client:
        assert "attic-check" in client.get("/api/overview").json()["verdict"]["sentence"]
    with browser(tmp_path, replace(spare, repositories=without)) as client:
        assert "attic" not in str(client.get("/api/overview").json()["attention"])
        assert "attic-check" not in client.get("/doctor").text


@pytest.mark.parametrize(
    ("filled", "said"),
    [
        ("", "It becomes a new database on that server, proven."),
        ("tables=public.t001&schema=rescued", "The tables come into a new schema beside what is there."),
    ],
)
def test_a_restore_says_what_becomes_of_what_is_there(tmp_path: Path, filled: str, said: str) -> None:
    with Catalog.open(tmp_path) as catalog:
        archive = write_years(catalog, nights=3, tables=3).archives[-1]["id"]
    with browser(tmp_path) as client:
        page = client.get(f"/archives/{archive}/restore?{filled}").text
        assert f"{said} Nothing that is there is touched." in page


def test_a_form_that_needs_the_second_look_is_still_filled_in_after_it(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        archive = write_years(catalog, nights=3, tables=3).archives[-1]["id"]
    path, tables = f"/archives/{archive}/restore", "public.t001\r\npublic.t002"
    world = sample_world(tmp_path, settings=sample_settings(tmp_path))
    handlers = asking.handlers(lambda *_: None)
    said = {"database": "dev", "tables": tables, "schema": "rescued", "typed": "dev", "key": "k" * 24, "csrf": "c"}
    with TestClient(build(world, handlers=handlers, middleware=[AsPerson(person_of(Role.ADMIN))])) as client:
        asked = client.post(path, data=said, follow_redirects=False).headers["location"]
    (back,) = parse_qs(urlsplit(asked).query)["to"]
    assert urlsplit(back).path == path
    assert parse_qs(urlsplit(back).query) == {"database": ["dev"], "tables": [tables], "schema": ["rescued"]}
    assert local_path(back) == back
    with browser(tmp_path) as client:
        page = client.get(back).text
        assert "public.t001\npublic.t002" in page
        assert 'value="rescued"' in page


def test_a_restore_is_begun_again_from_its_archive_and_target(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        run = ended(catalog, "restore", "prod", AT, result=ARCHIVE | {"schema": "s", "tables": ["public.a", "b.c"]})
        unknown = ended(catalog, "restore", "prod", AT - timedelta(days=1))
    page = again(run)
    assert isinstance(page, str)
    assert page.startswith("/archives/20261122-080003-0000/restore?")
    assert parse_qs(urlsplit(page).query) == {"database": ["prod"], "tables": ["public.a\nb.c"]}
    assert again(unknown) == "/archives"


def test_a_fact_has_its_unit_once(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        run = ended(catalog, "refresh", "weekly", AT - timedelta(hours=9), result=BROUGHT)
        number = catalog.runs.add_step(run.id, "swap", at=run.requested_at)
        catalog.runs.end_step(run.id, number, at=run.requested_at, facts={"outage_ms": 1.8, "wait_s": 2.0})
    with browser(tmp_path) as client:
        (step,) = client.get(f"/api/runs/{run.id}").json()["steps"]
    assert [(one["name"], one["text"]) for one in step["facts"]] == [("outage", "1.8 ms"), ("wait", "2.0 s")]
