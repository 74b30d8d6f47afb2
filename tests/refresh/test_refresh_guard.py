"""The guard: production is never touched, whatever name leads to it; only the known target is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from couples import OWNER, Couple, contents, databases, named, oid_of, quoted
from daybreak.embedded.cluster import FAST, Cluster
from daybreak.embedded.scratch import free_port

if TYPE_CHECKING:
    from conftest import Coupling, Servers


@pytest.fixture
def forbidden(small: str, servers: Servers, tmp_path: Path) -> Iterator[Couple]:
    """An installation whose target is to be pointed at production; what happens there must be nothing."""
    prod = servers[18]
    site = Couple(folder=tmp_path, url=prod.url(small), bin=prod.bin, prod=prod, prod_db=small, dev=prod, dev_db=small)
    before = (contents(prod, small), oid_of(prod, small), databases(prod, small))
    yield site
    assert (contents(prod, small), oid_of(prod, small), databases(prod, small)) == before


def by_itself(_site: Couple) -> dict[str, object]:
    return {}


def by_socket(site: Couple) -> dict[str, object]:
    return {"host": str(site.prod.socket_folder)}


def by_name(_site: Couple) -> dict[str, object]:
    return {"host": "localhost"}


def by_other_spelling(_site: Couple) -> dict[str, object]:
    return {"host": "127.1"}


def by_other_role(site: Couple) -> dict[str, object]:
    site.prod.create_role("somebody", options="LOGIN SUPERUSER")
    return {"user": "somebody"}


def by_service(site: Couple) -> dict[str, object]:
    file = site.folder / "service.conf"
    file.write_text(f"[hidden]\nhost={site.prod.host}\nport={site.prod.port}\ndbname={site.prod_db}\nuser=postgres\n")
    return {"url": None, "service": "hidden"}


@pytest.mark.parametrize("way", [by_itself, by_socket, by_name, by_other_spelling, by_other_role, by_service])
@pytest.mark.parametrize("verb", [("refresh", "--first"), ("refresh", "--plan"), ("undo",), ("repair",)], ids=" ".join)
def test_case_28_r6_target_is_production(
    way: object, verb: tuple[str, ...], forbidden: Couple, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    assert callable(way)
    (tmp_path / ".pg_service.conf").write_text("")
    forbidden.retarget(way(forbidden))
    if (forbidden.folder / "service.conf").exists():
        shutil.copy(forbidden.folder / "service.conf", tmp_path / ".pg_service.conf")
    monkeypatch.setenv("HOME", str(tmp_path))
    said = forbidden.json(*verb, expect=4)
    assert said["code"] == "Refused"
    assert "protected" in said["message"]
    assert said["hint"]


def test_case_28_r6_production_is_one_of_several_hosts(forbidden: Couple, dev_servers: Servers):
    """The first one answers, and is no production; libpq takes the next as soon as that one is away."""
    prod, dev, name = forbidden.prod, dev_servers[18], forbidden.prod_db
    dev.create_database(name, template="template0")
    forbidden.retarget({"url": f"postgresql://{dev.user}@{dev.host}:{dev.port},localhost:{prod.port}/{name}"})
    said = forbidden.json("refresh", "--first", expect=4)
    assert "are one database by their addresses" in said["message"]
    dev.drop_database(name)


def test_case_28_r6_production_that_does_not_answer_is_known_all_the_same(forbidden: Couple):
    forbidden.backup()
    forbidden.configure(database={"url": f"postgresql://postgres@127.0.0.1:1/{forbidden.prod_db}"})
    said = forbidden.refresh(expect=4)
    assert "under another name" in said["message"]


def test_case_28_r6_production_whose_address_is_wrong_by_now_is_known(forbidden: Couple, dev_servers: Servers):
    forbidden.backup()
    forbidden.configure(database={"url": dev_servers[18].url("template1")})
    said = forbidden.refresh(expect=4)
    assert "under another name" in said["message"]


def test_production_that_nobody_ever_saw_and_that_does_not_answer(site: Couple):
    site.configure(database={"url": f"postgresql://postgres@127.0.0.1:1/{site.prod_db}"})
    said = site.refresh(expect=4)
    assert "never enrolled" in said["message"]
    assert "config check --connect" in said["hint"]


def test_case_28_r6_another_database_of_productions_cluster_needs_a_word(forbidden: Couple):
    name = forbidden.prod.create_database("neighbour", template="template0")
    forbidden.retarget({"url": forbidden.prod.url(name)})
    said = forbidden.refresh(expect=4)
    assert "shares_cluster_with" in said["hint"]
    forbidden.retarget({"shares_cluster_with": "prod"})
    forbidden.refresh()
    assert contents(forbidden.prod, name) == contents(forbidden.prod, forbidden.prod_db)
    for one in databases(forbidden.prod, name):
        forbidden.prod.drop_database(one)


def test_case_28_r6_a_copy_of_productions_files_is_its_cluster(forbidden: Couple, scratch: Path, servers: Servers):
    prod = servers[18]
    prod.create_database("dev on copy", template="template0")
    copy = Cluster(scratch / "copy-of-prod", prod.bin, settings=FAST)
    copy.folder.mkdir(mode=0o700)
    prod.psql("CHECKPOINT")
    shutil.copytree(prod.cluster.data, copy.data, ignore=shutil.ignore_patterns("postmaster.*", "pg_internal.init"))
    owner = prod.cluster.data.stat()
    for place in (copy.folder, copy.data, *copy.data.rglob("*")):
        os.chown(place, owner.st_uid, owner.st_gid, follow_symlinks=False)
    copy.data.chmod(0o700)
    copy.port = free_port()
    copy.start()
    try:
        forbidden.retarget({"url": f"postgresql://postgres@127.0.0.1:{copy.port}/dev%20on%20copy"})
        said = forbidden.refresh(expect=4)
        assert "file copy" in said["message"]
        forbidden.retarget({"url": f"postgresql://postgres@127.0.0.1:{copy.port}/{forbidden.prod_db}"})
        said = forbidden.refresh(expect=4)
        assert "under another name" in said["message"]
    finally:
        copy.stop("immediate")
        copy.remove()
        prod.drop_database("dev on copy")


def test_the_same_name_on_another_cluster_is_normal(couple: Coupling, small: str):
    site = couple(small, dev_db=small)
    site.refresh()
    assert contents(site.dev, small) == contents(site.prod, small)


def test_d16_a_target_that_was_made_anew_is_refused_until_somebody_looked(refreshed: Couple):
    name = refreshed.dev_db
    old = oid_of(refreshed.dev, name)
    refreshed.dev.drop_database(name)
    refreshed.dev.create_database(name, owner=OWNER, template="template0")
    new = oid_of(refreshed.dev, name)

    for verb in (("refresh",), ("refresh", "--plan"), ("undo",)):
        said = refreshed.json(*verb, expect=4)
        assert f"oid {old}" in said["message"]
        assert f"oid {new}" in said["message"]
        assert "daybreak enrol dev" in said["hint"]
    assert refreshed.dev.psql("SELECT count(*) FROM pg_class WHERE relname = 'version'", name) == "0"

    refreshed.json("enrol", "dev")
    refreshed.refresh()
    assert contents(refreshed.dev, name) == contents(refreshed.prod, refreshed.prod_db)
    assert refreshed.clean() == []


def test_d16_prod_and_dev_swapped_in_the_configuration(refreshed: Couple):
    before = contents(refreshed.prod, refreshed.prod_db)
    refreshed.configure(database={"url": refreshed.dev.url(refreshed.dev_db), "bin": str(refreshed.dev.bin)})
    refreshed.retarget({"url": refreshed.prod.url(refreshed.prod_db), "bin": str(refreshed.prod.bin)})
    said = refreshed.refresh(expect=4)
    assert "prod" in said["message"]
    said = refreshed.backup(expect=4)
    assert "daybreak enrol prod" in said["hint"]
    assert contents(refreshed.prod, refreshed.prod_db) == before


def test_d16_another_cluster_under_the_targets_address(refreshed: Couple, dev_servers: Servers):
    other = dev_servers[17]
    other.create_database(refreshed.dev_db, template="template0")
    refreshed.retarget({"url": other.url(refreshed.dev_db), "bin": str(other.bin)})
    said = refreshed.refresh(expect=4)
    assert said["message"].count("cluster") == 2
    other.drop_database(refreshed.dev_db)


def test_case_28_the_callers_pg_variables_lead_nowhere(site: Couple):
    before = contents(site.prod, site.prod_db)
    # The target is found by its socket and default role alone, so that every variable would count.
    poison = {
        "PGHOST": site.prod.host,
        "PGHOSTADDR": site.prod.host,
        "PGPORT": str(site.prod.port),
        "PGDATABASE": site.prod_db,
        "PGUSER": "nobody-there",
        "PGSERVICE": "none",
        "PGOPTIONS": "-c default_transaction_read_only=on",
        "PGAPPNAME": "poison",
        "PGPASSWORD": "poison",
        "PGTARGETSESSIONATTRS": "standby",
    }
    site.refresh()
    answer = site.apart("refresh", "--fresh", "--json", env=poison)
    answer.expect(0)
    assert contents(site.prod, site.prod_db) == before
    assert databases(site.prod, site.prod_db) == [site.prod_db]


def test_i4_production_is_only_read(couple: Coupling, servers: Servers, rich_database: object):
    assert callable(rich_database)
    prod = servers[18]
    name = rich_database(prod)
    prod.psql(f"ALTER DATABASE {named(name)} SET default_transaction_read_only = on")
    settings = "SELECT xact_commit >= 0, tup_inserted, tup_updated, tup_deleted FROM pg_stat_database WHERE datname = "
    prod.psql("SELECT pg_stat_reset()", name)
    site = couple(name)
    site.refresh()
    site.json("undo")
    site.json("repair")
    assert prod.psql(settings + quoted(name)) == "t|0|0|0"


# -- names beside the target -------------------------------------------------------------------------


def test_v5_a_foreign_database_called_previous_is_never_touched(site: Couple):
    name = f"{site.dev_db}_previous"
    site.dev.create_database(name, template="template0")
    oid = oid_of(site.dev, name)
    for verb in (("refresh", "--first"), ("refresh", "--plan"), ("undo",)):
        said = site.json(*verb, expect=4)
        assert name in said["message"]
        assert "RENAME" in said["hint"]
    # Neither a comment like ours makes it ours, nor our catalog without the comment.
    site.dev.psql(f"COMMENT ON DATABASE {named(name)} IS 'daybreak previous: run=20260101-000000-0000 target=dev'")
    site.refresh(expect=4)
    assert oid_of(site.dev, name) == oid


def test_v5_our_previous_without_its_comment_is_somebodys(refreshed: Couple):
    name = f"{refreshed.dev_db}_previous"
    refreshed.dev.psql(f"COMMENT ON DATABASE {named(name)} IS 'keep this'")
    oid = oid_of(refreshed.dev, name)
    refreshed.refresh(expect=4)
    assert oid_of(refreshed.dev, name) == oid


def test_v5_foreign_shadows_are_never_touched(refreshed: Couple):
    stranger = f"{refreshed.dev_db}_shadow_20260101-000000-0000"
    lookalike = f"{refreshed.dev_db}_previous_20260101-000000-0000"
    for name in (stranger, lookalike):
        refreshed.dev.create_database(name, template="template0")
        refreshed.dev.psql(
            f"COMMENT ON DATABASE {named(name)} IS 'daybreak shadow: run=20260101-000000-0000 target=dev'"
        )
    refreshed.refresh()
    refreshed.json("repair")
    assert {stranger, lookalike} <= set(refreshed.beside())


def test_v5_a_previous_that_somebody_renamed_is_his(refreshed: Couple):
    name, kept = f"{refreshed.dev_db}_previous", f"{refreshed.dev_db} kept by hand"
    oid = oid_of(refreshed.dev, name)
    refreshed.dev.psql(f"ALTER DATABASE {named(name)} RENAME TO {named(kept)}")
    refreshed.refresh()
    refreshed.refresh()
    refreshed.json("repair")
    assert oid_of(refreshed.dev, kept) == oid


def test_a_catalog_that_was_lost_lets_nothing_be_dropped(refreshed: Couple):
    shutil.rmtree(refreshed.state)
    before = {name: oid_of(refreshed.dev, name) for name in [refreshed.dev_db, *refreshed.beside()]}
    said = refreshed.json("refresh", expect=4)  # the previous one is not known any more
    assert "that a Daybreak kept, and this catalog does not know it (daybreak previous: run=" in said["message"]
    rename = said["hint"].partition("Rename it: ")[2].partition(";")[0]
    assert rename.startswith(f"ALTER DATABASE {named(refreshed.dev_db + '_previous')} RENAME TO ")
    refreshed.dev.psql(rename)  # the command works as it is printed
    said = refreshed.json("refresh", expect=4)  # and neither that dev was refreshed before
    assert "--first" in said["hint"]
    assert sorted(before.values()) == sorted(
        oid_of(refreshed.dev, one) for one in [refreshed.dev_db, *refreshed.beside()]
    )
    refreshed.refresh()


def test_yesterdays_catalog_lets_nothing_be_dropped(refreshed: Couple):
    yesterday = refreshed.folder / "yesterday"
    shutil.copytree(refreshed.state, yesterday)
    refreshed.refresh()
    refreshed.refresh()
    shutil.rmtree(refreshed.state)
    shutil.copytree(yesterday, refreshed.state)
    before = {name: oid_of(refreshed.dev, name) for name in [refreshed.dev_db, *refreshed.beside()]}
    refreshed.refresh(expect=4)
    refreshed.json("enrol", "dev")
    refreshed.refresh(expect=4)  # whose previous is this?
    assert {name: oid_of(refreshed.dev, name) for name in before} == before


def test_two_hosts_with_one_target_refuse_each_others_work(refreshed: Couple, tmp_path: Path):
    other = Couple(
        folder=tmp_path / "other",
        url=refreshed.url,
        bin=refreshed.bin,
        prod=refreshed.prod,
        prod_db=refreshed.prod_db,
        dev=refreshed.dev,
        dev_db=refreshed.dev_db,
    )
    said = other.refresh(expect=4)
    assert "previous" in said["message"]
    assert refreshed.clean() == []


# -- the first time ----------------------------------------------------------------------------------


def test_the_first_refresh_needs_a_word_and_later_the_word_is_harmless(site: Couple):
    site.dev.psql("CREATE TABLE mine ()", site.dev_db)
    said = site.json("refresh", expect=4)
    assert "--first" in said["hint"]
    assert site.dev.psql("SELECT count(*) FROM mine", site.dev_db) == "0"
    assert site.beside() == []
    site.refresh()
    site.json("refresh")
    site.refresh()


def test_plan_changes_nothing(site: Couple):
    def all_there_is() -> object:
        with site.catalog() as catalog:
            known, runs = catalog.databases.enrolled("dev"), len(catalog.runs.list(limit=100))
        return oid_of(site.dev, site.dev_db), site.beside(), site.fingerprint(), runs, known

    for _ in range(2):
        before = all_there_is()
        said = site.json("refresh", "--plan")
        assert said["steps"]
        assert all_there_is() == before
        site.refresh()
