"""An archive becomes a new database beside development, whole and proven or not at all; nothing is overwritten."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from couples import (
    OWNER,
    PLAIN,
    Couple,
    contents,
    databases,
    named,
    not_owned_by,
    oid_of,
    properties,
    quoted,
    schema,
    settled,
)
from daybreak.jobs.shelf import Shelf
from installation import wait_for

if TYPE_CHECKING:
    from conftest import Servers

Coupling = Callable[..., Couple]


def restore(site: Couple, *words: str, archive: str = "latest", expect: int = 0) -> dict[str, Any]:
    """`daybreak restore --to dev`."""
    return site.json("restore", archive, "--to", "dev", *words, expect=expect)


def nothing_changed(site: Couple, act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `act` says, after it left the databases of dev's server and dev itself as they were."""
    before = (databases(site.dev, ""), properties(site.dev, site.dev_db), contents(site.dev, site.dev_db))
    said = act()
    site.wait_until_clean()
    assert (databases(site.dev, ""), properties(site.dev, site.dev_db), contents(site.dev, site.dev_db)) == before
    return said


@pytest.mark.parametrize("majors", [(15, 15), (18, 18), (15, 18)])
def test_a_new_database_beside_dev_is_as_dev_would_be_after_a_refresh(
    couple: Coupling, rich: Callable[[int], str], majors: tuple[int, int]
) -> None:
    site = couple(rich(majors[0]), majors=majors)
    site.backup()
    dev = named(site.dev_db)
    site.dev.psql(
        f"ALTER DATABASE {dev} SET work_mem = '7MB'; ALTER DATABASE {dev} CONNECTION LIMIT 9;"
        f"REVOKE CONNECT ON DATABASE {dev} FROM PUBLIC; GRANT CONNECT ON DATABASE {dev} TO {named(PLAIN)};"
        f"COMMENT ON DATABASE {dev} IS 'the team''s'"
    )
    before, told = oid_of(site.dev, site.dev_db), properties(site.dev, site.dev_db)
    odd = f'{site.dev_db} "Monday" ☀'
    said = restore(site, "--new", odd)
    assert (said["database"], said["target"]) == (odd, "dev")
    assert said["proof"]["different"] == 0
    assert said["proof"]["equal"] + said["proof"]["reordered"] == said["proof"]["compared"] > 20
    assert said["archive"]["id"] == site.manifest().id
    assert contents(site.dev, odd) == contents(site.prod, site.prod_db)
    assert not_owned_by(OWNER, site.dev, odd) == []
    there = properties(site.dev, odd)
    assert site.manifest().id in there["comment"]
    assert there | {"comment": ""} == told | {"comment": ""}
    assert (oid_of(site.dev, site.dev_db), properties(site.dev, site.dev_db)) == (before, told)
    if majors[0] == majors[1]:
        assert schema(site.dev, odd, site.dev.bin) == schema(site.prod, site.prod_db, site.prod.bin)
    # It is its owner's: no run of ours drops it, none takes dev for refreshed because of it.
    settled(site.dev)
    assert site.json("repair")["done"] == []
    assert site.json("refresh", expect=4)["message"].endswith("all its data would be replaced")
    site.refresh()
    settled(site.dev)
    assert site.json("repair")["done"] == []
    assert contents(site.dev, odd) == contents(site.prod, site.prod_db)
    assert site.json("archives")["archives"][0]["proven_at"] is not None


def test_dev_that_is_gone_comes_back_under_its_own_name(site: Couple) -> None:
    site.refresh()
    site.dev.drop_database(site.dev_db)
    said = restore(site)
    assert said["database"] == site.dev_db
    assert contents(site.dev, site.dev_db) == contents(site.prod, site.prod_db)
    assert properties(site.dev, site.dev_db)["owner"] == site.dev.user
    # The catalog knows it: the next refresh finds dev to be what it was told.
    site.dev.drop_database(f"{site.dev_db}_previous")
    site.refresh()


