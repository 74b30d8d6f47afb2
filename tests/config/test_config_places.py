"""Where the configuration and the state are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from daybreak.config import choose_state, find_file
from daybreak.errors import ConfigError


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
