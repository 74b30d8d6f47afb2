"""`daybreak console`: people, tokens and the log, from the host itself."""

from __future__ import annotations

import io
import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from daybreak.cli import main
from daybreak.console.accounts import By, open_accounts
from daybreak.console.accounts.passkeys import Drawn

PASSWORD = "correct horse battery staple"


class Host:
    """A configuration, and ways to call it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = folder / "daybreak.toml"
        self.state = folder / "state"
        self.file.write_text(f"state = {json.dumps(str(self.state))}\n[databases.prod]\nurl = 'dbname=prod'\n")
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def call(self, *words: str, expect: int = 0, stdin: str = "") -> dict[str, Any]:
        self._monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        code = main.run(["--config", str(self.file), "console", *words, "--json"])
        out, err = self._capsys.readouterr()
        assert code == expect, out + err
        assert PASSWORD not in out + err
        return json.loads(out)


@pytest.fixture
def host(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, capsys, monkeypatch)


def test_people_are_added_changed_and_removed(host: Host) -> None:
    assert host.call("user", "list")["users"] == []
    host.call("user", "add", "ada", "--role", "admin", stdin=f"{PASSWORD}\n")
    host.call("user", "add", "bob", "--role", "viewer", stdin=f"{PASSWORD}\n")
    host.call("user", "role", "BOB", "operator")
    host.call("user", "password", "bob", stdin=f"another {PASSWORD}\n")
    assert [(one["user"], one["role"]) for one in host.call("user", "list")["users"]] == [
        ("ada", "admin"),
        ("bob", "operator"),
    ]
    host.call("user", "remove", "bob")
    told = host.call("audit")
    assert [one["what"] for one in reversed(told["entries"])] == [
        "add person",
        "add person",
        "change role",
        "change password",
        "remove person",
    ]
    assert told["broken_at"] is None
    assert all(one["who"].endswith("(on the host)") for one in told["entries"])


def test_the_last_admin_stays(host: Host) -> None:
    host.call("user", "add", "ada", "--role", "admin", stdin=PASSWORD)
    for words in (("role", "ada", "viewer"), ("remove", "ada")):
        refused = host.call("user", *words, expect=4)
        assert "ada is the last admin" in refused["message"]
        assert "somebody else an admin first" in refused["hint"]
    host.call("user", "add", "bob", "--role", "admin", stdin=PASSWORD)
    host.call("user", "remove", "ada")


@pytest.mark.parametrize("password", ["", "short", "aaaaaaaaaaaaaaaa", "x" * 257, "i-am-ada-and-so-on"])
def test_a_password_that_is_guessed_soon_is_refused_and_not_repeated(host: Host, password: str) -> None:
    refused = host.call("user", "add", "ada", "--role", "admin", expect=2, stdin=password)
    assert not password or password not in json.dumps(refused)
    assert host.call("user", "list")["users"] == []


@pytest.mark.parametrize("name", ["", " ", "<b>", "a b", "-x", "a\nb", "a\x1b[31m", "a'--", "x" * 65, "ada\u202e"])
def test_odd_names_are_refused(host: Host, name: str) -> None:
    host.call("user", "add", "--role", "admin", "--", name, expect=2, stdin=PASSWORD) if name[:1] != "-" else None
    assert host.call("user", "list")["users"] == []


def test_a_name_is_taken_whatever_its_case(host: Host) -> None:
    host.call("user", "add", "Ada", "--role", "admin", stdin=PASSWORD)
    assert "already" in host.call("user", "add", "aDA", "--role", "admin", expect=2, stdin=PASSWORD)["message"]


def test_passkeys_of_a_device_in_the_wrong_hands_are_removed_on_the_host(host: Host) -> None:
    host.call("user", "add", "ada", "--role", "admin", stdin=PASSWORD)
    host.call("user", "add", "bob", "--role", "viewer", stdin=PASSWORD)
    with open_accounts(host.state / "console") as accounts:
        for name in ("ada", "bob"):
            user, at = accounts.users.get(name), datetime.now(UTC)
            assert user
            for n in range(2):
                drawn = Drawn(credential=f"{name} {n}".encode(), public_key=b"", handle=b"", uses=0)
                accounts.passkeys.add(user, f"key {n}", drawn, at, By(who="host"))
            accounts.sessions.begin(user, at, timedelta(hours=1), address="", agent="")
    assert host.call("user", "passkeys-off", "Ada")["removed"] == ["key 0", "key 1"]
    assert host.call("user", "passkeys-off", "ada")["removed"] == []
    assert "nobody called 'eve'" in host.call("user", "passkeys-off", "eve", expect=2)["message"]
    with open_accounts(host.state / "console") as accounts:
        assert [one.user.name for one in accounts.passkeys.list()] == ["bob", "bob"]
        left = [len(accounts.sessions.list(one, datetime.now(UTC))) for one in accounts.users.list()]
        assert left == [0, 1]
    said = [(one["what"], one["subject"]) for one in host.call("audit")["entries"][:2]]
    assert said == [("remove passkey", "key 1 of ada"), ("remove passkey", "key 0 of ada")]


def test_a_token_is_for_verbs_that_its_person_may(host: Host) -> None:
    host.call("user", "add", "bob", "--role", "operator", stdin=PASSWORD)
    made = host.call("token", "add", "ci", "--user", "bob", "--verbs", "look,backup", "--days", "7")
    assert made["token"].startswith("daybreak_")
    listed = host.call("token", "list")["tokens"]
    assert [one["verbs"] for one in listed] == [["backup", "look"]]
    assert made["token"] not in json.dumps(listed)
    assert (
        "may not refresh" in host.call("token", "add", "x", "--user", "bob", "--verbs", "refresh", expect=2)["message"]
    )
    host.call("token", "add", "x", "--user", "bob", "--verbs", "everything", expect=2)
    host.call("token", "add", "x", "--user", "bob", "--verbs", "look", "--days", "0", expect=2)
    host.call("token", "remove", made["id"])
    assert host.call("token", "list")["tokens"] == []


def test_the_first_token_is_only_for_the_first(host: Host) -> None:
    told = host.call("first")
    assert told["url"] == "http://127.0.0.1:8317/first"
    assert len(told["token"]) >= 43
    host.call("user", "add", "ada", "--role", "admin", stdin=PASSWORD)
    assert "first user already" in host.call("first", expect=4)["message"]


def test_a_state_folder_that_the_console_makes_is_shared_as_every_other(host: Host) -> None:
    host.call("first")
    assert stat.S_IMODE(host.state.stat().st_mode) == 0o2770
    assert stat.S_IMODE((host.state / "console").stat().st_mode) == 0o700


def test_the_file_is_its_owners_alone_and_holds_no_secret_in_clear(host: Host) -> None:
    host.call("user", "add", "ada", "--role", "admin", stdin=PASSWORD)
    token = host.call("token", "add", "ci", "--user", "ada", "--verbs", "look")["token"]
    folder = host.state / "console"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for file in folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        content = file.read_bytes()
        assert PASSWORD.encode() not in content
        assert token.removeprefix("daybreak_").encode() not in content
