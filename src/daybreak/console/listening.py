"""The console's address: uvicorn in a thread of its own, between `start` and `stop`.

Errors  `ConfigError` for an address that is not free, not this host's, or open to everybody without TLS in front.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import ipaddress
import os
import socket
import sys
import threading
import time
from typing import Final

import uvicorn

from daybreak.console.accounts import Accounts, open_accounts
from daybreak.console.entrance import accounts_folder, application
from daybreak.console.world import World
from daybreak.errors import ConfigError, DaybreakError, TimedOut

#: How much the pages give way; the unit of a console alone has the same.
NICE: Final = 10
_STARTS_WITHIN_S: Final = 20.0
_ENDS_WITHIN_S: Final = 5.0
_BACKLOG: Final = 128
_LOOK_S: Final = 0.02
_M_MMAP_THRESHOLD: Final = -3  # mallopt(3)


class _Server(uvicorn.Server):
    """Says in its own loop that it is about to end, before it waits for whatever is still being answered."""

    def __init__(self, config: uvicorn.Config, closing: asyncio.Event) -> None:
        super().__init__(config)
        self._closing = closing

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._closing.set()
        await super().shutdown(sockets)


class Pages:
    """The console of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._accounts: Accounts | None = None
        self._held = contextlib.ExitStack()

    @property
    def awaits_first(self) -> bool:
        """Whether nobody can sign in yet."""
        return self._accounts is not None and not self._accounts.users.list()

    def start(self) -> str:
        """Listen; the address. Raise ConfigError."""
        console = self.world.console
        _require_private(console.host, console.url)
        _give_back()
        listening = _bound(console.host, console.port)
        port = int(listening.getsockname()[1])
        try:
            accounts = self._held.enter_context(open_accounts(accounts_folder(console, self.world.folder)))
            closing = asyncio.Event()
            server = _Server(
                uvicorn.Config(
                    application(self.world, accounts, closing),
                    http="h11",
                    ws="none",
                    lifespan="on",
                    log_config=None,
                    access_log=False,
                    server_header=False,
                    proxy_headers=False,  # whom a proxy names is believed by `origins.py`, or not
                    timeout_keep_alive=5,
                    timeout_graceful_shutdown=2,
                    limit_concurrency=512,
                ),
                closing,
            )
        except BaseException:
            listening.close()
            self._held.close()
            raise
        thread = threading.Thread(target=_give_way, args=(server, listening), name="console", daemon=True)
        thread.start()
        until = time.monotonic() + _STARTS_WITHIN_S
        while not server.started:
            if not thread.is_alive() or time.monotonic() > until:
                server.should_exit = True  # its socket is the server's own now, which closes it
                thread.join(_ENDS_WITHIN_S)
                self._held.close()
                raise TimedOut(
                    f"the console did not start within {_STARTS_WITHIN_S:.0f} s", hint="look whether the host is busy"
                )
            time.sleep(_LOOK_S)
        self._server, self._thread, self._accounts = server, thread, accounts
        return console.url or f"http://{f'[{console.host}]' if ':' in console.host else console.host}:{port}"

    def stop(self) -> None:
        """Listen no longer; whoever watches something is let go."""
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join(_ENDS_WITHIN_S)
        if self._thread.is_alive():
            self._server.force_exit = True
            self._thread.join(_ENDS_WITHIN_S)
        self._held.close()


def _give_way(server: uvicorn.Server, listening: socket.socket) -> None:
    """Serve, and let everything else on this host go first: a crowd that looks must not slow a backup.

    The threads that make pages are begun by this one and are as patient as it is; runs are begun by others.
    """
    if sys.platform == "linux":  # where a thread has a priority of its own
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, max(NICE, os.getpriority(os.PRIO_PROCESS, thread)))
    server.run([listening])


def _give_back() -> None:
    """Let what is large and free go back to the system at once: the memory of a password's hash, for example.

    glibc raises the size from which it does so with the first such piece that is freed, and then keeps the next one.
    Elsewhere there is nothing to say.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 2**20)


def _require_private(host: str, url: str) -> None:
    """An address that others reach needs TLS in front of it."""
    try:
        private = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        private = False
    if not private and not url.startswith("https://"):
        raise ConfigError(
            f"the console at {host} would show passwords to the network",
            hint='leave console.host = "127.0.0.1" and put a proxy with TLS before it (docs/console.md); if that'
            ' one is on another host, set console.url = "https://…"',
        )


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, else asyncio does not send at once what it has, and each answer takes 40 ms longer.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        made.close()
        raise _not_free(host, port, error) from error
    return made


def _not_free(host: str, port: int, error: OSError | OverflowError) -> DaybreakError:
    why = error.strerror if isinstance(error, OSError) else str(error)
    return ConfigError(
        f"the console cannot listen at {host}:{port}: {why}",
        hint="end what listens there, or choose another one: [console] port = …",
    )
