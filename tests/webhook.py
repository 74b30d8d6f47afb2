"""A web server on this host that takes messages as Discord and healthchecks do, and misbehaves on request."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

TOKEN: Final = "canary-hook-4711"
PING_TOKEN: Final = "canary-ping-4711"


@dataclass(kw_only=True)
class Hook:
    """What was received, and how the next requests are answered: a status, `hang`, or `redirect URL`."""

    port: int = 0
    answers: str = "200"
    received: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)  # method, path, body
    headers: list[dict[str, str]] = field(default_factory=list)

    def url(self) -> str:
        """For Apprise."""
        return f"json://127.0.0.1:{self.port}/{TOKEN}"

    def plain(self) -> str:
        """For a ping."""
        return f"http://127.0.0.1:{self.port}/{PING_TOKEN}"

    @property
    def titles(self) -> list[str]:
        """What stood above each message, without the name of the host."""
        return [body["title"].partition(": ")[2] for _, _, body in self.received if body]

    @property
    def text(self) -> str:
        """Everything that was ever received."""
        return json.dumps(self.received)

    def clear(self) -> Self:
        self.received.clear()
        return self


@contextlib.contextmanager
def running_hook() -> Iterator[Hook]:
    hook = Hook()
    stop = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            content = self.rfile.read(length)
            hook.received.append((self.command, self.path, json.loads(content) if content else {}))
            hook.headers.append(dict(self.headers))
            if hook.answers == "hang":
                stop.wait(30)
                return
            if hook.answers.startswith("redirect"):
                self.send_response(302)
                self.send_header("Location", hook.answers.split()[1])
            else:
                self.send_response(int(hook.answers))
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST  # noqa: N815 -- http.server calls it so

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hook.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hook
    finally:
        stop.set()
        server.shutdown()
        server.server_close()


def wait_until_received(hook: Hook, count: int) -> None:
    """Wait for so many requests."""
    until = time.monotonic() + 20
    while len(hook.received) < count and time.monotonic() < until:
        time.sleep(0.05)
    assert len(hook.received) >= count, hook.received
