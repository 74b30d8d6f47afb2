"""Which keys may be set from outside of the file: each was decided, and no limit lets an archive or alarm be lost."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from daybreak import config
from daybreak.config import settable
from daybreak.config.base import Table
from daybreak.config.settable import find, require_within, rule, settings_of, shown, written
from daybreak.config.tables import SECTIONS, KeepTable, TopTable
from daybreak.errors import UsageError

TABLES: dict[str, Any] = tomllib.loads(config.example())


def nested(annotation: object) -> type[Table] | None:
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return annotation
    return next(filter(None, map(nested, get_args(annotation))), None)


def kinds(*begin: type[Table]) -> Iterator[type[Table]]:
    """Every kind of table that can be reached through a key that nobody closed."""
    for kind in begin:
        yield kind
        for key, field in kind.model_fields.items():
            inner = nested(field.annotation)
            if inner is not None and not isinstance(rule(kind, key), str):
                yield from kinds(inner)


def test_somebody_decided_about_each_key_of_each_table() -> None:
    """A new key: put it into OPEN with its limit, or into CLOSED with the reason."""
    undecided = [
        f"{kind.__name__}.{key}"
        for kind in kinds(TopTable, *SECTIONS.values())
        for key, field in kind.model_fields.items()
        if rule(kind, key) is None and nested(field.annotation) not in settable.OPEN
    ]
    assert undecided == []


def test_no_key_is_decided_twice_or_for_nothing() -> None:
    for decided in (settable.OPEN, settable.CLOSED):
        for kind, keys in decided.items():
            assert keys.keys() <= kind.model_fields.keys(), kind
    for kind, keys in settable.OPEN.items():
        assert not keys.keys() & settable.CLOSED.get(kind, {}).keys(), kind


#: What the schema says of every value that can hold more than a word of a list, a number or a time.
_HARMLESS = {"schedule", "timezone", "doctor", "check", "prune"}


def test_what_is_open_holds_no_path_command_address_sql_or_name() -> None:
    """By the schema: a word of a list, a number, a duration, a rate; else one of the few schedules and zones."""
    for kind, keys in settable.OPEN.items():
        told = kind.model_json_schema()["properties"]
        for key in keys:
            if key in _HARMLESS:
                continue
            one = next((one for one in told[key].get("anyOf", ()) if one.get("type") != "null"), told[key])
            one = one.get("items", one)
            closed = "enum" in one or "const" in one or one["type"] == "integer"
            assert closed or r"\d+" in one.get("pattern", ""), f"{kind.__name__}.{key}: {one}"


@pytest.mark.parametrize("key", sorted(_HARMLESS))
@pytest.mark.parametrize("value", ["/etc/passwd", "../x", "http://x", "$(reboot)", "-x", "a;b", "dbname=prod", "~"])
def test_what_is_a_schedule_or_zone_can_be_nothing_else(key: str, value: str) -> None:
    for kind, keys in settable.OPEN.items():
        if key in keys:
            required = {name: field.examples[0] for name, field in kind.model_fields.items() if field.is_required()}
            with pytest.raises(ValidationError):
                kind.model_validate({**required, key: value})


@pytest.mark.parametrize(
    "setting",
    [
        "state",
        "restic",
        "metrics_file",
        "server",
        "server.user",
        "server.keys.0.file",
        "console.port",
        "console.downloads",
        "console.session",
        "console.oidc.issuer",
        "hosts.vps.ssh",
        "databases.prod.protected",
        "databases.dev.url",
        "databases.dev.shares_cluster_with",
        "backups.nightly.archive",
        "backups.nightly.database",
        "backups.nightly.repositories",
        "backups.nightly.drill_image",
        "backups.nightly.drill_on",
        "backups.nightly.globals_passwords",
        "backups.nightly.ping",
        "backups.nightly.ping.url_file",
        "refreshes.weekly.target",
        "refreshes.weekly.backup",
        "refreshes.weekly.owner",
        "refreshes.weekly.restart",
        "refreshes.weekly.foreign",
        "refreshes.weekly.keep",
        "refreshes.weekly.hooks",
        "refreshes.weekly.hooks.0.command",
        "refreshes.weekly.checks",
        "repositories.r2.url",
        "repositories.r2.env",
        "repositories.r2.env.AWS_DEFAULT_REGION",
        "repositories.r2.env_file",
        "repositories.r2.password_command",
        "alerts.discord.url_file",
    ],
)
def test_what_is_dangerous_is_not_set_from_here(setting: str) -> None:
    with pytest.raises(UsageError, match="is not set from here") as caught:
        find(TABLES, setting)
    assert caught.value.hint == "change it in the file itself"


@pytest.mark.parametrize(
    "setting", ["", ".", "nothing", "backups", "backups.nightly", "backups.other.schedule", "schedule", "__class__"]
)
def test_what_is_not_there_is_said(setting: str) -> None:
    with pytest.raises(UsageError, match="is no key that is there"):
        find(TABLES, setting)


def test_a_name_that_is_nearly_right_is_named() -> None:
    with pytest.raises(UsageError, match=r'did you mean "backups\.nightly\.schedule"'):
        find(TABLES, "backups.nigthly.schedule")


def test_a_key_has_its_value_default_meaning_and_kind() -> None:
    found = {one.setting: one for one in settings_of(TABLES)}
    schedule, grace = found["backups.nightly.schedule"], found["backups.nightly.grace"]
    assert (schedule.kind, schedule.value, schedule.default) == ("text", "02:00", "")
    assert (grace.value, grace.default) == ("", "30m")
    assert "scheduler waits" in grace.meaning
    assert found["backups.nightly.keep_local"].kind == "number"
    assert found["backups.nightly.proof"].options == ("refresh", "nightly", "weekly")
    assert found["alerts.discord.events"].kind == "some"
    assert found["repositories.r2.limit_upload"].kind == "text"  # "2MiB/s", although it counts as a number
    assert found["repositories.r2.keep.daily"].value == "7"
    without = {**TABLES, "repositories": {"r2": {"url": "x"}}}
    assert not any(one.setting.startswith("repositories.r2.keep") for one in settings_of(without))


@pytest.mark.parametrize(
    ("setting", "text", "value"),
    [
        ("backups.nightly.schedule", " Sun 02:00 ", "Sun 02:00"),
        ("backups.nightly.schedule", "", None),
        ("backups.nightly.schedule", "   ", None),
        ("backups.nightly.keep_local", "7", 7),
        ("backups.nightly.keep_local", "-1", -1),
        ("backups.nightly.proof", "weekly", "weekly"),
        ("alerts.discord.events", "failed, late missed,,failed", ["failed", "late", "missed"]),
    ],
)
def test_a_text_is_a_value(setting: str, text: str, value: object) -> None:
    assert written(find(TABLES, setting), text) == value


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("backups.nightly.keep_local", "seven"),
        ("backups.nightly.keep_local", "7.0"),
        ("backups.nightly.keep_local", "\u0667"),
        ("backups.nightly.keep_local", "1" * 10),
        ("backups.nightly.schedule", "02:00\n[hooks]"),
        ("backups.nightly.schedule", "02:00\r"),
        ("backups.nightly.schedule", "02:00\0"),
        ("backups.nightly.schedule", "\x1b[2J"),
        ("backups.nightly.schedule", "x" * 201),
        ("timezone", "U\u2028TC"),
    ],
)
def test_a_text_that_is_no_value_is_refused(setting: str, text: str) -> None:
    with pytest.raises(UsageError, match=rf"^{setting}: must be"):
        written(find(TABLES, setting), text)


def within(setting: str, value: object, before: object = None) -> str:
    """What is said of a value; "" where it is taken."""

    def made(one: object) -> dict[str, Any]:
        tables = tomllib.loads(config.example())
        table, (*place, key) = tables, setting.split(".")
        for part in place:
            table = table[part]
        if one is None:
            table.pop(key, None)
        else:
            table[key] = one
        return tables

    try:
        require_within(setting, made(before), made(value))
    except UsageError as error:
        return error.message.removeprefix(f"{setting}: ")
    return ""


@pytest.mark.parametrize(
    ("setting", "before", "good", "bad"),
    [
        ("backups.nightly.schedule", "02:00", ["03:00", "Sun 02:00", "*/5 * * * *"], [None, "0 2 1 * *"]),
        ("backups.nightly.schedule", "02:00", ["Mon-Fri 02:00"], ["0 0 29 2 *"]),
        ("backups.nightly.schedule", None, ["03:00"], ["0 2 1 1 *"]),
        ("refreshes.weekly.schedule", "Sun 02:00", ["0 2 1 * *"], [None, "0 2 1 1 *"]),
        ("doctor", "15:00", ["16:00"], [None, "0 2 1 * *"]),
        ("repositories.r2.check", "Sun 05:00", ["0 2 1 * *"], [None, "0 2 1 1 *"]),
        ("repositories.r2.prune", "never", ["never"], [None, "Sun 05:00"]),
        ("repositories.r2.prune", "Sun 05:00", ["never", "Sat 05:00", None], ["0 2 1 1 *"]),
        ("backups.nightly.keep_local", 3, [3, 4, 10_000], [1, 2, None]),
        ("backups.nightly.keep_local", None, [1, 2], []),
        ("backups.nightly.backlog", 7, [8], [1, 6]),
        ("backups.nightly.backlog", 9, [9, 10], [8, None]),
        ("repositories.r2.keep.daily", 7, [7, 8], [0, 6, None]),
        ("repositories.r2.keep.yearly", None, [0, 1], []),
        ("backups.nightly.deadline", "12h", ["10m", "7d", None], ["1s", "8d"]),
        ("backups.nightly.catch_up", "12h", ["5m", "7d"], ["8d"]),
        ("backups.nightly.grace", "30m", ["0s", "12h"], ["13h"]),
        ("backups.nightly.idle", "15m", ["1m"], ["1s", "2d"]),
        ("refreshes.weekly.max_age", "1h", ["0s", "7d"], ["8d"]),
        ("refreshes.weekly.swap_within", "10s", ["1s", "5m"], ["6m", "10ms"]),
        ("alerts.discord.events", None, [["failed", "refused", "quarantined", "late", "missed", "check_failed",
          "tonight_will_fail"]], [[], ["recovered"], ["failed"]]),
        ("backups.nightly.proof", None, ["nightly", "weekly"], []),
        ("backups.nightly.proof", "nightly", ["weekly"], ["refresh", None]),
        ("alerts.discord.events", ["failed"], [["failed", "late"], None], [[], ["late"]]),
    ],
)  # fmt: skip
def test_no_limit_lets_an_archive_or_an_alarm_be_lost(
    setting: str, before: object, good: list[object], bad: list[object]
) -> None:
    for value in good:
        assert within(setting, value, before) == "", value
    for value in bad:
        assert within(setting, value, before) != "", value


def test_what_stays_as_it_is_is_beyond_no_limit() -> None:
    assert within("backups.nightly.deadline", "30d", "30d") == ""
    assert within("backups.nightly.schedule", "0 2 1 1 *", "0 2 1 1 *") == ""


def test_where_nothing_is_forgotten_nothing_begins_to_be() -> None:
    tables: dict[str, Any] = {"repositories": {"r2": {"url": "/x", "keep": {"daily": 1}}}}
    with pytest.raises(UsageError, match="can only grow"):
        require_within("repositories.r2.keep.daily", tables, {"repositories": {"r2": {"url": "/x"}}})
    assert settable._grows(None, 7) != ""


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (True, "yes"), (False, "no"), (7, "7"), ("x", "x"), (["a", "b"], "a, b"), ([], "")]
)
def test_a_value_is_shown_as_it_is_typed(value: object, text: str) -> None:
    assert shown(value) == text


def test_the_manual_names_every_key_that_is_open() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text("utf-8")
    _, _, rest = manual.partition("## Changing it without opening it\n")
    told = dict(re.findall(r"^\| (\S.*?) \| (`.*?) \|$", rest.partition("\n## ")[0], re.MULTILINE))
    heads = {
        "before the first table": [TopTable],
        **{f"`[{name}.NAME]`": [kind] for name, kind in SECTIONS.items()},
    }
    heads["`[repositories.NAME]`"].append(KeepTable)
    for head, found in heads.items():
        wanted = {key for kind in found for key in kind.model_fields if callable(rule(kind, key))}
        assert set(re.findall(r"`(\w+)`", told.get(head, ""))) - {"keep"} == wanted, head


def test_a_key_says_whether_it_may_be_taken_away() -> None:
    tables: dict[str, Any] = {
        "timezone": "UTC",
        "backups": {"nightly": {"database": "prod", "archive": "/a/b.dump", "schedule": "02:00", "keep_local": 3}},
        "repositories": {"r2": {"url": "/srv/r2", "password_file": "/p", "keep": {"daily": 7}}},
    }
    removable = {one.setting: one.removable for one in settings_of(tables)}
    assert removable["timezone"]
    assert removable["backups.nightly.proof"]  # it is not there
    assert not removable["backups.nightly.schedule"]
    assert not removable["backups.nightly.keep_local"]  # less would stay
    assert not removable["repositories.r2.keep.daily"]
