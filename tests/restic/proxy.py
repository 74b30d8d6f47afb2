"""A proxy before the S3 server that does what storages, networks and thieves do.

    with fault_proxy(s3.port) as proxy:
        proxy.choose = lambda request: "503" if request.verb == "PUT" else ""

The Host header goes on as the client wrote it, so that its signature still holds.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: What S3 says, as a status, a code and a sentence.
ANSWERS = {
    "403": (403, "AccessDenied", "Access Denied."),
    "expired": (403, "ExpiredToken", "The provided token has expired."),
    "clock": (
        403,
        "RequestTimeTooSkewed",
        "The difference between the request time and the server's is too large.",
    ),
    "429": (429, "TooManyRequests", "Please reduce your request rate."),
    "500": (500, "InternalError", "We encountered an internal error, please try again."),
    "501": (501, "NotImplemented", "A header you provided implies functionality that is not implemented."),
    "503": (503, "SlowDown", "Please reduce your request rate."),
    "200": (200, "InternalError", "We encountered an internal error, please try again."),
}  # fmt: skip -- one answer a line
#: Before the server heard of it; after it did, and the answer is lost; late.
FAULTS = (*ANSWERS, "cut", "cut after", "delay")


@dataclass(frozen=True, slots=True)
class Request:
    """What came in."""

    verb: str
    path: str  # below the bucket, for example x-1/data/ab/abcd…

    @property
    def kind(self) -> str:
        """The folder of the repository: data, index, snapshots, locks, keys, config."""
        parts = self.path.partition("?")[0].split("/")
        return next((one for one in parts if one in {"data", "index", "snapshots", "locks", "keys", "config"}), "")


@dataclass
class Proxy:
    """A running proxy; `choose` names the fault of each request, or nothing."""

    port: int
    choose: Callable[[Request], str] = field(default=lambda _request: "")
    done: list[tuple[str, Request]] = field(default_factory=list[tuple[str, Request]])

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def faulty(self, choose: Callable[[Request], str]) -> Iterator[None]:
        """Faults for the time of the block."""
        self.choose = choose
        try:
            yield
        finally:
            self.choose = lambda _request: ""

    def random(self, chance: random.Random, share: float, faults: tuple[str, ...] = FAULTS) -> Callable[[Request], str]:
        """Any of these faults for this share of the requests."""
        lock = threading.Lock()

        def choose(_request: Request) -> str:
            with lock:
                return chance.choice(faults) if chance.random() < share else ""

        return choose


class BucketLock:
    """What is stored stays: no overwriting, no deletion, but for locks."""

    def __init__(self) -> None:
        self.stored: set[str] = set()

    def __call__(self, request: Request) -> str:
        if request.kind in {"", "locks"}:
            return ""
        if request.verb == "DELETE":
            return "403"
        if request.verb == "PUT":
            if request.path in self.stored:
                return "403"
            self.stored.add(request.path)
        return ""


class _Server(ThreadingHTTPServer):
    """Passes on to a port of this machine."""

    proxy: Proxy
    target: int
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """A line that was cut is what we are for."""


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    server: _Server

    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the client went away, or we cut the line
            super().handle_one_request()
            return
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- http.server's word
        """Nothing."""

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, self.path.lstrip("/").partition("/")[2])
        fault = self.server.proxy.choose(request)
        self.server.proxy.done.append((fault, request))
        if fault == "cut":
            self.cut()
            return
        if fault == "delay":
            time.sleep(0.3)
        if fault in ANSWERS:
            self.tell(*ANSWERS[fault])
            return
        connection = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in {"connection", "expect"}:
                    connection.putheader(name, value)
            connection.endheaders(body)
            said = connection.getresponse()
            content = said.read()
        finally:
            connection.close()
        if fault == "cut after":
            self.cut()
            return
        self.send_response_only(said.status)
        for name, value in said.getheaders():
            if name.lower() not in {"connection", "transfer-encoding", "content-length"}:
                self.send_header(name, value)
        # Of a HEAD the server's own length counts, and no body follows.
        length = said.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content)

    def tell(self, status: int, code: str, words: str) -> None:
        body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{words}</Message></Error>'
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body.encode())

    def cut(self) -> None:
        """End the line with RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = answer  # noqa: N815 -- http.server's names


@contextlib.contextmanager
def fault_proxy(target: int) -> Iterator[Proxy]:
    """A proxy on 127.0.0.1 before the server at port `target`."""
    server = _Server(("127.0.0.1", 0), _Handler)
    proxy = Proxy(int(server.server_address[1]))
    server.proxy, server.target = proxy, target
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
