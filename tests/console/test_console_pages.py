"""Every page that looks, over years of nights, over nothing, and over what cannot be read."""

from __future__ import annotations

import fcntl
import re
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from console_view_samples import (
    AT,
    HOSTILE,
    AsPerson,
    begin_run,
    hold_dev,
    person_of,
    sample_app,
    sample_settings,
    sample_world,
    write_years,
)
from litestar.testing import TestClient

from daybreak.catalog import Catalog
from daybreak.catalog.records import ProofRecord
from daybreak.console import asking
from daybreak.console.app import build
from daybreak.console.people import Person, Role
from daybreak.console.world import Examined, World
from daybreak.errors import PublishError
from daybreak.jobs import backlog
from daybreak.jobs.doctor.finding import Finding, Severity
from daybreak.jobs.run import now
from daybreak.model import Run, RunState

PAGES = (
    "/",
    "/runs",
    "/archives",
    "/off-site",
    "/off-site/r2",
    "/off-site/attic",
    "/dev",
    "/schedule",
    "/doctor",
    "/api",
)
PAGES = (*PAGES, "/settings", "/runs?state=missed", "/runs?kind=backup&state=failed&since=2026-10-01&until=2026-11-20")
API = ("overview", "runs", "archives", "off-site", "off-site/r2", "dev", "schedule", "doctor", "settings")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with 10,000 runs and more than 1,000 snapshots."""
    made = tmp_path_factory.mktemp("years")
    with Catalog.open(made) as catalog:
        years = write_years(catalog)
        hold_dev(catalog)
    assert len(years.runs) >= 10_000
    assert len(years.snapshots) >= 1_000
    return made


def _client(world: World, role: Role | None = Role.ADMIN) -> TestClient:
    person: Person | None = None if role is None else person_of(role)
    return TestClient(sample_app(world, person), base_url="http://127.0.0.1")


@pytest.fixture
def client(folder: Path) -> Iterator[TestClient]:
    """An admin looks at years of nights."""
    with _client(sample_world(folder, settings=sample_settings(folder))) as made:
        yield made


class _Tags(HTMLParser):
    """What a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "img", "input", "br", "path", "rect", "circle", "line", "polygon", "polyline"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open[-1] == tag, f"{tag} closes {self.open[-1]}"
            self.open.pop()


