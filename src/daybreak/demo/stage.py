"""Where the demo plays: two PostgreSQL servers, an S3 server, their content and a daybreak.toml in one folder.

    FOLDER/daybreak.toml   FOLDER/secrets/   FOLDER/backups/   FOLDER/state/
    FOLDER/prod/  FOLDER/dev/   the servers    FOLDER/s3/   the bucket    FOLDER/cache/   restic's

Everything stops and goes away when `open_stage` is left, however it is left.
Errors  `ConfigError` for servers that are missing or do not start; `CommandError`, `Cancelled` while filling.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from importlib import resources
from pathlib import Path
from typing import Final

from daybreak.command import Command
from daybreak.embedded.binaries import find_rclone, find_restic, newest_server
from daybreak.embedded.cluster import FAST, Cluster
from daybreak.embedded.s3 import S3Server, running_s3
from daybreak.embedded.scratch import can_enter, scratch_folder, server_user
from daybreak.errors import ConfigError
from daybreak.process import Runner
from daybreak.secret import Secret

DATABASE: Final = "teahouse"
APPLICATION: Final = "teahouse_dev_app"  # the role that the client on dev uses
_BUCKET: Final = "teahouse-db-backups"
#: The path of a socket ends at 107 bytes, and "/prod/.s.PGSQL.12345" has to fit behind the folder.
_LONGEST: Final = 80
_DEADLINE: Final = timedelta(minutes=15)

_CONFIG: Final = """\
# Written by the demo. The servers are thrown away with this folder.
state = {state}
restic = {restic}
timezone = "America/Chicago"

[databases.prod]
url = "postgresql://daybreak@{prod_host}:{prod_port}/{database}"
password_file = {prod_password}
bin = {prod_bin}
protected = true

[databases.dev]
url = "postgresql://daybreak@{dev_host}:{dev_port}/{database}"
password_file = {dev_password}
bin = {dev_bin}

[backups.nightly]
database = "prod"
archive = {archive}
schedule = "02:00"
repositories = ["r2"]

[refreshes.weekly]
backup = "nightly"
target = "dev"
max_age = "1h"
schedule = "Sun 02:00"

[repositories.r2]
url = "{bucket}"
password_file = {repository_password}
env_file = {env_file}
env = {{ RESTIC_CACHE_DIR = {cache} }}
keep = {{ daily = 7, weekly = 4, monthly = 12 }}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The running servers, and the folder that holds all they have."""

    folder: Path
    prod: Cluster
    dev: Cluster
    s3: S3Server
    cancel: threading.Event
    passwords: Mapping[str, Secret]  # of the role `daybreak`, by server

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "daybreak.toml"

    @property
    def archive(self) -> Path:
        """Where the nightly backup publishes."""
        return self.folder / "backups" / f"{DATABASE}-prod.dump"

    def psql(
        self,
        server: Cluster,
        script: str,
        *,
        dbname: str = DATABASE,
        scale: float = 1.0,
        on_line: Callable[[str], None] | None = None,
    ) -> list[str]:
        """What psql prints for a script of this package, or for one statement, as the server's superuser."""
        name = "prod" if server is self.prod else "dev"
        argv = [str(server.bin / "psql"), "-XAtqw", "-v", "ON_ERROR_STOP=1", "-v", f"scale={scale}"]
        argv += ["-d", server.conninfo(dbname)]
        lines: list[str] = []

        def hear(line: str) -> None:
            lines.append(line)
            if on_line is not None:
                on_line(line)

        with contextlib.ExitStack() as held:
            if script.endswith(".sql"):
                path = held.enter_context(resources.as_file(resources.files("daybreak.demo") / script))
                argv += ["-f", str(path)]
            else:
                argv += ["-c", script]
            env: dict[str, str | Secret] = {"DEMO_PASSWORD": self.passwords[name], "PGCLIENTENCODING": "UTF8"}
            Runner(cancel=self.cancel).run(Command(argv=tuple(argv), env=env, deadline=_DEADLINE), on_line=hear)
        return lines

    def write_config(self) -> None:
        """Write daybreak.toml and every secret that it names, each in a file of its own."""
        private = self.folder / "secrets"
        private.mkdir(mode=0o700)
        self.archive.parent.mkdir(mode=0o750)
        for name, value in self.passwords.items():
            _write_secret(private / f"{name}.password", value.reveal())
        _write_secret(private / "r2.password", secrets.token_urlsafe(24))
        _write_secret(private / "r2.env", "\n".join(f"{name}={value}" for name, value in self.s3.env.items()))
        text = _CONFIG.format(
            state=_text(self.folder / "state"),
            restic=_text(find_restic()),
            database=DATABASE,
            archive=_text(self.archive),
            bucket=self.s3.bucket_url(_BUCKET),
            prod_host=self.prod.host,
            prod_port=self.prod.port,
            prod_bin=_text(self.prod.bin),
            prod_password=_text(private / "prod.password"),
            dev_host=self.dev.host,
            dev_port=self.dev.port,
            dev_bin=_text(self.dev.bin),
            dev_password=_text(private / "dev.password"),
            repository_password=_text(private / "r2.password"),
            env_file=_text(private / "r2.env"),
            cache=_text(self.folder / "cache"),
        )
        self.config.write_text(text, "utf-8")


@contextlib.contextmanager
def open_folder(named: Path | None) -> Generator[Path]:
    """A temporary folder, or `named`, which must not exist; it is gone afterwards. Raise ConfigError."""
    if named is None:
        with scratch_folder("daybreak-demo") as folder:
            yield folder
        return
    named = named.absolute()
    if len(os.fsencode(named)) > _LONGEST:
        raise ConfigError(f"the path {named} is too long for a PostgreSQL socket", hint=f"at most {_LONGEST} bytes")
    try:
        named.mkdir(mode=0o711)
    except OSError as error:
        raise ConfigError(
            f"the folder {named} cannot be made: {error.strerror}",
            hint="name one that does not exist, in a folder that you may write to",
        ) from error
    try:
        named.chmod(0o711)  # pass through, but do not look; whatever the umask
        user = server_user()
        if not can_enter(user, named):
            raise ConfigError(
                f"{named} cannot be reached by the user {user.name}, who runs the servers for root",
                hint="name a folder below one that every user may pass through, /var/tmp for example",
            )
        yield named
    finally:
        shutil.rmtree(named, ignore_errors=True)


@contextlib.contextmanager
def open_stage(folder: Path, cancel: threading.Event) -> Generator[Stage]:
    """Start the servers; stop them and remove what they hold when the block is left."""
    binaries = newest_server()
    clusters = {name: Cluster(folder / name, binaries, settings=FAST) for name in ("prod", "dev")}
    with contextlib.ExitStack() as running:
        with ThreadPoolExecutor(len(clusters)) as pool:
            starts = [pool.submit(cluster.__enter__) for cluster in clusters.values()]
        for start in starts:
            if start.exception() is None:
                running.push(start.result())  # whatever came of the other one, this one has to be stopped
        for start in starts:
            start.result()
        yield Stage(
            folder=folder,
            prod=clusters["prod"],
            dev=clusters["dev"],
            s3=running.enter_context(running_s3(folder / "s3", find_rclone())),
            cancel=cancel,
            passwords={name: Secret(secrets.token_urlsafe(18)) for name in clusters},
        )


def _write_secret(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{text}\n")


def _text(path: Path) -> str:
    """A path as a TOML string: TOML's escapes are JSON's."""
    return json.dumps(str(path), ensure_ascii=False)
