"""Alerts of real runs to a real web server: who is told what, once, and that no destination harms a run."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from daybreak import notify
from daybreak.model import Schedule, SecretSource, Timed
from daybreak.process import Runner
from installation import Installation, wait_for
from webhook import Hook

NO_SECRET = "canary-hook"


def nothing_leaks(site: Installation) -> None:
    """The address is in no file of the state folder."""
    for path in site.state.rglob("*"):
        if path.is_file():
            assert NO_SECRET.encode() not in path.read_bytes(), path


def test_a_failure_is_told_once_and_its_end_too(site: Installation, hook: Hook) -> None:
    site.backup()
    assert hook.titles == []
    site.fake_dump("echo 'pg_dump: error: what a row said' >&2; exit 1")
    first = site.backup(expect=11)
    site.backup(expect=11)
    assert hook.titles == ["nightly failed"]
    (_, path, body) = hook.received[0]
    assert path == "/canary-hook-4711"
    assert body["type"] == "failure"
    assert f"daybreak run show {first['run']}" in body["message"]
    assert "exit code 11" in body["message"]
    assert "next: " in body["message"]
    site.real_dump()
    site.backup()
    site.backup()
    assert hook.titles == ["nightly failed", "nightly has recovered"]
    assert "notify_failed" in site.json("status")
    assert site.json("status")["notify_failed"] == []
    nothing_leaks(site)


def test_a_quarantined_archive_is_told_as_that_and_acceptance_ends_it(site: Installation, hook: Hook) -> None:
    site.backup()
    _set(site, "UPDATE archives SET size_bytes = size_bytes * 10, rows = rows * 10")
    told = site.backup(expect=12)
    assert hook.titles == ["nightly is suspicious"]
    site.json("accept", told["archive"]["id"])
    assert hook.titles == ["nightly is suspicious", "nightly has recovered"]


def test_a_refusal_of_a_guard_is_its_own_event(site: Installation, hook: Hook) -> None:
    site.backup()

    _set(site, "UPDATE databases SET oid = oid + 1")
    site.backup(expect=4)
    assert hook.titles == ["nightly was refused"]


def test_a_dead_run_is_told_by_whoever_notices_it(site: Installation, hook: Hook) -> None:
    site.backup()
    site.fake_dump("sleep 60")
    with site.start("backup") as run:
        until = time.monotonic() + 30
        while not site.staged() and time.monotonic() < until:
            time.sleep(0.05)
        run.kill()
    assert site.json("runs")["runs"][0]["state"] == "lost"  # a look tells nobody …
    assert hook.titles == []
    site.json("repair")  # … the next job does
    assert hook.titles == ["nightly failed"]
    assert "its process died" in hook.received[0][2]["message"]


def told(site: Installation) -> int:
    """How many alerts somebody was told of, as the catalog knows it by now."""
    with site.catalog() as catalog:
        return sum(one.told_at is not None for one in catalog.alerts.list())


def test_serve_tells_what_no_run_would_tell_in_time(site: Installation, hook: Hook) -> None:
    due_at = datetime.now(UTC) - timedelta(hours=13)  # the host was down; catch_up is 12 h
    site.plan["schedule"] = f"{due_at:%H:%M}"
    site.fake_dump("sleep 60")
    with site.start("backup") as run:
        wait_for(site.staged, what="a dump")
        run.kill()
    nightly = Timed(kind="backup", plan="nightly", schedule=Schedule(spec=f"{due_at:%H:%M}", timezone="UTC"))
    with site.catalog() as catalog:
        catalog.slots.watch(nightly, since=due_at - timedelta(hours=1), at=due_at - timedelta(hours=1))
    with site.start("serve", "--only", "runner") as serve:
        wait_for(lambda: told(site) >= 2, within_s=60, what="two messages")
        serve.process.terminate()
        assert serve.end(30).code == 0
    assert sorted(hook.titles) == ["nightly failed", "nightly was missed"]
    assert "nothing makes up for it: nobody came for it within 12 h" in hook.text
    site.real_dump()
    site.backup()
    assert sorted(hook.titles) == [
        "nightly failed",
        "nightly has recovered",
        "nightly has recovered",
        "nightly was missed",
    ]


def test_a_run_that_died_and_was_begun_again_by_itself_is_told_to_nobody(site: Installation, hook: Hook) -> None:
    due_at = datetime.now(UTC) - timedelta(minutes=1)
    site.plan["schedule"] = f"{due_at:%H:%M}"
    site.fake_dump("sleep 60")
    with site.start("backup", "--slot", "now") as run:
        wait_for(site.staged, what="a dump")
        run.kill(group=True)  # as when the host goes down
    site.real_dump()
    with site.start("serve", "--only", "runner") as serve:
        wait_for(lambda: len(site.json("runs")["runs"]) == 2, within_s=60, what="a second run")
        wait_for(lambda: site.json("runs")["runs"][0]["state"] == "succeeded", within_s=60, what="its end")
        serve.process.terminate()
        assert serve.end(30).code == 0
    assert [one["state"] for one in site.json("runs")["runs"]] == ["succeeded", "lost"]
    site.json("repair")
    assert hook.titles == []


def test_only_the_events_that_a_destination_wants(site: Installation, hook: Hook) -> None:
    site.more += 'events = ["recovered", "weekly_all_is_well"]\n'
    site.fake_dump("exit 1")
    site.backup(expect=11)
    site.real_dump()
    site.backup()
    assert hook.titles == []  # who was not told of the failure needs not hear of its end


@pytest.mark.parametrize(
    ("answers", "fault"),
    [
        ("429", "429"),
        ("500", "500"),
        ("404", "404"),
        ("redirect", "302"),
        ("refused", "A Connection error occurred"),
    ],
)
def test_n5_a_destination_that_fails_harms_no_run(
    site: Installation, hook: Hook, other: Hook, answers: str, fault: str
) -> None:
    """N5: the exit code is the run's own; status says who could not be told; no redirect is followed."""
    hook.answers = f"redirect {other.plain()}" if answers == "redirect" else answers
    if answers == "refused":
        (site.folder / "here.url").write_text("json://127.0.0.1:9/canary-hook-4711\n")
        hook.answers = "200"
    site.fake_dump("exit 1")
    site.backup(expect=11)
    (failed,) = site.json("status")["notify_failed"]
    assert failed["destination"] == "here"
    assert fault in failed["fault"]
    assert other.received == []
    assert len(hook.received) <= 2
    assert "could not be told" in site.call("status").out
    # Told later, when it is back: the next run's look tries again after a while.
    hook.answers = "200"
    (site.folder / "here.url").write_text(hook.url())
    hook.clear()
    site.backup(expect=11)
    assert hook.received == []  # not at once
    _age_claims(site)
    site.backup(expect=11)
    assert hook.titles == ["nightly failed"]
    assert site.json("status")["notify_failed"] == []
    nothing_leaks(site)


