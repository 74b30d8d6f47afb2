"""A good night: what stands there afterwards, on every PostgreSQL."""

from __future__ import annotations

import errno
import grp
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from daybreak.archive import read_manifest
from daybreak.postgres.sql import qualified
from daybreak.postgres.tools import PINNED, options_text
from installation import Installation

if TYPE_CHECKING:
    from conftest import RichDatabase, Server


def copied(server: Server, database: str, statement: str) -> bytes:
    """What the source says to a COPY of the manifest, with the settings that dump and proof share."""
    return subprocess.run(
        [server.bin / "psql", "-XAtq", "-d", server.conninfo(database), "-c", statement],
        env={"PGOPTIONS": options_text(PINNED)},
        check=True,
        capture_output=True,
        timeout=60,
    ).stdout


def test_the_manifest_is_what_the_source_says(server: Server, rich_database: RichDatabase, tmp_path: Path) -> None:
    name = rich_database(server)
    site = Installation(folder=tmp_path, url=server.url(name), bin=server.bin)
    told = site.backup()
    manifest = site.manifest()
    assert len(manifest.tables) > 10
    assert len(manifest.large_objects) > 0
    for table in manifest.tables:
        columns = f" ({table.statement.columns})" if table.statement.columns else ""
        statement = f"COPY {qualified(table.schema, table.name)}{columns} TO STDOUT"
        data = copied(server, name, statement)
        assert hashlib.sha256(data).hexdigest() == table.digest.sha256, table.label
        assert data.count(b"\n") == table.digest.rows, table.label
    assert manifest.server_version.startswith(str(server.major))
    assert manifest.database == name
    assert told["archive"] == {
        "id": manifest.id,
        "path": str(site.archive),
        "size_bytes": site.archive.stat().st_size,
        "sha256": hashlib.sha256(site.archive.read_bytes()).hexdigest(),
        "tables": len(manifest.tables),
        "rows": sum(table.digest.rows for table in manifest.tables),
    }
    assert told["snapshots"] == []
    assert manifest.globals is not None
    written = site.archive.with_name("prod.dump.globals.sql").read_bytes()
    assert hashlib.sha256(written).hexdigest() == manifest.globals.sha256
    assert b"CREATE ROLE postgres" in written
    assert b"PASSWORD" not in written
    assert manifest.globals.facts["encoding"] == "UTF8"
    assert "pg_trgm" in manifest.globals.facts["extensions"]
    assert site.leftovers() == []


def test_what_was_backed_up_restores_in_parallel(server: Server, rich_database: RichDatabase, tmp_path: Path) -> None:
    name = rich_database(server)
    site = Installation(folder=tmp_path, url=server.url(name), bin=server.bin)
    site.backup()
    empty = server.create_database(server.fresh() + "_back", template="template0")
    try:
        subprocess.run(
            [server.bin / "pg_restore", "-j2", "--exit-on-error", "-d", server.conninfo(empty), site.archive],
            check=True,
            timeout=120,
            capture_output=True,
            env={},
        )
        count = "SELECT count(*) FROM shop.customer"
        assert server.psql(count, empty) == server.psql(count, name)
    finally:
        server.drop_database(empty)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_p6_modes_and_group_whatever_the_umask(site: Installation, umask: int) -> None:
    """P6: the archive is 0640 with the folder's group, our folders are 2770."""
    group = grp.getgrnam("backup" if os.geteuid() == 0 else grp.getgrgid(os.getegid()).gr_name).gr_gid
    os.chown(site.backups, -1, group)
    site.backups.chmod(0o770)  # without the setgid bit, so that nothing helps
    before = os.umask(umask)
    try:
        site.backup()
        site.backup()
    finally:
        os.umask(before)
    for file in (site.archive, Path(f"{site.archive}.json"), Path(f"{site.archive}.globals.sql")):
        assert (file.stat().st_mode & 0o7777, file.stat().st_gid) == (0o640, group), file
    for folder in (site.root, *(path for path in site.root.rglob("*") if path.is_dir())):
        assert (folder.stat().st_mode & 0o7777, folder.stat().st_gid) == (0o2770, group), folder
    for file in (path for path in site.root.rglob("*") if path.is_file()):
        assert (file.stat().st_mode & 0o007, file.stat().st_gid) == (0, group), file
    for file in site.state.rglob("*"):
        assert file.stat().st_mode & 0o007 == 0, file


def test_the_folder_of_ours_asks_backup_programs_to_leave_it_out(site: Installation) -> None:
    site.backup()
    tag = (site.root / "CACHEDIR.TAG").read_bytes()
    assert tag.startswith(b"Signature: 8a477f597d28d172789f06886806bc55")


