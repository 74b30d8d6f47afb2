"""The tables [console] and [console.oidc]: what they mean, and what is refused by which words."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from daybreak import config
from daybreak.errors import ConfigError
from daybreak.model import SecretSource
from daybreak.web import Console, Oidc

BASE = '[databases.prod]\nurl = "dbname=prod"\n'
OIDC = '[console.oidc]\nissuer = "https://l.example/r"\nclient_id = "d"\nclient_secret_file = "/s"\n'


def check(folder: Path, text: str) -> config.Settings:
    (folder / "daybreak.toml").write_text(BASE + text)
    return config.check(folder / "daybreak.toml")


def test_a_file_that_says_nothing_has_a_console_for_this_host(tmp_path: Path) -> None:
    assert check(tmp_path, "").console == Console() == check(tmp_path, "[console]\n").console
    assert Console().host == "127.0.0.1"


def test_a_whole_table_becomes_the_noun(tmp_path: Path) -> None:
    settings = check(
        tmp_path,
        """
        [console]
        host = "0.0.0.0"
        port = 9000
        url = "https://Backups.example.org/"
        state = "/var/lib/daybreak-console"
        proxies = ["127.0.0.1", "10.0.0.0/8"]
        downloads = true
        session = "8h"
        [console.oidc]
        issuer = "https://login.example.org/realms/team/"
        client_id = "daybreak"
        client_secret_env = "OIDC_SECRET"
        name = "Keycloak"
        roles_claim = "realm_access.roles"
        roles = { "backup-admins" = "admin" }
        """,
    )
    assert settings.console == Console(
        host="0.0.0.0",  # noqa: S104 -- only read
        port=9000,
        url="https://backups.example.org",
        state=Path("/var/lib/daybreak-console"),
        proxies=("127.0.0.1/32", "10.0.0.0/8"),
        downloads=True,
        session=timedelta(hours=8),
        oidc=Oidc(
            issuer="https://login.example.org/realms/team/",
            client_id="daybreak",
            client_secret=SecretSource(env="OIDC_SECRET"),
            name="Keycloak",
            roles_claim="realm_access.roles",
            roles={"backup-admins": "admin"},
        ),
    )
    (tmp_path / "shown.toml").write_text(config.show(settings))
    assert config.check(tmp_path / "shown.toml").console == settings.console


def test_a_proxy_on_this_host_is_believed_where_there_is_an_address_for_browsers(tmp_path: Path) -> None:
    url = '[console]\nurl = "https://b.example"\n'
    assert check(tmp_path, "[console]\n").console.proxies == ()
    assert check(tmp_path, url).console.proxies == ("127.0.0.0/8", "::1/128")
    assert check(tmp_path, f"{url}proxies = []").console.proxies == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[console]\nhost = "0.0.0.0"', "console.host: is open to other hosts, which needs TLS"),
        ('[console]\nhost = "::"', "console.host: is open to other hosts"),
        ('[console]\nhost = "backups.example.org"', "console.host: must be an address of this host"),
        ('[console]\nurl = "http://backups.example.org"', "console.url: must begin with https://"),
        ('[console]\nurl = "https://backups.example.org/daybreak"', "console.url: must be https:// and a host"),
        ('[console]\nurl = "https://ada:secret@b.example"', "console.url: must be https:// and a host"),
        ("[console]\nport = 0", "console.port: must be 1 or more"),
        ('[console]\nproxies = ["10.0.0.1/8"]', "console.proxies.0: must be an address or a network"),
        ('[console]\nsession = "0s"', "console.session: must be longer than nothing"),
        ('[console]\nlisten = "x"', "console.listen: is not a key of Daybreak"),
        (OIDC, "console.oidc.roles: is missing"),
        (OIDC + "roles = {}", "console.oidc.roles: is empty: nobody would come in"),
        (
            OIDC + 'roles = { "a" = "root" }',
            "console.oidc.roles.a: must be 'viewer', 'operator'",
        ),
        (OIDC + 'client_secret_env = "X"\nroles = { "a" = "admin" }', "exclude each other: keep one"),
        (OIDC.replace("client_secret_file", "client_secret"), "name its place with client_secret_file"),
        (OIDC.replace('client_secret_file = "/s"', 'roles = { "a" = "admin" }'), "needs client_secret_file"),
        (OIDC.replace("https://", "http://"), "console.oidc.issuer: must begin with https://"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(tmp_path, text)
    assert problem in str(caught.value)
    assert "secret@" not in str(caught.value)


def test_what_the_document_shows_passes_the_check(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "console-security.md").read_text("utf-8")
    block = text.partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "daybreak.toml").write_text(block)
    oidc = config.check(tmp_path / "daybreak.toml").console.oidc
    assert oidc
    assert oidc.roles["backup-admins"] == "admin"
