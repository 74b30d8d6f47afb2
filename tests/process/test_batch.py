"""Work that lets others go first, and what it was before."""

from __future__ import annotations

import os
import threading
from datetime import timedelta

import pytest

from daybreak.batch import as_batch
from daybreak.command import Command
from daybreak.process import Runner

#: The policy of a process is the forty-first word of its line; the program's name there has no blanks.
POLICY = Command(argv=("/bin/cut", "-d ", "-f41", "/proc/self/stat"), deadline=timedelta(minutes=1))


def in_a_thread(policy: int) -> list[int]:
    """The policy before, in and behind a block, in a thread that began with `policy`."""
    seen: list[int] = []

    def look() -> None:
        os.sched_setscheduler(0, policy, os.sched_param(0))
        seen.append(os.sched_getscheduler(0))
        with as_batch():
            seen.append(os.sched_getscheduler(0))
        seen.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return seen


def test_a_block_is_batch_work_and_what_comes_behind_it_is_not() -> None:
    assert in_a_thread(os.SCHED_OTHER) == [os.SCHED_OTHER, os.SCHED_BATCH, os.SCHED_OTHER]


@pytest.mark.parametrize("policy", [os.SCHED_IDLE, os.SCHED_BATCH])
def test_who_was_started_as_something_else_stays_that(policy: int) -> None:
    assert in_a_thread(policy) == [policy, policy, policy]


def test_programs_and_threads_of_a_block_are_batch_work_too() -> None:
    seen: list[int] = []
    with as_batch():
        inside = Runner().run(POLICY)
        thread = threading.Thread(target=lambda: seen.append(os.sched_getscheduler(0)))
        thread.start()
        thread.join()
    outside = Runner().run(POLICY)
    assert (inside.stdout, outside.stdout, seen) == (b"3\n", b"0\n", [os.SCHED_BATCH])


def test_a_fault_inside_leaves_nothing_behind() -> None:
    with pytest.raises(ZeroDivisionError), as_batch():
        raise ZeroDivisionError
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_where_nobody_may_ask_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_words: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with as_batch():
        assert os.sched_getscheduler(0) == os.SCHED_OTHER