def test_a_folder_with_an_odd_name_is_a_folder(prod: tuple[Server, str], tmp_path: Path) -> None:
    server, name = prod
    site = Installation(folder=tmp_path / "a b [c]* 'd' ☀", url=server.url(name), bin=server.bin, name="p [x]?.dump")
    site.configure(plan={"keep_local": 2})
    for _ in range(3):
        site.backup()
    assert len(list(site.backups.glob("*.dump"))) == 2
    site.manifest()


def test_every_night_replaces_the_one_before(site: Installation, prod: tuple[Server, str]) -> None:
    server, name = prod
    first = site.backup()["archive"]["sha256"]
    server.psql("INSERT INTO nothing VALUES (1)", name)
    second = site.backup()["archive"]["sha256"]
    assert first != second
    assert sorted(site.fingerprint()) == ["prod.dump", "prod.dump.globals.sql", "prod.dump.json"]
    assert sorted(path.name for path in (site.root / "manifests").iterdir()) == [
        f"{second}.globals.sql",
        f"{second}.json",
    ]
    assert site.manifest().sha256 == second


def test_several_users_of_the_group_take_turns(site: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel lets nobody link another user's archive that he may only read (protected_hardlinks)."""
    site.configure(plan={"keep_local": 2})
    first = site.backup()["archive"]
    link, before = os.link, set(site.backups.rglob("*"))

    def link_of_another_user(source: Path, name: Path) -> None:
        if Path(source) in before:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(source))
        link(source, name)

    monkeypatch.setattr(os, "link", link_of_another_user)
    second = site.backup()["archive"]
    kept = {one["id"]: one for one in site.json("archives")["archives"]}
    assert kept.keys() == {first["id"], second["id"]}
    for one in kept.values():
        assert site.manifest(Path(one["path"])).id == one["id"]
        assert Path(one["path"]).stat().st_mode & 0o7777 == 0o640
    assert site.leftovers() == []


def test_keep_local_keeps_so_many_and_each_is_whole(site: Installation) -> None:
    site.configure(plan={"keep_local": 3})
    ids = [site.backup()["archive"]["id"] for _ in range(5)]
    standing = sorted(path.name for path in site.backups.glob("*.dump"))
    assert standing == sorted(["prod.dump", f"prod-{ids[3]}.dump", f"prod-{ids[2]}.dump"])
    assert [site.manifest(site.backups / f"prod-{one}.dump").id for one in ids[2:4]] == ids[2:4]
    states = {one["id"]: (one["state"], Path(one["path"]).name) for one in site.json("archives")["archives"]}
    assert states[ids[4]] == ("published", "prod.dump")
    assert states[ids[3]] == ("published", f"prod-{ids[3]}.dump")
    assert {states[one][0] for one in ids[:2]} == {"replaced"}
    site.configure(plan={"keep_local": 1})
    site.backup()
    assert [path.name for path in site.backups.glob("*.dump")] == ["prod.dump"]


def test_files_of_other_people_beside_the_archive_stay(site: Installation) -> None:
    """Only what a manifest gives its name is an older archive of ours."""
    others = [
        site.backups / name for name in ("prod-2026-01-01-mine.dump", "prod-20260101-000000-beef.dump", "other.dump")
    ]
    for other in others:
        other.write_bytes(b"mine")
    copy = site.backups / "prod-copy.dump"
    site.backup()
    shutil.copy(site.archive, copy)
    shutil.copy(f"{site.archive}.json", f"{copy}.json")
    for _ in range(2):
        site.backup()
    assert all(other.read_bytes() == b"mine" for other in others)
    assert site.manifest(copy)


def prove(site: Installation, archive: str) -> None:
    """What a refresh or a drill would note."""
    with site.catalog() as catalog:
        found = catalog.archives.get(archive)
        assert found is not None
        catalog.archives.set_proven(archive, at=found.archive.taken_at, proof={"tables": 3, "different": 0})


def test_a_proven_archive_stays_until_the_next_proven_one(site: Installation) -> None:
    proven = site.root / "proven.dump"
    first = site.backup()["archive"]["id"]
    assert not proven.exists()
    prove(site, first)
    site.backup()
    assert site.manifest(proven).id == first
    third = site.backup()["archive"]["id"]
    assert site.manifest(proven).id == first
    listed = {one["id"]: one for one in site.json("archives")["archives"]}
    assert (listed[first]["state"], listed[first]["path"]) == ("published", str(proven))
    prove(site, third)
    site.backup()
    assert site.manifest(proven).id == third
    listed = {one["id"]: one for one in site.json("archives")["archives"]}
    assert listed[first]["state"] == "replaced"
    assert (listed[third]["state"], listed[third]["path"]) == ("published", str(proven))


