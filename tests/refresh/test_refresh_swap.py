"""The swap: short for its clients, whole or not at all, and ended by the server whoever dies."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import psycopg
import pytest

from couples import Couple, chance, contents, named, oid_of, properties, quoted, say
from daybreak.catalog.databases import Databases
from daybreak.embedded.cluster import FAST, Cluster
from daybreak.errors import ConfigError, SourceError
from daybreak.jobs import exchange
from daybreak.postgres.client import Postgres
from daybreak.postgres.swap import Swap, Swapped, statement
from installation import processes, wait_for

if TYPE_CHECKING:
    from conftest import Server, Servers


@dataclass
class Client:
    """Asks dev for its version again and again, with a new connection each time that it has to."""

    server: Server
    dbname: str
    stop: threading.Event
    seen: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    refused: list[str] = field(default_factory=list[str])

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                with psycopg.connect(self.server.conninfo(self.dbname), autocommit=True, connect_timeout=10) as session:
                    while not self.stop.is_set():
                        (found,) = session.execute("SELECT n FROM version").fetchone() or (0,)
                        self.seen.append((time.monotonic(), int(found)))
                        time.sleep(0.002)
            except psycopg.Error as error:
                self.refused.append(str(error))


def gap_ms(clients: list[Client], old: int, new: int) -> float:
    """From the last old answer that anybody got to the first new one."""
    answers = [one for client in clients for one in client.seen]
    return (min(at for at, found in answers if found == new) - max(at for at, found in answers if found == old)) * 1000


def test_case_01_clients_that_reconnect_in_a_loop(refreshed: Couple):
    gaps: list[float] = []
    told: list[float] = []
    refreshed.prod.psql("UPDATE version SET n = 2", refreshed.prod_db)
    now, other = 1, 2
    for turn in range(10):
        stop = threading.Event()
        clients = [Client(refreshed.dev, refreshed.dev_db, stop) for _ in range(8)]
        threads = [threading.Thread(target=client.run) for client in clients]
        for thread in threads:
            thread.start()
        try:
            wait_for(lambda clients=clients: all(client.seen for client in clients))
            said = refreshed.refresh("--fresh") if turn == 0 else refreshed.json("undo")
            wait_for(lambda clients=clients, other=other: all(client.seen[-1][1] == other for client in clients))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        for client in clients:
            answers = [found for _, found in client.seen]
            assert answers == sorted(answers, key=[now, other].index), "old again after new"
        gaps.append(gap_ms(clients, now, other))
        told.append(said["outage_ms"])
        assert said["sessions_ended"] >= 1
        now, other = other, now
    say(f"outage seen by 8 clients: median {statistics.median(gaps):.0f} ms of {[round(one) for one in gaps]}")
    say(f"outage as reported: median {statistics.median(told):.0f} ms of {told}")
    assert statistics.median(gaps) < 2000


def test_case_03_the_second_rename_fails(refreshed: Couple):
    before = (contents(refreshed.dev, refreshed.dev_db), oid_of(refreshed.dev, refreshed.dev_db), refreshed.beside())
    # The incoming database loses its name at the last moment: the last tool before the swap is vacuumdb.
    psql = f"{refreshed.dev.bin}/psql -XAtq -d {quoted(refreshed.dev.conninfo())} -c"
    shadow = f"SELECT datname FROM pg_database WHERE starts_with(datname, '{refreshed.dev_db}_shadow')"  # noqa: S608 -- our name
    rename = 'ALTER DATABASE \\"$name\\" RENAME TO vanished'
    refreshed.fake_tool("vacuumdb", f'name=$({psql} "{shadow}")\nexec {psql} "{rename}"')
    said = refreshed.refresh(expect=15)
    assert "as it was" in said["message"]
    refreshed.dev.drop_database("vanished")
    after = (contents(refreshed.dev, refreshed.dev_db), oid_of(refreshed.dev, refreshed.dev_db), refreshed.beside())
    assert after == before
    assert properties(refreshed.dev, refreshed.dev_db)["open"]
    refreshed.real_tools()
    refreshed.refresh()
    assert refreshed.clean() == []


@pytest.fixture(scope="module")
def prepared(scratch: Path, servers: Servers) -> Iterator[Server]:
    """A server of its own: with prepared transactions, and to be stopped at will."""
    settings = {**FAST, "synchronous_commit": "on", "max_prepared_transactions": "5"}
    cluster = Cluster(scratch / "dev-own", servers[18].bin, settings=settings)
    with cluster:
        yield type(servers[18])(cluster=cluster, major=18)


@pytest.fixture
def own(prepared: Server, small: str, servers: Servers, tmp_path: Path) -> Iterator[Couple]:
    """A refreshed couple on that server."""
    prod = servers[18]
    prepared.create_database("own", template="template0")
    site = Couple(
        folder=tmp_path, url=prod.url(small), bin=prod.bin, prod=prod, prod_db=small, dev=prepared, dev_db="own"
    )
    site.refresh()
    yield site
    site.drop()


def test_case_04_a_prepared_transaction_in_dev(own: Couple):
    own.dev.psql("BEGIN; CREATE TABLE prepared (); PREPARE TRANSACTION 'the one'", own.dev_db)
    oid = oid_of(own.dev, own.dev_db)
    said = own.refresh(expect=15)
    assert "the one" in said["message"]
    assert oid_of(own.dev, own.dev_db) == oid
    assert properties(own.dev, own.dev_db)["open"]
    assert own.dev.psql("SELECT gid FROM pg_prepared_xacts") == "the one"  # never rolled back unasked
    own.dev.psql("ROLLBACK PREPARED 'the one'", own.dev_db)
    own.refresh()
    assert own.clean() == []


def swap_session(site: Couple) -> int | None:
    """The backend of a running swap."""
    found = site.dev.psql("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'daybreak:%:swap'")
    return int(found.splitlines()[0]) if found else None


@dataclass
class Brake:
    """Prolongs a swap after dev was closed: somebody holds the previous database, which has to step aside."""

    session: psycopg.Connection[tuple[object, ...]]

    def let_go(self) -> None:
        with contextlib.suppress(psycopg.OperationalError):  # its server may be gone
            self.session.rollback()


@pytest.fixture
def brake(own: Couple) -> Iterator[Brake]:
    """The swap waits until `let_go`."""
    session = psycopg.connect(own.dev.conninfo())
    session.execute(f"ALTER DATABASE {named(own.dev_db + '_previous')} CONNECTION LIMIT 5")
    found = Brake(session)
    yield found
    found.let_go()
    session.close()


@pytest.mark.parametrize("whom", ["psql", "daybreak", "group"])
def test_case_02_killed_inside_the_swap(whom: str, own: Couple, brake: Brake):
    """The server ends the statement: dev is open, whole old or whole new; the next run is green."""
    own.prod.psql("UPDATE version SET n = 2", own.prod_db)
    old = oid_of(own.dev, own.dev_db)
    with own.start("refresh", "--fresh", "--json") as run:
        wait_for(lambda: not properties(own.dev, own.dev_db)["open"], within_s=30, what="the swap")
        if whom == "psql":
            for pid in processes("psql", "DO '", below=run.process.pid):
                os.kill(pid, signal.SIGKILL)
        else:
            run.kill(group=whom == "group")
        brake.let_go()
        wait_for(lambda: properties(own.dev, own.dev_db)["open"], within_s=5, what="an open dev")
        if whom == "psql":
            run.end().expect(0)
    wait_for(lambda: swap_session(own) is None, within_s=5)
    new = own.dev.psql("SELECT n FROM version", own.dev_db)
    assert (new, oid_of(own.dev, own.dev_db) == old) in {("1", True), ("2", False)}
    assert new == "2"  # nothing hindered it but its waiting
    own.refresh()
    assert own.clean() == []
    states = [run["state"] for run in own.json("runs")["runs"] if run["kind"] == "refresh"]
    assert states.count("lost") == (0 if whom == "psql" else 1)
    own.json("undo")


def test_a_session_that_will_not_end_stops_the_swap_and_nothing_else(own: Couple):
    own.retarget(weekly={"swap_within": "1s"})
    oid = oid_of(own.dev, own.dev_db)
    with psycopg.connect(own.dev.conninfo(own.dev_db), autocommit=True) as session:
        pid = session.info.backend_pid
        os.kill(pid, signal.SIGSTOP)
        with own.start("refresh", "--json") as run:
            wait_for(lambda: swap_session(own), within_s=30, what="the swap")
            wait_for(lambda: swap_session(own) is None, within_s=5, what="the end of the swap")
            os.kill(pid, signal.SIGCONT)  # a stopped session also keeps DROP DATABASE waiting
            said = run.end().expect(15)
    assert str(pid) in said["message"]
    assert oid_of(own.dev, own.dev_db) == oid
    assert properties(own.dev, own.dev_db)["open"]
    own.refresh()
    assert own.clean() == []


def test_somebody_who_holds_the_previous_database_stops_the_swap_and_nothing_else(own: Couple, brake: Brake):
    own.retarget(weekly={"swap_within": "1s"})
    oid = oid_of(own.dev, own.dev_db)
    said = own.refresh(expect=15)
    assert "lock timeout" in said["message"]
    assert oid_of(own.dev, own.dev_db) == oid
    assert properties(own.dev, own.dev_db)["open"]
    brake.let_go()
    own.refresh()
    assert own.clean() == []


@pytest.mark.usefixtures("brake")
@pytest.mark.parametrize("mender", ["itself", "repair", "refresh"])
def test_case_02_the_server_crashes_inside_the_swap(mender: str, own: Couple):
    old = oid_of(own.dev, own.dev_db)
    with own.start("refresh", "--fresh", "--json") as run:
        wait_for(lambda: swap_session(own), within_s=30, what="the swap")
        wait_for(lambda: not properties(own.dev, own.dev_db)["open"], what="a closed dev")
        own.dev.cluster.stop("immediate")
        if mender == "refresh":
            run.kill()  # the whole host went down
        elif mender == "repair":
            assert "daybreak repair" in run.end().expect(17)["hint"]
        own.dev.cluster.log.write_text("")  # what it said before it crashed is no answer to a start
        own.dev.cluster.start()
        if mender == "itself":
            run.end().expect(15 if oid_of(own.dev, own.dev_db) == old else 0)
    if mender != "itself":
        assert oid_of(own.dev, own.dev_db) == old or properties(own.dev, own.dev_db)["open"]
        done = own.json(mender)
        if mender == "repair" and oid_of(own.dev, own.dev_db) == old:
            assert any("opened own" in one for one in done["done"])
    assert own.dev.psql("SELECT n FROM version", own.dev_db) == "1"
    assert properties(own.dev, own.dev_db)["open"]
    assert own.clean() == []


def test_a_cancel_that_comes_inside_the_swap_comes_too_late(own: Couple, brake: Brake):
    with own.start("refresh", "--fresh", "--json") as run:
        wait_for(lambda: swap_session(own), within_s=30, what="the swap")
        os.kill(run.process.pid, signal.SIGTERM)
        time.sleep(1)
        brake.let_go()
        said = run.end().expect(0)
    assert said["state"] == "succeeded"
    assert own.clean() == []


def test_timeouts_and_other_settings_that_a_role_brings_along_change_nothing(refreshed: Couple):
    server = refreshed.dev
    server.create_role("hasty", options="LOGIN SUPERUSER")
    for setting in (
        "statement_timeout = '1ms'",
        "lock_timeout = '1ms'",
        "transaction_timeout = '1ms'",
        "idle_in_transaction_session_timeout = '1ms'",
        "search_path = 'nowhere'",
        "client_min_messages = 'error'",
        "default_transaction_isolation = 'serializable'",
        "standard_conforming_strings = off",
    ):
        server.psql(f"ALTER ROLE hasty SET {setting}")
    server.psql(f"ALTER DATABASE {named(refreshed.dev_db)} SET statement_timeout = '1ms'")
    url = server.url(refreshed.dev_db, user="hasty")
    refreshed.retarget({"url": f"{url}?connect_timeout=5"})
    refreshed.refresh()
    refreshed.json("undo")
    assert refreshed.clean() == []


def all_of(site: Couple) -> list[tuple[object, ...]]:
    """Each database of dev's name: what it is called, which it is, and all that is not in it."""
    names = [site.dev_db, *site.beside()]
    return [(name, oid_of(site.dev, name), properties(site.dev, name)) for name in names]


