"""The recovery kit, followed to the letter where there is no Daybreak: restic, python3 and PostgreSQL alone."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from containers import Podman
from daybreak.archive import read_archive
from daybreak.jobs.recovery import as_html, as_text, page
from daybreak.model import BackupPlan, Database, Repository, SecretSource, ShipForm
from daybreak.process import Runner
from daybreak.restic import Restic
from installation import Installation

PASSWORD = "canary-password-of-the-repository"


def python_for_a_container() -> list[str]:
    """Volumes that put our own interpreter and its standard library into a container, as /usr/local's."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    program = Path(sys.executable).resolve()
    needed = subprocess.run([shutil.which("ldd") or "ldd", program], capture_output=True, text=True, check=True).stdout
    own = re.findall(r"=> (/\S+/(?:libpython|libexpat|libz)\S*)", needed)
    return [
        f"{program}:/usr/local/bin/python3:ro",
        f"{sysconfig.get_path('stdlib')}:/usr/local/lib/{version}:ro",
        *(f"{path}:/usr/local/lib/kit/{Path(path).name}:ro" for path in own),
    ]


def ready(podman: Podman, name: str) -> None:
    """Wait until the server in a container answers."""
    until = time.monotonic() + 60
    asked = ("psql", "-XAtqc", "SELECT 1", "-h", "/run/postgresql", "-U", "postgres")
    while "1" not in podman("exec", name, *asked, ok=False):
        assert time.monotonic() < until, podman("logs", name, ok=False)
        time.sleep(0.2)


@pytest.fixture
def site(servers, restics: Mapping[str, Path], tmp_path: Path) -> Installation:
    """A backup of a database with roles, owners and grants, whose repository is a folder."""
    server = servers[15]
    source = server.fresh()
    for role in ("kit_owner", "kit_reader"):
        server.create_role(role)
    server.psql(
        f"ALTER DATABASE {source} OWNER TO kit_owner; GRANT CONNECT ON DATABASE {source} TO kit_reader; "
        f"ALTER DATABASE {source} SET work_mem = '5MB'"
    )
    server.psql(
        "SET ROLE kit_owner; CREATE SCHEMA app; CREATE TABLE app.runs (id int PRIMARY KEY, note text); "
        "INSERT INTO app.runs SELECT n, md5(n::text) FROM generate_series(1, 20000) AS n; "
        "GRANT USAGE ON SCHEMA app TO kit_reader; GRANT SELECT ON app.runs TO kit_reader; CREATE TABLE app.empty ();"
        "SELECT lo_from_bytea(0, 'paper')",
        source,
    )
    secret = tmp_path / "repository.password"
    secret.touch(mode=0o600)
    secret.write_text(PASSWORD + "\n")
    site = Installation(
        folder=tmp_path,
        url=server.url(source),
        bin=server.bin,
        plan={"repositories": ["disk"]},
        more=f"[repositories.disk]\nurl = {json.dumps(str(tmp_path / 'repository'))}\n"
        f"password_file = {json.dumps(str(secret))}\nrestic = {json.dumps(str(restics['newer']))}\n"
        f"env = {{ RESTIC_CACHE_DIR = {json.dumps(str(tmp_path / 'cache'))} }}\n",
    )
    site.json("repository", "init")
    return site


