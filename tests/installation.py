"""One installation of Daybreak in a folder: a configuration, an archive folder, a state folder, and ways to call it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Self, TypeVar

from canaries import CANARY
from daybreak.archive import Manifest, check_archive, read_manifest
from daybreak.catalog import Catalog
from daybreak.cli import main

_T = TypeVar("_T")
PROGRAM = (sys.executable, "-m", "daybreak.cli.main")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one call said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout; the test fails where there is anything else."""
        return json.loads(self.out)

    def expect(self, code: int) -> dict[str, Any]:
        """The object on stdout of a call that had to end with `code`."""
        assert self.code == code, f"exit {self.code}, not {code}\n{self.out}\n{self.err}"
        return self.json


def unseen(answer: Answer) -> Answer:
    """What a call said, after it was looked through for the secrets of the tests."""
    assert CANARY not in answer.out + answer.err, "a secret of the tests was printed"
    return answer


@dataclass(kw_only=True)
class Installation:
    """`prod` is one database of one server; `nightly` its backup, unless `configure` says otherwise."""

    folder: Path
    url: str
    bin: Path
    name: str = "prod.dump"
    database: dict[str, object] = field(default_factory=dict[str, object])  # more keys of [databases.prod]
    plan: dict[str, object] = field(default_factory=dict[str, object])  # more keys of [backups.nightly]
    more: str = ""  # more of the file

    def __post_init__(self) -> None:
        self.backups.mkdir(parents=True, exist_ok=True)
        self.backups.chmod(0o2770)
        self.configure()

    @property
    def backups(self) -> Path:
        """The folder of the archive."""
        return self.folder / "backups"

    @property
    def root(self) -> Path:
        """The folder of Daybreak's own files in there."""
        return self.backups / ".daybreak"

    @property
    def archive(self) -> Path:
        """The stable name."""
        return self.backups / self.name

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.folder / "state"

    @property
    def file(self) -> Path:
        """The configuration."""
        return self.folder / "daybreak.toml"

    def configure(
        self, *, database: Mapping[str, object] | None = None, plan: Mapping[str, object] | None = None
    ) -> None:
        """Write the configuration again, with other keys for the database or the plan."""
        self.database |= database or {}
        self.plan |= plan or {}
        base = {"url": self.url, "bin": str(self.bin), "protected": True, **self.database}
        night = {"database": "prod", "archive": str(self.archive), **self.plan}
        self.file.write_text(
            f"state = {json.dumps(str(self.state))}\n\n[databases.prod]\n{_lines(base)}\n"
            f"[backups.nightly]\n{_lines(night)}\n{self.more}"
        )

    # -- calling ------------------------------------------------------------------------------

    def call(self, *words: str) -> Answer:
        """Call it in this process."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main.run(["--config", str(self.file), *words])
        return unseen(Answer(code=code, out=out.getvalue(), err=err.getvalue()))

    def json(self, *words: str, expect: int = 0) -> dict[str, Any]:
        """Call it in this process with --json and expect an exit code; give the object."""
        return self.call(*words, "--json").expect(expect)

    def backup(self, *words: str, expect: int = 0) -> dict[str, Any]:
        """`daybreak backup`."""
        return self.json("backup", *words, expect=expect)

    def start(self, *words: str, env: Mapping[str, str] | None = None, wrap: tuple[str, ...] = ()) -> Started:
        """Call it in a process of its own, and do not wait. Leave with `end` or `kill`."""
        out, err = (self.folder / f"{kind}-{time.monotonic_ns()}" for kind in ("out", "err"))
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [*wrap, *PROGRAM, "--config", str(self.file), *words],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        return Started(process=process, out=out, err=err)

    def apart(self, *words: str, env: Mapping[str, str] | None = None, wrap: tuple[str, ...] = ()) -> Answer:
        """Call it in a process of its own and wait."""
        return self.start(*words, env=env, wrap=wrap).end()

    # -- looking ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def catalog(self) -> Iterator[Catalog]:
        """What it remembers."""
        with Catalog.open(self.state) as catalog:
            yield catalog

    def manifest(self, archive: Path | None = None) -> Manifest:
        """The manifest beside an archive, after the archive was found equal to it."""
        path = archive or self.archive
        beside = path.with_name(path.name + ".json")
        check_archive(path, beside).require_equal()
        return read_manifest(beside)

    def fingerprint(self) -> dict[str, str]:
        """Everything that is published: name, content, mode and inode of each file."""
        return {
            path.name: f"{sha256(path.read_bytes()).hexdigest()} {path.stat().st_mode:o} {path.stat().st_ino}"
            for path in sorted(self.backups.iterdir())
            if path.is_file()
        }

    def leftovers(self) -> list[str]:
        """What should not be there when no run is going on."""
        places = [*(self.root / "staging").glob("*"), *(self.root / "pins").glob("*"), *self.folder.rglob("*.partial")]
        return sorted({str(path.relative_to(self.folder)) for path in places} | self._private())

    def _private(self) -> set[str]:
        private = self.state / "private"
        return {str(path.relative_to(self.folder)) for path in private.iterdir()} if private.exists() else set()

    def fake_dump(self, script: str, *, tool: str = "pg_dump") -> None:
        """Replace one tool by a shell script; in it `real` is the path of the real one."""
        fake = self.folder / "fake-bin"
        if not fake.exists():
            fake.mkdir()
            for program in self.bin.iterdir():
                (fake / program.name).symlink_to(program)
        (fake / tool).unlink()
        (fake / tool).write_text(
            f'#!/bin/sh\nreal={self.bin / tool}\n[ "$1" != --version ] || exec "$real" --version\n{script}\n'
        )
        (fake / tool).chmod(0o755)
        self.configure(database={"bin": str(fake)})

    def real_dump(self) -> None:
        """Take the real tools again."""
        shutil.rmtree(self.folder / "fake-bin", ignore_errors=True)
        self.configure(database={"bin": str(self.bin)})

    def staged(self) -> Path | None:
        """The file that is being dumped into."""
        return next((self.root / "staging").glob("*.partial"), None)


@dataclass(kw_only=True)
class Started:
    """A call that goes on in a process of its own."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    def end(self, timeout_s: float = 120) -> Answer:
        """Wait for its end."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        return unseen(Answer(code=code, out=self.out.read_text(), err=self.err.read_text()))

    def kill(self, *, group: bool = False) -> None:
        """kill -9, of the process alone or of its whole group."""
        if group:
            os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill(group=True)


def _lines(table: Mapping[str, object]) -> str:
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())


def wait_for(look: Callable[[], _T | None], *, within_s: float = 20, what: str = "it") -> _T:
    """The first answer of `look` that is not empty."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        found = look()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError(f"{what} did not come about within {within_s} s")


def processes(*words: str, below: int | None = None) -> list[int]:
    """The processes whose command line has every one of these words.

    `below` a process: only what it started, and what that started. Whoever kills what he finds names one, since other
    tests run beside his.
    """
    found: list[int] = []
    parents: dict[int, int] = {}
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            state, parent, *_ = (place / "stat").read_text().rsplit(")", 1)[1].split()
            parents[int(place.name)] = int(parent)
            if state != "Z" and all(word in line for word in words) and int(place.name) != os.getpid():
                found.append(int(place.name))
    return sorted(one for one in found if below is None or below in _above(one, parents))


def _above(process: int, parents: Mapping[int, int]) -> Iterator[int]:
    """Whoever started it, and whoever started that one."""
    while process := parents.get(process, 0):
        yield process


def sessions(server: Any, run: str) -> list[str]:
    """The sessions of a run on a server (I6: none 15 seconds after its end)."""
    named = server.psql("SELECT application_name FROM pg_stat_activity").splitlines()
    return [name for name in named if name.startswith(f"daybreak:{run}")]
