"""Ways to look at what drills did and left, and to start `open` with a standard input of one's own."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from installation import PROGRAM, Installation, processes, wait_for


def folders() -> list[Path]:
    """The folders of throw-away servers that are there."""
    return list(Path(tempfile.gettempdir()).glob("daybreak-throwaway-*"))


def left() -> list[str]:
    """What throw-away servers may not leave: folders and processes."""
    return [*map(str, folders()), *map(str, processes(f"{tempfile.gettempdir()}/daybreak-throwaway-"))]


def steps(site: Installation, told: Mapping[str, Any]) -> list[str]:
    """The steps of a run by name."""
    return [one["name"] for one in site.json("run", "show", str(told["run"]))["steps"]]


def spoil(site: Installation) -> None:
    """Let the manifest say that another row was dumped; the archive still is the one that it names."""
    path = site.archive.with_name(site.archive.name + ".json")
    told = json.loads(path.read_bytes())
    for table in told["tables"]:
        table["sha256"] = "0" * 64
    for name in (path, site.root / "manifests" / f"{told['archive']['sha256']}.json"):
        name.write_text(json.dumps(told))


@dataclass(kw_only=True)
class Open:
    """`daybreak open`, going on."""

    process: subprocess.Popen[bytes]
    told: dict[str, Any]

    def query(self, sql: str, psql: Path, url: str = "url") -> str:
        """What a program of this host gets from it."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        argv = [psql, "-XAtqw", "-d", self.told[url], "-c", sql]
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=True, timeout=30).stdout.strip()

    def leave(self) -> int:
        """Close its standard input; its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(60)


@contextmanager
def opened(site: Installation, *words: str, env: Mapping[str, str] | None = None) -> Iterator[Open]:
    """`daybreak open --json`, when it is ready; killed when the block is left with an error."""
    argv = [*PROGRAM, "--config", str(site.file), "open", "--json", *words]
    with subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **(env or {})},
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            yield Open(process=process, told=json.loads(line))
        finally:
            if process.poll() is None:
                process.kill()


def server_pid() -> int:
    """The process of the throw-away server that runs."""

    def look() -> int | None:
        for folder in folders():
            path = folder / "server" / "data" / "postmaster.pid"
            if path.exists() and path.read_text():
                return int(path.read_text().splitlines()[0])
        return None

    return wait_for(look, within_s=60, what="a throw-away server")
