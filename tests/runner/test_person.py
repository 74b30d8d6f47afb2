"""What a person asks for by the console: every word on real servers, and one run for each click."""

from __future__ import annotations

import getpass
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from talk import Runner

from daybreak.cli.progress import Silent
from daybreak.runner import keys
from daybreak.runner.server import RunnerSocket
from daybreak.runner.words import Backup
from daybreak.site import open_site
from installation import processes, wait_for
from town import ROWS, Town, make_town

if TYPE_CHECKING:
    from conftest import Servers

pytestmark = pytest.mark.postgres
KEY = "k" * 24


@pytest.fixture
def town(servers: Servers, dev_servers: Servers, restic: Path, tmp_path: Path) -> Iterator[Town]:
    made = make_town(tmp_path, servers[18], dev_servers[18], restic)
    yield made
    made.drop()


@pytest.fixture
def listening(town: Town) -> Iterator[Callable[[], Runner]]:
    """`listening()` starts a runner; called again it is the next one, as after a restart."""
    started: list[RunnerSocket] = []

    def start() -> Runner:
        for before in started[-1:]:
            before.stop()
        talk = Runner(site=town.site)
        runner = RunnerSocket(lambda: open_site(town.site.file, Silent()), town.site.state, log=talk.log.append)
        runner.start()
        started.append(runner)
        return talk

    yield start
    wait_for(lambda: not processes("daybreak.cli.main", str(town.site.file)), within_s=60, what="the end of all")
    for before in started[-1:]:
        before.stop()
    for one in started:  # a runner that went away does not wait for what it started; the test does
        for child in one._acts._children:
            assert child.process.ended() is not None


def done(talk: Runner, word: str, **values: object) -> dict[str, Any]:
    """How a run ended that was begun by this word."""
    (begun,) = talk.ask(word, **values)
    assert "run" in begun, begun
    *_, last = talk.ask("follow", run=begun["run"])
    assert last["state"] == "succeeded", last
    return last


def one(talk: Runner, word: str, **values: object) -> dict[str, Any]:
    (answer,) = looked(talk, word, **values)
    return answer


def looked(talk: Runner, word: str, **values: object) -> list[dict[str, Any]]:
    """What a look found; it says when that is all."""
    *said, end = [said for said in talk.ask(word, **values) if said.get("event") != "beat"]
    assert end == {"event": "end"}
    return said


def test_everything_that_a_person_may_ask_for(town: Town, listening: Callable[[], Runner]) -> None:
    talk, me = listening(), getpass.getuser()
    assert looked(talk, "snapshots", repository="safe") == []  # nothing is there, and that is said
    backup = done(talk, "backup", plan="nightly", who="ada")
    assert backup["trigger"] == f"ada in the console of {me}"
    assert backup["archive"]["rows"] == ROWS + 1
    archive = backup["archive"]["id"]

    (snapshot,) = [said for part in looked(talk, "snapshots", repository="safe") for said in part["snapshots"]]
    assert (snapshot["plan"], snapshot["archive"], snapshot["ours"]) == ("nightly", archive, True)
    files = [
        said["path"]
        for part in looked(talk, "files", repository="safe", snapshot=snapshot["id"])
        for said in part["files"]
    ]
    assert any("nightly" in path or "prod" in path for path in files)
    assert one(talk, "weigh", repository="safe")["snapshots"] == 1
    assert one(talk, "locks", repository="safe")["locks"] == []
    assert one(talk, "unlock", repository="safe")["removed"] == []

    fetched = done(talk, "fetch", repository="safe", snapshot=snapshot["id"], who="ada", key=KEY)
    assert Path(fetched["path"]).parent == town.site.state / "fetched" / fetched["run"]
    assert fetched["fetched"] == archive
    assert town.site.manifest(Path(fetched["path"])).rows == ROWS + 1

    assert done(talk, "check", repository="safe")["kind"] == "check"
    assert done(talk, "prune", repository="safe")["kind"] == "prune"
    assert done(talk, "drill", plan="nightly", source="local")["proof"]["different"] == 0
    done(talk, "ship", plan="nightly")

    plan = one(talk, "look-ahead", plan="weekly")
    assert (plan["target"], plan["obstacles"]) == ("dev", [])
    unknown = one(talk, "identify", database="dev")
    assert (unknown["enrolled"], unknown["now"]["database"]) == (None, town.dev_name)
    refused = talk.ask("refresh", plan="weekly", first=False)[0]
    *_, last = talk.ask("follow", run=refused["run"])
    assert (last["state"], last["code"]) == ("failed", "Refused")
    assert done(talk, "refresh", plan="weekly", first=True)["proof"]["different"] == 0
    assert town.dev_rows() == ROWS
    assert one(talk, "identify", database="dev")["same"] is True
    done(talk, "undo", database="dev")
    assert town.dev_rows() == 1

    restored = done(
        talk, "restore", archive=archive, backup="nightly", database="dev", new=f"{town.dev_name}-new", confirm=""
    )
    assert restored["database"] == f"{town.dev_name}-new"
    tables = ["public.account", 'public."Odd <b>name</b>"']
    rescued = done(
        talk, "rescue", archive=archive, backup="nightly", database="dev", tables=tables[:1], schema="rescued"
    )
    assert rescued["schema"] == "rescued"

    findings = looked(talk, "doctor", tonight=True)
    assert {"id", "subject", "severity", "finding", "fix"} == set(findings[0])
    assert "no destination" in talk.fault("notify-test", destination="")["message"]