@contextlib.contextmanager
def nobody_gets_in(site: Couple) -> Iterator[pytest.MonkeyPatch]:
    """Whatever takes dev's name inside the block does not answer."""
    old, real = oid_of(site.dev, site.dev_db), Postgres.execute

    def execute(self: Postgres, *statements: str, **how: object) -> str:
        asked = statements == ("SELECT 1",) and how.get("dbname") == site.dev_db
        if asked and oid_of(site.dev, site.dev_db) != old:
            raise SourceError("nobody gets in")
        return real(self, *statements, **how)  # pyright: ignore[reportArgumentType] -- handed on as it came

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Postgres, "execute", execute)
        patch.setattr(exchange, "_ANSWERS_WITHIN_S", 0.3)
        yield patch


def test_a_new_dev_that_lets_nobody_in_is_put_back_and_undo_has_what_it_had(modest: Couple):
    """By a role that is no superuser."""
    modest.refresh()
    modest.prod.psql("UPDATE version SET n = 2", modest.prod_db)
    modest.refresh("--fresh")
    modest.dev.psql(f"COMMENT ON DATABASE {named(modest.dev_db)} IS 'dev''s own'")
    before = all_of(modest)
    with nobody_gets_in(modest):
        assert "nobody gets in" in modest.refresh(expect=16)["message"]
    assert all_of(modest) == before
    modest.json("undo")
    assert modest.dev.psql("SELECT n FROM version", modest.dev_db) == "1"
    before = all_of(modest)
    with nobody_gets_in(modest):
        modest.json("undo", "--yes", expect=16)
    assert all_of(modest) == before
    modest.refresh()
    assert modest.clean() == []


