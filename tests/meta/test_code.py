"""What every module of ours keeps to."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = sorted((ROOT / "src" / "daybreak").rglob("*.py"))
PYTHON = [*SOURCE, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "bench").rglob("*.py"))]
NAMES = [str(path.relative_to(ROOT)) for path in PYTHON]
LONGEST = 400


def test_there_is_code_to_look_at():
    assert len(SOURCE) > 10


@pytest.mark.parametrize("path", SOURCE, ids=[str(path.relative_to(ROOT)) for path in SOURCE])
def test_a_module_can_be_read_in_one_sitting(path):
    lines = len(path.read_text("utf-8").splitlines())
    assert lines < LONGEST, f"{path.name} has {lines} lines; cut it where its second subject begins"


@pytest.mark.parametrize("path", PYTHON, ids=NAMES)
def test_a_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), "say in a docstring what this module is for"


@pytest.mark.parametrize("path", PYTHON, ids=NAMES)
def test_an_exception_from_a_rule_has_its_reason(path):
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        for found in re.finditer(r"#\s*(?:noqa|type: ignore|pyright: ignore)(.*)", line):
            rule = re.match(r"(?::?\s*\[?[A-Za-z0-9_, ]+\]?)\s+-- \S.*", found[1])
            assert rule, f"{path.name}:{number}: name the rule, then write ` -- ` and the reason"


def test_imports_point_down_only():
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_daybreak_starts_no_program_and_reads_no_clock():
    # A slow or curious import is paid for by every `daybreak --help`.
    code = "import daybreak, sys; sys.exit('subprocess' in sys.modules or 'sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
