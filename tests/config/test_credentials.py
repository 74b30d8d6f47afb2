"""Secrets are read where they are kept, refused where everybody sees them, and never repeated."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daybreak.credentials import passfile, read_env_file, read_secret
from daybreak.errors import ConfigError
from daybreak.model import SecretSource
from daybreak.process import Runner
from daybreak.secret import Secret

VALUE = "canary-7c1d pass:word"


def a_file(folder: Path, content: bytes, mode: int = 0o600) -> SecretSource:
    path = folder / "password"
    path.write_bytes(content)
    path.chmod(mode)
    return SecretSource(file=path)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400])
def test_a_password_file_with_any_line_end(tmp_path: Path, end: str, mode: int) -> None:
    assert read_secret(a_file(tmp_path, (VALUE + end).encode(), mode), Runner()).reveal() == VALUE


def test_only_one_line_end_is_taken_off(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="more than one line"):
        read_secret(a_file(tmp_path, b"x\n\n"), Runner())
    assert read_secret(a_file(tmp_path, b" blanks stay \n"), Runner()).reveal() == " blanks stay "


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"", 0o600, "is empty"),
        (b"\n", 0o600, "is empty"),
        (b"canary-7c1d\nsecond\n", 0o600, "more than one line"),
        (b"canary-7c1d\0", 0o600, "more than one line"),
        (b"canary-7c1d\xff", 0o600, "not UTF-8"),
        (b"canary-7c1d" * 10_000, 0o600, "larger than"),
        (b"canary-7c1d", 0o644, "mode 0644"),
        (b"canary-7c1d", 0o602, "mode 0602"),
    ],
)
def test_a_file_that_will_not_do(tmp_path: Path, content: bytes, mode: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        read_secret(a_file(tmp_path, content, mode), Runner())
    assert str(tmp_path / "password") in caught.value.message
    assert "canary" not in caught.value.message + caught.value.hint
    assert ("chmod o= " in caught.value.hint) is bool(mode & 0o007)
    assert caught.value.exit_code == 3


def test_what_is_no_file_at_all(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("missing", "is not there"), ("pipe", "not a regular file"), (".", "not a regular file")):
        with pytest.raises(ConfigError, match=words):
            read_secret(SecretSource(file=tmp_path / name), Runner())


def test_a_file_of_somebody_else(tmp_path: Path) -> None:
    source = a_file(tmp_path, VALUE.encode(), 0o000)
    if os.geteuid() != 0:
        with pytest.raises(ConfigError, match="cannot be read"):
            read_secret(source, Runner())
        return
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    code = (
        "import os, sys, pathlib\n"
        "from daybreak.credentials import read_secret\n"
        "from daybreak.errors import ConfigError\n"
        "from daybreak.model import SecretSource\n"
        "from daybreak.process import Runner\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: read_secret(SecretSource(file=pathlib.Path(sys.argv[1])), Runner())\n"
        "except ConfigError as error: sys.exit(error.message)\n"
    )
    said = subprocess.run([sys.executable, "-c", code, source.file], check=False, capture_output=True, text=True)
    assert said.stderr.strip().endswith("cannot be read: Permission denied")


def test_a_password_from_the_environment() -> None:
    source = SecretSource(env="PROD_PASSWORD")
    assert read_secret(source, Runner(), env={"PROD_PASSWORD": VALUE}).reveal() == VALUE
    with pytest.raises(ConfigError, match="PROD_PASSWORD is not set"):
        read_secret(source, Runner(), env={})
    with pytest.raises(ConfigError, match="PROD_PASSWORD is empty"):
        read_secret(source, Runner(), env={"PROD_PASSWORD": ""})


def test_a_password_from_a_command(tmp_path: Path) -> None:
    (tmp_path / "vault").write_text(f"{VALUE}\n")
    source = SecretSource(command=("cat", str(tmp_path / "vault")))
    said: list[str] = []
    assert read_secret(source, Runner(log=said.append)).reveal() == VALUE
    with pytest.raises(ConfigError, match="no such vault") as caught:
        read_secret(SecretSource(command=("sh", "-c", "echo no such vault >&2; exit 3")), Runner())
    assert "try it" in caught.value.hint
    with pytest.raises(ConfigError, match="is not there"):
        read_secret(SecretSource(command=("no-such-program-at-all",)), Runner())
    with pytest.raises(ConfigError, match="is empty"):
        read_secret(SecretSource(command=("true",)), Runner())


def test_a_source_that_names_nothing_is_a_slip_of_ours() -> None:
    with pytest.raises(ValueError, match="without a source"):
        read_secret(SecretSource(), Runner())


ENV_FILE = r"""# the keys of the bucket
AWS_ACCESS_KEY_ID=AKIDEXAMPLE
export AWS_SECRET_ACCESS_KEY="a \"quoted\" $HOME \\ \n value"   # a comment

  AWS_SESSION_TOKEN='single $HOME # "'
