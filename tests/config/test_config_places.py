"""Where the configuration and the state are looked for."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

import pytest

from daybreak.config import choose_state, example, find_file, home_now
from daybreak.errors import ConfigError
from installation import PROGRAM


@pytest.fixture
def here(tmp_path: Path) -> Path:
    for name in ("given.toml", "named.toml", "here/daybreak.toml", "etc/daybreak.toml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path / "here"


def test_the_order_of_the_places(here: Path) -> None:
    given, named, system = here.parent / "given.toml", here.parent / "named.toml", here.parent / "etc/daybreak.toml"
    env = {"DAYBREAK_CONFIG": str(named)}
    assert find_file(given, env, here=here, system=system) == given
    assert find_file(None, env, here=here, system=system) == named
    assert find_file(None, {"DAYBREAK_CONFIG": ""}, here=here, system=system) == here / "daybreak.toml"
    (here / "daybreak.toml").unlink()
    assert find_file(None, {}, here=here, system=system) == system
    assert find_file(Path("../given.toml"), {}, here=here, system=system).samefile(given)


def test_a_file_that_was_named_and_is_missing_has_no_second(here: Path) -> None:
    missing = here / "missing.toml"
    with pytest.raises(ConfigError, match=r"missing\.toml is not there") as caught:
        find_file(missing, {}, here=here)
    assert "--config" in caught.value.hint
    with pytest.raises(ConfigError, match=r"missing\.toml is not there") as caught:
        find_file(None, {"DAYBREAK_CONFIG": str(missing)}, here=here)
    assert "DAYBREAK_CONFIG" in caught.value.hint


def test_without_any_file_all_places_are_listed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        find_file(None, {}, here=tmp_path, system=tmp_path / "etc.toml")
    for place in ("--config", "DAYBREAK_CONFIG", str(tmp_path / "daybreak.toml"), str(tmp_path / "etc.toml")):
        assert place in caught.value.message
    assert "config example" in caught.value.hint
    assert caught.value.exit_code == 3


def test_the_order_of_the_state_folders(tmp_path: Path) -> None:
    home, system, configured = tmp_path / "home", tmp_path / "lib", Path("/srv/state")
    env = {"DAYBREAK_STATE": "/env/state", "XDG_STATE_HOME": "/xdg"}
    assert choose_state(configured, env, is_root=True, home=home, system=system) == Path("/env/state")
    del env["DAYBREAK_STATE"]
    assert choose_state(configured, env, is_root=True, home=home, system=system) == configured
    assert choose_state(None, env, is_root=True, home=home, system=system) == system
    assert choose_state(None, env, is_root=False, home=home, system=system) == Path("/xdg/daybreak")
    assert choose_state(None, {}, is_root=False, home=home, system=system) == home / ".local/state/daybreak"
    relative = {"XDG_STATE_HOME": "relative"}
    assert choose_state(None, relative, is_root=False, home=home, system=system) == home / ".local/state/daybreak"
    system.mkdir()
    assert choose_state(None, env, is_root=False, home=home, system=system) == system


def test_a_relative_state_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="DAYBREAK_STATE is 'state'"):
        choose_state(None, {"DAYBREAK_STATE": "state"}, is_root=True, home=tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.parametrize(
    ("folder", "words", "said"),
    [
        ("/", ["--config", "{}/daybreak.toml"], "{}/daybreak.toml cannot be read: Permission denied"),
        ("{}", [], "there is no configuration file"),
        ("{}/gone", [], "the folder this was called in: No such file or directory"),
    ],
)
def test_a_place_that_is_closed_or_gone_is_told(tmp_path: Path, folder: str, words: list[str], said: str) -> None:
    """/etc/daybreak is 2750: whoever is no member of its group got a traceback for every command."""
    tmp_path.chmod(0o700)
    (tmp_path / "gone").mkdir()
    (tmp_path / "daybreak.toml").write_text(example())
    call = ["/usr/bin/setpriv", "--reuid=54321", "--clear-groups", *PROGRAM, "status", *words]
    text = f"rm -r {tmp_path}/gone; exec {shlex.join(call)}"
    done = subprocess.run(
        ["/bin/sh", "-c", text.replace("{}", str(tmp_path))],
        cwd=folder.replace("{}", str(tmp_path)),
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 3, done.stderr
    assert said.replace("{}", str(tmp_path)) in done.stderr
    assert "→" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.parametrize(("words", "status"), [(["status", "--config"], 3), (["archive", "read"], 12)])
def test_a_file_that_is_there_and_not_ours_is_no_slip_on_the_command_line(words: list[str], status: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        file = Path(folder, "of-root")
        file.touch(0o600)
        call = ["/usr/bin/setpriv", "--reuid=54321", "--clear-groups", *PROGRAM, *words, str(file)]
        env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        done = subprocess.run(call, cwd="/", env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == status, done.stderr
    assert f"{file} cannot be read: Permission denied" in done.stderr


def test_a_user_without_a_home_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    with pytest.raises(ConfigError, match="this user has no home") as caught:
        choose_state(None, {}, is_root=False, home=home_now(), system=tmp_path / "lib")
    assert "set HOME" in caught.value.hint
    assert choose_state(
        None, {"XDG_STATE_HOME": "/xdg"}, is_root=False, home=home_now(), system=tmp_path / "lib"
    ) == Path("/xdg/daybreak")