def test_no_copy_of_a_proven_archive_where_one_stands_among_the_kept(site: Installation) -> None:
    site.configure(plan={"keep_local": 2})
    first = site.backup()["archive"]["id"]
    prove(site, first)
    site.backup()
    proven = site.root / "proven.dump"
    assert not proven.exists()
    second = site.backup()["archive"]["id"]
    assert site.manifest(proven).id == first
    prove(site, second)
    site.backup()
    assert not proven.exists()
    assert not Path(f"{proven}.json").exists()
    assert {one["id"]: one["state"] for one in site.json("archives")["archives"]}[first] == "replaced"


def test_a_dump_of_another_tool_under_the_name_is_replaced_with_a_warning(site: Installation) -> None:
    site.archive.write_bytes(b"PGDMP of the old script")
    site.configure(plan={"keep_local": 3})
    told = site.backup()
    assert "no manifest here has its sha256" in told["warnings"][0]
    assert [path.name for path in site.backups.glob("*.dump")] == ["prod.dump"]
    site.manifest()


def test_a_folder_whose_disk_is_away_is_told(site: Installation) -> None:
    site.backup()
    shutil.rmtree(site.archive.parent)  # as what lies beneath its mount point looks
    site.archive.parent.mkdir()
    (warning,) = site.backup()["warnings"]
    assert "is gone, where an archive was published" in warning
    assert f"findmnt --target {site.archive.parent}" in warning
    assert "warnings" not in site.backup()


def test_an_archive_that_was_replaced_behind_our_back_never_becomes_an_older_one(site: Installation) -> None:
    site.configure(plan={"keep_local": 3})
    site.backup()
    site.archive.unlink()
    site.archive.write_bytes(b"somebody's own")
    site.backup()
    for path in site.backups.glob("*.dump"):
        site.manifest(path)


def test_the_globals_say_what_a_role_may_not_read(site: Installation, prod: tuple[Server, str]) -> None:
    server, name = prod
    server.create_role("plain_dumper")
    server.psql("GRANT pg_read_all_data TO plain_dumper")
    site.url = server.url(name, user="plain_dumper")
    site.configure()
    told = site.backup()
    assert site.manifest().rows == 2500
    assert told.get("warnings", []) == [] or "roles and tablespaces are missing" in told["warnings"][0]
    assert b"ALTER DATABASE" in Path(f"{site.archive}.globals.sql").read_bytes()


def test_d19_a_table_that_is_dropped_during_the_dump_is_in_it_or_the_dump_fails(
    slow: Installation, large: tuple[Server, str]
) -> None:
    """D19: what happens to the schema meanwhile never mixes."""
    server, name = large
    server.psql("DROP TABLE IF EXISTS fleeting; CREATE TABLE fleeting AS SELECT generate_series(1, 10) AS id", name)
    with slow.start("backup", "--json") as night:
        while slow.staged() is None:
            assert night.process.poll() is None
        # DROP waits for pg_dump's lock; a new table is none of that snapshot's business
        server.psql("CREATE TABLE late AS SELECT 1 AS id; DROP TABLE fleeting; DROP TABLE late", name)
        answer = night.end()
    assert answer.code in {0, 11}
    if answer.code == 0:
        rows = {table.label: table.digest.rows for table in read_manifest(Path(f"{slow.archive}.json")).tables}
        assert rows.pop("public.fleeting", 10) == 10
        assert rows == {"public.first": 100, "public.heavy": 200000}


@pytest.mark.parametrize("major", [15, 18])
def test_a_hot_standby_is_backed_up(major: int, own_server: Callable[..., Server], tmp_path: Path) -> None:
    """It refuses no setting of our sessions, and stays read only."""
    server = own_server(major)
    server.psql("CREATE TABLE t AS SELECT 1 AS n")
    server.cluster.stop()
    signal = server.cluster.data / "standby.signal"
    signal.touch()
    owner = server.cluster.data.stat()
    os.chown(signal, owner.st_uid, owner.st_gid)
    server.cluster.start()
    assert server.psql("SELECT pg_is_in_recovery()") == "t"
    site = Installation(folder=tmp_path, url=server.url("postgres"), bin=server.bin)
    site.backup()
    assert [table.digest.rows for table in site.manifest().tables] == [1]