AWS_DEFAULT_REGION=auto
BARE=abc#def=/+==
EMPTY=
COMMENTED= # nothing
"""


def test_an_env_file_is_read_as_a_shell_would_read_it(tmp_path: Path) -> None:
    path = tmp_path / "r2.env"
    path.write_text(ENV_FILE)
    path.chmod(0o600)
    values = read_env_file(path)
    shown = {name: value.reveal() if isinstance(value, Secret) else value for name, value in values.items()}
    assert shown == {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": r'a "quoted" $HOME \ \n value',
        "AWS_SESSION_TOKEN": 'single $HOME # "',
        "AWS_DEFAULT_REGION": "auto",
        "BARE": "abc#def=/+==",
        "EMPTY": "",
        "COMMENTED": "",
    }
    assert [name for name, value in values.items() if not isinstance(value, Secret)] == ["AWS_DEFAULT_REGION"]
    # The shell expands $HOME; apart from that it agrees.
    env = {"PATH": os.environ["PATH"], "HOME": "$HOME"}
    shell = subprocess.run(
        ["/bin/sh", "-c", f'set -a; . {path}; printf "%s\\n" "$AWS_SECRET_ACCESS_KEY" "$AWS_SESSION_TOKEN" "$BARE"'],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    names = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "BARE")
    assert shell.stdout.splitlines() == [shown[name] for name in names]


@pytest.mark.parametrize(
    "line",
    ["canary", "NAME = canary", "NAME=can ary", "NAME='canary", 'NAME="canary', "1NAME=canary", "NAME='a'canary", "=x"],
)
def test_a_line_that_will_not_do_is_named_by_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "r2.env"
    path.write_text(f"# first\n{line}\n")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="line 2 of the env file") as caught:
        read_env_file(path)
    assert "canary" not in caught.value.message + caught.value.hint


def test_an_env_file_of_an_editor_of_windows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r2.env"
    path.write_bytes(b"\xef\xbb\xbfFIRST=b\r\nSECOND=d\r\n")
    path.chmod(0o600)
    values = read_env_file(path)
    assert {name: one.reveal() for name, one in values.items() if isinstance(one, Secret)} == {
        "FIRST": "b",
        "SECOND": "d",
    }


def test_an_env_file_with_a_name_twice_or_open_to_all(tmp_path: Path) -> None:
    path = tmp_path / "r2.env"
    path.write_text("NAME=canary\nNAME=other\n")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="NAME stands twice"):
        read_env_file(path)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="mode 0644"):
        read_env_file(path)


def test_a_passfile_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    with passfile(Secret("a:b\\c"), tmp_path) as path:
        assert path.parent == tmp_path
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_text() == "*:*:*:*:a\\:b\\\\c\n"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError), passfile(Secret("x"), tmp_path):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), min_size=1))
def test_any_password_of_one_line_survives_a_password_file(
    tmp_path_factory: pytest.TempPathFactory, value: str
) -> None:
    source = a_file(tmp_path_factory.mktemp("secret"), value.encode() + b"\n")
    assert read_secret(source, Runner()).reveal() == value
