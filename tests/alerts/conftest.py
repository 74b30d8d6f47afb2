"""An installation with a destination of alerts on this host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from installation import Installation
from webhook import Hook, running_hook

if TYPE_CHECKING:
    from conftest import Server, Servers


@pytest.fixture
def hook() -> Iterator[Hook]:
    with running_hook() as one:
        yield one


@pytest.fixture
def other() -> Iterator[Hook]:
    """Somebody else's server."""
    with running_hook() as one:
        yield one


@pytest.fixture(scope="session")
def source(servers: Servers) -> tuple[Server, str]:
    server = servers[18]
    name = server.fresh()
    server.psql("CREATE TABLE account AS SELECT n AS id, md5(n::text) AS token FROM generate_series(1, 50) AS n", name)
    return server, name


@pytest.fixture
def site(source: tuple[Server, str], tmp_path: Path, hook: Hook) -> Installation:
    """An installation whose destination `here` is the hook."""
    server, name = source
    (tmp_path / "here.url").write_text(hook.url() + "\n")
    (tmp_path / "here.url").chmod(0o600)
    return Installation(
        folder=tmp_path,
        url=server.url(name),
        bin=server.bin,
        more=f'[alerts.here]\nurl_file = "{tmp_path}/here.url"\n',
    )
