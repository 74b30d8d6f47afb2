"""A dead-man's switch is called at the start and the end of every run, and never keeps one waiting for long."""

from __future__ import annotations

from datetime import timedelta

import pytest

from daybreak import notify
from installation import Installation, wait_for
from webhook import Hook


@pytest.fixture
def pinged(site: Installation, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> Installation:
    monkeypatch.setenv("PING", hook.plain())
    site.more = ""
    # A table of its own behind the plan's keys.
    site.more = '[backups.nightly.ping]\nurl_env = "PING"\n'
    site.configure()
    return site


def paths(hook: Hook) -> list[str]:
    return [path.removeprefix("/canary-ping-4711") for _, path, _ in hook.received]


def test_start_and_success_come_in_their_order(pinged: Installation, hook: Hook) -> None:
    pinged.backup()
    assert paths(hook) == ["/start", ""]
    assert hook.received[0][0] == "GET"


def test_a_failure_is_called_as_one(pinged: Installation, hook: Hook) -> None:
    pinged.fake_dump("exit 1")
    pinged.backup(expect=11)
    assert paths(hook) == ["/start", "/fail"]


def test_suffixes_and_what_is_sent_are_settings(pinged: Installation, hook: Hook) -> None:
    pinged.more += 'send = ["success", "fail"]\nsuccess = "?status=up"\n'
    pinged.configure()
    pinged.backup()
    assert paths(hook) == ["?status=up"]


def test_a_switch_that_is_gone_harms_no_run_and_is_told(pinged: Installation, hook: Hook, other: Hook) -> None:
    hook.answers = f"redirect {other.plain()}"
    told = pinged.backup()
    assert told["state"] == "succeeded"
    failed = {one["destination"]: one["fault"] for one in pinged.json("status")["notify_failed"]}
    assert set(failed) == {"ping start of nightly", "ping success of nightly"}
    assert "it redirects to another address" in failed["ping success of nightly"]
    assert other.received == []
    hook.answers = "200"
    pinged.backup()
    assert pinged.json("status")["notify_failed"] == []


def test_a_lost_call_is_over_when_a_later_end_arrives(pinged: Installation, hook: Hook) -> None:
    pinged.fake_dump("exit 1")
    hook.answers = "500"
    pinged.backup(expect=11)
    lost = {
        one["subject"]: one["fix"]
        for one in pinged.json("doctor", expect=1)["findings"]
        if "last message" in one["finding"]
    }
    assert set(lost) == {"ping fail of nightly", "ping start of nightly"}
    assert all("the next run calls it again" in fix for fix in lost.values())  # no `notify test` does
    hook.answers = "200"
    pinged.real_dump()
    pinged.backup()  # no failure for months
    assert pinged.json("status")["notify_failed"] == []


def test_a_switch_that_hangs_is_left(pinged: Installation, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "DEADLINE", timedelta(seconds=2))
    hook.answers = "hang"
    assert pinged.backup()["state"] == "succeeded"
    assert len(pinged.json("status")["notify_failed"]) == 2


def test_who_comes_for_a_slot_that_was_cancelled_does_not_call_it_a_success(pinged: Installation, hook: Hook) -> None:
    """A timer that comes an hour later, or somebody from outside, would else hide a night without an archive."""
    pinged.configure(plan={"schedule": "* * * * *"})
    pinged.fake_dump("sleep 60")
    with pinged.start("backup", "--json", "--slot", "now") as night:
        run = wait_for(lambda: next((one for one in pinged.json("runs")["runs"] if one["state"] == "running"), None))
        pinged.json("run", "cancel", run["run"])
        slot = night.end().expect(130)["slot"]
    pinged.real_dump()
    assert paths(hook) == ["/start", "/fail"]
    assert pinged.backup("--slot", slot)["state"] == "skipped"
    assert paths(hook) == ["/start", "/fail", "/start"]
    pinged.backup()
    assert paths(hook)[-2:] == ["/start", ""]
    assert pinged.backup("--slot", slot)["state"] == "skipped"
    assert paths(hook)[-2:] == ["/start", ""]
