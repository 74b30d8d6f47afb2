"""The documents say what the program does: every verb, every option, every exit code; and help is quick."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import click
import pytest

from daybreak import errors
from daybreak.cli import main
from daybreak.cli.main import cli
from daybreak.postgres.faults import SqlError

DOCS = Path(__file__).parents[2] / "docs"
HEAVY = (
    "pydantic",
    "sqlalchemy",
    "rich",
    "alembic",
    "structlog",
    "subprocess",
    "sqlite3",
    "apprise",
    "prometheus_client",
    "daybreak.site",
)


def verbs(group: click.Group, path: str = "daybreak") -> Iterator[tuple[str, click.Command]]:
    """Every verb with its words."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from verbs(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


ALL = dict(verbs(cli))


@pytest.mark.parametrize("words", ALL)
def test_every_verb_and_each_of_its_options_is_documented(words: str) -> None:
    text = (DOCS / "commands.md").read_text()
    lines = [line for line in text.splitlines() if re.search(rf"`{words}[ `]", line)]
    assert lines, words
    for parameter in ALL[words].params:
        if isinstance(parameter, click.Option) and parameter.name not in {"config_file", "as_json"}:
            assert any(option in line for line in lines for option in parameter.opts), (words, parameter.opts)
        if isinstance(parameter, click.Argument):
            shown = (parameter.metavar or parameter.name or "").upper()
            assert any(shown in line for line in lines), (words, shown)
    assert ALL[words].get_short_help_str(200)


def test_no_verb_is_documented_that_is_not_there() -> None:
    text = (DOCS / "commands.md").read_text()
    for line in re.findall(r"^\| `daybreak ([a-z ]+?)(?: [\[A-Z-].*?)?`", text, re.MULTILINE):
        assert f"daybreak {line}" in ALL, line


@pytest.mark.parametrize("words", ALL)
def test_every_verb_explains_itself(words: str) -> None:
    with click.Context(ALL[words], info_name=words) as context:
        text = ALL[words].get_help(context)
    assert "--json" in text
    assert "--config" in text


def faults(kind: type[errors.DaybreakError] = errors.DaybreakError) -> Iterator[type[errors.DaybreakError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from faults(child)


def test_every_fault_has_its_number_in_the_table_of_exit_codes() -> None:
    rows = {
        int(number): names
        for number, names in re.findall(r"^\| (\d+) \|(.*?)\|", (DOCS / "exit-codes.md").read_text(), re.MULTILINE)
    }
    told = {(number, name) for number, names in rows.items() for name in re.findall(r"`(\w+)`", names)}
    there = {(kind.exit_code, kind.__name__) for kind in faults() if kind.__module__.startswith("daybreak.")}
    assert issubclass(SqlError, errors.DaybreakError)
    assert told - {(70, "Bug")} == there
    assert 0 in rows


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    drawn = {(int(code), name) for name, code in re.findall(r"(\w+) +(\d+)   ", errors.__doc__ or "")}
    assert drawn == {(kind.exit_code, kind.__name__) for kind in faults() if kind.__module__ == errors.__name__}


def test_help_names_every_exit_code() -> None:
    text = cli.epilog or ""
    for kind in faults():
        assert kind.exit_code == 1 or re.search(rf"\b{kind.exit_code} ", text), kind


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "daybreak.cli.main", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "click" in imported
    assert [name for name in HEAVY if name in imported] == []
    assert "Usage: daybreak" in done.stdout


def test_help_is_there_at_once() -> None:
    """The promise is 100 ms on an idle machine; here what counts is the processor's time, against Python's own."""

    def seconds(*words: str) -> float:
        process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return used.ru_utime + used.ru_stime

    both = [(seconds("-c", "import click"), seconds("-m", "daybreak.cli.main", "--help")) for _ in range(7)]
    bare, helped = (min(each) for each in zip(*both, strict=True))
    print(f"import click {bare * 1000:.0f} ms, daybreak --help {helped * 1000:.0f} ms")  # noqa: T201 -- for the report
    assert helped < 2.5 * bare + 0.05


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"daybreak {version('daybreak')}"
    for words in (["--json", "--version"], ["--version", "--json"]):
        assert main.run(words) == 0
        assert json.loads(capsys.readouterr().out) == {"version": version("daybreak")}
    assert main.run([]) == 0
    assert "Usage: daybreak" in capsys.readouterr().out
