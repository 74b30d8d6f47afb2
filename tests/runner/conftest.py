"""A site with a runner that listens in threads of the test's own process, and ways to talk with it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from talk import Runner

from daybreak.cli.progress import Silent
from daybreak.runner.server import RunnerSocket
from daybreak.site import open_site
from installation import Answer, Installation, Started, processes, wait_for

if TYPE_CHECKING:
    from conftest import Servers

#: A runner in a process of its own, as `daybreak serve` has one.
APART = """
import signal, sys, threading
from pathlib import Path
from daybreak.cli.progress import Silent
from daybreak.runner.server import RunnerSocket
from daybreak.site import open_site
file, folder = map(Path, sys.argv[1:])
runner = RunnerSocket(lambda: open_site(file, Silent()), folder)
runner.start()
print("ready", flush=True)
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
while not stop.wait(0.2):
    pass
runner.stop()
"""


@pytest.fixture
def site(servers: Servers, tmp_path: Path) -> Iterator[Installation]:
    """An installation of a small database whose dump waits as long as the file `wait` is there."""
    server = servers[18]
    name = server.fresh()
    server.psql("CREATE TABLE account AS SELECT n AS id FROM generate_series(1, 500) AS n", name)
    made = Installation(folder=tmp_path, url=server.url(name), bin=server.bin)
    made.fake_dump(f'while [ -e "{tmp_path}/wait" ]; do sleep 0.02; done; exec "$real" "$@"')
    made.call("runs")  # the state folder is there
    yield made
    server.drop_database(name)


@pytest.fixture
def runner(site: Installation) -> Iterator[Runner]:
    made = Runner(site=site)
    listening = RunnerSocket(lambda: open_site(site.file, Silent()), site.state, log=made.log.append)
    listening.start()
    yield made
    wait_for(lambda: not processes("daybreak.cli.main", str(site.file)), within_s=60, what="the end of what it started")
    listening.stop()
    assert not made.path.exists()


@pytest.fixture
def runner_apart(site: Installation) -> Iterator[Callable[[], Started]]:
    """`runner_apart()` starts a runner in a process of its own; it is ready."""
    with contextlib.ExitStack() as stack:

        def start() -> Started:
            process = subprocess.Popen(
                [sys.executable, "-c", APART, site.file, site.state], stdout=subprocess.PIPE, start_new_session=True
            )
            assert process.stdout is not None
            stack.callback(process.stdout.close)
            assert process.stdout.readline() == b"ready\n"
            made = Started(process=process, out=Path(os.devnull), err=Path(os.devnull))
            return stack.enter_context(made)

        yield start


@pytest.fixture
def gate(site: Installation) -> Callable[..., Answer]:
    """`gate(asked, *may)`: what sshd would start for a key that may ask for so much."""

    def call(asked: str | None, *may: str, words: tuple[str, ...] = ()) -> Answer:
        env = {} if asked is None else {"SSH_ORIGINAL_COMMAND": asked}
        return site.apart("gate", *(may or ("backup:nightly",)), *words, env=env)

    return call
