"""Where a request comes from, and whether it is meant for us. Pure.

A browser that was led here under another name (DNS rebinding) tells that name as Host; a page of another site tells its
origin with every form that it sends. Neither gets anything.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from daybreak.web import Console

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
_PORTS: Final = {"http": ":80", "https": ":443"}


def is_secure(console: Console) -> bool:
    """Whether browsers come by TLS."""
    return console.url.startswith("https://")


def origin_of(console: Console) -> str:
    """Scheme, host and port as a browser knows them."""
    parts = urlsplit(console.url or f"http://{_bracketed(console.host)}:{console.port}")
    return _plain(parts.scheme, parts.netloc)


def allows_host(console: Console, host: str) -> bool:
    """Whether a Host header names us: as configured, or this very machine whatever the port."""
    host = host.lower()
    if is_loopback(host):
        return True
    return bool(host) and any(_plain(scheme, host) == origin_of(console) for scheme in ("http", "https"))


def is_loopback(host: str) -> bool:
    """Whether a Host header names this very machine."""
    host = host.lower()
    name, colon, port = host.rpartition(":")
    return host in _LOOPBACK or (name in _LOOPBACK and bool(colon) and port.isascii() and port.isdigit())


def allows_origin(console: Console, headers: Mapping[str, str]) -> bool:
    """Whether what the browser says of the page that sends a form is a page of ours. Programs say nothing."""
    site = headers.get("sec-fetch-site", "")
    if site not in {"", "same-origin"}:
        return False
    origin = headers.get("origin")
    if origin is None:
        return True
    host = headers.get("host", "").lower()
    if is_loopback(host):
        return origin.lower() in {f"http://{host}", f"https://{host}"}
    return origin.lower() == origin_of(console)


def address_of(console: Console, peer: str, forwarded: str) -> str:
    """Who asks: the peer, or behind a proxy that is configured the last address that is none of the proxies'."""
    networks = [ipaddress.ip_network(one) for one in console.proxies]
    hops = [hop.strip() for hop in forwarded.split(",") if hop.strip()]
    address = peer
    while hops and _within(address, networks):
        try:
            address = str(ipaddress.ip_address(hops.pop()))
        except ValueError:
            break
    return address


def local_path(text: str) -> str:
    """A path of ours to go on to; "/" for whatever could lead elsewhere."""
    good = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable() and "\\" not in text
    return text if good and text.isascii() else "/"


def _within(address: str, networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in networks)


def _plain(scheme: str, netloc: str) -> str:
    return f"{scheme}://{netloc.lower().removesuffix(_PORTS.get(scheme, ''))}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
