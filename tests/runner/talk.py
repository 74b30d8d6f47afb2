"""Ways to talk with a runner's socket, byte by byte where it has to be."""

from __future__ import annotations

import contextlib
import json
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from installation import Installation


@dataclass(kw_only=True)
class Runner:
    """The listening runner of a site."""

    site: Installation
    log: list[str] = field(default_factory=list[str])

    @property
    def path(self) -> Path:
        return self.site.state / "runner.sock"

    def connect(self) -> socket.socket:
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(30)
        line.connect(str(self.path))
        return line

    def send(self, data: bytes) -> list[dict[str, Any]]:
        """What is answered to these bytes; each line is an object."""
        with self.connect() as line:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                line.sendall(data)
            with line.makefile("rb") as answers:
                return [json.loads(one) for one in answers]

    def ask(self, word: str, **values: object) -> list[dict[str, Any]]:
        return self.send(json.dumps({"ask": word, **values}).encode() + b"\n")

    def fault(self, word: str, **values: object) -> dict[str, Any]:
        (answer,) = self.ask(word, **values)
        return answer["fault"]