def _require_clean(text: str) -> _Tags:
    """No script but ours, nothing inline, every id once, every field with a name, everything closed."""
    page = _Tags(text)
    assert page.open == []
    assert [attrs.get("src") for tag, attrs in page.tags if tag == "script"] == ["/static/daybreak.js"]
    assert [attrs["src"] for tag, attrs in page.tags if tag == "img"] == ["/static/daybreak.svg"]
    for tag, attrs in page.tags:
        assert "style" not in attrs, (tag, attrs)
        assert not [name for name in attrs if name.startswith("on")], (tag, attrs)
        assert not str(attrs.get("href", "")).lower().startswith(("javascript:", "data:", "//", "http"))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids)), sorted({one for one in ids if ids.count(one) > 1})
    assert "\x1b" not in text
    assert "49" not in re.findall(r"<title>(.*?)</title>", text)
    return page


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_clean(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text[:2000]
    page = _require_clean(answer.text)
    assert "<script>alert" not in answer.text
    assert sum(1 for tag, _ in page.tags if tag == "h1") == 1
    assert next(attrs["href"] for tag, attrs in page.tags if tag == "a") == "#content"


@pytest.mark.parametrize("path", ["/", "/runs", "/archives", "/off-site/r2", "/dev", "/schedule"])
def test_every_link_leads_somewhere(client: TestClient, path: str) -> None:
    page = _Tags(client.get(path).text)
    acted_on = re.compile(
        r"^/(account|people|tokens|audit)|/(restore|accept|backup|drill|ship|check|prune|forget|locks|refresh|plan|hold|undo)$"
    )
    links = {str(attrs["href"]) for tag, attrs in page.tags if tag == "a"}
    for href in sorted(links)[::3]:
        if href.startswith("/") and not acted_on.search(href.split("?")[0]) and "/snapshots/" not in href:
            assert client.get(href).status_code == 200, href


def test_the_overview_answers_the_question(client: TestClient) -> None:
    text = client.get("/").text
    assert "Are we safe?" in text
    assert '<span class="answer">Yes.</span>' in text
    assert "held until Fri 27 Nov 07:00 CST by ada: demo" in text  # to be known, and no danger
    assert "production (prod) of Wed 25 Nov, 02:00 CST is here, off-site in r2 and attic" in text.replace(
        "Production", "production"
    )
    assert "dev = production of Sunday 22 November 02:00 CST, proven equal" in text
    view = client.get("/api/overview").json()
    assert view["verdict"]["tone"] == "ok"
    lanes = {lane["name"]: lane for lane in view["databases"][0]["lanes"]}
    assert list(lanes) == ["backup", "off-site", "proof"]
    assert {len(lane["cells"]) for lane in lanes.values()} == {30}
    assert [cell["word"] for cell in lanes["backup"]["cells"]].count("missed") == 1
    assert lanes["off-site"]["summary"].startswith("27 ok · 1 partly")
    card = view["backups"][0]
    assert card["restore_s"] == 185.2
    assert [(copy["repository"], copy["current"]) for copy in card["copies"]] == [("r2", True), ("attic", True)]
    assert [one["plan"] for one in view["coming"]][:2] == ["nightly", "weekly"]


def test_instants_and_sizes_are_exact_on_hover(client: TestClient) -> None:
    text = client.get("/archives").text
    assert re.search(
        r'<time datetime="2026-11-25T08:00:03.000\+00:00" title="Wednesday 25 November 2026 02:00:03 CST · '
        r'2026-11-25 08:00:03 UTC">today 02:00 CST</time>',
        text,
    )
    assert re.search(r'<data value="\d+" title="[\d,]+ bytes">[\d.]+ MB</data>', text)


@pytest.mark.parametrize("name", API)
def test_the_api_gives_what_the_pages_show(client: TestClient, name: str) -> None:
    answer = client.get(f"/api/{name}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    paths = client.get("/api/schema/openapi.json").json()["paths"]
    assert f"/api/{name}" in paths or "/api/off-site/{repository}" in paths
    assert f"/api/{name.split('/', maxsplit=1)[0]}" in client.get("/api").text


def test_a_run_tells_its_cause_and_the_next_step(client: TestClient, folder: Path) -> None:
    run = client.get("/api/runs?state=failed&kind=backup").json()["runs"][0]["id"]
    (folder / "logs").mkdir(exist_ok=True)
    (folder / "logs" / f"{run}.log").write_text(
        "".join(f"line {number} {HOSTILE}\n" for number in range(900)) + "the needle\n" + "half a line"
    )
    answer = client.get(f"/runs/{run}")
    _require_clean(answer.text)
    assert "is the server up?" in answer.text
    assert "daybreak backup nightly" in answer.text
    assert "line 899" in answer.text
    assert "half a line" not in answer.text  # it is not written to its end yet
    assert f'action="/runs/{run}/retry"' in answer.text
    assert 'name="csrf" value="csrf-of-ada"' in answer.text
    found = client.get(f"/runs/{run}?q=NEEDLE").text
    assert "the needle" in found
    assert "line 899" not in found
    told = client.get(f"/api/runs/{run}").json()
    assert told["failure"]["code"] == "SourceError"
    assert [step["word"] for step in told["steps"]] == ["done", "failed"]


def test_a_viewer_sees_no_paths_no_logs_and_no_words_of_a_server(folder: Path) -> None:
    world = sample_world(folder, settings=sample_settings(folder))
    with _client(world, Role.VIEWER) as client:
        run = client.get("/api/runs?state=failed&kind=backup").json()["runs"][0]
        text = client.get(f"/runs/{run['id']}").text
        assert "ada@example.org" not in text
        assert "ada@example.org" not in run["reason"]
        assert "Log</h2>" not in text
        assert "<form" not in text
        assert str(folder) not in client.get(f"/archives/{_newest(client)}").text
        assert "cloudflarestorage" not in client.get("/off-site/r2").text
        assert client.get("/settings").status_code == 403
        assert client.get("/api/settings").status_code == 403
        assert client.get(f"/api/runs/{run['id']}/log").status_code == 403
        for href in ("/dev", "/off-site/r2", f"/archives/{_newest(client)}"):
            assert 'class="button' not in client.get(href).text


def test_nobody_sees_nothing(folder: Path) -> None:
    with _client(sample_world(folder, settings=sample_settings(folder)), None) as client:
        for path in (*PAGES, *(f"/api/{name}" for name in API), "/events", "/api/schema/openapi.json"):
            assert client.get(path).status_code == 401, path


def _newest(client: TestClient) -> str:
    return str(client.get("/api/archives").json()["archives"][0]["id"])


def test_an_archive_shows_its_tables_and_its_chain(client: TestClient) -> None:
    told = client.get("/api/archives").json()["archives"]
    proven = next(one["id"] for one in told if one["proof"] == "proven" and "22" in one["taken_at"][8:10])
    page = client.get(f"/api/archives/{proven}").json()
    assert [link["what"] for link in page["chain"]][:4] == ["dump", "publish", "off-site", "off-site"]
    assert {"proof", "refresh"} <= {link["what"] for link in page["chain"]}
    table = next(one for one in page["tables"] if one["name"] == "public.t002")
    assert table["change"] == 2
    assert any("<script>" in one["name"] for one in page["tables"])  # as data; a page escapes it
    text = client.get(f"/archives/{proven}").text
    _require_clean(text)
    assert "&lt;script&gt;alert(1)" in text
    assert f'href="/archives/{proven}/restore"' in text
    assert f'href="/archives/{proven}/restore?tables=public.t002"' in text
    assert "%3Cscript%3Ealert%281%29" in text  # as an address, a name is escaped too


def test_why_a_snapshot_is_kept(client: TestClient) -> None:
    page = client.get("/api/off-site/r2").json()
    assert "the newest checked one" in page["snapshots"][0]["why"]
    assert page["card"]["size_bytes"] == 2_400_000_000
    assert page["card"]["rules"] == "keeps 7 daily, 4 weekly, 12 monthly"
    assert page["pages"] > 20
    assert page["snapshots"][0]["id"] != client.get("/api/off-site/r2?page=2").json()["snapshots"][0]["id"]


def test_secrets_are_only_named(client: TestClient) -> None:
    text = client.get("/settings").text
    assert "/etc/daybreak/prod.password" in text
    assert "a secret, read when it is used" in text
    assert 'action="/settings/notify/discord"' in text


@pytest.mark.parametrize(
    "path",
    [
        "/runs/20200101-000000-0000",
        "/runs/..%2f..%2fetc",
        "/archives/none",
        "/off-site/none",
        "/runs/20200101-000000-0000/events",
        "/api/runs/none",
        "/api/archives/%00",
        "/api/off-site/none",
        "/api/runs/..%2f..%2fetc%2fpasswd/log",
    ],
)
def test_what_is_not_there_is_404(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        "page=0",
        "page=-1",
        "page=99999999999999999999",
        "page=%C2%B2",
        "since=yesterday",
        "state=<b>",
        "until=9999-12-31",
        "since=0001-01-01",
        "plan=%27%3B%20DROP%20TABLE%20runs",
        "trigger=%25",
        "kind=%00",
    ],
)
def test_odd_queries_narrow_nothing_or_find_nothing(client: TestClient, query: str) -> None:
    assert client.get(f"/runs?{query}").status_code == 200
    assert client.get(f"/archives?{query}").status_code == 200
    assert client.get(f"/off-site/r2?{query}").status_code == 200


def test_looking_changes_no_row(client: TestClient, folder: Path) -> None:
    def rows() -> list[str]:
        with sqlite3.connect(folder / "catalog.sqlite3") as raw:
            said = [line for line in raw.iterdump() if not line.startswith('INSERT INTO "steps"')]
        raw.close()
        return said

    before = rows()
    for path in (*PAGES, *(f"/api/{name}" for name in API)):
        client.get(path)
    assert rows() == before


def test_an_empty_catalog_is_no_fault(tmp_path: Path) -> None:
    Catalog.open(tmp_path).close()
    with _client(sample_world(tmp_path, settings=sample_settings(tmp_path))) as client:
        for path in PAGES:
            answer = client.get(path)
            assert answer.status_code == 200, path
            _require_clean(answer.text)
        text = client.get("/").text
        assert "Not yet." in text
        assert "Nothing has been backed up so far; the first one is due on Thu 26 Nov at 02:00 CST." in text
        assert "No archive yet" in client.get("/archives").text


def _break(folder: Path, how: str) -> None:
    Catalog.open(folder).close()
    path = folder / "catalog.sqlite3"
    match how:
        case "missing":
            path.unlink()
        case "damaged":
            path.write_bytes(b"no database at all" * 500)
        case _:
            with sqlite3.connect(path) as raw:
                raw.execute("UPDATE alembic_version SET version_num = ?", ("0002" if how == "older" else "0999",))
            raw.close()


@pytest.mark.parametrize("how", ["missing", "damaged", "older", "newer"])
def test_a_catalog_that_cannot_be_read_is_told_on_every_page(tmp_path: Path, how: str) -> None:
    _break(tmp_path, how)
    with _client(sample_world(tmp_path, settings=sample_settings(tmp_path))) as client:
        for path in PAGES:
            answer = client.get(path)
            assert answer.status_code == 200, path
            _require_clean(answer.text)
            assert "What cannot be shown" in answer.text
        text = client.get("/").text
        assert "Nobody can say." in text
        assert "backup nightly" in text  # what the configuration says is shown all the same
        assert client.get("/api/runs").status_code == 503
        assert client.get("/api/overview").json()["verdict"]["answer"] == "Nobody can say."


def test_a_backlog_that_cannot_be_read_takes_no_page_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def waiting(*_: object) -> None:
        raise PublishError(f"cannot read {tmp_path}/.daybreak/backlog: permission denied", hint="be of the group")

    monkeypatch.setattr(backlog, "waiting", waiting)
    Catalog.open(tmp_path).close()
    with _client(sample_world(tmp_path, settings=sample_settings(tmp_path))) as client:
        for path in PAGES:
            answer = client.get(path)
            assert answer.status_code == 200, path
            assert "What cannot be shown" not in answer.text
        assert "what waits to be sent off-site is not known" in client.get("/").text


def test_a_viewer_hears_of_a_fault_without_its_paths(tmp_path: Path) -> None:
    world = sample_world(tmp_path, settings=None, faults=[f"{tmp_path}/daybreak.toml has 1 fault"])
    with _client(world, Role.VIEWER) as client:
        text = client.get("/").text
        assert "The configuration has faults" in text
        assert "The catalog cannot be read just now" in text
        assert str(tmp_path) not in text + client.get("/api/overview").text + client.get("/api/runs").text


def test_a_catalog_that_is_locked_meanwhile(tmp_path: Path) -> None:
    Catalog.open(tmp_path).close()
    with _client(sample_world(tmp_path, settings=sample_settings(tmp_path))) as client:
        assert "Not yet." in client.get("/").text
        raw = sqlite3.connect(tmp_path / "catalog.sqlite3", isolation_level=None)
        raw.execute("PRAGMA locking_mode = EXCLUSIVE")
        locked = False
        try:
            raw.execute("BEGIN EXCLUSIVE")
            locked = True
        except sqlite3.OperationalError:
            pass  # the console has it open: nobody can lock it then
        text = client.get("/").text
        assert ("it was locked for more than" in text) is locked
        raw.close()


def test_a_faulty_configuration_is_told_and_the_rest_is_shown(folder: Path) -> None:
    fault = "/etc/daybreak/daybreak.toml has 1 fault: backups.nightly.archiv: unknown key (did you mean archive?)"
    with _client(sample_world(folder, settings=None, faults=[fault])) as client:
        for path in PAGES:
            if not path.startswith("/off-site/"):
                answer = client.get(path)
                assert answer.status_code == 200, path
                _require_clean(answer.text)
                assert "did you mean archive?" in answer.text
        assert "Nobody can say." in client.get("/").text
        assert "nightly" in client.get("/runs").text
        assert client.get(f"/archives/{_newest(client)}").status_code == 200


def test_a_night_that_fails_is_the_first_sentence(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        write_years(catalog, nights=20, tables=3, at=AT - timedelta(days=3))
    with _client(sample_world(tmp_path, settings=sample_settings(tmp_path))) as client:
        view = client.get("/api/overview").json()
        assert view["verdict"]["tone"] == "failed"
        assert view["verdict"]["answer"] == "No."
        assert "nothing has started it" in view["verdict"]["sentence"]
        assert view["verdict"]["sentence"].startswith("nightly: ")  # a name as it is written
        assert view["attention"][0]["next_step"].startswith("look at what starts it")
        assert "What needs attention" in client.get("/").text


def test_nobody_is_asked_to_hold_production(tmp_path: Path) -> None:
    world = sample_world(tmp_path, settings=sample_settings(tmp_path))
    admin = AsPerson(person_of(Role.ADMIN))
    app = build(world, handlers=asking.handlers(lambda *_: None), middleware=[admin])
    with TestClient(app) as client:
        assert client.get("/dev/dev/hold").status_code == 200
        for answer in (
            client.get("/dev/prod/hold"),
            client.post("/dev/prod/hold", data={"why": "x"}),
            client.post("/api/dev/prod/hold", json={"why": "x"}),
        ):
            assert answer.status_code == 404
            assert "prod is production: nothing ever replaces it" in answer.text


def test_a_copy_that_is_lacking_is_told_unless_it_is_being_sent(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        years = write_years(catalog, nights=20, tables=3)
        newest = years.snapshots[-2]
        assert newest["repository"] == "r2"
        catalog.snapshots.forget("r2", [newest["id"]], at=AT)
    world = sample_world(tmp_path, settings=sample_settings(tmp_path))
    with _client(world) as client:
        view = client.get("/api/overview").json()
        assert view["verdict"]["answer"] == "Mostly."
        assert "the newest archive is not in r2" in view["verdict"]["sentence"]
        assert [copy["current"] for copy in view["backups"][0]["copies"]] == [False, True]
    with Catalog.open(tmp_path) as catalog:
        run = begin_run(catalog, tmp_path, AT)
    with (tmp_path / "runs" / f"{run}.lock").open("w") as lock, _client(world) as client:
        fcntl.flock(lock, fcntl.LOCK_EX)
        view = client.get("/api/overview").json()
        assert view["verdict"]["answer"] == "Yes."
        assert [copy["sending"] for copy in view["backups"][0]["copies"]] == [True, False]
        assert "being sent" in client.get("/").text


def test_a_proof_that_did_not_pass_is_bad(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        years = write_years(catalog, nights=20, tables=3)
        archive = years.archives[-1]["id"]
        catalog.proofs.add(
            ProofRecord(
                run="20261125-120000-aaaa",
                plan="nightly",
                archive=archive,
                taken_at=AT,
                at=AT,
                source="drill local",
                passed=False,
                why="public.t001: 17 rows in the archive, 16 restored",
            )
        )
    with _client(sample_world(tmp_path, settings=sample_settings(tmp_path))) as client:
        view = client.get("/api/overview").json()
        assert view["verdict"]["answer"] == "No."
        assert "16 restored" in view["verdict"]["sentence"]
        assert view["databases"][0]["lanes"][2]["cells"][-1]["word"] == "failed"


def test_a_run_whose_process_died_is_lost_before_anybody_wrote_it_down(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        run = begin_run(catalog, tmp_path, AT - timedelta(minutes=1))
    with _client(sample_world(tmp_path, settings=sample_settings(tmp_path))) as client:
        told = client.get(f"/api/runs/{run}").json()
        assert told["run"]["state"] == "lost"
        assert told["steps"][0]["word"] == "broke off"
        assert client.get("/api/overview").json()["running"] == []
    with Catalog.open(tmp_path) as catalog:
        assert catalog.runs.list()[0].state == "running"  # the console wrote nothing


def test_what_the_doctor_found_is_shown(folder: Path) -> None:
    world = sample_world(folder, settings=sample_settings(folder))
    ill = Finding(
        id="archive.room", subject="nightly", severity=Severity.ERROR, text=f"no room {HOSTILE}", fix="make room"
    )
    well = Finding(id="server.version", subject="prod", severity=Severity.OK, text="PostgreSQL 17.11")
    world.examined[True] = Examined(at=AT - timedelta(minutes=5), by="ada", findings=(well, ill))
    with _client(world) as client:
        text = client.get("/doctor").text
        _require_clean(text)
        assert "Tonight will not work: 1 error in 2 findings." in text
        assert text.index("no room") < text.index("PostgreSQL 17.11")
        assert client.get("/api/doctor").json()["tonight"]["findings"][0]["fix"] == "make room"


def test_what_the_doctor_found_by_its_schedule_is_shown_and_a_viewer_sees_no_path_in_it(tmp_path: Path) -> None:
    secret = "/etc/daybreak/daybreak.toml is 0666"
    finding = Finding(id="config.mode", subject="", severity=Severity.ERROR, text=secret, fix="chmod /etc/daybreak")
    result = {"findings": [finding.as_json()], "well": False, "not_told": [], "path": "/var/lib/somewhere"}
    with Catalog.open(tmp_path) as catalog:
        run = Run(
            id="20261125-150000-00d0",
            plan="tonight",
            kind="doctor",
            state=RunState.SUCCEEDED,
            trigger="scheduler",
            requested_at=AT - timedelta(hours=1),
            started_at=AT - timedelta(hours=1),
            ended_at=AT - timedelta(minutes=59),
            result=result,
        )
        catalog.runs.insert(run)
    world = sample_world(tmp_path, settings=sample_settings(tmp_path))
    for role, seen in ((Role.ADMIN, True), (Role.VIEWER, False)):
        with _client(world, role) as client:
            assert "Tonight will not work: 1 error in 1 finding." in client.get("/doctor").text
            for path in ("/doctor", "/api/doctor"):
                assert (secret in client.get(path).text) is seen
                assert ("chmod" in client.get(path).text) is seen
            for path in (f"/runs/{run.id}", f"/api/runs/{run.id}"):
                assert secret not in client.get(path).text
                assert ("/var/lib/somewhere" in client.get(path).text) is seen


def test_the_page_of_now_has_the_clock_of_now(tmp_path: Path) -> None:
    Catalog.open(tmp_path).close()
    with _client(sample_world(tmp_path, settings=sample_settings(tmp_path), at=None)) as client:
        assert f"{now():%Y-%m-%d}" in client.get("/").text
