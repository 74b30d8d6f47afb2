"""The client's words: which fault is whose, and what a session of ours always is."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from daybreak.config.conninfo import parse_conninfo
from daybreak.errors import SourceError
from daybreak.model import Database
from daybreak.postgres.client import Postgres
from daybreak.postgres.faults import SqlError
from daybreak.process import Runner

if TYPE_CHECKING:
    from conftest import Server


def client(server: Server, dbname: str = "postgres", **more: str) -> Postgres:
    conninfo = {**parse_conninfo(server.conninfo(dbname)), **more}
    return Postgres(Database(name="dev", conninfo=conninfo, bin=server.bin), runner=Runner(), run="test")


def test_a_statements_error_is_never_taken_for_a_lost_connection(server: Server):
    with pytest.raises(SqlError) as caught:
        client(server).execute("DO 'BEGIN RAISE EXCEPTION ''Connection refused, no certificate''; END'")
    assert caught.value.sqlstate == "P0001"
    with pytest.raises(SqlError, match="nowhere"):
        client(server).execute("SELECT * FROM nowhere")


def test_a_session_that_was_ended_is_a_lost_connection_and_no_error_of_its_statement(server: Server):
    with pytest.raises(SourceError):
        client(server).execute("SELECT pg_terminate_backend(pg_backend_pid())")


def test_no_such_database_and_no_such_role(server: Server):
    with pytest.raises(SourceError, match="nowhere"):
        client(server, "nowhere").execute("SELECT 1")
    with pytest.raises(SourceError, match="nobody"):
        client(server, user="nobody").execute("SELECT 1")


def test_a_file_that_the_server_misses_is_not_its_socket(server: Server):
    name = server.fresh()
    server.psql(f"ALTER DATABASE \"{name}\" SET session_preload_libraries = 'nope'")
    with pytest.raises(SourceError, match='could not access file "nope": No such file') as caught:
        client(server, name).execute("SELECT 1")
    assert caught.value.hint == ""
    server.drop_database(name)
    with pytest.raises(SourceError, match="No such file") as caught:
        client(server, host="/nowhere").execute("SELECT 1")
    assert "its socket is not there" in caught.value.hint


def test_what_the_server_or_the_way_to_it_adds_does_not_hide_what_happened(server: Server):
    """libpq ends with a question, the server with DETAIL; a database that is closed is not one to be made."""
    name = server.fresh()
    role = f"r_{name}"
    server.psql(f'CREATE ROLE "{role}" LOGIN CONNECTION LIMIT 0; REVOKE CONNECT ON DATABASE "{name}" FROM PUBLIC')

    def fault(database: str = name, **keywords: str) -> SourceError:
        with pytest.raises(SourceError) as caught:
            client(server, database, **keywords).execute("SELECT 1")
        return caught.value

    no_folder = fault(host="/dev/null")
    assert "failed: Not a directory" in no_folder.message
    assert "the folder of the socket in databases." in no_folder.hint
    full = fault("postgres", user=role)
    assert f'too many connections for role "{role}"' in full.message
    assert "CONNECTION LIMIT" in full.hint
    server.psql(f'ALTER ROLE "{role}" CONNECTION LIMIT -1')
    outside = fault(user=role)
    assert f'permission denied for database "{name}"' in outside.message
    assert "GRANT CONNECT" in outside.hint
    server.psql(f'ALTER ROLE "{role}" NOLOGIN')
    assert "LOGIN" in fault(user=role).hint
    server.psql(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    closed = fault()
    assert "is not currently accepting connections" in closed.message
    assert "daybreak repair" in closed.hint
    server.drop_database(name)
    server.psql(f'DROP ROLE "{role}"')


def test_rows_hold_every_character(server: Server):
    text = 'a\u2028b\u0085c\x0bd\ne"\\ ☀'
    quoted = "E'" + text.replace("\\", "\\\\") + "'"
    assert client(server).query(f"SELECT {quoted} AS text, 9007199254740993 AS big") == [
        {"text": text, "big": 9007199254740993}
    ]


def test_the_address_cannot_change_what_sessions_of_ours_are(server: Server):
    mine = client(
        server, options="-c TimeZone=Asia/Tokyo -c work_mem=9MB", application_name="x", client_encoding="LATIN1"
    )
    (row,) = mine.query(
        "SELECT current_setting('TimeZone') AS zone, current_setting('work_mem') AS work_mem, "
        "current_setting('application_name') AS name, current_setting('client_encoding') AS encoding"
    )
    assert row == {"zone": "UTC", "work_mem": "9MB", "name": "daybreak:test", "encoding": "UTF8"}


def test_the_file_of_a_service_cannot_change_them_either(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / ".pg_service.conf").write_text(
        f"[mine]\nhost={server.host}\nport={server.port}\nuser={server.user}\ndbname=template1\n"
        "application_name=x\nclient_encoding=LATIN1\noptions=-c TimeZone=Asia/Tokyo\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    mine = Postgres(Database(name="dev", conninfo={"service": "mine"}, bin=server.bin), runner=Runner(), run="test")
    (row,) = mine.query(
        "SELECT current_setting('TimeZone') AS zone, current_database() AS database, "
        "current_setting('application_name') AS name, current_setting('client_encoding') AS encoding"
    )
    assert row == {"zone": "UTC", "database": "template1", "name": "daybreak:test", "encoding": "UTF8"}


def test_a_role_that_is_set_for_the_database_counts_unless_ours_has_another_there(server: Server):
    """It may be what gives our role its rights, so it is not pinned."""
    name = server.fresh()
    server.psql(f'ALTER DATABASE "{name}" SET role = pg_monitor')
    ask = "SELECT current_user::text AS name"
    assert client(server, name).query(ask) == [{"name": "pg_monitor"}]
    server.psql(f'ALTER ROLE "{server.user}" IN DATABASE "{name}" SET role = \'none\'')
    assert client(server, name).query(ask) == [{"name": server.user}]
    server.drop_database(name)


def test_the_maintenance_database_is_never_the_target(server: Server):
    assert client(server, "postgres").maintenance_db == "template1"
    assert client(server, "anything").maintenance_db == "postgres"


def test_an_advisory_lock_is_held_once_and_given_back(server: Server):
    one, other = client(server), client(server)
    with one.advisory_lock(77, deadline=timedelta(minutes=1)) as got:
        assert got
        with other.advisory_lock(77, deadline=timedelta(minutes=1)) as second:
            assert not second
    while True:
        with other.advisory_lock(77, deadline=timedelta(minutes=1)) as again:
            if again:
                break


def test_a_lock_without_a_session_is_an_error_and_nobody_elses_lock(server: Server):
    mine = client(server)
    assert mine.version_num > 150000
    gone = Postgres(
        Database(name="dev", conninfo={**mine.database.conninfo, "port": "1"}, bin=server.bin), runner=Runner(), run="t"
    )
    gone._version_num = mine.version_num
    with pytest.raises(SourceError), gone.advisory_lock(1, deadline=timedelta(minutes=1)):
        pytest.fail("nobody can hold this")
