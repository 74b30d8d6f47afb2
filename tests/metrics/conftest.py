"""A small database to measure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from installation import Installation

if TYPE_CHECKING:
    from conftest import Server, Servers


@pytest.fixture(scope="session")
def source(servers: Servers) -> tuple[Server, str]:
    server = servers[18]
    name = server.fresh()
    server.psql("CREATE TABLE account AS SELECT n AS id, md5(n::text) AS token FROM generate_series(1, 50) AS n", name)
    return server, name


@pytest.fixture
def site(source: tuple[Server, str], tmp_path: Path) -> Installation:
    server, name = source
    return Installation(folder=tmp_path, url=server.url(name), bin=server.bin)
