"""Couples of production and development for restores; what a test makes on a server is gone after it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from couples import OWNER, PLAIN, Couple, databases

if TYPE_CHECKING:
    from conftest import RichDatabase, Server, Servers

Coupling = Callable[..., Couple]
_NUMBERS = itertools.count(1)


@pytest.fixture
def couple(servers: Servers, dev_servers: Servers, tmp_path: Path) -> Iterator[Coupling]:
    """`couple("t7", majors=(15, 18))` is an installation with an empty dev; `prod=` takes a server of its own."""
    before: dict[int, tuple[Server, set[str]]] = {}

    def make(
        prod_db: str, *, majors: tuple[int, int] = (18, 18), prod: Server | None = None, dev_db: str | None = None
    ) -> Couple:
        number = next(_NUMBERS)
        shared = [dev_servers[majors[1]], *([] if prod else [servers[majors[0]]])]
        for server in shared:  # a server of its own goes with all that is in it
            before.setdefault(server.port, (server, set(databases(server, ""))))
        prod, dev = prod or servers[majors[0]], shared[0]
        dev.create_role(OWNER, options="NOLOGIN")
        dev.create_role(PLAIN)
        name = dev_db or f"restoring{number}"
        dev.create_database(name, owner=OWNER, template="template0")
        folder = tmp_path / f"site{number}"
        folder.mkdir()
        return Couple(
            folder=folder, url=prod.url(prod_db), bin=prod.bin, prod=prod, prod_db=prod_db, dev=dev, dev_db=name
        )

    yield make
    for server, there in before.values():
        for name in set(databases(server, "")) - there:
            server.drop_database(name)


@pytest.fixture
def rich(rich_database: RichDatabase, servers: Servers) -> Callable[[int], str]:
    """`rich(15)` is a copy of the rich database on production 15."""
    return lambda major: rich_database(servers[major])


@pytest.fixture
def site(couple: Coupling, servers: Servers) -> Couple:
    """A couple with a small production of which there is an archive."""
    server = servers[18]
    name = server.fresh()
    server.psql(
        "CREATE TABLE version AS SELECT 1 AS n;"
        "CREATE TABLE account AS SELECT n AS id, md5(n::text) AS token FROM generate_series(1, 2000) AS n;",
        name,
    )
    made = couple(name)
    made.backup()
    return made
