"""What must hold after every blow, looked at from outside: archive, target, processes, sessions, leftovers.

Shapes  each `…_faults` gives sentences of what is wrong, none when all is well. They only look.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psycopg

from daybreak.archive import check_archive
from daybreak.embedded.cluster import Cluster
from daybreak.errors import ArchiveError, DaybreakError
from daybreak.files import sha256_file
from daybreak.jobs.shelf import Shelf
from ground import Ground

#: How long the target may be silent, and orphans may live.
ANSWER_S: Final = 5.0
QUIET_S: Final = 15.0
#: Everything that the versioned database holds, in one row: its version and one checksum.
FINGERPRINT: Final = """\
SELECT (SELECT version FROM app.release),
       md5(concat_ws(' ',
           (SELECT string_agg(n::text, '|' ORDER BY id) FROM app.notes n),
           (SELECT string_agg(e::text, '|' ORDER BY id) FROM app.events e),
           (SELECT string_agg(md5(lo_get(oid)), '|' ORDER BY oid) FROM pg_largeobject_metadata),
           (SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
             WHERE c.relnamespace = 'app'::regnamespace AND i.indisvalid),
           (SELECT count(*) FROM pg_constraint WHERE connamespace = 'app'::regnamespace AND convalidated)))"""
_OURS: Final = "SELECT pid, application_name, datname FROM pg_stat_activity WHERE application_name LIKE 'daybreak:%'"
_SYSTEM: Final = frozenset({"postgres", "template0", "template1"})


def fingerprint(conninfo: str, within_s: float = ANSWER_S) -> tuple[int, str]:
    """Version and checksum of one database; ask until it answers. Raise TimeoutError after `within_s`."""
    until = time.monotonic() + within_s
    while True:
        try:
            with psycopg.connect(conninfo, connect_timeout=5, autocommit=True) as connection:
                row = connection.execute(FINGERPRINT).fetchone()
                assert row is not None
                return int(row[0] or -1), str(row[1])
        except psycopg.Error as error:
            if time.monotonic() > until:
                raise TimeoutError(f"no answer within {within_s:.0f} s: {str(error).strip()}") from error
            time.sleep(0.02)


def target_faults(conninfo: str, known: Mapping[int, str], allowed: set[int]) -> tuple[int, list[str]]:
    """Does the target answer, with the whole data of an allowed version? Its version, and what is wrong."""
    try:
        version, checksum = fingerprint(conninfo)
    except TimeoutError as error:
        return -1, [f"the target: {error}"]
    if version not in allowed:
        return version, [f"the target has version {version}, only {sorted(allowed)} can be"]
    if known[version] != checksum:
        return version, [f"the target says version {version}, but its data is not whole"]
    return version, []


def archive_faults(archive: Path) -> tuple[bool, list[str]]:
    """Is the published archive whole? Whether its manifest waits for its name, and what is wrong.

    Between the archive's rename and its manifest's, the manifest stored under its sha256 is the one that counts;
    the next run gives it the name.
    """
    if not archive.exists():
        return False, [f"{archive.name} is gone"]
    named = archive.with_name(f"{archive.name}.json")
    try:
        if named.exists() and not check_archive(archive, named).differences:
            return False, []
        stored = Shelf(archive).root / "manifests" / f"{sha256_file(archive)}.json"
        if not stored.exists():
            return False, [f"{archive.name} is not its manifest's, and none is stored for it"]
        report = check_archive(archive, stored)
    except ArchiveError as error:
        return False, [f"{archive.name}: {error}"]
    return True, [f"{archive.name}: {one}" for one in report.differences]


def damage_is_found(archive: Path, manifest: Path) -> bool:
    """Whether reading the archive notices that it is not the manifest's."""
    try:
        return bool(check_archive(archive, manifest).differences)
    except ArchiveError:
        return True


def pin_is_refused(archive: Path) -> bool:
    """Whether what a restore works from refuses this published archive."""
    try:
        with Shelf(archive).pin(archive, "look"):
            return False
    except DaybreakError:
        return True


def sessions(server: Cluster) -> list[str]:
    """Sessions of Daybreak on a server."""
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        return [f"{name} (pid {pid}, database {where})" for pid, name, where in connection.execute(_OURS)]


def orphans(ground: Ground, within_s: float = QUIET_S) -> tuple[float, list[str]]:
    """Wait until nothing of a run lives: how long that took, and what lives still after `within_s`."""
    began = time.monotonic()
    while True:
        found = [f"process {pid}" for pid in ground.our_processes()]
        found += [f"session {one}" for server in (ground.prod, ground.dev) for one in sessions(server)]
        taken_s = time.monotonic() - began
        if not found or taken_s > within_s:
            return taken_s, [f"still there after {within_s:.0f} s: {one}" for one in found]
        time.sleep(0.05)


def leftovers(ground: Ground, archive: Path, source: str, target: str) -> list[str]:
    """What should not be there when no run is: working files, private files, databases beyond one previous."""
    root = Shelf(archive).root
    found = [
        f"left behind: {one.relative_to(ground.folder)}"
        for folder in (root / "staging", root / "pins", root / "ship", root / "quarantine", ground.state / "private")
        for one in sorted(folder.rglob("*"))
        if one.is_file()
    ]
    found += [f"left behind: {one.relative_to(ground.folder)}" for one in sorted(archive.parent.rglob(".*.partial"))]
    found += [f"left behind: {one.name}" for one in sorted((ground.state / "private").iterdir())]
    stored = list((root / "manifests").glob("*.json"))
    standing = len(list(archive.parent.glob(f"{archive.stem}*.dump"))) + (root / "proven.dump").exists()
    if len(stored) > standing:
        found.append(f"{len(stored)} stored manifests for {standing} archives")
    previous = f"{target}_previous"
    for server, wanted in ((ground.prod, {source}), (ground.dev, {target, previous})):
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            names = {str(row[0]) for row in connection.execute("SELECT datname FROM pg_database")}
            closed = connection.execute("SELECT datname FROM pg_database WHERE NOT datallowconn").fetchall()
        found += [f"left behind: database {one}" for one in sorted(names - wanted - _SYSTEM)]
        if server is ground.dev and (target,) in closed:
            found.append(f"left closed: database {target}")
    return found
