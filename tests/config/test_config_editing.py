"""One key changes and nothing else: comments, order, and every other line of the file stay as they were."""

from __future__ import annotations

import random
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daybreak import config
from daybreak.config.editing import difference, set_key
from daybreak.config.settable import settings_of, written
from daybreak.errors import ConfigError, UsageError

SCHEDULE = "backups.nightly.schedule"
FILES = {
    "a table": '# head\n[backups.nightly] # h\ndatabase = "prod" # keep me\n\n# about the next\n[z]\na = 1\n',
    "no keys": "[backups.nightly]\n# nothing yet\n\n[z]\n",
    "the last line has no end": '[backups.nightly]\ndatabase = "prod"',
    "the ends of another system": '# a\r\n[backups.nightly]\r\ndatabase = "prod"\r\n\r\n# b\r\n[z]\r\n',
    "an inline table": '[backups]\nnightly = { database = "prod", archive = "/a/b" } # c\n# x\n[z]\n',
    "keys with dots at the top": 'backups.nightly.database = "prod" # c\nbackups.nightly.idle = "1m"\n# t\n[z]\n',
    "keys with dots in a table": '[backups]\nnightly.database = "prod" # c\n# tail\n[z]\n',
    "quoted names": '["backups".\'nightly\']\n"database" = \'prod\'\n# last\n[backups.nightly.ping]\nurl_file = "/x"\n',
    "a table below it comes first": '[backups.nightly.ping]\nsend = []\n# d\n[backups.nightly]\ndatabase = "prod"\n',
    "in pieces": '[backups.a]\nx = 1\n[z]\n# z\nq = 1\n[backups.nightly]\ndatabase = "prod"\n[y]\n[backups.b]\n',
    "indented": '[backups]\n  [backups.nightly]\n  database = "prod"  # w\n\n  # n\n  [backups.other]\n',
    "an array of tables": '[[server.keys]]\nfile = "/k"\n# 1\n[backups.nightly]\ndatabase = "prod"\n[[server.keys]]\n',
    "letters of all kinds": '# ünï→ 😀\n[backups.nightly]\ndatabase = "prod" # "=" [x]\nwhy = """\n# no comment\n"""\n',
}


def said(text: str, setting: str = SCHEDULE) -> Any:
    found: Any = tomllib.loads(text)
    for part in setting.split("."):
        found = found.get(part, {})
    return found


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_key_comes_changes_and_goes_whatever_way_the_file_is_written_in(text: str) -> None:
    there = set_key(text, SCHEDULE, "Sun 02:00")
    assert said(there) == "Sun 02:00"
    other = set_key(there, SCHEDULE, "03:00")
    assert said(other) == "03:00"
    gone = set_key(other, SCHEDULE, None)
    assert gone.splitlines() == text.splitlines() or "{" in text
    assert tomllib.loads(gone) == tomllib.loads(text)
    for edited in (there, other, gone):
        own = [line for line in edited.splitlines() if "schedule" not in line]
        assert own == [line for line in text.splitlines() if "nightly = {" not in line or line in own]
        assert edited.count("\r\n") - text.count("\r\n") in {0, 1}


def test_a_new_key_stands_with_its_own_and_not_below_the_comment_of_the_next() -> None:
    text = FILES["a table"]
    assert difference(text, set_key(text, SCHEDULE, "03:00")) == ("@@ -3,0 +4 @@", '+schedule = "03:00"')


def test_what_stood_behind_a_value_stands_behind_the_new_one() -> None:
    text = "[backups.nightly]\n  schedule   =   '02:00'   # at night\n"
    assert set_key(text, SCHEDULE, "03:00") == '[backups.nightly]\n  schedule   =   "03:00"   # at night\n'


def test_a_list_keeps_its_lines_and_comments() -> None:
    text = '[alerts.d]\nevents = [ # who\n  "failed", # a\n  "late",\n  # both\n  "missed", # c\n]\n# z\n'
    more = set_key(text, "alerts.d.events", ["failed", "late", "missed", "recovered"])
    assert difference(text, more) == ("@@ -6,0 +7 @@", '+  "recovered",')
    less = set_key(text, "alerts.d.events", ["missed", "failed"])
    assert said(less, "alerts.d.events") == ["failed", "missed"]
    assert "# both" in less


