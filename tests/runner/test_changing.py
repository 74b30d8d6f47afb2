"""The configuration, changed through the runner's socket: what is refused there, whoever asks, and what is written."""

from __future__ import annotations

import json
import os
import threading
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from talk import Runner

from daybreak.errors import ConfigError, Refused
from daybreak.runner import acts
from daybreak.site import configuring
from daybreak.site.configuring import save
from installation import Installation, wait_for

pytestmark = pytest.mark.postgres
SCHEDULE = "backups.nightly.schedule"


def base(site: Installation) -> str:
    return sha256(site.file.read_bytes()).hexdigest()


def change(runner: Runner, setting: str, value: str, **more: str) -> dict[str, Any]:
    (answer,) = runner.ask(
        "change", **{"setting": setting, "value": value, "base": base(runner.site), "who": "ada", **more}
    )
    return answer


def look(runner: Runner, setting: str, value: str) -> dict[str, Any]:
    *answers, end = runner.ask("look-at-change", setting=setting, value=value)
    assert end == {"event": "end"}
    return answers[0]


@pytest.fixture
def commented(site: Installation) -> Installation:
    """An installation whose file somebody wrote by hand."""
    site.plan |= {"schedule": "02:00", "timezone": "America/Chicago"}
    site.more = "# the end, with a hunter2 in it\n[alerts.here]\nurl_env = 'X' # a secret is elsewhere\n"
    site.configure()
    text = site.file.read_text().replace('schedule = "02:00"', 'schedule = "02:00"  # when nobody works')
    site.file.write_text(f"# by hand\n{text}")
    return site


def test_what_can_be_set_is_listed_with_what_it_is(runner: Runner, commented: Installation) -> None:
    *parts, _ = runner.ask("look-at-settings")
    found = {one["setting"]: one for part in parts for one in part["settings"]}
    assert found[SCHEDULE]["value"] == "02:00"
    assert found["backups.nightly.grace"]["default"] == "30m"
    assert "backups.nightly.archive" not in found
    assert str(commented.archive) not in json.dumps(found)


def test_a_look_shows_the_lines_that_change_and_changes_nothing(runner: Runner, commented: Installation) -> None:
    before = commented.file.read_bytes()
    said = look(runner, SCHEDULE, "03:30")
    minus, plus = said["difference"][1:]
    assert (minus, plus) == (
        '-schedule = "02:00"  # when nobody works',
        '+schedule = "03:30"  # when nobody works',
    )
    assert "hunter2" not in json.dumps(said)
    assert (said["before"], said["after"], said["faults"], said["obstacle"]) == ("02:00", "03:30", [], "")
    assert said["base"] == base(commented)
    assert commented.file.read_bytes() == before


def test_a_change_is_written_as_one_line_and_what_was_is_kept(runner: Runner, commented: Installation) -> None:
    commented.file.chmod(0o640)
    owner = (0, 12) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(commented.file, *owner)
    before = commented.file.read_bytes()
    said = change(runner, SCHEDULE, "Sun 03:30")
    after = commented.file.read_bytes()
    assert after == before.replace(b'"02:00"', b'"Sun 03:30"')
    assert (said["taken"], said["joined"], said["before"], said["after"]) == (True, False, "02:00", "Sun 03:30")
    assert "ada in the console of" in said["by"]
    assert Path(said["kept"]).read_bytes() == before
    for one in (commented.file, Path(said["kept"])):
        status = one.stat()
        assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o640, *owner)
    assert [one.name for one in commented.folder.iterdir() if "partial" in one.name] == []
    assert any("change" in line and "Sun 03:30" in line for line in runner.log)
    assert commented.json("config", "show")["backups"]["nightly"]["schedule"] == "Sun 03:30"


def test_a_key_comes_and_goes(runner: Runner, commented: Installation) -> None:
    before = commented.file.read_bytes()
    change(runner, "backups.nightly.grace", "10m")
    assert b'grace = "10m"\n' in commented.file.read_bytes()
    change(runner, "backups.nightly.grace", "")
    assert commented.file.read_bytes() == before


