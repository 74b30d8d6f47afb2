"""The example, the schema, the manual and what `config show` writes all say what the check says."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daybreak import config
from daybreak.config.describe import _toml, show_length
from daybreak.config.server import KeyTable, ServerTable
from daybreak.config.tables import SECTIONS, SINGLES, BackupTable, KeepTable, RefreshTable, TopTable
from daybreak.model import BackupPlan, Database, Keep, RefreshPlan, Repository, SshHost
from daybreak.replacement import Quirks, Replacement
from daybreak.server import Server, ServerKey
from daybreak.units import parse_duration

MANUAL = Path(__file__).parents[2] / "docs" / "configuration.md"
MINIMAL = '[databases.prod]\nurl = "dbname=prod"\n'


@pytest.fixture
def settings(tmp_path: Path) -> config.Settings:
    (tmp_path / "daybreak.toml").write_text(config.example())
    return config.check(tmp_path / "daybreak.toml")


def test_the_example_passes_the_check(settings: config.Settings) -> None:
    assert list(settings.databases) == ["prod", "dev"]
    assert settings.databases["prod"].protected
    assert settings.refreshes["weekly"].backup == settings.backups["nightly"]
    assert settings.repositories["r2"].keep == Keep(daily=7, weekly=4, monthly=12)


def test_the_example_shows_every_key_with_its_meaning() -> None:
    text = config.example()
    for section, kind in SECTIONS.items():
        table = text.partition(f"[{section}.")[2]
        for key, field in kind.model_fields.items():
            assert re.search(rf"^(# )?{key} = ", table, re.MULTILINE), f"{section}.{key}"
            first = (field.description or "").split()[0:4]
            assert " ".join(first) in table
    for name, kind in SINGLES.items():
        table = text.partition(f"\n[{name}]\n")[2]
        for key in kind.model_fields:
            assert re.search(rf"^(# )?{key} = ", table, re.MULTILINE), f"{name}.{key}"
    for key in TopTable.model_fields.keys() - SINGLES:
        assert re.search(rf"^# {key} = ", text, re.MULTILINE)


@pytest.mark.parametrize(("said", "shown"), [('timezone = "America/Chicago"\n', "America/Chicago"), ("", "UTC")])
def test_the_zone_of_all_is_shown_also_where_nothing_else_has_it(tmp_path: Path, said: str, shown: str) -> None:
    (tmp_path / "daybreak.toml").write_text(said + MINIMAL)
    assert tomllib.loads(config.show(config.check(tmp_path / "daybreak.toml")))["timezone"] == shown


def test_every_key_of_the_example_may_be_switched_on(tmp_path: Path) -> None:
    """What stands behind # is good too, one line at a time: the check accepts every default and example."""
    lines = config.example().splitlines()
    commented = [n for n, line in enumerate(lines) if re.match(r"# [a-z_]+ = ", line)]
    assert len(commented) > 25
    for number in commented:
        changed = list(lines)
        changed[number] = changed[number].removeprefix("# ")
        if kind := re.match("(password|url)_", changed[number]):  # one place for a secret excludes another
            other = max(n for n in range(number) if lines[n].startswith(f"{kind[0]}file ="))
            changed[other] = ""
        if changed[number].startswith("shares_cluster_with"):  # of a target, with the protected one
            changed[number] = 'shares_cluster_with = "dev"'
        (tmp_path / "daybreak.toml").write_text("\n".join(changed))
        config.check(tmp_path / "daybreak.toml")


def test_the_manual_has_the_present_keys() -> None:
    """Mend with: python -c 'from daybreak import config; print(config.reference())' between the two marks."""
    manual = MANUAL.read_text("utf-8")
    _, _, rest = manual.partition("<!-- keys -->\n")
    table, mark, _ = rest.partition("<!-- end of keys -->")
    assert mark
    assert table.strip() == config.reference().strip()


