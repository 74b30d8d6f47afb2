"""The wheel as others get it, built once."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    uv = Path(sys.executable).with_name("uv")
    argv = [uv, "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*argv, "--out-dir", folder, ROOT], check=True, timeout=120)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The versions that we test with, as constraints; pip takes no hashes here, as a wheel of ours has none."""
    text = (ROOT / "requirements/runtime.txt").read_text("utf-8")
    pins = re.findall(r"^([a-z0-9-]+==[^ ;]+)", text, re.MULTILINE)
    assert pins
    file = tmp_path_factory.mktemp("versions") / "constraints.txt"
    file.write_text("\n".join(pins) + "\n")
    return file