def test_an_end_that_does_not_arrive_is_told_later(site: Installation, hook: Hook) -> None:
    site.backup()
    site.fake_dump("exit 1")
    site.backup(expect=11)
    assert hook.titles == ["nightly failed"]
    hook.answers = "500"
    site.real_dump()
    site.backup()
    assert site.json("status")["alerts"] == []  # it is over, whoever has heard that
    assert site.json("status")["notify_failed"][0]["what"] == "nightly has recovered"
    # So again before anybody heard of the end: what was told before is still what is so.
    site.fake_dump("exit 1")
    hook.answers = "200"
    hook.clear()
    site.backup(expect=11)
    assert hook.titles == []
    assert site.json("status")["alerts"] == ["nightly: failed"]
    # Over again, and the destination is away still.
    hook.answers = "500"
    site.real_dump()
    site.backup()
    hook.answers = "200"
    hook.clear()
    site.backup()
    assert hook.received == []  # not at once
    _age_claims(site)
    _set(site, "UPDATE alerts SET told_at = ?", datetime.now(UTC) - timedelta(minutes=7))
    site.backup()
    site.backup()
    assert hook.titles == ["nightly has recovered"]
    assert site.json("status")["notify_failed"] == []
    with site.catalog() as catalog:
        assert [one for one in catalog.alerts.list(also_over=True) if one.plan] == []