def test_another_archive_than_the_latest_by_its_id_and_by_its_file(site: Couple) -> None:
    site.configure(plan={"keep_local": 2})
    first = site.manifest().id
    site.prod.psql("UPDATE version SET n = 2", site.prod_db)
    site.backup()
    restore(site, "--new", f"{site.dev_db}_by_id", archive=first)
    assert site.dev.psql("SELECT n FROM version", f"{site.dev_db}_by_id") == "1"
    restore(site, "--new", f"{site.dev_db}_by_name", archive=str(site.archive))
    assert site.dev.psql("SELECT n FROM version", f"{site.dev_db}_by_name") == "2"
    older = next(site.backups.glob(f"*{first}.dump"))
    away = site.folder / "fetched"
    away.mkdir()
    for path in site.backups.glob(f"{older.name}*"):
        shutil.copy(path, away)
    said = restore(site, "--new", f"{site.dev_db}_by_file", archive=str(away / older.name))
    assert said["archive"]["id"] == first
    assert site.dev.psql("SELECT n FROM version", f"{site.dev_db}_by_file") == "1"
    assert site.clean() == [f"{site.dev_db}_by_file", f"{site.dev_db}_by_id", f"{site.dev_db}_by_name"]
    assert sorted(path.name for path in away.iterdir()) == sorted(
        [older.name, f"{older.name}.json", f"{older.name}.globals.sql"]
    )


def test_latest_needs_no_catalog(site: Couple) -> None:
    shutil.rmtree(site.state)
    restore(site, "--new", f"{site.dev_db}_new")
    assert site.dev.psql("SELECT n FROM version", f"{site.dev_db}_new") == "1"


# -- what is refused, in words ----------------------------------------------------------------------


def test_what_exists_is_never_overwritten(site: Couple) -> None:
    said = nothing_changed(site, lambda: restore(site, expect=4))
    assert said["message"].startswith("dev exists (")
    assert said["message"].endswith("and a restore overwrites nothing")
    for word in ("daybreak refresh", "daybreak pull", "--new NAME", "--table"):
        assert word in said["hint"]
    said = nothing_changed(site, lambda: restore(site, "--new", "postgres", expect=4))
    assert "there is a database postgres already" in said["message"]
    assert said["hint"] == "take another name: --new NAME"
    for name in ("", "n" * 64):
        said = nothing_changed(site, lambda name=name: restore(site, "--new", name, expect=2))
        assert "cannot be the name of a database" in said["message"]
        assert said["hint"] == "PostgreSQL takes 1 to 63 bytes"


def test_a_name_that_somebody_takes_meanwhile_stays_his(site: Couple) -> None:
    name = f"{site.dev_db}_new"
    made = f"createdb -h {site.dev.host} -p {site.dev.port} -U {site.dev.user} {name}"
    site.fake_tool("vacuumdb", f'{made}; exec $real "$@"')
    said = restore(site, "--new", name, expect=15)
    assert said["message"] == f"somebody made a database {name} meanwhile"
    assert said["hint"] == "take another name: --new NAME"
    assert databases(site.dev, site.dev_db) == [site.dev_db, name]
    assert contents(site.dev, name) == contents(site.dev, site.dev_db)  # empty, both


def test_an_archive_that_nobody_knows(site: Couple) -> None:
    said = restore(site, "--new", "x", archive="20200101-000000-0000", expect=2)
    assert said["message"] == "there is no archive '20200101-000000-0000'"
    assert said["hint"] == "daybreak archives lists them; a file is named by its path"
    said = restore(site, "--new", "x", archive="./nowhere.dump", expect=2)
    assert said["message"] == "there is no archive file nowhere.dump"
    bare = site.folder / "bare.dump"
    shutil.copy(site.archive, bare)
    said = restore(site, "--new", "x", archive=str(bare), expect=12)
    assert "has no manifest beside it" in said["message"]
    assert "daybreak fetch" in said["hint"]
    assert databases(site.dev, "x") == []


def test_an_archive_that_is_not_here_any_more(site: Couple) -> None:
    first = site.manifest().id
    site.backup()
    said = restore(site, "--new", "x", archive=first, expect=12)
    assert said["message"].startswith(f"archive {first} is not on this host any more (")
    assert said["hint"] == "daybreak repository snapshots shows what is off-site"
    site.archive.unlink()
    said = restore(site, "--new", "x", expect=12)
    assert said["message"].endswith("nothing of backup nightly stands on this host")
    assert said["hint"] == "`daybreak backup nightly` makes one"  # no repository has another


