"""Whatever the database, its server or pg_dump does: its own exit code, what to do next, and nothing changed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from daybreak.config.conninfo import parse_conninfo
from daybreak.embedded.binaries import find_server
from daybreak.embedded.cluster import FAST, running_cluster
from daybreak.embedded.scratch import free_port
from installation import Installation, Started, processes, sessions, wait_for

if TYPE_CHECKING:
    from conftest import Server, Servers

CANARY = "canary-7d1f:\\'pass"


@contextlib.contextmanager
def unharmed(site: Installation) -> Iterator[None]:
    """One good archive before; the same after, and nothing left lying about."""
    if not site.archive.exists():
        site.backup()
    before = site.fingerprint()
    yield
    assert site.fingerprint() == before
    assert site.leftovers() == []


def fails(site: Installation, code: int, *words: str, name: str | None = None) -> dict[str, Any]:
    """A backup that ends with `code`, says `words`, says what to do, and leaves everything as it was."""
    with unharmed(site):
        told = site.backup(expect=code)
    assert told["exit_code"] == code
    assert told["state"] == "failed"
    assert told["hint"]
    assert name is None or told["code"] == name
    for word in words:
        assert word in f"{told['message']} {told['hint']}", told
    run = site.json("run", "show", told["run"])
    assert (run["state"], run["exit_code"], run["message"]) == ("failed", code, told["message"])
    return told


@contextlib.contextmanager
def half_way(site: Installation, *, at_bytes: int = 2_000_000) -> Iterator[tuple[Started, int]]:
    """A backup whose pg_dump was stopped (SIGSTOP) in the middle: the call, and the number of pg_dump."""
    with site.start("backup", "--json") as night:
        staged = wait_for(site.staged, what="a staged file")
        wait_for(lambda: staged.exists() and staged.stat().st_size > at_bytes, what="half of the dump")
        dump = pg_dump(site)
        os.kill(dump, signal.SIGSTOP)
        try:
            yield night, dump
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(dump, signal.SIGKILL)


def pg_dump(site: Installation) -> int:
    """The process number of the pg_dump of this installation's database, not of its watchdog.

    Databases have the same names on the servers of tests that run beside this one.
    """
    database = parse_conninfo(site.url)
    return next(
        pid
        for pid in processes("pg_dump", f"dbname='{database['dbname']}'", f"port='{database['port']}'")
        if Path(f"/proc/{pid}/exe").resolve().name == "pg_dump"
    )


def no_sessions(server: Server, run: str) -> None:
    """I6: no backend of that run within 15 seconds."""
    wait_for(lambda: not sessions(server, run), within_s=15, what="the end of the run's sessions")


# -- it cannot be reached -------------------------------------------------------------------------------------


def test_a_server_that_is_away(site: Installation) -> None:
    site.backup()
    port = free_port()
    site.url = f"postgresql://postgres@127.0.0.1:{port}/app"
    site.configure()
    told = fails(site, 10, "Connection refused", "127.0.0.1", str(port), "is the server running", name="SourceError")
    assert "databases.prod" in told["hint"]


def test_a_host_that_nobody_knows(site: Installation) -> None:
    site.backup()
    site.url = "postgresql://postgres@no-such-host.invalid/app"
    site.configure()
    fails(site, 10, "no-such-host.invalid", "mend the host")


def test_d2_a_wrong_password_is_told_and_never_shown(site: Installation, prod: tuple[Server, str]) -> None:
    """D2: role and host in the text, the password nowhere."""
    server, name = prod
    server.create_role("guarded", password="right-one-4471")
    site.backup()
    secret = site.folder / "password"
    secret.write_text(f"{CANARY}\n")
    secret.chmod(0o600)
    site.url = server.url(name, user="guarded")
    site.configure(database={"password_file": str(secret)})
    told = fails(site, 10, "password authentication failed", "guarded", "127.0.0.1", "password_file")
    for path in (path for path in site.folder.rglob("*") if path.is_file() and path != secret):
        assert b"canary-7d1f" not in path.read_bytes(), path
    assert "canary-7d1f" not in str(told)


def test_i5_a_password_is_in_no_argument_no_environment_no_log(site: Installation, prod: tuple[Server, str]) -> None:
    """I5: sampled from /proc while it works."""
    server, name = prod
    server.create_role("keeper", password=CANARY)
    server.psql("GRANT pg_read_all_data TO keeper")
    secret = site.folder / "password"
    secret.write_text(CANARY)
    secret.chmod(0o600)
    site.url = server.url(name, user="keeper")
    site.configure(database={"password_file": str(secret)})
    site.fake_dump('sleep 1; exec "$real" "$@"')
    seen = 0
    with site.start("backup", "--json") as night:
        while night.process.poll() is None:
            for pid in processes("daybreak-watchdog", below=night.process.pid):
                with contextlib.suppress(OSError):
                    assert b"canary-7d1f" not in Path(f"/proc/{pid}/cmdline").read_bytes()
                    assert b"canary-7d1f" not in Path(f"/proc/{pid}/environ").read_bytes()
                    seen += 1
            time.sleep(0.02)
        answer = night.end()
    assert answer.expect(0)["archive"]["rows"] == 2500
    assert seen > 5
    assert "canary-7d1f" not in answer.out + answer.err
    for path in (path for path in site.folder.rglob("*") if path.is_file() and path != secret):
        assert b"canary-7d1f" not in path.read_bytes(), path


def test_a_pgpass_that_libpq_passes_over_is_told(
    site: Installation, prod: tuple[Server, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """libpq only warns of it, before it says that it has no password."""
    server, name = prod
    server.create_role("passer", password="right-one-4471")
    server.psql("GRANT pg_read_all_data TO passer")
    site.backup()
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / ".pgpass"
    file.write_text("*:*:*:passer:right-one-4471\n")
    file.chmod(0o644)
    site.url = server.url(name, user="passer")
    site.configure()
    told = fails(site, 10, f"no password supplied; {file} was not read, since others may read it")
    assert told["hint"] == f"chmod 600 {file}"


def test_a_service_that_is_not_there(site: Installation) -> None:
    site.backup()
    site.url = "service=prdo"
    site.configure()
    fails(site, 10, 'definition of service "prdo" not found', "~/.pg_service.conf")


def test_d2_a_role_that_is_not_there(site: Installation, prod: tuple[Server, str]) -> None:
    server, name = prod
    site.backup()
    site.url = server.url(name, user="nobody_here")
    site.configure()
    fails(site, 10, 'role "nobody_here" does not exist', "create the role")


def test_a_database_that_is_not_there(site: Installation, prod: tuple[Server, str]) -> None:
    server, _ = prod
    site.backup()
    site.url = server.url("no_such_database")
    site.configure()
    fails(site, 10, 'database "no_such_database" does not exist')


def test_d3_tools_older_than_the_server(site: Installation, servers: Servers) -> None:
    """D3: refused before the dump, both versions in the text."""
    site.backup()
    site.configure(database={"bin": str(find_server(15))})
    told = fails(site, 10, "PostgreSQL 18.", "the tools here are 15", "postgresql-client-18", name="SourceError")
    assert "databases.prod.bin" in told["hint"]
    assert servers[18].major == 18


def test_no_tools_at_all(site: Installation, tmp_path: Path) -> None:
    site.backup()
    site.configure(database={"bin": str(tmp_path)})
    fails(site, 3, "no pg_dump in", str(tmp_path), name="ConfigError")


def test_what_the_caller_set_for_libpq_has_no_effect(site: Installation) -> None:
    harmful = {
        "PGHOST": "192.0.2.1",
        "PGPORT": "1",
        "PGDATABASE": "postgres",
        "PGUSER": "nobody_here",
        "PGOPTIONS": "-c statement_timeout=1 -c row_security=on",
        "PGSERVICE": "no-such-service",
        "PGSSLMODE": "verify-full",
        "PGTZ": "America/Chicago",
        "PGPASSWORD": CANARY,
    }
    told = site.apart("backup", "--json", env=harmful).expect(0)
    assert told["archive"]["rows"] == 2500
    site.manifest()


def test_d16_another_database_under_the_name_is_refused(site: Installation, prod: tuple[Server, str]) -> None:
    """D16: both identities in the text, before any dump; `enrol` is the way on."""
    server, name = prod
    site.backup()
    other = server.fresh()
    site.url = server.url(other)
    site.configure()
    told = fails(site, 4, "is not the database it was", name, other, "daybreak enrol prod", name="Refused")
    assert told["message"].count("oid") == 2
    site.json("enrol", "prod")
    server.psql("CREATE TABLE one (id int)", other)
    site.backup(expect=12)  # it is another database indeed: the gate wonders


# -- it refuses something ---------------------------------------------------------------------------------------


def test_d7_a_table_that_somebody_locks(site: Installation, prod: tuple[Server, str]) -> None:
    """D7: 11 after lock_wait, with the table and who holds it."""
    server, name = prod
    site.backup()
    site.configure(plan={"lock_wait": "1s"})
    holder = subprocess.Popen(
        [server.bin / "psql", "-XAtq", "-d", server.conninfo(name)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={},
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        holder.stdin.write(b"BEGIN; LOCK TABLE invoice IN ACCESS EXCLUSIVE MODE; SELECT 'locked';\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == b"locked\n"
        began = time.monotonic()
        fails(site, 11, "timeout", "invoice is locked by process", "lock_wait", name="DumpError")
        assert time.monotonic() - began < 15
    finally:
        holder.communicate(b"ROLLBACK;\n", timeout=30)
    site.backup()


def test_d7_a_table_that_a_prepared_transaction_locks(
    site: Installation, prod: tuple[Server, str], own_server: Callable[..., Server]
) -> None:
    """No process is left that could be ended."""
    server = own_server(prod[0].major, max_prepared_transactions="2")
    server.create_database("shop")
    server.psql("CREATE TABLE invoice (id int)", "shop")
    server.psql("BEGIN; LOCK TABLE invoice; PREPARE TRANSACTION 'it''s stuck'", "shop")
    site.url = server.url("shop")
    site.configure(plan={"lock_wait": "1s"})
    told = site.json("backup", expect=11)
    assert "invoice is locked by the prepared transaction it's stuck" in told["message"]
    assert "ROLLBACK PREPARED 'it''s stuck'" in told["message"]
    server.psql("ROLLBACK PREPARED 'it''s stuck'", "shop")
    site.backup()


def test_a_role_with_one_connection_is_enough(site: Installation, prod: tuple[Server, str]) -> None:
    server, name = prod
    server.create_role("single", options="LOGIN CONNECTION LIMIT 1")
    server.psql("GRANT pg_read_all_data TO single")
    site.url = server.url(name, user="single")
    site.configure(database={"protected": True})  # whose questions share a session
    site.backup()


def test_d8_rows_that_the_role_may_not_see(site: Installation, prod: tuple[Server, str]) -> None:
    """D8: 11 and the statement that helps, never a dump with rows left out."""
    server, name = prod
    server.create_role("half_blind")
    server.psql("GRANT pg_read_all_data TO half_blind")
    server.psql("ALTER TABLE account ENABLE ROW LEVEL SECURITY", name)
    site.backup()
    site.url = server.url(name, user="half_blind")
    site.configure()
    fails(site, 11, "row-level security", "account", 'ALTER ROLE "half_blind" BYPASSRLS', name="DumpError")


def test_a_table_that_the_role_may_not_read(site: Installation, prod: tuple[Server, str]) -> None:
    server, name = prod
    server.create_role("poor")
    site.backup()
    site.url = server.url(name, user="poor")
    site.configure()
    fails(site, 11, "permission denied for table", "GRANT pg_read_all_data", name="DumpError")


def test_d9_a_large_object_that_the_role_may_not_read(site: Installation, prod: tuple[Server, str]) -> None:
    """D9: 11 with a hint; large objects are never left out silently."""
    server, name = prod
    server.create_role("no_objects")
    server.psql("GRANT pg_read_all_data TO no_objects")
    server.psql("SELECT lo_from_bytea(0, 'secret')", name)
    site.backup()
    site.url = server.url(name, user="no_objects")
    site.configure()
    told = site.backup(expect=11) if server.major < 19 else None
    assert told is not None
    assert "large object" in told["message"]
    assert "large objects need their owner" in told["hint"]


# -- pg_dump does not end well -----------------------------------------------------------------------------------


def test_d4_pg_dump_is_killed_half_way(slow: Installation) -> None:
    """D4: 11, the partial file is gone, the previous archive is the same."""
    with unharmed(slow), half_way(slow) as (night, dump):
        os.kill(dump, signal.SIGKILL)
        told = night.end().expect(11)
    assert "signal 9" in told["message"]
    assert told["code"] == "DumpError"


def test_d5_the_server_goes_down_half_way(scratch: Path, tmp_path: Path) -> None:
    """D5: 11, what pg_dump said is in the record; when the server is back the next night is green."""
    with running_cluster(scratch / "crash", find_server(18), settings=FAST) as cluster:
        call = [str(cluster.bin / "psql"), "-XAtq", "-d", cluster.conninfo(), "-c"]
        heavy = (
            "CREATE TABLE heavy AS SELECT md5(n::text) || md5((n * 3)::text) AS noise FROM generate_series(1, 400000) n"
        )
        subprocess.run([*call, heavy], check=True, timeout=60, env={})
        url = f"postgresql://{cluster.user}@{cluster.host}:{cluster.port}/postgres"
        site = Installation(folder=tmp_path, url=url, bin=cluster.bin)
        subprocess.run([*call, "CHECKPOINT"], check=True, timeout=60, env={})
        with unharmed(site), half_way(site) as (night, dump):
            cluster.stop("immediate")
            os.kill(dump, signal.SIGCONT)
            told = night.end().expect(11)
        assert "server closed the connection" in told["message"] or "terminating connection" in told["message"], told
        cluster.start()
        site.backup()


def test_d14_a_pg_dump_that_hangs_is_ended(slow: Installation, large: tuple[Server, str]) -> None:
    """D14: 30 after `idle`; pg_dump and its backend are gone (I6)."""
    slow.configure(plan={"idle": "1s"})
    with unharmed(slow), half_way(slow) as (night, dump):
        stopped = time.monotonic()
        told = night.end().expect(30)
        assert time.monotonic() - stopped < 15
        assert dump not in processes("pg_dump")
        no_sessions(large[0], told["run"])
    assert told["code"] == "TimedOut"
    assert "said nothing for 1 s" in told["message"]


def test_d11_all_the_bytes_and_then_a_bad_exit_status(site: Installation) -> None:
    """D11: not published, though every byte is right."""
    site.backup()
    site.fake_dump('"$real" "$@"; echo "pg_dump: error: the last moment" >&2; exit 1')
    fails(site, 11, "exit status 1", "the last moment", name="DumpError")


def test_d12_words_before_the_archive(site: Installation) -> None:
    """D12: 12, and how it starts."""
    site.backup()
    site.fake_dump('echo "Welcome to db1! 3 updates are available."; exec "$real" "$@"')
    fails(site, 12, "not a PGDMP archive", "Welcome to db1", name="ArchiveError")


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("exit 0", 12),  # P9: nothing at all, and well
        ('"$real" "$@" | head -c 30000', 12),  # cut
        ('"$real" "$@"; echo more', 12),  # something behind it
        ('"$real" "$@" | head -c 30000; exit 3', 11),  # cut, and it says so
        ("kill -9 $$", 11),
        ('exec "$real" --help', 12),
    ],
)
def test_p9_what_is_no_whole_archive_is_not_published(site: Installation, script: str, code: int) -> None:
    site.backup()
    site.fake_dump(script)
    fails(site, code)


@pytest.mark.parametrize("format_", ["plain", "tar"])
def test_v7_other_formats_are_refused(site: Installation, format_: str) -> None:
    """V7: only the custom format can be read, checked and compared."""
    site.backup()
    site.fake_dump(f'exec "$real" "$@" --compress=0 --format={format_}')
    told = fails(site, 12, name="ArchiveError")
    assert "not a PGDMP archive" in told["message"]


def test_a_dump_that_fails_first_publishes_nothing(site: Installation) -> None:
    site.fake_dump("exit 1")
    site.backup(expect=11)
    assert site.fingerprint() == {}
    assert site.leftovers() == []
    site.real_dump()
    site.backup()


def test_the_globals_may_be_missing_but_not_in_silence(site: Installation) -> None:
    site.fake_dump('echo "pg_dumpall: error: permission denied for table pg_authid" >&2; exit 1', tool="pg_dumpall")
    told = site.backup()
    assert "roles and tablespaces are missing from the globals" in told["warnings"][0]
    assert "permission denied for table pg_authid" in told["warnings"][0]
    site.manifest()


def test_v1_one_byte_less_is_found(site: Installation) -> None:
    """V1: pg_restore --list does not see it, `archive read` does, and it is never an older archive of ours."""
    site.backup()
    with site.archive.open("r+b") as file:
        file.truncate(site.archive.stat().st_size - 1)
    listed = subprocess.run([site.bin / "pg_restore", "--list", site.archive], capture_output=True, check=False, env={})
    assert listed.returncode == 0
    assert site.json("archive", "read", str(site.archive), expect=12)["code"] == "ArchiveError"
    told = site.backup()
    assert "no manifest here has its sha256" in told["warnings"][0]
    site.manifest()
