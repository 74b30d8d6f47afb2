"""The main job in real containers, by name: backup, refresh with proof, undo."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from engines import ENVIRONMENT, Box, Engine
from in_containers import DEV, PROD, ContainerSite, Deployment
from sshd import Sshd

from daybreak.files import sha256_file

Deploy = Callable[..., Deployment]


def whole_path(site: Deployment) -> None:
    """Backup, refresh, undo; nothing is left behind."""
    site.backup()
    assert site.manifest().rows == site.rows
    site.dev.psql("CREATE TABLE mine ()")
    said = site.refresh("--first")
    assert (said["proof"]["different"], said["proof"]["equal"]) == (0, said["proof"]["tables"])
    assert site.in_dev() == site.in_prod()
    site.json("undo")
    assert site.dev.psql("SELECT count(*) FROM mine") == "0"
    assert site.left_behind() == []
    assert site.leftovers() == []


def how_it_came(site: Deployment) -> str:
    """How the last refresh's archive reached the target: the copy of it that loads rows frozen."""
    logs = "".join(path.read_text() for path in sorted((site.state / "logs").iterdir()))
    assert int(re.findall(r"'frozen': (\d+)", logs)[-1]) > 0
    return re.findall(r"'archive': '(\w+)'", logs)[-1]


def test_the_folder_is_mounted_read_only(deploy: Deploy, engine: Engine) -> None:
    site = deploy(engine)
    whole_path(site)
    assert how_it_came(site) == "mount"


@pytest.mark.parametrize("dev_mount", ["none", "other", "rw", "link"])
def test_the_folder_is_mounted_otherwise(deploy: Deploy, podman_engine: Engine, dev_mount: str) -> None:
    site = deploy(podman_engine, dev_mount=dev_mount)
    if dev_mount == "other":  # a file of the same name that is not the archive
        pins = site.folder / "other" / ".daybreak" / "pins"
        pins.mkdir(parents=True)
    site.backup()
    said = site.refresh("--first")
    assert said["proof"]["different"] == 0
    writable = {"rw": site.backups, "link": site.folder / "link"}.get(dev_mount)
    assert how_it_came(site) == ("mount" if writable else "copy")
    warned = " ".join(said.get("warnings", []))
    assert "/backups:ro" not in warned if writable is None else f"{writable}:/backups:ro" in warned
    assert site.left_behind() == []


def test_the_docker_client_over_podman(deploy: Deploy, mixed_engine: Engine) -> None:
    whole_path(deploy(mixed_engine))


def test_containers_on_another_host(deploy: Deploy, podman_engine: Engine, vps: Sshd) -> None:
    site = deploy(podman_engine, vps=vps)
    whole_path(site)
    assert how_it_came(site) == "copy"


def test_the_runtime_is_found_by_itself(deploy: Deploy, podman_engine: Engine, docker_engine: Engine) -> None:
    """docker is there and answers, but does not know the container."""
    site = deploy(podman_engine)
    site.configure(database={"runtime": None}, dev={"runtime": None})
    both = {**docker_engine.env, "PATH": f"{podman_engine.bin}:{docker_engine.environment()['PATH']}"}
    site.apart("backup", "--json", env=both).expect(0)


def test_the_password_stays_inside(deploy: Deploy, podman_engine: Engine) -> None:
    """The local socket asks for a password: it comes from the container's environment, and is seen nowhere else."""
    site = deploy(podman_engine, env={**ENVIRONMENT, "AUTH_LOCAL": "scram-sha-256"})
    seen: list[str] = []
    with site.start("refresh", "--first", "--json") as going:
        while going.process.poll() is None:
            for place in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.append(place.read_bytes().decode("utf-8", "replace"))
                except OSError:
                    continue
        going.end().expect(0)
    secret = ENVIRONMENT["POSTGRES_PASSWORD"]
    assert any("pg_dump" in line for line in seen)
    # The test's own psql and the container's start say it; nothing of Daybreak does.
    assert not [line for line in seen if secret in line and "POSTGRES_PASSWORD=" not in line]
    for path in site.folder.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


def test_files_name_the_credentials(deploy: Deploy, podman_engine: Engine, tmp_path: Path) -> None:
    for key, value in ENVIRONMENT.items():
        (tmp_path / key).write_text(value + "\n")
    tmp_path.chmod(0o755)
    env = {f"{key}_FILE": f"/run/secrets/{key}" for key in ENVIRONMENT} | {"AUTH_LOCAL": "scram-sha-256"}
    mounts = [f"{tmp_path}:/run/secrets:ro"]
    box = podman_engine.start("from-files", env=env, mounts=mounts, ready=False)
    try:
        site = deploy(podman_engine)
        box.await_ready()
        site.configure(database={"container": "from-files"})
        said = site.json("backup")
        assert said["archive"]["rows"] == 0
    finally:
        box.remove()


