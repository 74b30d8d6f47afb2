"""A lock is held by who works, and by nobody who only looks whether it is held."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from daybreak import files
from daybreak.errors import Busy

AT_ONCE = timedelta(0)


def test_a_look_keeps_a_free_lock_from_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also from one who would not wait: a look that a busy host holds up lasts a while."""
    path, looking = tmp_path / "serve.lock", threading.Event()
    path.touch()
    real = os.close

    def close(handle: int) -> None:
        if threading.current_thread() is look:
            looking.set()
            time.sleep(0.2)
        real(handle)

    monkeypatch.setattr(os, "close", close)
    look = threading.Thread(target=files.is_locked, args=(path,))
    look.start()
    assert looking.wait(10)
    with files.lock(path, wait=AT_ONCE, holder="the runner"):
        assert files.is_locked(path)
    look.join()
    assert not files.is_locked(path)


def test_who_works_is_named_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "serve.lock"
    began = time.monotonic()
    with (
        files.lock(path, wait=AT_ONCE, holder="the runner"),
        pytest.raises(Busy, match="the runner holds"),
        files.lock(path, wait=AT_ONCE),
    ):
        pytest.fail("two have it")
    assert time.monotonic() - began < 5


def test_two_who_look_do_not_take_each_other_for_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "serve.lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert not files.is_locked(path)
