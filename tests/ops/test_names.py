"""The names that the first user's server already has: in the deployment's files each stands where it must."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from deployment import COMPOSE, CONFIGURATION, ON_THE_SERVER, OPS, SCRIPTS, SECRETS, WORKFLOWS, read_yaml, the_step

from daybreak.cli import main
from daybreak.config import check
from daybreak.deploy.scripts import scripts
from daybreak.schedule import parse_spec

FOLDER = "/var/backups/genji/postgres"
PROD, DEV = "genjishimada-db", "genjishimada-db-dev"


@pytest.fixture(scope="module")
def settings():
    return tomllib.loads(CONFIGURATION.read_text("utf-8"))


def test_the_configuration_is_accepted_as_it_is(capsys):
    assert main.run(["--config", str(CONFIGURATION), "config", "check"]) == 0, capsys.readouterr().err


def test_databases_are_containers_and_production_is_protected(settings):
    assert settings["databases"] == {"prod": {"container": PROD, "protected": True}, "dev": {"container": DEV}}


def test_plans_have_the_names_that_the_scripts_call(settings):
    nightly, weekly = settings["backups"]["nightly"], settings["refreshes"]["weekly"]
    assert nightly["database"] == "prod"
    assert nightly["archive"] == f"{FOLDER}/genjishimada-prod.dump"
    assert weekly["backup"] == "nightly"
    assert weekly["target"] == "dev"


def test_the_repository_is_the_bucket_and_its_secrets_are_only_named(settings):
    repository = settings["repositories"]["r2"]
    assert settings["backups"]["nightly"]["repositories"] == ["r2"]
    assert repository["url"].startswith("s3:https://")
    assert repository["url"].endswith(".r2.cloudflarestorage.com/genji-db-backups")
    assert {"password_file", "env_file"} <= repository.keys()


@pytest.mark.parametrize(
    ("job", "kind", "plan", "cron"),
    [("backup", "backups", "nightly", "0 2 * * *"), ("refresh", "refreshes", "weekly", "0 2 * * 0")],
)
def test_the_workflow_runs_when_the_configuration_says(settings, job, kind, plan, cron):
    (when,) = read_yaml(WORKFLOWS[job])["on"]["schedule"]
    assert when == {"cron": cron, "timezone": "America/Chicago"}
    assert settings["timezone"] == when["timezone"]
    assert parse_spec(settings[kind][plan]["schedule"]) == cron


@pytest.mark.parametrize("job", WORKFLOWS)
def test_a_workflow_has_no_rights_no_action_and_its_secrets_by_environment(job):
    """The checklist for workflows, point by point, as far as a file can keep it."""
    text = WORKFLOWS[job].read_text("utf-8")
    workflow, step = read_yaml(WORKFLOWS[job]), the_step(WORKFLOWS[job])
    assert workflow["permissions"] == {}
    assert workflow["concurrency"] == {"group": "db-prod", "cancel-in-progress": False}  # shared by both
    assert set(workflow["on"]) == {"schedule", "workflow_dispatch"}
    assert not (workflow["on"]["workflow_dispatch"] or {}).get("inputs")
    assert all(one["timeout-minutes"] == 45 for one in workflow["jobs"].values())
    assert "uses:" not in text
    assert step["env"] == {name: "${{ secrets." + name + " }}" for name in SECRETS}
    assert "${{" not in step["run"]
    assert "set -x" not in step["run"]
    assert f" {ON_THE_SERVER}/{SCRIPTS[job].name} " in step["run"]
    assert "keyscan" not in text
    assert re.findall(r"StrictHostKeyChecking=(\S+)", text) == ["yes"]
    options = ("ConnectTimeout=15", "ServerAliveInterval=15", "ServerAliveCountMax=4", "BatchMode=yes")
    for option in (*options, "IdentitiesOnly=yes", 'UserKnownHostsFile="$folder/known_hosts"'):
        assert f"-o {option} " in step["run"], option
    assert "umask 077" in step["run"]
    assert "trap 'rm -rf" in step["run"]
    assert "GITHUB_STEP_SUMMARY" in step["run"]


def test_the_workflows_are_what_is_written_for_the_configuration(tmp_path, capsys):
    words = ["--config", str(CONFIGURATION), "github", "install", "--to", str(tmp_path / "there")]
    assert main.run(words) == 0
    written = {path.name: path.read_text() for path in (tmp_path / "there").iterdir()}
    assert written == {path.name: path.read_text() for path in WORKFLOWS.values()}
    assert capsys.readouterr().out.count("written: ") == 2
    assert main.run(words) == 0
    assert capsys.readouterr().out.count("unchanged: ") == 2


def test_the_scripts_are_what_is_written_for_the_configuration():
    settings = check(CONFIGURATION)
    texts = scripts(settings.server, {"backup:nightly": "prod", "refresh:weekly": "dev"})
    assert texts == {Path(ON_THE_SERVER) / path.name: path.read_text() for path in SCRIPTS.values()}


def test_the_key_may_ask_for_both_plans_and_the_scripts_stand_for_them(settings):
    (key,) = settings["server"]["keys"]
    assert key["may"] == ["backup:nightly", "refresh:weekly"]
    named = {verb: f"{ON_THE_SERVER}/{SCRIPTS[verb.partition(':')[0]].name}" for verb in key["may"]}
    assert settings["server"]["scripts"] == named
    assert settings["server"]["group"] == "genji-backup"


def test_containers_have_their_names_and_mounts():
    services = read_yaml(COMPOSE)["services"]
    assert {name: one["container_name"] for name, one in services.items()} == {"prod": PROD, "dev": DEV}
    for service in services.values():
        assert f"{FOLDER}:/backups:ro" in service["volumes"]
        assert "shared_preload_libraries=pg_cron" in service["command"]
        assert "cron.database_name=genjishimada" in service["command"]
        assert "ports" not in service
        assert "environment" not in service  # credentials come from a file that is not here
    assert services["prod"]["env_file"] != services["dev"]["env_file"]


def test_the_steps_by_hand_name_everything():
    text = (OPS / "README.md").read_text("utf-8")
    names = [*SECRETS, PROD, DEV, FOLDER, "genji-backup", ON_THE_SERVER, "2770", "restrict"]
    names += [path.name for path in (*SCRIPTS.values(), *WORKFLOWS.values())]
    assert not [name for name in names if name not in text]
    assert "keyscan" not in text
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert links
    assert not [link for link in links if not (OPS / Path(link)).exists()]
