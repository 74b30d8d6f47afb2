"""One installation with a backup and a look at it, shared by all tests that only read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from installation import Installation

if TYPE_CHECKING:
    from conftest import Server, Servers


@pytest.fixture(scope="session")
def source(servers: Servers) -> tuple[Server, str]:
    """A small database."""
    server = servers[18]
    name = server.fresh()
    server.psql(
        "CREATE TABLE account AS SELECT n AS id, md5(n::text) AS token FROM generate_series(1, 3000) AS n", name
    )
    return server, name


@pytest.fixture
def site(source: tuple[Server, str], tmp_path: Path) -> Installation:
    """A new installation."""
    server, name = source
    return Installation(folder=tmp_path, url=server.url(name), bin=server.bin)


@pytest.fixture(scope="module")
def used(source: tuple[Server, str], tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An installation with one good run and one that failed."""
    server, name = source
    site = Installation(folder=tmp_path_factory.mktemp("used"), url=server.url(name), bin=server.bin)
    site.configure(plan={"schedule": "02:00", "timezone": "America/Chicago"})
    site.backup()
    site.fake_dump("exit 1")
    site.backup(expect=11)
    site.real_dump()
    return site
