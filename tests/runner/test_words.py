"""What can be asked of the runner, and that nothing else can: bytes of every kind end in a sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daybreak.documents import fault_document, read_fault
from daybreak.errors import Busy, CommandError, ConfigError, DaybreakError, OffsiteError, Refused, UsageError
from daybreak.runner.words import (
    LONGEST_LINE,
    Accept,
    Backup,
    Cancel,
    Change,
    Check,
    Doctor,
    Drill,
    Fetch,
    Files,
    Follow,
    Forget,
    HoldIt,
    Identify,
    Locks,
    LookAhead,
    LookAtChange,
    LookAtForgetting,
    LookAtSettings,
    NotifyTest,
    Prune,
    Refresh,
    Release,
    Request,
    Rescue,
    Restore,
    Ship,
    Snapshots,
    Start,
    State,
    Undo,
    Unlock,
    Weigh,
    read_request,
    write_request,
)

RUN = "20261122-020000-3f9a"
REQUESTS: list[Request] = [
    Start(kind="backup", plan="nightly", slot="now"),
    Start(kind="refresh", plan="weekly", slot="2026-11-22T02:00:00-06:00"),
    State(run=RUN),
    Follow(run=RUN),
    Cancel(run=RUN),
    HoldIt(database="dev", until="", why="the demo is on Thursday"),
    HoldIt(database="dev", until="2026-11-22T02:00:00Z", why="ü"),
    Release(database="dev"),
    Cancel(run=RUN, who="ada (token ci)"),
    Backup(plan="nightly"),
    Backup(plan="nightly", who="Ädä", key="k" * 16),
    Ship(plan="nightly"),
    Check(repository="r2"),
    Prune(repository="r2"),
    Drill(plan="nightly", source="local"),
    Refresh(plan="weekly", first=False, who="ada"),
    Undo(database="dev"),
    Accept(archive=RUN),
    Restore(archive=RUN, backup="", database="prod", new="genji-again", confirm="genji-again"),
    Rescue(archive=RUN, backup="nightly", database="dev", tables=("public.account", 'public."--x; y"'), schema=""),
    Fetch(repository="r2", snapshot="0123abcd"),
    Forget(repository="r2", only="", seen="0" * 64),
    LookAhead(plan="weekly"),
    Identify(database="dev"),
    LookAtForgetting(repository="r2", only="nightly"),
    Snapshots(repository="r2"),
    Files(repository="r2", snapshot="f" * 64),
    Weigh(repository="r2"),
    Locks(repository="r2"),
    Unlock(repository="r2"),
    Doctor(tonight=True),
    NotifyTest(destination=""),
    LookAtSettings(),
    LookAtChange(setting="backups.nightly.schedule", value=""),
    Change(setting="repositories.r2.keep.daily", value="9", base="0" * 64, who="ada", key="k" * 16),
]
CHANGE = {"ask": "change", "setting": "timezone", "value": "UTC", "base": "0" * 64}


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda one: one.ask)
def test_what_is_written_is_read(request_: Request) -> None:
    assert read_request(write_request(request_).rstrip(b"\n")) == request_


def refused(**values: Any) -> str:
    with pytest.raises(UsageError) as caught:
        read_request(json.dumps(values).encode())
    assert "\x1b" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    "plan",
    ["", "../etc", "a b", "-rf", "--first", "x" * 64, "nightly\n", "nightly\0", "ü", "\ud800", 3, None, ["x"], {}],
)
def test_a_plan_is_a_name_and_nothing_else(plan: object) -> None:
    assert "plan cannot be" in refused(ask="start", kind="backup", plan=plan, slot="now")


@pytest.mark.parametrize(
    "slot",
    [
        "",
        "NOW",
        "now ",
        "tomorrow",
        "2026-11-22",
        "2026-11-22T02:00:00",
        "2026-13-22T02:00:00Z",
        "--fresh",
        5,
        None,
        True,
        "0001-01-01T00:00:00+23:59",
        "2026-11-22T02:00:00+99:00",
        "2026-11-22T02:00:00Z; reboot",
    ],
)
def test_a_slot_is_now_or_an_instant(slot: object) -> None:
    assert "slot cannot be" in refused(ask="start", kind="backup", plan="nightly", slot=slot)


@pytest.mark.parametrize("kind", ["undo", "pull", "Backup", "", None, 1])
def test_a_kind_is_one_of_two(kind: object) -> None:
    assert "kind cannot be" in refused(ask="start", kind=kind, plan="nightly", slot="now")


@pytest.mark.parametrize("run", ["", "latest", "2026", RUN + "x", "../" + RUN, "*", None])
def test_a_run_is_a_whole_id(run: object) -> None:
    assert "run cannot be" in refused(ask="follow", run=run)


@pytest.mark.parametrize("why", ["", "  ", "a\nb", "\x1b[2J", "x" * 201, None])
def test_a_reason_is_words_on_a_line(why: object) -> None:
    assert "why cannot be" in refused(ask="hold", database="dev", until="", why=why)


RESTORE = {"ask": "restore", "archive": RUN, "backup": "", "database": "dev", "new": "x", "confirm": ""}
RESCUE = {"ask": "rescue", "archive": RUN, "backup": "", "database": "dev", "tables": ["public.a"], "schema": ""}


@pytest.mark.parametrize(
    ("values", "name", "bad"),
    [
        (RESTORE, "archive", ["latest", "/etc/passwd", "../x", RUN + "\n", "", None]),
        (RESTORE, "database", ["", "--host", "a b", "dev;", "ü", None]),
        (RESTORE, "new", ["-x", "a b", 'a"b', "x" * 64, "\0", None]),
        (RESTORE, "confirm", ["--yes", 3]),
        (RESCUE, "tables", ["public.a", [], [""], ["a\nb"], ["a", "a"], [1], ["x" * 201], ["t"] * 2, {}, None]),
        (RESCUE, "tables", [[f"t{number}" for number in range(41)], [["a"]], ["\x1b[2J"], ["\ud800"]]),
        (RESCUE, "tables", [["account"], ["public.a", "b"], ["a.b.c"], ['public."a'], [".a"], ["public."]]),
        (RESCUE, "schema", ["-s", "a.b", None]),
        (
            {"ask": "fetch", "repository": "r2", "snapshot": "0" * 8},
            "snapshot",
            ["latest", "0" * 7, "0" * 65, "ABCDEF01"],
        ),
        ({"ask": "fetch", "repository": "r2", "snapshot": "0" * 8}, "repository", ["s3:http://x", "/srv/r", "", None]),
        ({"ask": "refresh", "plan": "weekly", "first": True}, "first", ["yes", 1, 0, None, "true", []]),
        ({"ask": "doctor", "tonight": True}, "tonight", ["", 1, None]),
        ({"ask": "drill", "plan": "nightly", "source": "local"}, "source", ["", "/x", "s3:x", None]),
        ({"ask": "forget", "repository": "r2", "only": "", "seen": "0" * 64}, "seen", ["", "0" * 63, "G" * 64, None]),
        ({"ask": "backup", "plan": "nightly", "key": "k" * 16}, "key", ["k" * 15, "k" * 65, "k" * 15 + "/", 16, None]),
        (
            {"ask": "backup", "plan": "nightly", "who": "ada"},
            "who",
            ["run 1", "a\nb", "x" * 81, " ada", "\x1b[2J", None, 3],
        ),
        (CHANGE, "setting", ["", ".", "a..b", "a.b.c.d.e", "/etc", "a b", 'a."b"', "a\n", "x" * 64, "ü", None, 3]),
        (CHANGE, "value", ["a\nb", "a\r", "\x1b[2J", "\0", "\u2028", "x" * 201, " ", None, 3, True, ["a"], {}]),
        (CHANGE, "base", ["", "0" * 63, "G" * 64, None]),
        ({"ask": "cancel", "run": RUN, "who": "ada"}, "who", ["run 20261122-020000-3f9a", ["ada"]]),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_value_is_what_its_name_says(values: dict[str, Any], name: str, bad: list[object]) -> None:
    read_request(json.dumps(values).encode())
    for value in bad:
        assert f"{name} cannot be" in refused(**{**values, name: value})


def test_a_person_names_no_path_command_address_or_option() -> None:
    for request in REQUESTS:
        values = json.loads(write_request(request))
        for more in ("path", "command", "url", "option", "argv", "env", "config", "to", "target", "fresh", "image"):
            if more not in values:
                assert "and nothing else" in refused(**values, **{more: "x"})


def test_a_key_that_is_missing_too_much_or_there_twice_is_refused() -> None:
    start = {"ask": "start", "kind": "backup", "plan": "nightly", "slot": "now"}
    for more in ("config", "path", "fresh", "first", "env", "command", "url", "__class__"):
        assert "and nothing else" in refused(**start, **{more: "x"})
    for missing in ("kind", "plan", "slot"):
        assert "start wants" in refused(**{key: value for key, value in start.items() if key != missing})
    with pytest.raises(UsageError, match="each of its keys once"):
        read_request(b'{"ask": "state", "run": "x", "run": "20261122-020000-3f9a"}')


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[]",
        b"3",
        b'"start"',
        b"{",
        b"\xff\xfe",
        b"[" * 4000,
        b'{"a":' * 800,
        b"9" * 4000,
        b"NaN",
        b'{"ask": 3}',
        b'{"ask": null}',
        b'{"ask": ["start"]}',
        b'{"ask": "exec"}',
        b" " * (LONGEST_LINE + 1),
    ],
    ids=lambda line: repr(line[:12]),
)
def test_what_is_no_request_is_refused(line: bytes) -> None:
    with pytest.raises(UsageError):
        read_request(line)


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_KEYS = st.sampled_from(["ask", "kind", "plan", "slot", "run", "database", "until", "why", "x"])
_WORDS = st.sampled_from(["start", "state", "follow", "hold", "backup", "nightly", "now", RUN, ""])


@given(
    st.binary(max_size=300) | st.dictionaries(_KEYS, _WORDS | _ANY, max_size=6).map(lambda x: json.dumps(x).encode())
)
def test_whatever_comes_is_a_request_or_a_sentence(line: bytes) -> None:
    try:
        request = read_request(line)
    except UsageError:
        pass
    else:
        assert read_request(write_request(request).rstrip()) == request


@pytest.mark.parametrize(
    "error",
    [
        Refused("no", hint="ask"),
        Busy("held", hint="wait", holder="run 1"),
        ConfigError("wrong", hint="mend", problems=["a", "b"]),
        OffsiteError("away", hint="look", reason="locked"),
    ],
    ids=lambda error: error.code,
)
def test_a_fault_that_is_told_is_the_same_fault_again(error: DaybreakError) -> None:
    again = read_fault(fault_document(error))
    assert (type(again), again.message, again.hint) == (type(error), error.message, error.hint)
    assert again.exit_code == error.exit_code


def test_a_fault_of_no_known_kind_is_a_plain_one() -> None:
    told = fault_document(CommandError("ls", 2, ["oh"], program="ls"))
    assert type(read_fault(told)) is DaybreakError
    assert type(read_fault({"code": "Unheard"})) is DaybreakError
    assert read_fault({}).message
