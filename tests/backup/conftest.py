"""Installations that back up a database of a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from installation import Installation

if TYPE_CHECKING:
    from conftest import Server, Servers


@pytest.fixture
def prod(servers: Servers) -> Iterator[tuple[Server, str]]:
    """A small database on PostgreSQL 18: three tables."""
    server = servers[18]
    name = server.fresh()
    server.psql(
        "CREATE TABLE account AS SELECT n AS id, md5(n::text) AS token FROM generate_series(1, 2000) AS n;"
        "CREATE TABLE invoice AS SELECT n AS id, n * 1.5 AS amount FROM generate_series(1, 500) AS n;"
        "CREATE TABLE nothing (id int)",
        name,
    )
    yield server, name
    server.drop_database(name)


@pytest.fixture
def site(prod: tuple[Server, str], tmp_path: Path) -> Installation:
    """An installation that backs up the small database."""
    server, name = prod
    return Installation(folder=tmp_path, url=server.url(name), bin=server.bin)


@pytest.fixture(scope="session")
def large(servers: Servers) -> tuple[Server, str]:
    """A database whose dump takes long enough to be met half-way: about 10 MB compressed."""
    server = servers[18]
    name = server.fresh()
    server.psql(
        "CREATE TABLE first (id int); INSERT INTO first SELECT generate_series(1, 100);"
        "CREATE TABLE heavy AS SELECT n, md5(n::text) || md5((n + 1)::text) || md5((n * 7)::text) AS noise "
        "FROM generate_series(1, 200000) AS n",
        name,
    )
    return server, name


@pytest.fixture
def slow(large: tuple[Server, str], tmp_path: Path) -> Installation:
    """An installation that backs up the large database."""
    server, name = large
    return Installation(folder=tmp_path, url=server.url(name), bin=server.bin)
