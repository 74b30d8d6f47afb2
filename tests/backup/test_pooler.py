"""A connection pooler in front of the server: a real PgBouncer, as it comes and as people set it up for JDBC."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from daybreak.command import Command
from daybreak.embedded.scratch import free_port
from daybreak.process import Runner

if TYPE_CHECKING:
    from conftest import Servers
    from installation import Installation

PASSES_OVER = "ignore_startup_parameters = extra_float_digits, options\n"


@pytest.fixture(params=["", PASSES_OVER], ids=["as it comes", "passes options over"])
def pooler(request: pytest.FixtureRequest, servers: Servers, scratch: Path) -> Iterator[int]:
    """The port of a PgBouncer before the newest server."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin") or pytest.fail(
        "no pgbouncer: ./run servers"
    )
    server, port = servers[18], free_port()
    folder = scratch / f"pooler-{port}"
    folder.mkdir()
    folder.chmod(0o755)
    user = "user = nobody\n" if os.geteuid() == 0 else ""
    (folder / "pooler.ini").write_text(
        f"[databases]\n* = host={server.host} port={server.port} user={server.user}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = transaction\n{user}{request.param}"
    )
    with Runner().hold(Command(argv=(program, str(folder / "pooler.ini")), deadline=timedelta(minutes=5))):
        until = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert time.monotonic() < until, "pgbouncer did not come up"
            time.sleep(0.05)
        yield port


def test_a_dump_does_not_go_through_a_pooler(pooler: int, site: Installation, servers: Servers) -> None:
    """The settings that a dump and its proof stand on would not arrive."""
    name = site.url.rpartition("/")[2]
    site.configure(database={"url": f"postgresql://{servers[18].user}@127.0.0.1:{pooler}/{name}"})
    said = site.json("backup", expect=10)
    assert said["code"] == "SourceError"
    assert "name the server itself in databases.prod" in said["hint"]