@pytest.mark.parametrize("back", [True, False])
def test_a_server_that_is_away_behind_the_swap_is_waited_for(own: Couple, *, back: bool):
    """That nobody gets in is no fault of the new dev then."""
    real, start = exchange.perform, threading.Timer(1.5, own.dev.cluster.start)

    def perform(server: Postgres, swap: Swap, within: timedelta) -> Swapped:
        patch.setattr(exchange, "perform", real)  # the way back, if there is one, is not disturbed
        done = real(server, swap, within)
        own.dev.cluster.stop()
        own.dev.cluster.log.write_text("")  # what it said before is no answer to a start
        if back:
            start.start()
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange, "perform", perform)
        patch.setattr(exchange, "_ANSWERS_WITHIN_S", 0.3)
        patch.setattr(exchange, "_BACK_WITHIN_S", 60 if back else 0.3)
        said = own.refresh("--fresh", expect=0 if back else 17)
    if back:
        start.join()
    else:
        assert "daybreak repair" in said["hint"]
        own.dev.cluster.start()
        own.json("repair")
    assert own.dev.psql("SELECT n FROM version", own.dev_db) == "1"
    assert properties(own.dev, own.dev_db)["open"]
    assert own.clean() == []


def test_a_first_refresh_whose_dev_lets_nobody_in_leaves_nothing(site: Couple):
    before = all_of(site)
    with nobody_gets_in(site):
        site.refresh(expect=16)
    assert all_of(site) == before
    assert "no previous" in site.json("undo", expect=15)["message"]


