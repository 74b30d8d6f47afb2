"""What we hand to libpq leads where the configuration says, on a real server."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

from daybreak.config.conninfo import lists_differ, parse_conninfo, to_conninfo, value_wanted
from daybreak.credentials import passfile
from daybreak.secret import Secret

pytestmark = pytest.mark.postgres

DATABASE = "o'dd \\ na:me=x"
ROLE = "ro'le \\ @home"
PASSWORD = "pa:ss\\wo'rd @ü"


def ask(server, conninfo: str, **env: str) -> subprocess.CompletedProcess[str]:
    question = "SELECT current_database() || '|' || current_user"
    return subprocess.run(
        [server.bin / "psql", "-XAtqw", "-d", conninfo, "-c", question],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **env},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def odd(servers):
    server = servers[15]
    server.create_role(ROLE, password=PASSWORD)
    server.create_database(DATABASE)
    yield server
    server.drop_database(DATABASE)


@pytest.mark.parametrize("form", ["uri", "socket", "keywords"])
def test_every_form_of_url_leads_to_the_same_database(odd, form: str) -> None:
    user, name = quote(odd.user, safe=""), quote(DATABASE, safe="")
    url = {
        "uri": f"postgresql://{user}@{odd.host}:{odd.port}/{name}?connect_timeout=10",
        "socket": f"postgresql://{user}@{quote(str(odd.socket_folder), safe='')}:{odd.port}/{name}",
        "keywords": f"host={odd.host} port = {odd.port} user='{odd.user}' dbname='o\\'dd \\\\ na:me=x'",
    }[form]
    assert ask(odd, url).stdout == f"{DATABASE}|{odd.user}\n"  # libpq's own reading
    assert ask(odd, to_conninfo(parse_conninfo(url))).stdout == f"{DATABASE}|{odd.user}\n"


ODD = {
    "port": ["5432x", "0", "65536", "-1", "1e3", "+PORT", " PORT ", "0xff", "000PORT", "100000000000"],
    "sslmode": ["yes", "REQUIRE", "verify", "", "prefer", "disable", "allow", "prefer "],
    "gssencmode": ["off", "disable", "prefer", ""],
    "channel_binding": ["on", "prefer", "disable"],
    "target_session_attrs": ["master", "rw", "any", "read-write", "primary", "prefer-standby", ""],
    "connect_timeout": ["10s", "ten", "10", " 10", "10 ", "-1", "1.5", "99999999999"],
    "keepalives": ["on", "1", "0"],
    "keepalives_idle": ["1min", "60"],
    "ssl_min_protocol_version": ["TLSv1.2", "tlsv1.3", "TLSV1", "", "TLSv2", "1.2", "TLSv1.2 "],
    "ssl_max_protocol_version": ["TLSv1.3", "SSLv3"],
    "tcp_user_timeout": ["5s", "2147483647", "2147483648"],
}


@pytest.mark.parametrize(("keyword", "value"), [(keyword, value) for keyword in ODD for value in ODD[keyword]])
def test_what_a_keyword_must_be_is_what_libpq_takes(servers, keyword: str, value: str) -> None:
    server = servers[15]
    value = value.replace("PORT", str(server.port))
    url = {"host": server.host, "port": str(server.port), "user": server.user, "dbname": "postgres", keyword: value}
    answered = ask(server, to_conninfo(url))
    assert bool(value_wanted(keyword, value)) is ("invalid" in answered.stderr), answered.stderr
    assert (answered.returncode == 0) is ("invalid" not in answered.stderr), answered.stderr


LISTS = [
    {"host": "a,b,HOST", "port": "1,2,PORT"},
    {"host": "HOST,HOST", "port": "PORT"},
    {"host": "HOST,HOST", "port": "PORT,"},
    {"host": "HOST,HOST,HOST", "port": "PORT,PORT"},
    {"host": "HOST", "port": "PORT,PORT"},
    {"host": "", "hostaddr": "HOST", "port": "PORT,PORT"},
    {"host": "", "hostaddr": "HOST,HOST", "port": "PORT,PORT"},
    {"host": "a,b", "hostaddr": "HOST,HOST", "port": "PORT"},
    {"host": "a,b", "hostaddr": "HOST", "port": "PORT"},
    {"host": "a", "hostaddr": "HOST,HOST", "port": "PORT"},
]


@pytest.mark.parametrize("lists", LISTS, ids=lambda lists: " ".join(lists.values()))
def test_lists_that_do_not_fit_are_those_that_libpq_does_not_take(servers, lists: dict[str, str]) -> None:
    server = servers[15]
    found = {key: one.replace("HOST", "127.0.0.1").replace("PORT", str(server.port)) for key, one in lists.items()}
    url = {"user": server.user, "dbname": "postgres", "connect_timeout": "5", **found}
    answered = ask(server, to_conninfo(url))
    assert bool(lists_differ(url)) is ("could not match" in answered.stderr), answered.stderr
    assert (answered.returncode == 0) is not lists_differ(url), answered.stderr


def test_a_service_may_have_the_hosts_of_several_ports(servers, tmp_path: Path) -> None:
    server, services = servers[15], tmp_path / "services"
    services.write_text(f"[both]\nhost={server.host},{server.host}\n")
    url = {"service": "both", "port": f"{server.port},{server.port}", "user": server.user, "dbname": "postgres"}
    answered = ask(server, to_conninfo(url), PGSERVICEFILE=str(services))
    assert (answered.returncode, lists_differ(url)) == (0, ""), answered.stderr


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1", "localhost", "127.0.0.256", "", "127.0.0.1 ", "x" * 70])
def test_an_address_is_what_libpq_takes_for_one(servers, address: str) -> None:
    server = servers[15]
    url = {
        "host": "127.0.0.1",
        "hostaddr": address,
        "port": str(server.port),
        "user": server.user,
        "dbname": "postgres",
    }
    answered = ask(server, to_conninfo(url))
    assert bool(value_wanted("hostaddr", address)) is (answered.returncode != 0), answered.stderr


def test_a_passfile_opens_the_door_and_only_while_it_is_there(odd, tmp_path: Path) -> None:
    keywords = {"host": odd.host, "port": str(odd.port), "user": ROLE, "dbname": DATABASE}
    with passfile(Secret(PASSWORD), tmp_path) as path:
        assert ask(odd, to_conninfo(keywords), PGPASSFILE=str(path)).stdout == f"{DATABASE}|{ROLE}\n"
    assert "no password supplied" in ask(odd, to_conninfo(keywords), PGPASSFILE=str(path)).stderr
