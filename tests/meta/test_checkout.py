"""What may stand in the files that we commit."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: What git would ignore, where there is no git to ask.
NOT_OURS = {
    ".git",
    ".venv",
    ".tools",
    ".cache",
    "dist",
    "build",
    "__pycache__",
    ".pytest_cache",
    ".ruff_cache",
    ".hypothesis",
    ".import_linter_cache",
}
REQUIREMENTS = sorted((ROOT / "requirements").glob("*.txt"))
#: Addresses of package and container registries.
REGISTRIES = re.compile(
    r"pypi[.]org|python[h]osted|npmjs[.]|(?:deb|security|ftp)[.]debian[.]org|docker[.]io/|ghcr[.]io|quay[.]io|artifactory[.]"
)
#: Folders of the machine that somebody worked on.
MACHINES = re.compile(r"(?<![\w.$}/])(?:/home/[a-z]|/root/|/Users/[A-Za-z])")


def tracked() -> list[Path]:
    """Every file of the checkout, as git sees it; without git, all but what is made here."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files", "-z"],  # noqa: S607 -- whose git it is does not matter here
            cwd=ROOT,
            capture_output=True,
            check=False,
        )
        if listed.returncode == 0:
            return [
                ROOT / os.fsdecode(name)
                for name in listed.stdout.split(b"\0")
                if name and (ROOT / os.fsdecode(name)).is_file()
            ]
    return [path for path in ROOT.rglob("*") if path.is_file() and not NOT_OURS & set(path.relative_to(ROOT).parts)]


def texts() -> list[tuple[Path, str]]:
    found = []
    for path in tracked():
        try:
            found.append((path, path.read_text("utf-8")))
        except UnicodeDecodeError:  # an archive of the tests, a picture
            continue
    return found


@pytest.mark.parametrize("pattern", [REGISTRIES, MACHINES], ids=["registries", "folders of a machine"])
def test_no_file_names(pattern):
    faults = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path, text in texts()
        if path != Path(__file__)
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert not faults, "\n".join(faults)


def test_the_patterns_find_what_they_are_for():
    assert REGISTRIES.search("https://files.python" + "hosted.org/packages")
    assert MACHINES.search("see /ro" + "ot/notes")
    assert not MACHINES.search("https://example.org/home/x and $HOME/root/")


def test_no_file_is_larger_than_a_person_wrote_it():
    large = [str(path.relative_to(ROOT)) for path in tracked() if path.stat().st_size > 1_000_000]
    assert not large


def test_the_changelog_has_a_place_for_what_is_new():
    lines = (ROOT / "CHANGELOG.md").read_text("utf-8").splitlines()
    assert "## [Unreleased]" in lines
    place = lines.index("## [Unreleased]")
    assert all(
        re.fullmatch(r"## \[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", line)
        for line in lines[place + 1 :]
        if line.startswith("## ")
    )


def test_every_installation_has_its_requirements():
    names = {path.stem for path in REQUIREMENTS}
    assert names == {"runtime", "dev", "build", "servers", "uv", *(f"postgresql-{major}" for major in (15, 16, 17, 18))}


@pytest.mark.parametrize("path", REQUIREMENTS, ids=[path.stem for path in REQUIREMENTS])
def test_requirements_are_pinned_and_hashed_and_have_no_address(path):
    text = path.read_text("utf-8")
    assert "://" not in text
    assert "file:" not in text
    for entry in re.split(r"\n(?=\S)", text):
        if entry.startswith("#"):
            continue
        assert re.match(r"[a-z0-9-]+==[^ ;]+", entry), f"not pinned: {entry.splitlines()[0]}"
        assert "--hash=sha256:" in entry, f"not hashed: {entry.splitlines()[0]}"


def test_runtime_requirements_are_what_development_tests_with():
    def versions(name: str) -> dict[str, str]:
        return dict(
            re.findall(
                r"^([a-z0-9-]+)==([^ ;\\]+)", (ROOT / "requirements" / f"{name}.txt").read_text("utf-8"), re.MULTILINE
            )
        )

    dev = versions("dev")
    for name in ("runtime", "build", "servers", "uv"):
        assert versions(name).items() <= dev.items(), f"{name}.txt and dev.txt differ: call just lock"


@pytest.mark.parametrize("name", ["run", ".ci/run", "tools/lock"])
def test_a_script_can_be_called(name):
    assert os.access(ROOT / name, os.X_OK)