def test_two_databases_in_one_container(deploy: Deploy, podman_engine: Engine) -> None:
    site = deploy(podman_engine)
    site.prod.psql("CREATE DATABASE \"wi ki $(x) 'q' ü\"")
    site.prod.psql("CREATE TABLE pages AS SELECT 1 AS id", "wi ki $(x) 'q' ü")
    site.configure(database={"database": "wi ki $(x) 'q' ü"})
    assert site.json("backup")["archive"]["rows"] == 1
    found = site.apart("config", "check", "--connect", "--json").expect(0)
    assert "wi ki $(x) 'q' ü" in str(found)


@pytest.mark.parametrize("name", ['it\'s $(touch /pwned) `x` "q" a b', "two\nlines \\ back 🐘;rm -rf *"])
def test_names_are_no_shell_text(podman_engine: Engine, vps: Sshd, box: Box, tmp_path: Path, name: str) -> None:
    """A database and a role whose names a shell would love, over ssh and in a container."""
    quoted = '"' + name.replace('"', '""') + '"'
    box.psql(f"CREATE ROLE {quoted} SUPERUSER LOGIN")
    box.psql(f"CREATE DATABASE {quoted} OWNER {quoted}")
    box.psql("CREATE TABLE t AS SELECT 1 AS id", name)
    database: dict[str, object] = {"container": box.name, "user": name, "database": name}
    site = ContainerSite(folder=tmp_path, engine=podman_engine, vps=vps, database=database)
    said = site.json("backup")
    assert said["archive"]["rows"] == 1
    assert "pwned" not in box.sh("ls /")
    assert sha256_file(site.archive) == said["archive"]["sha256"]


def test_the_guard_knows_production_by_any_way(deploy: Deploy, podman_engine: Engine, vps: Sshd) -> None:
    """Production's container behind another name of its host is still production."""
    site = deploy(podman_engine, vps=vps)
    site.configure(database={"host": None}, dev={"container": PROD})
    before = site.prod.psql("SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database")
    said = site.refresh("--first", expect=4)
    assert "protected" in said["message"]
    assert site.prod.psql("SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database") == before
    assert DEV not in said["message"]


def test_long_commands_over_ssh(deploy: Deploy, podman_engine: Engine, vps: Sshd, tmp_path: Path) -> None:
    """ssh takes a whole command as one word, which Linux ends at 128 KiB: names of three bytes a letter fill that."""
    site = deploy(podman_engine, vps=vps, rows=10)
    site.prod.psql(
        "DO $$ BEGIN FOR i IN 1..100 LOOP EXECUTE format('CREATE TABLE %I (%s)', '記録表' || i, (SELECT "
        "string_agg(format('%I int', '認証済みの記録項目' || j), ', ') "
        "FROM generate_series(1, 40) j)); END LOOP; END $$"
    )
    big, seen = tmp_path / "big.sql", tmp_path / "seen"
    big.write_text("SELECT 1 WHERE '' = '" + "''" * 45_000 + "'")
    look = {"name": "look", "when": "after_restore", "command": ["sh", "-c", f'echo "$DAYBREAK_CONNINFO" >{seen}']}
    hooks = [look, {"name": "big", "when": "after_restore", "sql_file": str(big)}]

    def configure() -> None:
        listed = (", ".join(f"{key} = {json.dumps(value)}" for key, value in hook.items()) for hook in hooks)
        site.more = "hooks = [" + ", ".join(f"{{ {one} }}" for one in listed) + "]\n"
        site.configure()

    configure()
    site.backup()
    said = site.refresh("--first", expect=3)
    assert "big.sql is larger than 100 kB on its way over ssh" in said["message"]
    assert not seen.exists()
    big.write_text("SELECT 1")
    configure()
    assert site.refresh("--first")["proof"]["different"] == 0
    # A psql with this ends in no server of this host.
    assert f"no way from here into container {DEV} on vps" in seen.read_text()
    hooks.clear()
    configure()
    kept = ", ".join(f"{{ table = 'public.\"記録表{number}\"' }}" for number in range(1, 31))
    site.more = f"keep = [{kept}]\n"
    site.configure()
    site.dev.psql('INSERT INTO "記録表1" VALUES (7)')
    site.refresh("--first")
    assert site.dev.psql('SELECT "認証済みの記録項目1" FROM "記録表1"') == "7"
