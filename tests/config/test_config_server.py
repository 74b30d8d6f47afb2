"""The table [server]: what is refused, and by which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from daybreak import config
from daybreak.errors import ConfigError
from daybreak.server import Server, ServerKey

BASE = """
[databases.prod]
url = "dbname=prod"
[databases.dev]
url = "dbname=dev"
[backups.nightly]
database = "prod"
archive = "/b/prod.dump"
[refreshes.weekly]
backup = "nightly"
target = "dev"
[server]
"""


def check(folder: Path, text: str) -> config.Settings:
    (folder / "daybreak.toml").write_text(BASE + text)
    return config.check(folder / "daybreak.toml")


def test_a_whole_table_becomes_the_noun(tmp_path: Path) -> None:
    settings = check(
        tmp_path,
        """
        group = "genji-backup"
        user = "deploy"
        scripts = { "backup:nightly" = "/opt/s/backup.sh" }
        keys = [{ file = "/etc/k.pub", may = ["backup:nightly", "refresh:weekly"] }]
        authorized_keys = "/etc/ssh/keys/deploy"
        """,
    )
    assert settings.server == Server(
        group="genji-backup",
        user="deploy",
        configuration=Path("/etc/daybreak/daybreak.toml"),
        scripts={"backup:nightly": Path("/opt/s/backup.sh")},
        keys=(ServerKey(file=Path("/etc/k.pub"), may=("backup:nightly", "refresh:weekly")),),
        authorized_keys=Path("/etc/ssh/keys/deploy"),
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('group = "Genji Backup"', "server.group: must be the name of a user or group"),
        ('user = "root; reboot"', "server.user: must be the name of a user or group"),
        ('scripts = { "nightly" = "/s" }', "server.scripts.nightly"),
        ('scripts = { "undo:weekly" = "/s" }', "must be backup:NAME or refresh:NAME"),
        ('scripts = { "backup:nightyl" = "/s" }', 'there is no [backups.nightyl]; did you mean "nightly"?'),
        ('scripts = { "backup:nightly" = "/s $(x)" }', "it stands in commands of a shell"),
        ('scripts = { "backup:nightly" = "/s/../t" }', "it stands in commands of a shell"),
        ('scripts = { "backup:nightly" = "/s", "refresh:weekly" = "/s" }', "server.scripts: has '/s' twice"),
        ('user = "deploy"\nkeys = [{ file = "/k", may = [] }]', "server.keys.0.may"),
        ('user = "deploy"\nkeys = [{ file = "/k", may = ["refresh:nightly"] }]', "there is no [refreshes.nightly]"),
        (
            'user = "d"\nkeys = [{ file = "/k", may = ["backup:nightly"], sudo = 1 }]',
            "server.keys.0.sudo: is not",
        ),
        ('keys = [{ file = "/k", may = ["backup:nightly"] }]', "server.user: is missing"),
        ('folder = "/x"', "server.folder: is not a key of Daybreak"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(tmp_path, text)
    assert problem in str(caught.value)
