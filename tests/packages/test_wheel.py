"""The wheel, installed as people install programs, into an empty home; then it does its work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
PROGRAMS = Path(sys.executable).parent
#: How this machine reaches the index of packages is nobody's home, and stays.
KEPT = ("PIP_", "UV_", "SSL_", "HTTP", "http", "NO_PROXY", "no_proxy", "LANG")


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A user with nothing but Daybreak."""

    program: Path
    home: Path

    def call(self, *words: object, expect: int = 0) -> str:
        done = subprocess.run(
            [self.program, *map(str, words)],
            cwd=self.home,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module", params=["pipx", "uv tool"])
def installed(request, wheel, versions, tmp_path_factory) -> Installed:
    home = tmp_path_factory.mktemp(request.param.replace(" ", "-"))
    env = {name: value for name, value in os.environ.items() if name.startswith(KEPT)}
    env |= {"HOME": str(home), "PATH": f"{PROGRAMS}:/usr/bin:/bin"}
    if request.param == "pipx":  # as ops/README.md has it; Debian's pipx knows pip only
        env |= {"PIPX_HOME": str(home / "opt"), "PIPX_BIN_DIR": str(home / "bin"), "PIPX_DEFAULT_BACKEND": "pip"}
        argv = [PROGRAMS / "pipx", "install", "--quiet", "--python", sys.executable]
        argv += [f"--pip-args=--constraint {versions}", wheel]
    else:
        env |= {"UV_TOOL_DIR": str(home / "opt"), "UV_TOOL_BIN_DIR": str(home / "bin")}
        env.setdefault("UV_CACHE_DIR", str(ROOT / ".cache/uv"))
        argv = [PROGRAMS / "uv", "tool", "install", "--quiet", "--python", sys.executable]
        argv += ["--constraints", ROOT / "requirements/runtime.txt", wheel]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return Installed(program=home / "bin/daybreak", home=home)


def test_everything_in_the_source_is_in_the_wheel(wheel):
    ours = {path for path in SOURCE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert any(path.suffix == ".sql" for path in ours)
    with zipfile.ZipFile(wheel) as file:
        packed = {name: file.read(name) for name in file.namelist() if not name.startswith("daybreak-")}
    assert packed == {str(path.relative_to(SOURCE)): path.read_bytes() for path in ours}


def test_it_knows_its_version(installed, wheel):
    assert installed.call("--version") == f"daybreak {wheel.name.split('-')[1]}\n"


def test_its_example_of_a_configuration_is_one_that_it_accepts(installed):
    file = installed.home / "example.toml"
    file.write_text(installed.call("config", "example"))
    installed.call("--config", file, "config", "check")


def test_it_backs_up_a_real_server(installed, servers):
    server = servers[17]
    name = server.fresh(server.rich())
    folder = installed.home / "backups"
    folder.mkdir()
    (installed.home / "daybreak.toml").write_text(
        f"""state = {json.dumps(str(installed.home / "state"))}
[databases.prod]
url = "{server.url(name)}"
bin = {json.dumps(str(server.bin))}
[backups.nightly]
database = "prod"
archive = {json.dumps(str(folder / "prod.dump"))}
"""
    )
    made = json.loads(installed.call("backup", "nightly", "--json"))["archive"]
    assert made["rows"] > 0
    installed.call("archive", "read", folder / "prod.dump")  # equal to its manifest
    server.drop_database(name)
