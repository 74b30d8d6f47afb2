"""The search for canaries finds what it is for: a check that could not fail would be worth nothing."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from canaries import LEFT, in_arguments, leaks, watched_arguments
from daybreak.process import Command, Runner
from installation import Answer, unseen


@pytest.mark.parametrize("pattern", LEFT)
def test_a_canary_in_anything_that_is_left_is_found(tmp_path: Path, pattern: str) -> None:
    path = tmp_path / "some" / "installation" / pattern.replace("*", "x")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"nothing \0 here")
    assert leaks(tmp_path) == []
    path.write_bytes(b"a \0 can" + b"ary-4711")
    assert leaks(tmp_path) == [str(path)]
    path.unlink()


def test_a_canary_in_a_catalog_is_found(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite3"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE runs (reason)")
        connection.execute("INSERT INTO runs VALUES (?)", ["password can" + "ary-4711 refused"])
    assert leaks(tmp_path) == [str(path)]
    path.unlink()


def test_where_a_secret_is_kept_is_no_leak(tmp_path: Path) -> None:
    (tmp_path / "prod.password").write_text("can" + "ary-4711")
    assert leaks(tmp_path) == []


def test_a_canary_in_arguments_is_found(tmp_path: Path) -> None:
    with watched_arguments("a bird that may sing") as seen:  # the real ones are watched for too
        Runner().run(Command(argv=("true", "a bird that may sing"), deadline=timedelta(seconds=10)))
    assert len(seen) == 1
    place = tmp_path / "4711" / "cmdline"
    place.parent.mkdir()
    place.write_bytes(b"sh\0-c\0x\0daybreak-watchdog\0psql\0can" + b"ary-4711\0")
    assert in_arguments(tmp_path) == ["sh -c x daybreak-watchdog psql can" + "ary-4711 "]


def test_a_canary_that_is_printed_is_found() -> None:
    with pytest.raises(AssertionError, match="was printed"):
        unseen(Answer(code=0, out="", err="the password can" + "ary-4711 is wrong"))
