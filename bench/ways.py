"""1 GiB through every way to a program, as Daybreak reads it; writes docs/throughput.md.

The bytes are a real archive without compression. `pipe` is the rate of the stream alone, `reader` the rate with the
archive reader behind it, which counts and hashes every row: that is what a backup sees. The engines are those of the
tests, found by PYTHONPATH. Rounds go through all ways in turn; a figure is the median.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from engines import Engine, dockerd
from sshd import sshd

from containers import make_podman, remove
from daybreak.archive import scan
from daybreak.command import Command
from daybreak.embedded.binaries import find_server, tools_folder
from daybreak.embedded.cluster import FAST, running_cluster
from daybreak.embedded.scratch import scratch_folder
from daybreak.hosts import Host, reach
from daybreak.model import Place, SshHost
from daybreak.process import Runner
from ground import HERE, machine

PAGE: Final = HERE.parent / "docs" / "throughput.md"
_LONG: Final = timedelta(minutes=30)
_MIB: Final = 2**20
#: A hundred bytes a row.
_FILL: Final = (
    "CREATE TABLE big AS SELECT n, md5(n::text) || md5((n * 7)::text) AS text, now() AS at "
    "FROM generate_series(1, {rows}) n"
)


def make_archive(folder: Path, mib: int) -> Path:
    """An archive of about so many MiB, as pg_dump 18 writes it."""
    path = folder / "big.dump"
    with running_cluster(folder / "server", find_server(18), settings=FAST) as cluster:
        runner = Runner()
        words = ("-d", cluster.conninfo())
        fill = _FILL.format(rows=mib * _MIB // 101)
        runner.run(Command(argv=(str(cluster.bin / "psql"), "-XAtqc", fill, *words), deadline=_LONG))
        with (
            path.open("wb") as file,
            runner.stream(Command(argv=(str(cluster.bin / "pg_dump"), "-Fc", "-Z0", *words), deadline=_LONG)) as stream,
        ):
            while chunk := stream.read():
                file.write(chunk)
    path.chmod(0o644)
    return path


@contextlib.contextmanager
def ways(folder: Path, archive: Path) -> Iterator[dict[str, tuple[Host, Path]]]:
    """Every way, with the path of the archive as it is seen there."""
    with contextlib.ExitStack() as stack:
        podman = make_podman(folder / "podman")
        stack.callback(remove, podman)
        engines = [
            stack.enter_context(dockerd(folder / "docker", tools_folder())).engine,
            Engine(label="podman", runtime="podman", bin=podman.path),
        ]
        vps = stack.enter_context(sshd(folder / "sshd", env=engines[1].environment()))
        os.environ["PATH"] = ":".join(map(str, (vps.bin, *(one.bin for one in engines), os.environ["PATH"])))
        for engine in engines:
            os.environ |= engine.env
            engine.start(f"ways-{engine.label}", mounts=[f"{archive.parent}:/archive:ro"])
        runner, far = Runner(), SshHost(name="vps", destination="vps")
        inside = Path("/archive") / archive.name
        yield {
            "here": (reach(Place(), runner), archive),
            "docker exec": (reach(Place(container="ways-docker", runtime="docker"), runner), inside),
            "podman exec": (reach(Place(container="ways-podman", runtime="podman"), runner), inside),
            "ssh": (reach(Place(ssh=far), runner), archive),
            "ssh, podman exec": (reach(Place(ssh=far, container="ways-podman", runtime="podman"), runner), inside),
        }


def timed(host: Host, path: Path, size: int, use: Callable[[Callable[[int], bytes]], object]) -> float:
    """MiB a second."""
    began = time.monotonic()
    with Runner().stream(host.command(("cat", str(path)), deadline=_LONG)) as stream:
        use(stream.read)
    return size / (time.monotonic() - began) / _MIB


def swallow(read: Callable[[int], bytes]) -> None:
    """Read to the end."""
    while read(_MIB):
        pass


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    size = 0
    rates: dict[str, tuple[list[float], list[float]]] = {}
    with scratch_folder("daybreak-ways") as folder:
        archive = make_archive(folder, asked.mib)
        size = archive.stat().st_size
        with ways(folder, archive) as known:
            for number in range(asked.rounds):
                for name, (host, path) in known.items():
                    raw, read = rates.setdefault(name, ([], []))
                    raw.append(timed(host, path, size, swallow))
                    read.append(timed(host, path, size, scan))
                    print(f"round {number + 1}: {name}: {raw[-1]:.0f} and {read[-1]:.0f} MiB/s", flush=True)
    lines = [
        "# Measured: 1 GiB through every way to a program",
        "",
        f"Written by `just ways --mib {asked.mib} --rounds {asked.rounds}` on {datetime.now(UTC):%Y-%m-%d}; do not",
        f"edit. An archive of {size / _MIB:.0f} MiB",
        "without compression, read by `cat` on the other side. *Stream* is the way alone; *reader* has the archive",
        "reader behind it, as in a backup. Medians of MiB a second; the share is that of the same kind here.",
        "",
        "| way | stream | of a plain pipe | reader | of a plain pipe |",
        "| --- | --- | --- | --- | --- |",
    ]
    plain = [statistics.median(one) for one in rates["here"]]
    for name, found in rates.items():
        raw, read = (statistics.median(one) for one in found)
        lines.append(f"| {name} | {raw:.0f} | {raw / plain[0]:.2f} | {read:.0f} | {read / plain[1]:.2f} |")
    lines += ["", "## Machine", "", "|  |  |", "| --- | --- |"]
    lines += [f"| {name} | {value} |" for name, value in machine()]
    PAGE.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