FORBIDDEN = [
    "databases.prod.protected",
    "databases.prod.password_command",
    "backups.nightly.archive",
    "backups.nightly.repositories",
    "alerts.here.url_command",
    "console.downloads",
    "server.user",
    "state",
    "restic",
]


@pytest.mark.parametrize("setting", FORBIDDEN)
def test_what_is_not_on_the_list_is_refused_here_whoever_asks(
    runner: Runner, commented: Installation, setting: str
) -> None:
    before = commented.file.read_bytes()
    for value in ("false", "/bin/sh", ""):
        fault = change(runner, setting, value)["fault"]
        assert fault["code"] == "UsageError"
        assert "is not set from here" in fault["message"]
        assert "is not set from here" in runner.fault("look-at-change", setting=setting, value=value)["message"]
    assert commented.file.read_bytes() == before


def test_a_value_that_is_wrong_is_told_as_the_check_tells_it(runner: Runner, commented: Installation) -> None:
    before = commented.file.read_bytes()
    for setting, value, words in (
        (SCHEDULE, "25:00", "is not a schedule"),
        (SCHEDULE, "0 2 1 1 *", "must come at least every 8d"),
        (SCHEDULE, "", "not taken away"),
        ("backups.nightly.timezone", "Mars/Base", "is not a time zone"),
        ("backups.nightly.keep_local", "0", "must be 1 or more"),
        ("backups.nightly.keep_local", "x", "must be a whole number"),
        ("backups.nightly.proof", "never", "must be 'refresh', 'nightly' or 'weekly'"),
        ("backups.nightly.deadline", "1s", "must be 10m to 7d"),
        ("backups.nightly.deadline", "soon", "is not a duration"),
        ("alerts.here.events", "failed, nonsense", "must be 'failed'"),
        ("alerts.here.events", "recovered", "cannot be without failed"),
        ("log", "xml", "must be 'text' or 'json'"),
    ):
        said = look(runner, setting, value)
        assert any(one.startswith(setting) and words in one for one in said["faults"]), said
        assert said["difference"] == []
        fault = change(runner, setting, value)["fault"]
        assert words in fault["message"], fault
    assert commented.file.read_bytes() == before
    commented.file.write_bytes(before.replace(b'"02:00"', b'"25:00"'))
    (told,) = [one for one in commented.json("config", "check", expect=3)["problems"] if SCHEDULE in one]
    commented.file.write_bytes(before)
    assert look(runner, SCHEDULE, "25:00")["faults"] == [told]


def test_keys_that_fit_no_more_together_are_told(runner: Runner, commented: Installation) -> None:
    change(runner, "backups.nightly.trigger", "github")
    said = look(runner, "backups.nightly.catch_up", "20m")
    assert said["faults"] == ["backups.nightly.grace: must be shorter than catch_up, or the scheduler never begins"]
    assert "grace" in change(runner, "backups.nightly.catch_up", "20m")["fault"]["message"]
    assert b"catch_up" not in commented.file.read_bytes()


@pytest.mark.parametrize("value", ["02:00\n[hooks]", "\r", "\x1b[2J", "x" * 201, "\0", None, 5, ["02:00"]])
def test_a_value_that_is_no_line_never_comes_in(runner: Runner, site: Installation, value: object) -> None:
    fault = runner.fault("change", setting=SCHEDULE, value=value, base=base(site))
    assert "value cannot be" in fault["message"]


def test_what_changed_since_is_looked_at_again(runner: Runner, commented: Installation) -> None:
    seen = look(runner, SCHEDULE, "03:30")["base"]
    with commented.file.open("a") as file:
        file.write("# somebody else\n")
    before = commented.file.read_bytes()
    fault = change(runner, SCHEDULE, "03:30", base=seen)["fault"]
    assert (fault["code"], fault["hint"]) == ("Refused", "look again, then decide")
    assert "has changed since" in fault["message"]
    assert commented.file.read_bytes() == before
    assert change(runner, SCHEDULE, "03:30")["taken"] is True


