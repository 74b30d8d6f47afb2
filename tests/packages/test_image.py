"""The container image: built by podman from its definition, and at work without any right."""

from __future__ import annotations

import json
import os
import ssl
from pathlib import Path

import pytest

from containers import IMAGE, LIMITS

ROOT = Path(__file__).parents[2]
TAG = "localhost/daybreak:test"
#: As docs/install.md has it.
LOCKED = ("--rm", "--read-only", "--tmpfs=/tmp", "--cap-drop=all", "--security-opt=no-new-privileges")
TOOLS = """
set -e
for dump in /usr/lib/postgresql/*/bin/pg_dump; do $dump --version; done
restic version
ssh -V 2>&1
"""


class Image:
    """The built image, and ways to run it."""

    def __init__(self, podman) -> None:
        self._podman = podman

    def daybreak(self, *words: str) -> str:
        return self._podman("run", *LOCKED, *LIMITS, "--network=none", TAG, *words)

    def shell(self, text: str, *given: str) -> str:
        network = () if any(word.startswith("--network") for word in given) else ("--network=none",)
        return self._podman("run", *LOCKED, *LIMITS, *network, *given, "--entrypoint=sh", TAG, "-c", text)


@pytest.fixture(scope="module")
def image(podman, tmp_path_factory):
    # How this machine reaches an index of packages is not for the image: it is lent to the build.
    named = [os.environ[name] for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL") if name in os.environ]
    settings = tmp_path_factory.mktemp("pip") / "pip.conf"
    settings.write_text("[global]\ncert = /etc/pip.pem\n" + (f"index-url = {named[0]}\n" if named else ""))
    certificates = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
    lent = (f"--volume={settings}:/etc/pip.conf:ro", f"--volume={certificates}:/etc/pip.pem:ro", "--network=host")
    definition = ("--file", ROOT / "ops/image/Containerfile", f"--build-arg=BASE={IMAGE}", "--tag", TAG)
    podman("build", "--quiet", *LIMITS, *lent, *definition, ROOT, timeout_s=280)
    return Image(podman)


@pytest.mark.timeout(400)  # the image is built first
def test_it_has_daybreak_restic_ssh_and_the_tools_of_four_versions(image):
    assert image.daybreak("--version").startswith("daybreak ")
    said = image.shell(TOOLS).splitlines()
    assert [line.split()[2].split(".")[0] for line in said[:4]] == ["15", "16", "17", "18"]
    assert said[4].startswith("restic 0.")
    assert said[5].startswith("OpenSSH")


def test_its_user_is_daybreak_and_owns_nothing_but_the_state(image):
    assert image.shell("id -un; id -u; id -G") == "daybreak\n10001\n10001\n"
    assert image.shell("find / -xdev -user 10001 -not -path '/srv/daybreak*' 2>/dev/null; :") == "/var/lib/daybreak\n"


def test_only_what_is_needed_is_in_it(image):
    assert image.shell("ls /src /wheels /dist /opt/daybreak/bin/pip 2>/dev/null; ls /opt") == "daybreak\n"
    assert image.shell("find /var/lib/apt/lists /var/cache/apt /usr/lib/postgresql/18/bin -type f | sort") == "".join(
        f"/usr/lib/postgresql/18/bin/{name}\n" for name in ("pg_dump", "pg_dumpall", "pg_restore", "psql", "vacuumdb")
    )


@pytest.mark.postgres
@pytest.mark.restic
def test_it_backs_up_servers_of_several_versions_and_ships_without_any_right(image, servers, tmp_path):
    text = '[repositories.here]\nurl = "/backups/repository"\npassword_file = "/tmp/password"\n'
    for major in (15, 18):
        name = servers[major].fresh(servers[major].rich())
        text += f'[databases.pg{major}]\nurl = "{servers[major].url(name)}"\n[backups.pg{major}]\n'
        text += f'database = "pg{major}"\narchive = "/backups/{major}/prod.dump"\nrepositories = ["here"]\n'
    configuration = tmp_path / "daybreak.toml"
    configuration.write_text(text)
    configuration.chmod(0o644)
    said = image.shell(
        """
        set -e
        (umask 077; echo secret >/tmp/password)
        mkdir /backups/15 /backups/18
        daybreak repository init --json
        for major in 15 18; do
            daybreak backup pg$major --json
            daybreak archive read /backups/$major/prod.dump >/dev/null
        done
        """,
        "--network=host",
        "--tmpfs=/backups:mode=1777",
        "--volume=/var/lib/daybreak",
        f"--volume={configuration}:/etc/daybreak/daybreak.toml:ro",
    )
    _, *runs = (json.loads(line) for line in said.splitlines())
    assert [run["state"] for run in runs] == ["succeeded", "succeeded"]
    assert all(run["archive"]["rows"] > 0 and len(run["snapshots"]) == 1 for run in runs)