def test_what_is_forgotten_is_what_was_looked_at(town: Town, listening: Callable[[], Runner]) -> None:
    talk = listening()
    done(talk, "backup", plan="nightly")
    before = one(talk, "look-at-forgetting", repository="safe", only="")
    assert all(said["keep"] for said in before["plans"][0]["snapshots"])
    town.prod.psql("INSERT INTO account SELECT n, 'new' FROM generate_series(501, 600) AS n", town.prod_name)
    time.sleep(1.1)  # restic keeps whole seconds
    town.site.json("backup", "--fresh")
    after = one(talk, "look-at-forgetting", repository="safe", only="nightly")
    fault = talk.fault("forget", repository="safe", only="nightly", seen="0" * 64)
    assert fault["code"] == "Refused"
    assert "is not what you looked at" in fault["message"]
    forgot = done(talk, "forget", repository="safe", only="nightly", seen=after["seen"], who="ada", key=KEY)
    assert forgot["kind"] == "forget"
    (again,) = talk.ask("forget", repository="safe", only="nightly", seen=after["seen"], who="ada", key=KEY)
    assert (again["run"], again["joined"]) == (forgot["run"], True)


def test_a_proof_of_another_copy_is_not_the_one_that_goes_on(listening: Callable[[], Runner]) -> None:
    talk = listening()
    done(talk, "backup", plan="nightly")

    def source(run: str) -> object:
        return talk.ask("state", run=run)[0].get("source")

    (here,) = talk.ask("drill", plan="nightly", source="local", key="l" * 24)
    wait_for(lambda: source(here["run"]) == "local", within_s=30, what="it says what it proves")
    assert talk.ask("state", run=here["run"])[0]["state"] == "running"
    (away,) = talk.ask("drill", plan="nightly", source="safe", key="s" * 24)
    (tab,) = talk.ask("drill", plan="nightly", source="local", key="t" * 24)
    assert (away["joined"], tab["joined"]) == (False, True)
    assert away["run"] != here["run"] == tab["run"]
    for one, copy in ((here, "local"), (away, "safe")):
        *_, last = talk.ask("follow", run=one["run"])
        assert (last["state"], last["source"]) == ("succeeded", copy)


def test_a_click_is_one_run_whatever_comes_between(town: Town, listening: Callable[[], Runner]) -> None:
    """L9: twice at once, in two tabs, and after a restart of the runner."""
    talk = listening()
    wait = town.site.folder / "wait"
    wait.touch()
    town.site.fake_dump(f'while [ -e "{wait}" ]; do sleep 0.02; done; exec "$real" "$@"')
    asked = {"plan": "nightly", "who": "ada", "key": KEY}
    (first,) = talk.ask("backup", **asked)
    (twice,) = talk.ask("backup", **asked)
    (tab,) = talk.ask("backup", plan="nightly", who="ada", key="t" * 24)
    assert (twice["run"], twice["joined"]) == (tab["run"], tab["joined"]) == (first["run"], True)
    talk = listening()  # another runner of the same folder
    (after,) = talk.ask("backup", **asked)
    assert (after["run"], after["joined"]) == (first["run"], True)
    wait.unlink()
    *_, last = talk.ask("follow", run=first["run"])
    assert last["state"] == "succeeded"
    (late,) = talk.ask("backup", **asked)  # a form that is sent again when all is over
    assert (late["run"], late["state"]) == (first["run"], "succeeded")
    assert len(town.site.json("runs")["runs"]) == 1
    for other in (
        {"plan": "nightly", "who": "bob", "key": KEY},
        {"plan": "nightly", "source": "local", "who": "ada", "key": KEY},
    ):
        fault = talk.fault("drill" if "source" in other else "backup", **other)
        assert (fault["code"], fault["message"]) == ("Refused", "this form was sent before, with other words")
    assert len(town.site.json("runs")["runs"]) == 1