@pytest.mark.parametrize("form", ["shards", "file"])
def test_the_page_is_followed_to_the_letter(
    site: Installation, servers, restics: Mapping[str, Path], podman: Podman, form: str
) -> None:
    tmp_path = site.folder
    site.configure(plan={"ship": form})
    site.backup()
    source = read_archive(site.archive).header.database
    kit = tmp_path / "kit"
    kit.mkdir()

    said = site.json("recovery-kit", "--to", str(kit))

    assert said["not_asked"] == []
    text = (kit / "daybreak-recovery.txt").read_text()
    page = (kit / "daybreak-recovery.html").read_text()
    assert PASSWORD not in text + page
    assert Restic(repository(site), Runner()).key() in text
    commands = [line.removeprefix("    ") for line in text.splitlines() if line.startswith("    ")]
    assert commands == html.unescape("\n".join(re.findall("<pre>(.*?)</pre>", page, re.DOTALL))).splitlines()
    shutil.rmtree(site.backups)  # this server is gone
    shutil.rmtree(site.state)

    name = f"kit-{form}"
    volumes = [
        f"{tmp_path / 'repository'}:{tmp_path / 'repository'}",
        f"{tmp_path / 'repository.password'}:{tmp_path / 'repository.password'}:ro",
        f"{restics['newer']}:/usr/local/bin/restic:ro",
        *python_for_a_container(),
    ]
    podman.start(name, env={"POSTGRES_USER": "postgres", "POSTGRES_PASSWORD": "x"}, volumes=volumes)
    try:
        ready(podman, name)
        script = "\n".join(["set -e", "mkdir /srv/empty", "cd /srv/empty", *commands])
        words = ("PGHOST=/run/postgresql", "PGUSER=postgres", "LD_LIBRARY_PATH=/usr/local/lib/kit", "HOME=/srv")
        env = [f"--env={word}" for word in words]
        podman("exec", "--interactive", *env, name, "sh", stdin=script.encode(), timeout_s=300)

        def ask(sql: str) -> str:
            return podman.sql(name, sql, source)

        rows = "SELECT count(*), md5(string_agg(id || note, ',' ORDER BY id)) FROM app.runs"
        assert ask(rows) == servers[15].psql(rows, source)
        assert ask("SELECT tableowner FROM pg_tables WHERE tablename = 'runs'") == "kit_owner"
        assert ask("SELECT has_table_privilege('kit_reader', 'app.runs', 'SELECT')") == "t"
        assert ask("SELECT has_table_privilege('kit_reader', 'app.empty', 'SELECT')") == "f"
        assert ask("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()") == "kit_owner"
        assert "kit_reader=c/kit_owner" in ask("SELECT datacl FROM pg_database WHERE datname = current_database()")
        assert ask("SHOW work_mem") == "5MB"
        assert ask("SELECT convert_from(lo_get(oid), 'UTF8') FROM pg_largeobject_metadata") == "paper"
    finally:
        podman("rm", "--force", "--time=0", name)


def repository(site: Installation) -> Repository:
    """The repository of the site."""
    folder = site.folder
    return Repository(
        name="disk", url=str(folder / "repository"), password=SecretSource(file=folder / "repository.password")
    )


def test_a_repository_that_does_not_answer_costs_the_name_of_its_key(site: Installation, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "repository")

    answer = site.call("recovery-kit", "--to", str(tmp_path))

    assert answer.code == 0
    assert "the key is not named: disk: " in answer.out
    assert "Which key it opens could not be asked." in (tmp_path / "daybreak-recovery.txt").read_text()
    nowhere = site.json("recovery-kit", "--to", str(tmp_path / "no where"), expect=13)
    assert nowhere["hint"] == f"make it: mkdir -p '{tmp_path}/no where'"
    assert site.json("recovery-kit", "--to", "/etc/passwd", expect=13)["hint"] == "name a folder with --to"


def test_no_secret_is_on_the_page() -> None:
    remote = Repository(
        name="far",
        url="rest:https://user:canary-in-the-address@backup.example.org/it",
        password=SecretSource(command=("pass", "show", "restic")),
        env={"AWS_DEFAULT_REGION": "auto"},
        env_file=Path("/etc/daybreak/far.env"),
    )
    plan = BackupPlan(
        name="nightly",
        database=Database(name="prod", conninfo={}),
        archive=Path("/var/backups/it's.dump"),
        repositories=(remote,),
        ship=ShipForm.FILE,
    )

    parts = list(page([plan], {"far": "ab12"}, host="<db1>", at=datetime(2026, 11, 22, tzinfo=UTC)))

    text = as_text(parts)
    assert "canary" not in text + as_html(parts)
    assert "rest:https://user:PASSWORD@backup.example.org/it" in text
    assert "    export AWS_DEFAULT_REGION=auto\n" in text
    assert "    set -a; . /etc/daybreak/far.env; set +a\n" in text
    assert "`pass show restic`" in text
    assert "The key that it opens is ab12." in text
    assert "'recovery/var/backups/.daybreak/ship/nightly/it'\"'\"'s.dump'" in text
    assert "&lt;db1&gt;" in as_html(parts)
