"""libpq's connection strings: a URI or keywords and values, into a mapping and back. Pure.

Shapes  keywords as libpq has them (`host`, `port`, `user`, `dbname`, `sslmode` …) to texts; several hosts
        stay one text with commas, as libpq keeps them.
Errors  `ValueError` that never repeats the string: it may hold a password.
Source  libpq's fe-connect.c, `conninfo_parse` and `conninfo_uri_parse_options`; a test compares with libpq.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from daybreak.units import show_count

_PREFIX: Final = re.compile(r"postgres(?:ql)?://")
_BLANK: Final = " \t\n\r\f\v"
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:@%+,~-]+")
_BAD_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")

#: Every keyword of libpq 18. A newer one can be added here when somebody needs it.
KEYWORDS: Final = frozenset(
    {
        *("service", "servicefile", "user", "password", "passfile", "host", "hostaddr", "port", "dbname"),
        *("connect_timeout", "client_encoding", "options", "application_name", "fallback_application_name"),
        *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),
        *("sslmode", "sslnegotiation", "sslcompression", "sslcert", "sslkey", "sslkeylogfile", "sslcertmode"),
        *("sslpassword", "sslrootcert", "sslcrl", "sslcrldir", "sslsni", "requirepeer", "require_auth"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version", "min_protocol_version", "max_protocol_version"),
        *("channel_binding", "gssencmode", "krbsrvname", "gsslib", "gssdelegation", "replication"),
        *("target_session_attrs", "load_balance_hosts", "scram_client_key", "scram_server_key"),
        *("oauth_issuer", "oauth_client_id", "oauth_client_secret", "oauth_scope"),
    }
)

#: What is one of a few words, and libpq refuses anything else.
_WORDS: Final = {
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer", "require"),
    "load_balance_hosts": ("disable", "random"),
    "sslcertmode": ("disable", "allow", "require"),
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
}
#: What is a whole number.
_NUMBERS: Final = frozenset(
    {"connect_timeout", "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval", "tcp_user_timeout"}
)
#: Versions of TLS, which libpq takes in any case.
_PROTOCOLS: Final = frozenset({"ssl_min_protocol_version", "ssl_max_protocol_version"})
_PROTOCOL: Final = re.compile(r"(?:tlsv1(?:\.[123])?)?", re.IGNORECASE)
_NUMBER: Final = re.compile(r"[ \t\n\r\f\v]*[+-]?[0-9]{1,20}[ \t\n\r\f\v]*")
_INT: Final = range(-(2**31), 2**31)
_PORTS: Final = range(1, 65536)


def value_wanted(keyword: str, value: str) -> str:
    """What a keyword must be, where libpq never takes this value; else nothing. The value is for no message.

    It may be a part of a password: `postgresql://me:a/b@host` is the host `me` with the port `a` to libpq.
    """
    if keyword in _WORDS and value not in _WORDS[keyword]:
        *words, last = _WORDS[keyword]
        return f"{', '.join(words)} or {last}"
    if keyword in _NUMBERS and not _is_one_of(_INT, value):
        return "a whole number"
    if keyword == "port" and not all(_is_one_of(_PORTS, port) for port in value.split(",") if port):
        return f"a number from 1 to {_PORTS[-1]}"
    if keyword in _PROTOCOLS and not _PROTOCOL.fullmatch(value):
        return "TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3"
    if keyword == "hostaddr" and not all(map(_is_address, filter(None, value.split(",")))):
        return "an IP address (a name belongs to host)"
    return ""


def lists_differ(keywords: Mapping[str, str]) -> str:
    """Where the lists of hosts, addresses and ports do not fit to each other: libpq takes none. Else nothing.

    A service may have the ones that are not here.
    """
    if "service" in keywords:
        return ""
    hosts, addresses, ports = (_count(keywords.get(one, "")) for one in ("host", "hostaddr", "port"))
    if addresses and hosts not in {0, addresses}:
        return f"names {show_count(hosts, 'host')}, and {addresses} in hostaddr: libpq wants as many"
    if ports > 1 and ports != (servers := addresses or hosts or 1):
        return (
            f"names {show_count(ports, 'port')} for {show_count(servers, 'host')}: libpq wants one for all, or one each"
        )
    return ""


def _count(listed: str) -> int:
    return listed.count(",") + 1 if listed else 0


def _is_address(text: str) -> bool:
    try:
        socket.getaddrinfo(text, None, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return False
    return True


def _is_one_of(numbers: range, text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None and int(text) in numbers


def parse_conninfo(text: str) -> dict[str, str]:
    """Read a connection string as libpq does; a later value of a keyword counts. Keywords are not checked."""
    if "\0" in text:
        raise ValueError("a zero byte has no place in a connection string")
    prefix = _PREFIX.match(text)
    return _parse_keywords(text) if prefix is None else _parse_uri(text[prefix.end() :])


def to_conninfo(keywords: Mapping[str, str]) -> str:
    """Write keywords and values as one string that libpq reads; values are quoted where they need it."""
    words: list[str] = []
    for keyword, value in keywords.items():
        if "\0" in value:
            raise ValueError(f"a zero byte in {keyword}")
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        words.append(f"{keyword}={value}" if _PLAIN.fullmatch(value) else f"{keyword}='{escaped}'")
    return " ".join(words)


def _parse_keywords(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    at = _skip_blanks(text, 0)
    while at < len(text):
        start = at
        while at < len(text) and text[at] != "=" and text[at] not in _BLANK:
            at += 1
        keyword = text[start:at]
        at = _skip_blanks(text, at)
        if at == len(text) or text[at] != "=" or not keyword:
            raise ValueError("it is neither a postgresql:// URI nor keyword=value pairs")
        found[keyword], at = _read_value(text, _skip_blanks(text, at + 1))
        at = _skip_blanks(text, at)
    return found


def _skip_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANK:
        at += 1
    return at


def _read_value(text: str, at: int) -> tuple[str, int]:
    """The value that begins at `at`, and where it ends."""
    quoted = text[at : at + 1] == "'"
    at += quoted
    value: list[str] = []
    while at < len(text):
        char = text[at]
        if quoted and char == "'":
            return "".join(value), at + 1
        if not quoted and char in _BLANK:
            break
        if char == "\\":
            at += 1
            char = text[at : at + 1]
        value.append(char)
        at += 1
    if quoted:
        raise ValueError("a quoted value has no end")
    return "".join(value), at


def _parse_uri(rest: str) -> dict[str, str]:
    """What stands behind `postgresql://`."""
    found: dict[str, str] = {}
    user_end = re.search(r"[@/]", rest)
    if user_end is not None and user_end[0] == "@":
        user, colon, password = rest[: user_end.start()].partition(":")
        rest = rest[user_end.end() :]
        if user:
            found["user"] = _decode(user)
        if colon and password:
            found["password"] = _decode(password)
    hosts, ports, rest = _parse_hosts(rest)
    if hosts:
        found["host"] = _decode(hosts)
    if ports:
        found["port"] = _decode(ports)
    path, mark, query = rest.partition("?")
    if len(path) > 1:
        found["dbname"] = _decode(path[1:])
    if mark and query:
        found |= _parse_query(query)
    return found


def _parse_hosts(rest: str) -> tuple[str, str, str]:
    """The hosts and the ports, each with commas between them, and what follows."""
    hosts: list[str] = []
    ports: list[str] = []
    while True:
        if rest.startswith("["):
            end = rest.find("]")
            if end < 2:  # noqa: PLR2004 -- nothing between the brackets, or no end
                raise ValueError("an IPv6 address has no end" if end < 0 else "an IPv6 address is empty")
            host, rest = rest[1:end], rest[end + 1 :]
            if rest and rest[0] not in ":/?,":
                raise ValueError("something stands behind the bracket of an IPv6 address")
        else:
            host = re.split(r"[:/?,]", rest, maxsplit=1)[0]
            rest = rest[len(host) :]
        hosts.append(host)
        port = ""
        if rest.startswith(":"):
            port = re.split(r"[/?,]", rest[1:], maxsplit=1)[0]
            rest = rest[1 + len(port) :]
        ports.append(port)
        if not rest.startswith(","):
            return ",".join(hosts), ",".join(ports), rest
        rest = rest[1:]


def _parse_query(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in query.removesuffix("&").split("&"):
        keyword, equals, value = pair.partition("=")
        if not equals or "=" in value:
            raise ValueError("a parameter behind the question mark is not keyword=value")
        keyword, value = _decode(keyword), _decode(value)
        if (keyword, value) == ("ssl", "true"):  # for URIs that were written for JDBC
            keyword, value = "sslmode", "require"
        found[keyword] = value
    return found


def _decode(text: str) -> str:
    if _BAD_PERCENT.search(text):
        raise ValueError("a percent sign is not followed by two hexadecimal digits (write %25 for the sign itself)")
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("a percent-encoded part is not UTF-8") from None
