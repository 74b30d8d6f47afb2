"""Destinations of alerts and pings in the configuration: named secrets only, every fault by its path."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from daybreak import config
from daybreak.config.fields import Event
from daybreak.errors import ConfigError
from daybreak.model import AlertEvent, Destination, Ping, SecretSource

BASE = """
metrics_file = "/var/lib/node_exporter/daybreak.prom"
[databases.prod]
url = "postgresql://user@host:5432/name"
[backups.nightly]
database = "prod"
archive = "/backups/prod.dump"
"""


def check(tmp_path: Path, more: str) -> config.Settings:
    file = tmp_path / "daybreak.toml"
    file.write_text(BASE + more)
    return config.check(file)


def problems(tmp_path: Path, more: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check(tmp_path, more)
    assert caught.value.exit_code == 3
    return list(caught.value.problems)


def test_destinations_and_pings_become_nouns(tmp_path: Path) -> None:
    settings = check(
        tmp_path,
        'ping = { url_env = "PING", send = ["success", "fail"], fail = "?status=down" }\n'
        '[alerts.discord]\nurl_file = "/etc/daybreak/discord.url"\n'
        '[alerts.mail]\nurl_command = "pass show mail"\nevents = ["failed", "recovered"]\n',
    )
    assert settings.metrics_file == Path("/var/lib/node_exporter/daybreak.prom")
    assert settings.alerts == {
        "discord": Destination(name="discord", url=SecretSource(file=Path("/etc/daybreak/discord.url"))),
        "mail": Destination(
            name="mail",
            url=SecretSource(command=("pass", "show", "mail")),
            events=(AlertEvent.FAILED, AlertEvent.RECOVERED),
        ),
    }
    assert settings.backups["nightly"].ping == Ping(
        url=SecretSource(env="PING"), fail="?status=down", send=("success", "fail")
    )


def test_show_writes_what_reads_back_the_same(tmp_path: Path) -> None:
    settings = check(tmp_path, 'ping = { url_env = "PING" }\n[alerts.discord]\nurl_env = "DISCORD"\n')
    (tmp_path / "daybreak.toml").write_text(config.show(settings))
    assert config.check(tmp_path / "daybreak.toml") == settings


def test_the_events_of_the_file_are_those_of_the_nouns() -> None:
    assert list(get_args(Event)) == [event.value for event in AlertEvent]


@pytest.mark.parametrize("key", ["url", "webhook", "token"])
def test_an_address_in_the_file_is_refused_and_not_repeated(tmp_path: Path, key: str) -> None:
    (said,) = [
        one
        for one in problems(tmp_path, f'[alerts.discord]\n{key} = "discord://1/canary-inline"\n')
        if one.startswith(f"alerts.discord.{key}")
    ]
    assert "no secret belongs into this file" in said
    assert "canary" not in said


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("[alerts.discord]\n", "alerts.discord: needs url_file, url_env or url_command"),
        ('[alerts.a]\nurl_env = "A"\nurl_file = "/a"\n', "alerts.a: url_file and url_env exclude each other"),
        ('[alerts.a]\nurl_env = "A"\nevents = ["failure"]\n', "alerts.a.events.0: must be 'failed', 'refused'"),
        ("ping = { start = '/start' }\n", "backups.nightly.ping: needs url_file"),
        ("ping = { url_env = 'A', start = 'start' }\n", "backups.nightly.ping.start: must begin with /, ? or &"),
        ("[alerts.a]\nurl_env = 'A'\nevent = []\n", 'alerts.a.event: is not a key of Daybreak; did you mean "events"?'),
    ],
)
def test_faults_are_told_by_their_path(tmp_path: Path, more: str, said: str) -> None:
    assert any(one.startswith(said) for one in problems(tmp_path, more)), problems(tmp_path, more)


def test_a_metrics_file_that_nobody_would_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "daybreak.toml"
    file.write_text(BASE.replace(".prom", ".txt"))
    with pytest.raises(ConfigError, match=r"metrics_file: must end in \.prom"):
        config.check(file)