def test_the_manual_shows_only_what_passes_the_check(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", MANUAL.read_text("utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        (tmp_path / "daybreak.toml").write_text(block)
        config.check(tmp_path / "daybreak.toml")


def test_every_field_of_the_nouns_has_its_key() -> None:
    """A field that is added to a noun and forgotten in the file is found here."""
    renamed = {"conninfo": "url", "password": "password_file", "place": "container", "destination": "ssh"}
    nouns = {
        "hosts": SshHost,
        "databases": Database,
        "backups": BackupPlan,
        "refreshes": RefreshPlan,
        "repositories": Repository,
    }
    for section, noun in nouns.items():
        keys = {renamed.get(field.name, field.name) for field in fields(noun)} - {
            "name",
            "how",
            "quirks",
            "append_only",
        }
        assert keys <= set(SECTIONS[section].model_fields)
    assert {field.name for field in fields(Server)} == set(ServerTable.model_fields)
    assert {field.name for field in fields(ServerKey)} == set(KeyTable.model_fields)
    assert {field.name for field in fields(Replacement)} - {"quirks"} <= set(RefreshTable.model_fields)
    assert {field.name for field in fields(Quirks)} - {"insisted"} <= set(BackupTable.model_fields)
    assert {field.name for field in fields(Keep)} == set(KeepTable.model_fields)


def test_defaults_of_keys_are_defaults_of_nouns(tmp_path: Path) -> None:
    (tmp_path / "daybreak.toml").write_text(
        MINIMAL
        + '[databases.dev]\nurl = "dbname=dev"\n'
        + '[backups.b]\ndatabase = "prod"\narchive = "/x"\n'
        + '[refreshes.r]\nbackup = "b"\ntarget = "dev"\n'
        + '[repositories.r]\nurl = "/r"\npassword_file = "/p"\n'
        + "[server]\n"
    )
    settings = config.check(tmp_path / "daybreak.toml")
    prod, dev = settings.databases["prod"], settings.databases["dev"]
    backup = settings.backups["b"]
    assert prod == Database(name="prod", conninfo={"dbname": "prod"})
    assert backup == BackupPlan(name="b", database=prod, archive=Path("/x"))
    assert settings.refreshes["r"] == RefreshPlan(name="r", backup=backup, target=dev)
    repository = settings.repositories["r"]
    assert repository == Repository(name="r", url="/r", password=repository.password)
    assert settings.server == Server(group="daybreak", configuration=Path("/etc/daybreak/daybreak.toml"))


def test_the_schema_knows_every_key_and_no_other() -> None:
    schema = config.schema()
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == {*TopTable.model_fields, *SECTIONS}
    for section, kind in SECTIONS.items():
        table: dict[str, Any] = schema["$defs"][kind.__name__]
        assert table["additionalProperties"] is False
        assert set(table["properties"]) == set(kind.model_fields)
        named = schema["properties"][section]
        assert [*named["patternProperties"].values()] == [{"$ref": f"#/$defs/{kind.__name__}"}]
    backup = schema["$defs"]["BackupTable"]["properties"]
    assert re.search(backup["idle"]["pattern"], "1m 30s")
    assert not re.search(backup["idle"]["pattern"], "soon")
    assert re.search(backup["archive"]["pattern"], "/x/a.dump")
    assert not re.search(backup["archive"]["pattern"], "/x/")


def test_what_show_writes_reads_back_the_same(settings: config.Settings, tmp_path: Path) -> None:
    settings = replace(settings, state=Path("/srv/state"))
    text = config.show(settings)
    assert 'idle = "15m"' in text  # a default that the file does not have
    assert 'password_file = "/etc/daybreak/prod.password"' in text
    (tmp_path / "shown.toml").write_text(text)
    assert replace(config.check(tmp_path / "shown.toml"), path=settings.path) == settings


@pytest.mark.parametrize(
    "how", ['proof = "weekly"\ndrill_image = "postgres:17"', 'proof = "nightly"\ndrill_on = "dev"']
)
def test_how_archives_are_proven_is_shown(tmp_path: Path, how: str) -> None:
    text = config.example().replace("[backups.nightly]\n", f"[backups.nightly]\n{how}\n")
    (tmp_path / "daybreak.toml").write_text(text)
    settings = config.check(tmp_path / "daybreak.toml")
    (tmp_path / "shown.toml").write_text(config.show(settings))
    assert how in (tmp_path / "shown.toml").read_text()
    assert config.check(tmp_path / "shown.toml").backups == settings.backups


_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)


@given(user=_TEXT, dbname=_TEXT, password=_TEXT, value=_TEXT, idle=st.integers(1, 10**9))
def test_odd_values_survive_show(
    tmp_path_factory: pytest.TempPathFactory, *, user: str, dbname: str, password: str, value: str, idle: int
) -> None:
    folder = tmp_path_factory.mktemp("show")
    (folder / "daybreak.toml").write_text(config.example())
    settings = config.check(folder / "daybreak.toml")
    command = replace(settings.repositories["r2"].password, file=None, command=(password, "x"))
    r2 = replace(settings.repositories["r2"], env={"NAME": value}, password=command)
    prod = replace(settings.databases["prod"], conninfo={"user": user, "dbname": dbname})
    nightly = replace(settings.backups["nightly"], database=prod, repositories=(r2,), idle=timedelta(milliseconds=idle))
    settings = replace(
        settings,
        databases=settings.databases | {"prod": prod},
        repositories={"r2": r2},
        upkeep={name: replace(plan, repository=r2) for name, plan in settings.upkeep.items()},
        backups={"nightly": nightly},
        refreshes={"weekly": replace(settings.refreshes["weekly"], backup=nightly)},
    )
    (folder / "shown.toml").write_text(config.show(settings), encoding="utf-8", newline="")
    assert replace(config.check(folder / "shown.toml"), path=settings.path) == settings


@given(st.text(st.characters(codec="utf-8")))
def test_any_text_survives_toml(text: str) -> None:
    assert tomllib.loads(f"x = {_toml(text)}") == {"x": text}


@given(st.timedeltas(timedelta(0), timedelta(days=1000)).map(lambda value: value - value % timedelta(milliseconds=1)))
def test_any_duration_survives(value: timedelta) -> None:
    assert abs(parse_duration(show_length(value)) - value) < timedelta(microseconds=2)
