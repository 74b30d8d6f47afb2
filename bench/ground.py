"""The ground that measurements and the campaign stand on: two servers, a configuration, and how a program is measured.

Shapes  `prepare` gives a `Ground`: a production and a development server of their own, an archive folder, a
        state folder and the configuration that names them. All of it is gone when the block is left.
Units   seconds and bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from daybreak.embedded.binaries import find_server
from daybreak.embedded.cluster import Cluster, running_cluster
from daybreak.embedded.scratch import scratch_folder

HERE: Final = Path(__file__).parent
DAYBREAK: Final = Path(sys.executable).parent / "daybreak"
#: A variable that Daybreak hands to its children: whoever has this value belongs to a run of ours.
_MARK: Final = "TMPDIR"
_POLL_S: Final = 0.05
_TICKS: Final = os.sysconf("SC_CLK_TCK")
#: A server buries its sessions a moment after their clients are gone; only then their time is counted.
_BURY_S: Final = 0.25
_LONGEST_S: Final = 3600.0

_CONFIG: Final = """\
state = {state}

[databases.prod]
url = "postgresql://{user}@127.0.0.1:{prod_port}/{source}"
bin = {bin}
protected = true

[databases.dev]
url = "postgresql://{user}@127.0.0.1:{dev_port}/{target}"
bin = {bin}

[backups.nightly]
database = "prod"
archive = {archive}
schedule = "02:00"
timezone = "America/Chicago"