def test_the_top_of_a_file_has_keys_too() -> None:
    for text in ("# head\n\n# db\n[z]\na = 1\n", 'log = "json" # l\n\n# db\n[z]\n', ""):
        edited = set_key(text, "timezone", "UTC")
        assert said(edited, "timezone") == "UTC"
        assert [line for line in edited.splitlines() if line and "timezone" not in line] == [
            line for line in text.splitlines() if line
        ]


def test_a_value_is_a_value_whatever_it_looks_like() -> None:
    """Nothing that is typed becomes a key, a table or another line."""
    for value in ('"\n[hooks]', 'x"\nrestic = "/bin/sh', "'''", '"""', "\\", "a\tb", "\x00\x7f", "# no", "\u2028"):
        edited = set_key(FILES["a table"], SCHEDULE, value)
        assert said(edited) == value
        assert len(edited.splitlines()) - len(FILES["a table"].splitlines()) == 1 or "\u2028" in value


def test_only_lines_that_change_are_in_the_difference() -> None:
    secret = '# hunter2 above\n[backups.nightly]\nidle = "1m" # hunter2\nschedule = "02:00"\nwait = "1h" # hunter2\n'
    told = difference(secret, set_key(secret, SCHEDULE, "03:00"))
    assert told == ("@@ -4 +4 @@", '-schedule = "02:00"', '+schedule = "03:00"')


def test_where_a_comment_would_go_with_it_nothing_changes() -> None:
    text = '[alerts.d]\nevents = [\n"missed" , \n  # last\n]\n# z\n'
    with pytest.raises(ConfigError, match=r"^alerts\.d\.events: something else in this file would change"):
        set_key(text, "alerts.d.events", ["failed"])


def test_what_is_no_toml_is_not_edited() -> None:
    with pytest.raises(ConfigError, match="cannot be edited"):
        set_key("[x", "timezone", "UTC")


# -- whatever the file and the change ------------------------------------------------------------------

_COMMENTS = ("why", "ünï→ 😀", "= [x]", '"', "'''", "a = 1", "[backups.nightly]", "")
_SETTINGS = sorted(one.setting for one in settings_of(tomllib.loads(config.example())))
_VALUES = st.sampled_from(
    ["", "03:00", "Sun 02:00", "5m", "7", "9", "never", "2MiB/s", "weekly", "failed, late", "UTC"]
)


def strewn(seed: int) -> str:
    """The example with comments, blank lines and words behind values strewn in."""
    draw = random.Random(seed)  # noqa: S311 -- no secret is drawn
    lines: list[str] = []
    for line in config.example().splitlines():
        if draw.random() < 0.05:
            lines.append(f"# {draw.choice(_COMMENTS)}")
        if draw.random() < 0.03:
            lines.append("")
        behind = f"  # {draw.choice(_COMMENTS)}" if line[:1] not in {"#", ""} and draw.random() < 0.5 else ""
        lines.append(line + behind)
    return "\n".join(lines) + "\n"


@given(seed=st.integers(0, 2**32), setting=st.sampled_from(_SETTINGS), value=_VALUES)
def test_whatever_is_changed_every_other_line_stays(seed: int, setting: str, value: str) -> None:
    text = strewn(seed)
    chosen = next(one for one in settings_of(tomllib.loads(text)) if one.setting == setting)
    try:
        new = written(chosen, value)
    except UsageError:
        return
    edited = set_key(text, setting, new)
    key = setting.rpartition(".")[2]
    goes = [line[1:] for line in difference(text, edited) if line[0] == "-"]
    comes = [line[1:] for line in difference(text, edited) if line[0] == "+" and line != "+"]
    assert len(goes) <= 1
    assert len(comes) <= 1
    assert all(f"{key} =" in line or (".keep." in setting and "keep =" in line) for line in goes + comes)
    for line in goes:
        if comes:
            assert line.partition("  # ")[2] == comes[0].partition("  # ")[2]
    if chosen.value == "":
        assert tomllib.loads(set_key(edited, setting, None)) == tomllib.loads(text)