def test_n5_a_destination_that_hangs_is_left(site: Installation, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    """N5: 30 seconds of silence; the run ends with its own code, in bounded time."""
    monkeypatch.setattr(notify, "DEADLINE", timedelta(seconds=3))
    hook.answers = "hang"
    site.fake_dump("exit 1")
    began = time.monotonic()
    site.backup(expect=11)
    assert time.monotonic() - began < 25
    assert "no answer within 3 s" in site.json("status")["notify_failed"][0]["fault"]


def test_a_secret_that_cannot_be_read_is_a_delivery_that_failed(site: Installation, hook: Hook) -> None:
    (site.folder / "here.url").chmod(0o644)
    site.fake_dump("exit 1")
    site.backup(expect=11)
    assert "open to every user" in site.json("status")["notify_failed"][0]["fault"]
    assert hook.received == []


def test_what_is_configured_no_more_is_forgotten(site: Installation, hook: Hook) -> None:
    hook.answers = "500"
    site.fake_dump("exit 1")
    site.backup(expect=11)
    site.more = site.more.replace("alerts.here", "alerts.there")
    site.configure()
    hook.answers = "200"
    site.backup(expect=11)
    told = site.json("status")
    assert told["notify_failed"] == []
    assert told["alerts"] == ["nightly: failed"]
    with site.catalog() as catalog:
        assert {one.destination for one in catalog.alerts.list()} == {"there"}


def test_notify_test_sends_to_each_and_says_which_did_not_arrive(site: Installation, hook: Hook) -> None:
    site.more += '[alerts.gone]\nurl_env = "NOT_THERE"\n[alerts.odd]\nurl_env = "ODD"\n'
    site.configure()
    answer = site.call("notify", "test", "--json")
    told = {one["name"]: one for one in answer.expect(1)["destinations"]}
    assert told["here"]["sent"]
    assert "NOT_THERE is not set" in told["gone"]["fault"]
    assert hook.titles == ["a test"]
    assert site.call("notify", "test", "here").code == 0
    assert site.json("notify", "test", "nobody", expect=2)["code"] == "UsageError"


def test_an_address_that_apprise_does_not_know(site: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODD", "no-such-service://canary-hook-odd")
    site.more = '[alerts.odd]\nurl_env = "ODD"\n'
    site.configure()
    (told,) = site.json("notify", "test", expect=1)["destinations"]
    assert told["fault"] == "Apprise does not know this kind of address"


def test_the_addresses_of_the_documents_are_ones_that_apprise_knows() -> None:
    urls = [
        "discord://123456789012345678/abcdefghijklmnopqrstuvwxyz",
        "https://discord.com/api/webhooks/123456789012345678/abcdefghijklmnopqrstuvwxyz",
        "slack://TokenA123/TokenB456/TokenC7890123456789012345/#channel",
        "mailto://user:password@example.org",
        "ntfys://ntfy.example.org/topic",
        "jsons://example.org/hook",
    ]
    script = "import apprise, sys; sys.exit([u for u in sys.argv[1:] if not apprise.Apprise.instantiate(u)] or 0)"
    done = subprocess.run([sys.executable, "-c", script, *urls], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_n6_proxies_of_the_environment_are_not_honoured(
    hook: Hook, other: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N6: a hostile proxy variable leads no message elsewhere."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{other.port}")
    monkeypatch.setenv("HOOK", hook.url())
    monkeypatch.setenv("PING", hook.plain())
    assert notify.tell(SecretSource(env="HOOK"), notify.Message(title="a: b", body="c"), Runner()) == ""
    assert notify.ping(SecretSource(env="PING"), "/start", Runner()) == ""
    assert [path for _, path, _ in hook.received] == ["/canary-hook-4711", "/canary-ping-4711/start"]
    assert other.received == []


def test_no_address_stands_in_the_arguments_of_a_process(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    monkeypatch.setenv("HOOK", hook.url())
    hook.answers = "500"
    fault = notify.tell(SecretSource(env="HOOK"), notify.Message(title="a: b", body="c"), Runner(log=log.append))
    assert "500" in fault
    assert any("DAYBREAK_MESSAGE=***" in line for line in log)
    assert NO_SECRET not in json.dumps(log) + fault


def test_a_state_folder_that_cannot_be_written_is_told(site: Installation, hook: Hook) -> None:
    """Exit 3 and an alert, though there is no catalog to remember it in; a look tells nobody."""
    site.state.write_text("a file, where a folder should be")
    told = site.backup(expect=3)
    assert told["code"] == "ConfigError"
    assert hook.titles == ["backup failed"]
    assert str(site.state) in hook.received[0][2]["message"]
    site.json("status", expect=3)
    assert hook.titles == ["backup failed"]


def test_all_is_well_comes_once_a_week_and_not_while_something_is_open(site: Installation, hook: Hook) -> None:
    site.backup()
    assert hook.titles == []
    _last_week(site)
    site.backup()
    site.backup()
    assert hook.titles == ["all is well"]
    assert re.search("^backup nightly: .* ago, ", hook.received[0][2]["message"])
    _last_week(site)
    site.fake_dump("exit 1")
    site.backup(expect=11)
    assert hook.titles == ["all is well", "nightly failed"]


def _age_claims(site: Installation) -> None:
    _set(site, "UPDATE alerts SET claimed_at = ?", datetime.now(UTC) - timedelta(minutes=6))


def _last_week(site: Installation) -> None:
    _set(
        site, "UPDATE alerts SET told_at = ? WHERE event = 'weekly_all_is_well'", datetime.now(UTC) - timedelta(days=8)
    )


def _set(site: Installation, sql: str, *values: datetime) -> None:

    connection = sqlite3.connect(site.state / "catalog.sqlite3")
    with connection:
        connection.execute(sql, [value.isoformat(timespec="microseconds") for value in values])
    connection.close()