[refreshes.weekly]
backup = "nightly"
target = "dev"
max_age = "{max_age}"
schedule = "Sun 02:00"
timezone = "America/Chicago"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one program took. `peak_bytes` is its own process alone, `client_cpu_s` it and its children."""

    status: int
    wall_s: float
    client_cpu_s: float
    server_cpu_s: float
    peak_bytes: int
    stdout: str
    stderr: str

    def json(self) -> dict[str, Any]:
        """Its stdout as one JSON object."""
        found: dict[str, Any] = json.loads(self.stdout)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Two servers and the places around them."""

    folder: Path
    prod: Cluster
    dev: Cluster

    @property
    def archives(self) -> Path:
        """The folder of published archives."""
        return self.folder / "archives"

    @property
    def state(self) -> Path:
        """Daybreak's state folder."""
        return self.folder / "state"

    @property
    def environment(self) -> dict[str, str]:
        """Ours without what could change a run, and with the mark by which our processes are known.

        Python's bytecode is kept, as it is where a program was installed, in a place of its own.
        """
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "DAYBREAK_", "PYTHON"))}
        return {**kept, _MARK: str(self.folder / "tmp"), "PYTHONPYCACHEPREFIX": str(self.folder / "bytecode")}

    def config(self, name: str, *, source: str, target: str, archive: Path, max_age: str = "1h") -> Path:
        """Write a configuration file and return its path."""
        path = self.folder / f"{name}.toml"
        text = _CONFIG.format(
            state=json.dumps(str(self.state)),
            bin=json.dumps(str(self.prod.bin)),
            archive=json.dumps(str(archive)),
            user=self.prod.user,
            prod_port=self.prod.port,
            dev_port=self.dev.port,
            source=source,
            target=target,
            max_age=max_age,
        )
        path.write_text(text)
        return path

    def psql(self, server: Cluster, dbname: str, *arguments: str) -> str:
        """What `psql` prints; a fault ends the program with its words."""
        argv = [
            str(self.prod.bin / "psql"),
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            server.conninfo(dbname),
            *arguments,
        ]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=self.environment)
        if done.returncode:
            raise SystemExit(f"psql {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def begin(self, argv: Sequence[str], **extra: str) -> subprocess.Popen[str]:
        """Start a program in a process group of its own, its output to be read."""
        return subprocess.Popen(
            list(argv),
            env={**self.environment, **extra},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def daybreak(self, config: Path, *words: str, deadline_s: float = 300.0) -> tuple[int, dict[str, Any]]:
        """Run one verb of Daybreak to its end: its exit code, and what it answered with --json."""
        process = self.begin([str(DAYBREAK), "--config", str(config), "--json", *words])
        try:
            said, heard = process.communicate(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return -signal.SIGKILL, {"message": f"not done after {deadline_s:.0f} s"}
        try:
            return process.returncode, json.loads(said)
        except ValueError:
            return process.returncode, {"message": f"no JSON: {said[-300:]} {heard[-300:]}"}

    def measure(self, argv: Sequence[str], **extra: str) -> Measured:
        """Run a program to its end and measure it and the servers' work meanwhile."""
        outputs = self.folder / "out.txt", self.folder / "err.txt"
        before = self.server_cpu_s()
        with outputs[0].open("wb") as out, outputs[1].open("wb") as err:
            began = time.monotonic()
            process = subprocess.Popen(
                list(argv), env={**self.environment, **extra}, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
            peak = 0
            ends = os.pidfd_open(process.pid)  # its end is seen at once, and rarely looking for it costs nothing
            while not select.select([ends], [], [], _POLL_S)[0]:
                peak = max(peak, peak_bytes(process.pid))
                if time.monotonic() - began > _LONGEST_S:
                    process.kill()
            wall_s = time.monotonic() - began
            os.close(ends)
            ended = os.wait4(process.pid, 0)
        time.sleep(_BURY_S)
        _, status, usage = ended
        process.returncode = os.waitstatus_to_exitcode(status)
        return Measured(
            status=process.returncode,
            wall_s=wall_s,
            client_cpu_s=usage.ru_utime + usage.ru_stime,
            server_cpu_s=self.server_cpu_s() - before,
            peak_bytes=peak,
            stdout=outputs[0].read_text(),
            stderr=outputs[1].read_text(),
        )

    def server_cpu_s(self) -> float:
        """The processor time that both servers have used since their start."""
        return sum(
            _tree_cpu_s(int((one.data / "postmaster.pid").read_text().split()[0])) for one in (self.prod, self.dev)
        )

    def our_processes(self) -> list[int]:
        """Every living process that a run of Daybreak started here, itself included."""
        mark = f"{_MARK}={self.folder / 'tmp'}".encode()
        return [pid for pid in _pids() if mark in _read(pid, "environ").split(b"\0") and _read(pid, "cmdline")]


@contextlib.contextmanager
def prepare(name: str, major: int, settings: Mapping[str, str]) -> Generator[Ground]:
    """Two new servers of that major version; everything is removed when the block is left."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # cleans up, as after ^C
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(scratch_folder(f"daybreak-{name}"))
        binaries = find_server(major)
        for one in ("archives", "state", "tmp"):
            (folder / one).mkdir(mode=0o770)
        prod, dev = (
            stack.enter_context(running_cluster(folder / one, binaries, settings=settings)) for one in ("prod", "dev")
        )
        yield Ground(folder=folder, prod=prod, dev=dev)


def peak_bytes(pid: int) -> int:
    """The most memory that one process alone has had (VmHWM); 0 when it is gone."""
    for line in _read(pid, "status").splitlines():
        if line.startswith(b"VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def end_all(ground: Ground) -> None:
    """SIGKILL for every process of a run, until none is left that could start another."""
    until = time.monotonic() + 5
    while (found := ground.our_processes()) and time.monotonic() < until:
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def machine() -> list[tuple[str, str]]:
    """The machine in words: processor, cores, memory, disk, system."""
    cpu = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?")
    memory = next(int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    system = os.uname()
    return [
        ("processor", cpu),
        ("processors", str(len(os.sched_getaffinity(0)))),
        ("memory", f"{memory / 2**20:.0f} GiB"),
        ("disk", _disk()),
        ("system", f"{system.sysname} {system.release} {system.machine}"),
        ("Python", sys.version.split()[0]),
    ]


def _disk() -> str:
    """The file system and the kind of disk below the folder for temporary files."""
    mounts = [line.split() for line in _lines("/proc/mounts")]
    place = os.path.realpath("/tmp")  # noqa: S108 -- only looked at
    found = max(
        (m for m in mounts if place == m[1] or place.startswith(m[1].rstrip("/") + "/")), key=lambda m: len(m[1])
    )
    device = Path(found[0]).name.rstrip("0123456789") if found[0].startswith("/dev/") else ""
    turns = Path(f"/sys/block/{device}/queue/rotational")
    if not device or not turns.exists():
        return str(found[2])
    kind = "rotating, as it says of itself" if turns.read_text().strip() == "1" else "not rotating"
    return f"{found[2]} on {'a virtual disk' if device.startswith(('vd', 'xvd')) else device} ({kind})"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _pids() -> Iterator[int]:
    return (int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit())


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # it is gone, or somebody else's
        return b""


def _tree_cpu_s(root: int) -> float:
    """User and system time of a server: its first process, those it has buried, and those that live."""
    total = 0
    for pid in _pids():
        fields = _read(pid, "stat").rpartition(b") ")[2].split()
        if pid == root:
            total += sum(map(int, fields[11:15]))
        elif fields and int(fields[1]) == root:
            total += sum(map(int, fields[11:13]))
    return total / _TICKS
