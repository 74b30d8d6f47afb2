"""Real archives: the rich database, dumped by pg_dump 15 to 18 with every compression that each one has."""

from __future__ import annotations

import subprocess

import pytest
from archive_samples import COMPRESSIONS, CopyOut, Dump, Dumped, Server, Servers, environment

from daybreak.archive import TableDigest, fill_offsets, scan


@pytest.fixture(scope="session")
def dump(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Dump:
    """`dump(major, compression)` is the rich database's archive; each is made once."""
    folder = tmp_path_factory.mktemp("archives")
    made: dict[tuple[int, str], Dumped] = {}

    def make(major: int, compression: str) -> Dumped:
        if (major, compression) not in made:
            server = servers[major]
            path = folder / f"{major}-{compression}.dump"
            level = COMPRESSIONS[major][compression]
            argv = [server.bin / "pg_dump", "-Fc", f"-Z{level}", f"--dbname={server.conninfo(server.rich())}"]
            with path.open("wb") as file, subprocess.Popen(argv, stdout=subprocess.PIPE, env=environment()) as child:
                assert child.stdout is not None
                found = scan(child.stdout.read1, write=file.write)
            assert child.returncode == 0
            filled = path.with_suffix(".filled")
            filled.write_bytes(path.read_bytes())
            fill_offsets(filled, found)
            made[major, compression] = Dumped(
                major=major, compression=compression, path=path, scan=found, filled=filled
            )
        return made[major, compression]

    return make


@pytest.fixture(scope="session")
def copy_out() -> CopyOut:
    """`copy_out(server, database, statement)` digests what psql prints for a COPY … TO STDOUT."""

    def run(server: Server, database: str, statement: str) -> TableDigest:
        argv = [server.bin / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", server.conninfo(database), "-c", statement]
        digest = TableDigest(unordered=True)
        with subprocess.Popen(argv, stdout=subprocess.PIPE, env=environment()) as child:
            assert child.stdout is not None
            while piece := child.stdout.read1(2**16):
                digest.update(piece)
        assert child.returncode == 0, statement
        return digest

    return run
