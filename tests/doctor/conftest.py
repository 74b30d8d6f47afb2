"""An installation that is well: a backup and a refresh by ordinary roles, a repository, a destination, one success."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from installation import Installation
from webhook import Hook, running_hook

if TYPE_CHECKING:
    from conftest import Server, Servers

ROLE = "doctor_reads"


@pytest.fixture(scope="session")
def _hook() -> Iterator[Hook]:
    with running_hook() as one:
        yield one


@pytest.fixture
def hook(_hook: Hook) -> Hook:
    _hook.answers = "200"
    return _hook.clear()


@pytest.fixture(scope="session")
def prod(servers: Servers) -> tuple[Server, str]:
    server = servers[18]
    name = server.fresh()
    server.create_role(ROLE)
    server.psql("CREATE TABLE account AS SELECT n AS id, md5(n::text) AS token FROM generate_series(1, 50) AS n", name)
    return server, name


@pytest.fixture(scope="session")
def _pristine(
    prod: tuple[Server, str], dev_servers: Servers, tmp_path_factory: pytest.TempPathFactory, restic: Path, _hook: Hook
) -> tuple[Installation, Path]:
    """The installation, made once, and a copy of its folder."""
    folder = tmp_path_factory.mktemp("doctor") / "site"
    folder.mkdir()
    server, name = prod
    server.psql(f"GRANT pg_read_all_data TO {ROLE}")
    for file, text in (("here.url", _hook.url()), ("repository.password", "canary-doctor-4711")):
        (folder / file).write_text(text + "\n")
        (folder / file).chmod(0o600)
    target = dev_servers[18]
    made = Installation(
        folder=folder,
        url=server.url(name, user=ROLE),
        bin=server.bin,
        plan={"schedule": "02:00", "timezone": "America/Chicago", "repositories": ["local"]},
        more=f"""
[databases.dev]
url = "{target.url(target.fresh())}"
bin = "{target.bin}"

[refreshes.weekly]
backup = "nightly"
target = "dev"
schedule = "Sun 02:00"

[repositories.local]
url = "{folder}/repository"
password_file = "{folder}/repository.password"
restic = "{restic}"
keep = {{ daily = 7 }}
env = {{ RESTIC_CACHE_DIR = "{folder}/cache" }}

[alerts.here]
url_file = "{folder}/here.url"
""",
    )
    made.json("repository", "init")
    made.backup()
    copy = folder.with_name("pristine")
    shutil.copytree(folder, copy, symlinks=True)
    return made, copy


@pytest.fixture
def site(_pristine: tuple[Installation, Path], prod: tuple[Server, str]) -> Installation:
    """It, as it was when it was made; and production's role with its rights."""
    made, copy = _pristine
    shutil.rmtree(made.folder)
    shutil.copytree(copy, made.folder, symlinks=True)
    server, name = prod
    server.psql(
        "ALTER TABLE account DISABLE ROW LEVEL SECURITY; SELECT lo_unlink(oid) FROM pg_largeobject_metadata", name
    )
    server.psql(f"GRANT pg_read_all_data TO {ROLE}")
    return Installation(folder=made.folder, url=made.url, bin=made.bin, plan=dict(made.plan), more=made.more)
