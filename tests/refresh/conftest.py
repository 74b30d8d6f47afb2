"""Couples of production and development databases on real servers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from couples import OWNER, PLAIN, Couple

if TYPE_CHECKING:
    from conftest import RichDatabase, Server, Servers

Coupling = Callable[..., Couple]
_NUMBERS = itertools.count(1)


@pytest.fixture
def couple(servers: Servers, dev_servers: Servers, tmp_path: Path) -> Iterator[Coupling]:
    """`couple(prod_db=…, majors=(18, 18), dev_db=…)` makes an installation and an empty dev with its own owner."""
    made: list[Couple] = []

    def make(prod_db: str, *, majors: tuple[int, int] = (18, 18), dev_db: str | None = None, **more: object) -> Couple:
        number = next(_NUMBERS)
        prod, dev = servers[majors[0]], dev_servers[majors[1]]
        dev.create_role(OWNER, options="NOLOGIN")
        dev.create_role(PLAIN)
        name = dev_db or f"dev{number}"
        dev.create_database(name, owner=OWNER, template="template0")
        folder = tmp_path / f"site{number}"
        folder.mkdir()
        site = Couple(
            folder=folder, url=prod.url(prod_db), bin=prod.bin, prod=prod, prod_db=prod_db, dev=dev, dev_db=name, **more
        )
        made.append(site)
        return site

    yield make
    for site in made:
        site.drop()


@pytest.fixture
def small(servers: Servers) -> Iterator[str]:
    """A small database on production 18: its data says which version of it this is."""
    server = servers[18]
    name = server.fresh()
    server.psql(
        "CREATE TABLE version AS SELECT 1 AS n; CREATE SEQUENCE counter;"
        "CREATE TABLE account AS SELECT n AS id, md5(n::text) AS token FROM generate_series(1, 2000) AS n;",
        name,
    )
    yield name
    server.drop_database(name)


@pytest.fixture
def site(couple: Coupling, small: str) -> Couple:
    """A couple with a small production, never refreshed yet."""
    return couple(small)


@pytest.fixture
def refreshed(site: Couple) -> Couple:
    """The same after its first refresh."""
    site.refresh()
    return site


@pytest.fixture
def modest(small: str, couple: Coupling) -> Iterator[Couple]:
    """A target that is refreshed by a role that is no superuser: CREATEDB, pg_signal_backend, member of the owner."""
    site = couple(small)
    site.by_role("modest")
    yield site
    site.dev.psql(f'REVOKE "{OWNER}" FROM modest')


@pytest.fixture
def rich(rich_database: RichDatabase, servers: Servers) -> Callable[[int], str]:
    """`rich(15)` is a copy of the rich database on production 15."""
    return lambda major: rich_database(servers[major])


def newer(server: Server, dbname: str) -> int:
    """Let production go on by one version."""
    return int(server.psql("UPDATE version SET n = n + 1 RETURNING n", dbname))
