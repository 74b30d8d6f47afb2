"""Real servers for the tests: PostgreSQL 15 to 18, S3, restic; started when first asked for, once per session.

A test that cannot have its server fails. Everything is gone when the session ends, however it ends:
the servers run under the watchdog of `daybreak.process`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import settings

from canaries import leaks, watched_arguments
from containers import Podman, make_podman, remove
from daybreak import secret
from daybreak.embedded.binaries import (
    MAJORS,
    OLD_RESTIC,
    find_rclone,
    find_restic,
    find_server,
    installed_restics,
)
from daybreak.embedded.cluster import FAST, Cluster, running_cluster
from daybreak.embedded.s3 import S3Server, running_s3
from daybreak.embedded.scratch import scratch_folder
from daybreak.errors import ConfigError

HERE = Path(__file__).parent
_NUMBERS = itertools.count(1)
INSTALL = "install what the tests need with: ./run servers"

# A machine that is busy with something else must not turn a slow example into a fault.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@dataclass(kw_only=True)
class Server:
    """A running PostgreSQL server and short ways to use it from a test."""

    cluster: Cluster
    major: int
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _rich: str | None = None

    @property
    def bin(self) -> Path:
        """The folder of its psql, pg_dump and the rest."""
        return self.cluster.bin

    @property
    def host(self) -> str:
        return self.cluster.host

    @property
    def port(self) -> int:
        return self.cluster.port

    @property
    def socket_folder(self) -> Path:
        return self.cluster.folder

    @property
    def user(self) -> str:
        return self.cluster.user

    @property
    def password(self) -> str:
        """Empty: everybody is trusted but members of the role `needs_password`."""
        return ""

    def conninfo(self, dbname: str = "postgres", *, user: str | None = None) -> str:
        """Keywords and values, as libpq reads them."""
        text = self.cluster.conninfo(dbname)
        return text if user is None else text.replace(f"user={self.user}", "user='" + user.replace("'", "\\'") + "'")

    def keywords(self, dbname: str = "postgres", *, user: str | None = None) -> dict[str, str]:
        """The same as a mapping, as `model.Database.conninfo` has it."""
        return {"host": self.host, "port": str(self.port), "user": user or self.user, "dbname": dbname}

    def url(self, dbname: str = "postgres", *, user: str | None = None) -> str:
        """The same as a URI."""
        return f"postgresql://{quote(user or self.user, safe='')}@{self.host}:{self.port}/{quote(dbname, safe='')}"

    def psql(self, sql: str, dbname: str = "postgres", *, user: str | None = None, password: str = "") -> str:
        """What `psql -XAtq` answers to `sql`, without the last newline; the test fails where the SQL does."""
        done = subprocess.run(
            [self.bin / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.conninfo(dbname, user=user), "-f", "-"],
            input=sql,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            timeout=120,
            env=clean_environment() | ({"PGPASSWORD": password} if password else {}),
        )
        if done.returncode != 0:
            pytest.fail(f"psql on PostgreSQL {self.major}, database {dbname}: {done.stderr.strip()}")
        return done.stdout.removesuffix("\n")

    def create_database(
        self, name: str, *, owner: str | None = None, template: str = "template1", options: str = ""
    ) -> str:
        """CREATE DATABASE with `options` behind it."""
        words = f"OWNER {identifier(owner)} " if owner else ""
        self.psql(f"CREATE DATABASE {identifier(name)} TEMPLATE {identifier(template)} {words}{options}")
        return name

    def drop_database(self, name: str) -> None:
        """DROP DATABASE, its sessions with it; one that is not there is no fault."""
        self.psql(f"DROP DATABASE IF EXISTS {identifier(name)} WITH (FORCE)")

    def create_role(self, name: str, *, password: str | None = None, options: str = "LOGIN") -> str:
        """CREATE ROLE unless it is there; one with a password can only come in with it."""
        if name not in self.psql("SELECT rolname FROM pg_roles").splitlines():
            self.psql(f"CREATE ROLE {identifier(name)} {options}")
        if password is not None:
            secret = "'" + password.replace("'", "''") + "'"
            self.psql(f"ALTER ROLE {identifier(name)} PASSWORD {secret}; GRANT needs_password TO {identifier(name)}")
        return name

    def fresh(self, template: str | None = None) -> str:
        """A new database with a name of its own, a copy of `template`; gone when the session ends."""
        return self.create_database(f"t{next(self._numbers)}", template=template or "template1")

    def rich(self) -> str:
        """The database of `rich.sql`, loaded once; copy it, do not change it."""
        if self._rich is None:
            self.create_database("rich", template="template0", options="ENCODING 'UTF8'")
            self.psql((HERE / "rich.sql").read_text("utf-8"), "rich")
            self._rich = "rich"
        return self._rich


class Servers(Mapping[int, Server]):
    """Major version to server; one is started when it is first asked for."""

    def __init__(self, folder: Path, name: str, stack: contextlib.ExitStack) -> None:
        self._folder = folder
        self._name = name
        self._stack = stack
        self._running: dict[int, Server] = {}

    def __getitem__(self, major: int) -> Server:
        if major not in MAJORS:
            raise KeyError(major)
        if major not in self._running:
            try:
                running = running_cluster(self._folder / f"{self._name}-{major}", find_server(major), settings=FAST)
                self._running[major] = Server(cluster=self._stack.enter_context(running), major=major)
            except ConfigError as fault:
                pytest.fail(f"{fault.message}; {INSTALL}")
        return self._running[major]

    def __iter__(self) -> Iterator[int]:
        return iter(MAJORS)

    def __len__(self) -> int:
        return len(MAJORS)


def clean_environment() -> dict[str, str]:
    """Ours without PG* and AWS_*: a test must not depend on who calls it."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PG", "AWS_", "RESTIC_"))}