def test_a_key_whose_run_never_began_begins_that_one(town: Town, listening: Callable[[], Runner]) -> None:
    act = Backup(plan="nightly", who="ada", key=KEY)
    keys.keep(town.site.state, act, "20261125-120000-abcd")  # a runner that died before it started anything
    talk = listening()
    assert done(talk, "backup", plan="nightly", who="ada", key=KEY)["run"] == "20261125-120000-abcd"


def test_a_key_of_what_ended_before_there_was_a_run_is_free_again(
    town: Town, listening: Callable[[], Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever mends what was wrong sends the same form, also with other words."""
    talk = listening()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", "/bin/false")  # as while another Daybreak is being installed
        assert "ended with 1" in talk.fault("ship", plan="nightly", who="ada", key=KEY)["message"]
    assert town.site.json("runs")["runs"] == []
    assert done(talk, "backup", plan="nightly", who="ada", key=KEY)["kind"] == "backup"


def test_names_and_targets_come_from_the_configuration_alone(town: Town, listening: Callable[[], Runner]) -> None:
    """A5."""
    talk = listening()
    for word, values in (
        ("backup", {"plan": "nihgtly"}),
        ("refresh", {"plan": "nightly", "first": True}),
        ("undo", {"database": "prod"}),
        ("fetch", {"repository": "saef", "snapshot": "0" * 8}),
        ("drill", {"plan": "nightly", "source": "elsewhere"}),
        ("accept", {"archive": "20200101-000000-0000"}),
        ("restore", {"archive": "20200101-000000-0000", "backup": "", "database": "dev", "new": "", "confirm": ""}),
        ("forget", {"repository": "saef", "only": "", "seen": "0" * 64}),
        ("look-ahead", {"plan": "x"}),
        ("identify", {"database": "x"}),
        ("files", {"repository": "x", "snapshot": "0" * 8}),
    ):
        said = [one for one in talk.ask(word, **values) if "event" not in one]
        assert "fault" in said[-1] or said[-1].get("now", 0) is None, (word, said)
    assert "and nothing else" in talk.fault("refresh", plan="weekly", first=True, target="prod")["message"]
    assert town.site.json("runs")["runs"] == []


def test_a_person_cancels_and_holds_in_his_own_name(town: Town, listening: Callable[[], Runner]) -> None:
    talk, me = listening(), getpass.getuser()
    wait = town.site.folder / "wait"
    wait.touch()
    town.site.fake_dump(f'while [ -e "{wait}" ]; do sleep 0.02; done; exec "$real" "$@"')
    (begun,) = talk.ask("backup", plan="nightly", who="ada")
    talk.ask("cancel", run=begun["run"], who="ada (token ci)")
    *_, last = talk.ask("follow", run=begun["run"])
    assert last["reason"] == f"cancelled by ada (token ci) in the console of {me}"
    talk.ask("hold", database="dev", until="", why="the demo", who="ada")
    (hold,) = town.site.json("status")["holds"]
    assert hold["by"] == f"ada in the console of {me}"
    assert talk.ask("release", database="dev", who="ada") == [{"database": "dev", "released": True}]


def test_keys_are_few_and_do_not_tell_who_clicked(site_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_MOST", 3)
    for number in range(6):
        keys.keep(site_folder, Backup(plan="nightly", who="ada", key=f"{number:024}"), f"20261125-12000{number}-abcd")
    found = list((site_folder / "asked").iterdir())
    assert len(found) == 3
    assert not any("ada" in one.read_text() for one in found)
    (site_folder / "asked" / found[0].name).write_text("{cut")
    assert keys.run_of(site_folder, Backup(plan="nightly", who="ada", key=f"{0:024}")) is None
    assert json.loads(found[1].read_text())["run"].startswith("20261125-12000")


@pytest.fixture
def site_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o770)
    return folder