def test_of_two_at_once_none_is_lost(runner: Runner, commented: Installation) -> None:
    seen, said = base(commented), dict[str, dict[str, Any]]()

    def one(setting: str, value: str) -> None:
        said[setting] = change(runner, setting, value, base=seen)

    wanted = {SCHEDULE: "03:30", "backups.nightly.grace": "10m", "log": "json", "backups.nightly.wait": "3h"}
    threads = [threading.Thread(target=one, args=pair) for pair in wanted.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    saved = [setting for setting, answer in said.items() if "fault" not in answer]
    assert len(saved) == 1
    assert all(answer["fault"]["code"] == "Refused" for answer in said.values() if "fault" in answer)
    for setting, value in wanted.items():
        if setting not in saved:
            change(runner, setting, value)
    *parts, _ = runner.ask("look-at-settings")
    found = {one["setting"]: one["value"] for part in parts for one in part["settings"]}
    assert {setting: found[setting] for setting in wanted} == wanted


def test_a_click_twice_is_one_change(runner: Runner, commented: Installation) -> None:
    sent = {"base": base(commented), "key": "k" * 24}
    assert change(runner, SCHEDULE, "03:30", **sent)["joined"] is False
    kept = (commented.folder / "daybreak.toml.before").read_bytes()
    again = change(runner, SCHEDULE, "03:30", **sent)
    assert (again["joined"], again["taken"]) == (True, True)
    assert "with other words" in change(runner, SCHEDULE, "04:00", **sent)["fault"]["message"]
    assert (commented.folder / "daybreak.toml.before").read_bytes() == kept


def test_a_symlink_stays_one(runner: Runner, commented: Installation) -> None:
    real = commented.folder / "elsewhere" / "real.toml"
    real.parent.mkdir()
    commented.file.rename(real)
    commented.file.symlink_to(real)
    said = change(runner, SCHEDULE, "03:30")
    assert commented.file.is_symlink()
    assert b'"03:30"' in real.read_bytes()
    assert Path(said["kept"]) == real.with_name("real.toml.before")


def test_a_file_with_faults_is_not_changed(site: Installation) -> None:
    """Whoever keeps the schedule has what was accepted; what stands in the file now is somebody's half-done work."""
    from daybreak.cli.progress import Silent  # noqa: PLC0415 -- beside its use
    from daybreak.site import open_site  # noqa: PLC0415 -- beside its use

    with open_site(site.file, Silent()) as opened:
        site.file.write_text(site.file.read_text() + "\n[refreshes.x]\n")
        before = site.file.read_bytes()
        with pytest.raises(ConfigError, match="has faults already") as caught:
            opened.change_setting("log", "json")
        assert caught.value.problems
        assert "mend them" in caught.value.hint
        assert site.file.read_bytes() == before
        site.file.unlink()
        with pytest.raises(ConfigError, match="cannot be read"):
            opened.change_setting("log", "json")


def test_what_cannot_be_written_is_said_with_the_command_that_can(
    runner: Runner, commented: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As below a unit with ProtectSystem=strict, where access(2) says so for root as well."""
    before = commented.file.read_bytes()
    monkeypatch.setattr(configuring.os, "access", lambda path, _how: path != commented.folder)
    said = look(runner, SCHEDULE, "Sun 03:30")
    assert said["difference"]
    assert said["obstacle"] == f"{commented.folder} cannot be written from here, so nothing is changed"
    assert f"`daybreak config set {SCHEDULE} 'Sun 03:30'`" in said["remedy"]
    assert f"ReadWritePaths={commented.folder}" in said["remedy"]
    assert "--default" in look(runner, "backups.nightly.grace", "")["remedy"]
    fault = change(runner, SCHEDULE, "Sun 03:30")["fault"]
    assert (fault["code"], fault["message"]) == ("ConfigError", said["obstacle"])
    assert commented.file.read_bytes() == before


def test_a_disk_that_refuses_leaves_the_file_as_it_was(
    runner: Runner, commented: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = commented.file.read_bytes()

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    fault = change(runner, SCHEDULE, "03:30")["fault"]
    monkeypatch.undo()
    assert fault["message"] == f"{commented.file} cannot be written: No space left on device"
    assert commented.file.read_bytes() == before
    assert [one.name for one in commented.folder.iterdir() if "partial" in one.name] == []


def test_what_is_saved_is_what_was_looked_at(site: Installation) -> None:
    with pytest.raises(Refused, match="has changed since"):
        save(site.file, before=b"other", after=b"new", lock=site.folder / "lock")
    assert b"new" not in site.file.read_bytes()


def test_who_does_not_take_it_is_told(site: Installation, runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """A serve whose main thread hangs: it is saved, and the answer says that it does not count yet."""
    monkeypatch.setattr(acts, "_TAKEN_WITHIN_S", 0.2)
    monkeypatch.setattr(acts, "_is_taken", lambda _site, _digest: False)
    assert change(runner, "log", "json")["taken"] is False
    assert b'log = "json"' in site.file.read_bytes()


def test_a_serve_takes_it_without_being_told(site: Installation) -> None:
    site.plan |= {"schedule": "02:00"}
    site.configure()
    talk = Runner(site=site)
    with site.start("serve", "--only", "runner") as process:
        wait_for(lambda: "serving" in process.err.read_text(), what="the runner")
        said = change(talk, SCHEDULE, "04:44")
        assert said["taken"] is True
        assert b"04:44" in (site.state / "serve" / "daybreak.toml").read_bytes()
        assert b"04:44" in site.file.read_bytes()  # not the copy, which is all that it reads
        wait_for(lambda: "the configuration was read again" in process.err.read_text(), what="the word of it")
        process.process.terminate()
        assert process.end(30).code == 0


def test_the_command_line_does_the_same(commented: Installation) -> None:
    before = commented.file.read_bytes()
    listed = commented.call("config", "set")
    assert f"{SCHEDULE} = 02:00\n" in listed.out
    assert "backups.nightly.grace = 30m  (default)\n" in listed.out
    looked = commented.json("config", "set", SCHEDULE, "03:30", "--dry-run")
    assert (looked["changed"], len(looked["difference"])) == (False, 3)
    for words in ((), ("--dry-run",)):
        wrong = commented.json("config", "set", SCHEDULE, "25:00", *words, expect=3)
        assert "is not a schedule" in wrong["problems"][0]
        assert "is not a schedule" in wrong["message"]
        assert (wrong["code"], wrong["exit_code"]) == ("ConfigError", 3)
    assert "02:00" in before.decode()
    assert commented.json("config", "set", SCHEDULE, "02:00")["changed"] is False  # it is so already
    assert "is not set from here" in commented.json("config", "set", "state", "/x", expect=2)["message"]
    for words in ((SCHEDULE,), (SCHEDULE, "03:30", "--default")):
        assert "give a VALUE, or --default" in commented.json("config", "set", *words, expect=2)["hint"]
    assert commented.file.read_bytes() == before
    assert "systemctl reload" in commented.call("config", "set", "backups.nightly.grace", "10m").out
    assert commented.json("config", "set", "backups.nightly.grace", "--default")["changed"] is True
    assert commented.file.read_bytes() == before


def test_a_repository_is_not_added_over_somebody_elses_change(site: Installation) -> None:
    """The question for the password takes as long as a person does."""
    from daybreak.cli.progress import Silent  # noqa: PLC0415 -- beside its use
    from daybreak.site import open_site  # noqa: PLC0415 -- beside its use

    def slow(_password: object) -> bool:
        site.file.write_text(f"{site.file.read_text()}# meanwhile\n")
        return True

    with open_site(site.file, Silent()) as opened, pytest.raises(Refused, match="has changed since"):
        opened.add_repository(
            "r2", {"url": str(site.folder / "r2")}, password_file=site.folder / "p", backups=(), confirm=slow
        )
    assert "repositories" not in site.file.read_text()