def test_a_run_that_dies_when_the_old_dev_is_back_leaves_one_database_to_the_next(refreshed: Couple):
    before = all_of(refreshed)
    with nobody_gets_in(refreshed) as patch:
        patch.setattr(Databases, "withdraw_next", unwritable)
        refreshed.refresh(expect=16)
    (rejected,) = [one for one in all_of(refreshed) if one not in before]
    assert str(rejected[0]).startswith(f"{refreshed.dev_db}_rejected_")
    assert any(str(rejected[0]) in one for one in refreshed.json("repair")["done"])
    assert all_of(refreshed) == before
    refreshed.json("undo")


def test_a_dev_that_could_not_be_put_back_costs_no_previous_database(refreshed: Couple):
    before = {oid for _, oid, _ in all_of(refreshed)}
    with nobody_gets_in(refreshed) as patch:
        real = exchange.perform
        patch.setattr(exchange, "perform", lambda *how: unwritable() if how[1].returning else real(*how))
        refreshed.refresh(expect=17)
    assert before < {oid for _, oid, _ in all_of(refreshed)}  # a person may want any of them
    refreshed.json("repair")  # it answers: this is the new dev
    assert refreshed.clean() == []
    refreshed.json("undo")


def unwritable(*_: object, **__: object) -> NoReturn:
    raise ConfigError("it cannot be written")


def test_case_02_killed_at_random_instants_around_the_swap(own: Couple):
    """Kills that nothing was prepared for; the seed is printed."""
    instants = chance()
    for turn in range(2, 7):
        own.prod.psql("UPDATE version SET n = n + 1", own.prod_db)
        before = own.dev.psql("SELECT n FROM version", own.dev_db)
        with own.start("undo" if turn % 2 else "refresh", "--json") as run:
            wait_for(lambda run=run: "step swap" in logs(own) or run.process.poll() is not None, within_s=30)
            time.sleep(instants.random() * 0.15)
            run.kill(group=bool(instants.getrandbits(1)))
        wait_for(lambda: properties(own.dev, own.dev_db)["open"], within_s=5, what="an open dev")
        assert own.dev.psql("SELECT count(*) FROM account", own.dev_db) == "2000", before
    own.refresh("--fresh")
    assert own.dev.psql("SELECT n FROM version", own.dev_db) == "6"
    own.wait_until_clean()


def logs(site: Couple) -> str:
    """What the newest log says."""
    newest = max((site.state / "logs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    return newest.read_text()


def test_the_statement_holds_any_comment():
    swap = Swap(
        target="a",
        incoming="b",
        previous="c",
        aside="d",
        target_comment="$daybreak$; DROP DATABASE x; -- ' %",
        previous_comment="e",
    )
    text = statement(swap, timedelta(seconds=1))
    assert text.startswith("DO '")
    assert text.endswith("'")
    assert "'" not in text[4:-1].replace("''", "")  # one literal from end to end
