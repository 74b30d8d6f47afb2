"""One throw-away S3 server on 127.0.0.1 with keys of its own: rclone serve s3 over a folder.

Source  the keys go to rclone by RCLONE_AUTH_KEY (one CSV field), never in argv.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import time
from collections.abc import Generator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from daybreak.command import Command
from daybreak.embedded.scratch import free_port
from daybreak.errors import ConfigError
from daybreak.process import Runner
from daybreak.secret import Secret

HOST: Final = "127.0.0.1"
_START_S: Final = 30.0
_AS_LONG_AS_WE_LIVE: Final = timedelta(days=365)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """A running S3 server; every folder in `folder` is a bucket."""

    folder: Path
    port: int
    key_id: str
    secret: Secret

    @property
    def endpoint(self) -> str:
        """Its address as S3 clients want it."""
        return f"http://{HOST}:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        """The environment that restic reads the keys from. The secret stands in it in clear."""
        return {"AWS_ACCESS_KEY_ID": self.key_id, "AWS_SECRET_ACCESS_KEY": self.secret.reveal()}

    def bucket_url(self, name: str) -> str:
        """restic's address of that bucket, which is made if it is not there."""
        (self.folder / name).mkdir(exist_ok=True)
        return f"s3:{self.endpoint}/{name}"


@contextlib.contextmanager
def running_s3(folder: Path, rclone: Path, *, runner: Runner | None = None) -> Generator[S3Server]:
    """A server over `folder`, made if absent, while the block lasts. Raise ConfigError if it does not start."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key_id, secret = f"DAYBREAK{secrets.token_hex(6).upper()}", Secret(secrets.token_urlsafe(24))
    server = S3Server(folder=folder, port=free_port(), key_id=key_id, secret=secret)
    env: dict[str, str | Secret] = {
        "RCLONE_AUTH_KEY": Secret(f'"{key_id},{secret.reveal()}"'),
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_LOG_LEVEL": "ERROR",
    }
    argv = (str(rclone), "serve", "s3", "--addr", f"{HOST}:{server.port}", str(folder))
    with (runner or Runner()).hold(Command(argv=argv, env=env, deadline=_AS_LONG_AS_WE_LIVE)):
        _wait(server)
        yield server


def _wait(server: S3Server) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection((HOST, server.port), timeout=1):
            return
        time.sleep(0.02)
    raise ConfigError(
        f"the S3 server did not answer at {server.endpoint} within {_START_S:.0f} s",
        hint="call it by hand: rclone serve s3 FOLDER",
    )
