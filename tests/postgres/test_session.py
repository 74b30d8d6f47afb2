"""A psql that answers one question after another: the same answers and faults as a program for each."""

from __future__ import annotations

import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from daybreak.config.conninfo import parse_conninfo
from daybreak.errors import Cancelled, SourceError, TimedOut
from daybreak.model import Database
from daybreak.postgres.client import Postgres
from daybreak.postgres.faults import SqlError
from daybreak.postgres.sql import literal
from daybreak.process import Runner
from installation import wait_for

if TYPE_CHECKING:
    from conftest import Server

_QUESTION = "SELECT row_to_json(q) FROM (SELECT {} AS n) AS q"
PID = "SELECT pg_backend_pid() AS pid"


def client(server: Server, dbname: str, *, protected: bool = False, runner: Runner | None = None) -> Postgres:
    return Postgres(
        Database(name="dev", conninfo=parse_conninfo(server.conninfo(dbname)), bin=server.bin, protected=protected),
        runner=runner or Runner(),
        run="kept",
        keeps=True,
    )


@pytest.fixture
def kept(server: Server) -> Generator[Postgres]:
    """A client whose maintenance database is `postgres`."""
    one = client(server, "template1")
    yield one
    one.close()


def ask(kept: Postgres, sql: str, **more: timedelta) -> list[dict[str, object]]:
    return kept.query(sql, dbname="postgres", **more)


def ours(server: Server) -> int:
    return int(server.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'daybreak:kept'"))


def test_questions_to_the_maintenance_database_share_a_session(server: Server, kept: Postgres):
    assert ask(kept, PID) == ask(kept, PID)
    assert ours(server) == 1
    kept.close()
    assert ours(server) == 0
    before = ask(kept, PID)  # begins another
    assert before == ask(kept, PID)


def test_a_database_that_may_be_renamed_keeps_nobody(server: Server):
    name = server.fresh()
    target = client(server, name)
    production = client(server, name, protected=True)
    try:
        assert target.query(PID) != target.query(PID)
        wait_for(lambda: ours(server) == 0, within_s=10, what="the end of the server's side")
        assert production.query(PID) == production.query(PID)
        assert ours(server) == 1
    finally:
        target.close()
        production.close()
    assert ours(server) == 0
    server.drop_database(name)


def test_every_character_arrives(kept: Postgres):
    texts = (
        "it's",
        "a\\b",
        ":DBNAME :'USER' :\"HOST\"",
        "a;b",
        "--",
        "/*",
        "$$",
        "a\nb",
        "\\q",
        "☀\u2028",
        "\\echo x",
        "",
    )
    for text in texts:
        assert ask(kept, f"SELECT {literal(text)} AS text -- the end\n") == [{"text": text}]
    assert ask(kept, "SELECT 1 AS one WHERE false") == []


def test_long_questions_and_long_answers(kept: Postgres):
    text = "long " * 100_000
    assert ask(kept, f"SELECT {literal(text)} AS text") == [{"text": text}]
    rows = ask(kept, "SELECT n, repeat('x', 100) AS filler FROM generate_series(1, 40000) AS n")
    assert [row["n"] for row in rows] == list(range(1, 40001))


def test_a_failed_question_is_its_own_fault_and_the_next_one_is_answered(server: Server, kept: Postgres):
    ask(kept, PID)
    with pytest.raises(SqlError, match="nowhere") as caught:
        ask(kept, "SELECT * FROM nowhere")
    assert caught.value.sqlstate == "42P01"
    assert ask(kept, PID) == ask(kept, PID)
    assert ours(server) == 1


def test_a_session_that_somebody_ended_is_begun_again(server: Server, kept: Postgres):
    [before] = ask(kept, PID)
    server.psql(f"SELECT pg_terminate_backend({before['pid']}, 5000)")
    [after] = ask(kept, PID)
    assert after != before


def test_a_server_that_is_not_there_is_told_as_ever(server: Server):
    nowhere = Postgres(
        Database(name="dev", conninfo={**parse_conninfo(server.conninfo("x")), "port": "1"}, bin=server.bin),
        runner=Runner(),
        run="kept",
        keeps=True,
    )
    with pytest.raises(SourceError, match=r"Connection refused|No such file"):
        nowhere.query(PID, dbname="postgres")
    nowhere.close()


def test_a_question_has_a_deadline_of_its_own(server: Server, kept: Postgres):
    ask(kept, PID)
    with pytest.raises(TimedOut, match="not done after 1 s"):
        ask(kept, "SELECT pg_sleep(60)", deadline=timedelta(seconds=1))
    assert ask(kept, PID) == ask(kept, PID)
    wait_for(lambda: ours(server) == 1 or None)


def test_a_cancelled_run_waits_for_no_answer(server: Server):
    cancel = threading.Event()
    kept = client(server, "template1", runner=Runner(cancel=cancel))
    ask(kept, PID)
    threading.Timer(0.3, cancel.set).start()
    with pytest.raises(Cancelled):
        ask(kept, "SELECT pg_sleep(60)")
    kept.close()
    wait_for(lambda: ours(server) == 0 or None)


def test_one_thread_does_not_wait_for_another(kept: Postgres):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: ask(kept, f"SELECT {n} AS n, pg_sleep(0.2)::text AS slept"), range(8)))
    assert [rows[0]["n"] for rows in found] == list(range(8))


def test_the_log_has_every_question(server: Server):
    lines: list[str] = []
    kept = client(server, "template1", runner=Runner(log=lines.append))
    for n in range(3):
        ask(kept, f"SELECT {n} AS n")
    kept.close()
    assert [line for line in lines if line.startswith("ask psql")] == [
        f"ask psql {_QUESTION.format(n)}" for n in range(3)
    ]
    assert sum("-v VERBOSITY=verbose" in line for line in lines) == 2  # the version, and the one that is kept
    assert lines[-1].startswith("end psql status 0")