def test_an_archive_that_waits_for_a_repository_is_still_here(site: Couple) -> None:
    """It may be the only copy there is."""
    first = site.manifest().id
    before = contents(site.prod, site.prod_db)
    Shelf(site.archive).enlist(site.archive, first)
    site.prod.psql("UPDATE version SET n = n + 1", site.prod_db)
    site.backup()
    new = f"{site.dev_db}_new"
    assert restore(site, "--new", new, archive=first)["archive"]["id"] == first
    assert contents(site.dev, new) == before


def test_latest_of_which_backup(site: Couple) -> None:
    other = site.folder / "other"
    other.mkdir(mode=0o770)
    site.more += f'\n[backups.hourly]\ndatabase = "prod"\narchive = {json.dumps(str(other / "prod.dump"))}\n'
    site.configure()
    said = restore(site, "--new", "x", expect=2)
    assert said["message"] == "the latest archive of which backup? There is: nightly, hourly"
    assert said["hint"] == "name it instead of `latest`, or --backup NAME"
    restore(site, "--new", f"{site.dev_db}_new", "--backup", "nightly")


def test_a_damaged_archive_makes_nothing(site: Couple) -> None:
    raw = bytearray(site.archive.read_bytes())
    raw[len(raw) // 2] ^= 1
    site.archive.write_bytes(raw)
    said = nothing_changed(site, lambda: restore(site, "--new", "x", expect=12))
    assert "is not what its manifest says" in said["message"]
    loose = site.folder / "loose.dump"
    shutil.copy(site.archive, loose)
    shutil.copy(f"{site.archive}.json", f"{loose}.json")
    said = nothing_changed(site, lambda: restore(site, "--new", "x", archive=str(loose), expect=12))
    assert "cut, damaged or replaced" in said["message"]
    assert "daybreak archive read" in said["hint"]


def test_a_quarantined_archive_is_restored_with_a_warning(site: Couple) -> None:
    site.backup()
    site.prod.psql("TRUNCATE account", site.prod_db)
    quarantined = site.backup(expect=12)["run"]
    said = restore(site, "--new", f"{site.dev_db}_new", archive=quarantined)
    assert any(f"archive {quarantined} is in quarantine" in one for one in said["warnings"])


def test_the_guard_is_that_of_a_refresh(site: Couple, servers: Servers) -> None:
    site.retarget({"url": servers[18].url("nowhere")})
    said = restore(site, expect=4)
    assert "is in the cluster of prod" in said["message"]
    assert 'shares_cluster_with = "prod"' in said["hint"]
    said = restore(site, "--new", "x", expect=4)
    assert "is in the cluster of prod" in said["message"]
    assert databases(site.prod, "x") == databases(site.prod, "nowhere") == []


def test_what_the_server_lacks_is_said_before_anything_is_made(site: Couple) -> None:
    site.prod.create_role("stranger")
    site.prod.psql("CREATE POLICY p ON account TO stranger", site.prod_db)
    site.backup()
    said = nothing_changed(site, lambda: restore(site, "--new", "x", expect=15))
    assert "stranger, which the target's server lacks" in said["message"]
    assert said["hint"] == "each line names what solves it; then restore again"


def test_a_role_that_may_not_create_databases(site: Couple) -> None:
    site.refresh()
    site.dev.psql(f"ALTER DATABASE {named(site.dev_db)} OWNER TO {named(PLAIN)}")
    site.retarget({"url": site.dev.url(site.dev_db, user=PLAIN)})
    said = restore(site, "--new", "x", expect=15)
    assert f"the role {PLAIN} may not create databases" in said["message"]
    assert f'ALTER ROLE "{PLAIN}" CREATEDB' in said["message"]


def test_a_session_of_a_dead_run_that_this_role_may_not_end_stops_nothing(site: Couple) -> None:
    dead = site.refresh()["run"]
    site.dev.psql(f"ALTER DATABASE {named(site.dev_db)} OWNER TO {named(PLAIN)}")
    site.retarget({"url": site.dev.url(site.dev_db, user=PLAIN)})
    with psycopg.connect(site.dev.conninfo("postgres"), application_name=f"daybreak:{dead}") as left:
        said = restore(site, "--new", "x", expect=15)
        left.execute("SELECT 1")
    assert "may not create databases" in said["message"]
    assert any("may not end a session that a dead run left" in one for one in said["warnings"])


# -- whatever happens on the way ----------------------------------------------------------------------


@pytest.mark.parametrize(("tool", "code"), [("pg_restore", 15), ("vacuumdb", 15)])
def test_a_failure_on_the_way_leaves_nothing(site: Couple, tool: str, code: int) -> None:
    site.fake_tool(tool, f"echo '{tool}: error: the moon is full' >&2; exit 1")
    said = nothing_changed(site, lambda: restore(site, "--new", "x", expect=code))
    assert "the moon is full" in said["message"]


def test_a_restored_database_that_differs_is_dropped(site: Couple) -> None:
    # Behind the restore, in the database that it was given: what a disk that lies would do.
    change = f'psql -qh {site.dev.host} -p {site.dev.port} -U {site.dev.user} -d "$name" -c "TRUNCATE public.version"'
    find = 'name=$(printf %s "$*" | sed "s/.*dbname=\'\\([^\']*\\)\'.*/\\1/")'
    site.fake_tool("pg_restore", f'"$real" "$@" || exit; {find}; {change}')
    said = nothing_changed(site, lambda: restore(site, "--new", "x", expect=18))
    assert "public.version" in said["message"]
    assert site.json("archives")["archives"][0]["proven_at"] is None


@pytest.mark.parametrize("tool", ["pg_restore", "vacuumdb"])
def test_a_killed_restore_leaves_what_repair_drops(site: Couple, tool: str) -> None:
    started = site.folder / "started"
    site.fake_tool(tool, f"touch {started}; sleep 60")
    with site.start("restore", "latest", "--to", "dev", "--new", f"{site.dev_db}_new") as going:
        wait_for(started.exists, what=tool)
        going.kill(group=True)
    assert f"{site.dev_db}_new" not in databases(site.dev, site.dev_db)
    site.real_tools()
    assert any("dropped" in line for line in site.json("repair")["done"])
    site.wait_until_clean()


def test_a_killed_restore_of_a_dev_that_is_gone_is_cleaned_up_too(site: Couple) -> None:
    started = site.folder / "started"
    site.dev.drop_database(site.dev_db)
    site.fake_tool("vacuumdb", f"touch {started}; sleep 60")
    with site.start("restore", "latest", "--to", "dev") as going:
        wait_for(started.exists, what="vacuumdb")
        going.kill(group=True)
    site.real_tools()
    assert any("dropped" in line for line in site.json("repair")["done"])
    assert databases(site.dev, site.dev_db) == []
    restore(site)
    assert databases(site.dev, site.dev_db) == [site.dev_db]


def test_a_cancelled_restore_leaves_nothing(site: Couple) -> None:
    started = site.folder / "started"
    site.fake_tool("vacuumdb", f"touch {started}; sleep 60")
    with site.start("restore", "latest", "--to", "dev", "--new", "x", "--json") as going:
        wait_for(started.exists, what="vacuumdb")
        going.process.send_signal(signal.SIGTERM)
        assert going.end().code == 143
    assert databases(site.dev, "x") == []
    site.wait_until_clean()


def test_who_looks_into_every_database_does_not_stop_it(site: Couple) -> None:
    site.fake_tool(
        "vacuumdb",
        'name=$(printf %s "$*" | sed "s/.*dbname=\'\\([^\']*\\)\'.*/\\1/"); "$real" "$@";'
        f'(psql -qh {site.dev.host} -p {site.dev.port} -U {site.dev.user} -d "$name" -c "SELECT pg_sleep(60)"'
        " >/dev/null 2>&1 </dev/null &) ; sleep 1",
    )
    restore(site, "--new", f"{site.dev_db}_new")
    sql = f"SELECT count(*) FROM pg_stat_activity WHERE datname = {quoted(f'{site.dev_db}_new')}"  # noqa: S608 -- quoted
    assert site.dev.psql(sql) == "0"


def test_what_it_says_to_a_person(site: Couple) -> None:
    said = site.call("restore", "latest", "--to", "dev", "--new", f"{site.dev_db}_new")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[0].startswith(f"{site.dev_db}_new has the data of ")
    assert lines[1] == "proof: 2 of 2 tables compared, 2 equal, 0 equal in another order, 0 different"
