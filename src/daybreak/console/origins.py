"""Where a request comes from, and whether it is meant for us. Pure.

A browser that was led here under another name (DNS rebinding) tells that name as Host; a page of another site tells its
origin with every form that it sends. Neither gets anything.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from daybreak.web import Console

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
_PORTS: Final = {"http": ":80", "https": ":443"}
_LOCAL_NAME: Final = "localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where passkeys count: the name that they are made for, and the origins that a browser may tell with them."""

    name: str
    origins: tuple[str, ...]


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
    address = _told(peer) or peer
    while hops and _within(address, networks) and (hop := _told(hops.pop())):
        address = hop
    return address


def place_of(console: Console, host: str) -> Place | None:
    """Where passkeys count, for who came by this Host; None where browsers refuse them, or another name is ours.

    They are made for a name, never for an address. With `url` it is that one's; without, this very machine's.
    """
    host = host.lower()
    name = urlsplit(f"//{host}").hostname or ""
    if _public_name(console):
        ours = name == _public_name(console) and allows_host(console, host)
        return Place(name=name, origins=(origin_of(console),)) if ours else None
    if name == _LOCAL_NAME and is_loopback(host):  # by whatever port a tunnel has there
        return Place(name=name, origins=tuple(_plain(scheme, host) for scheme in _PORTS))
    return None


def named_origin(console: Console, host: str) -> str:
    """The address by which passkeys would count for who came by this Host; "" where `url` has an address for a name."""
    if _public_name(console):
        return origin_of(console)
    if console.url and not is_loopback(urlsplit(console.url).netloc):
        return ""
    port = host.rpartition(":")[2] if is_loopback(host) and host.lower() not in _LOOPBACK else ""
    return f"http://{_LOCAL_NAME}{port and ':'}{port}"


def _public_name(console: Console) -> str:
    """The name in `url`; "" where there is none, or only this very machine's, or an address."""
    parts = urlsplit(console.url)
    name = parts.hostname or ""
    return "" if is_loopback(parts.netloc) or _is_address(name) else name


def local_path(text: str) -> str:
    """A path of ours to go on to; "/" for whatever could lead elsewhere."""
    good = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable() and "\\" not in text
    return text if good and text.isascii() else "/"


def _told(text: str) -> str:
    """An address as everybody writes it, "" for what is none.

    One of IPv4 is that also where a socket of IPv6 heard it (`::ffff:192.0.2.7`): all of these have the same 64 bits.
    """
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return ""
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


def _within(address: str, networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in networks)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _plain(scheme: str, netloc: str) -> str:
    return f"{scheme}://{netloc.lower().removesuffix(_PORTS.get(scheme, ''))}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