def identifier(name: str) -> str:
    """A name as SQL wants it."""
    return '"' + name.replace('"', '""') + '"'


@pytest.fixture(scope="session", autouse=True)
def _nobody_elses_environment() -> Iterator[None]:
    """Run without the caller's PG*, AWS_*, RESTIC_* and DAYBREAK_*, but for the tools folder."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if re.match("PG|AWS_|RESTIC_|DAYBREAK_", name) and name != "DAYBREAK_TOOLS":
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder that the servers' user can reach; all servers live in it."""
    with scratch_folder("daybreak-tests") as folder:
        yield folder


@pytest.fixture(autouse=True)
def _no_secret_outlives_its_test() -> Iterator[None]:
    """What a test called a secret, "wrong" or "/dev/null" for example, is an ordinary word in the next one."""
    known = set(secret._known)
    yield
    secret._known.intersection_update(known)


@pytest.fixture(scope="session", autouse=True)
def _no_canary_is_seen(scratch: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """At the end of all tests: no secret is in what Daybreak left, or was in the arguments of what it started."""
    with watched_arguments() as seen:
        yield
    found = leaks(scratch, tmp_path_factory.getbasetemp())
    assert not found, f"a secret of the tests stands in {found}"
    assert not seen, f"a secret of the tests stood in the arguments of {set(seen)}"


@pytest.fixture(scope="session")
def servers(scratch: Path) -> Iterator[Servers]:
    """Production servers: 15, 16, 17, 18."""
    with contextlib.ExitStack() as stack:
        yield Servers(scratch, "prod", stack)


@pytest.fixture(scope="session")
def dev_servers(scratch: Path) -> Iterator[Servers]:
    """Development servers, other clusters than `servers`: 15, 16, 17, 18."""
    with contextlib.ExitStack() as stack:
        yield Servers(scratch, "dev", stack)


@pytest.fixture
def own_server(scratch: Path) -> Iterator[Callable[..., Server]]:
    """`own_server(18, wal_level="logical")` is a new server for one test, with settings of its own."""
    with contextlib.ExitStack() as stack:

        def make(major: int, **settings: str) -> Server:
            folder = scratch / f"own-{next(_NUMBERS)}"
            running = running_cluster(folder, find_server(major), settings={**FAST, **settings})
            return Server(cluster=stack.enter_context(running), major=major)

        yield make


@pytest.fixture
def cron_server(own_server: Callable[..., Server]) -> Callable[[str], Server]:
    """`cron_server("genji")` is a new server 15 whose pg_cron lives in the database of that name."""
    if not Path("/usr/share/postgresql/15/extension/pg_cron.control").exists():
        pytest.fail(f"the tests need pg_cron for PostgreSQL 15; {INSTALL}")
    settings = {
        "shared_preload_libraries": "pg_cron",
        "cron.use_background_workers": "on",
        "max_worker_processes": "16",
    }
    return lambda dbname: own_server(15, **settings, **{"cron.database_name": dbname})


@pytest.fixture(params=MAJORS, ids=[f"pg{major}" for major in MAJORS])
def server(request: pytest.FixtureRequest, servers: Servers) -> Server:
    """Each production server in turn: a test that takes this runs four times."""
    return servers[request.param]


@pytest.fixture(scope="session")
def s3(scratch: Path) -> Iterator[S3Server]:
    """A running S3 server."""
    with contextlib.ExitStack() as stack:
        try:
            running = stack.enter_context(running_s3(scratch / "s3", find_rclone()))
        except ConfigError as fault:
            pytest.fail(f"{fault.message}; {INSTALL}")
        yield running


@pytest.fixture(scope="session")
def restics() -> Mapping[str, Path]:
    """The two restics that are promised to work: "0.14" and "newer"."""
    found = dict(installed_restics())
    system = shutil.which("restic")
    if system:
        said = subprocess.run([system, "version"], capture_output=True, text=True, check=True, timeout=30).stdout
        found.setdefault(said.split()[1], Path(system))
    old = [path for version, path in found.items() if version.startswith(f"{OLD_RESTIC}.")]
    newer = [path for version, path in found.items() if not version.startswith(f"{OLD_RESTIC}.")]
    if not old or not newer:
        pytest.fail(
            f"the tests need restic {OLD_RESTIC} and a newer one, and there is {', '.join(found) or 'none'}; {INSTALL}"
        )
    return {OLD_RESTIC: old[0], "newer": newer[-1]}


@pytest.fixture(scope="session")
def restic() -> Path:
    """The newest restic."""
    try:
        return find_restic()
    except ConfigError as fault:
        pytest.fail(f"{fault.message}; {INSTALL}")


@pytest.fixture(scope="session")
def podman(scratch: Path) -> Iterator[Podman]:
    """A podman of our own with the image that containers of PostgreSQL are made from."""
    made = make_podman(scratch / "podman")
    yield made
    remove(made)


@pytest.fixture
def rich_database() -> Iterator[RichDatabase]:
    """`rich_database(server)` is a new copy of the rich database on that server; it is dropped after the test."""
    maker = RichDatabase()
    yield maker
    maker.drop()


@dataclass
class RichDatabase:
    """Makes copies of the rich database, and removes them."""

    _made: list[tuple[Server, str]] = field(default_factory=list[tuple[Server, str]])

    def __call__(self, server: Server) -> str:
        name = server.fresh(server.rich())
        self._made.append((server, name))
        return name

    def drop(self) -> None:
        for server, name in self._made:
            server.drop_database(name)
