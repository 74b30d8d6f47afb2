"""The tables of the web console and of single sign-on, what can be wrong in them, and the nouns that they mean."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, ValidationError, WithJsonSchema

from daybreak.config.base import ClientSecretTable, Table, source_of
from daybreak.config.fields import AbsolutePath, PositiveDuration
from daybreak.model import SecretSource
from daybreak.web import Console, Oidc

RoleWord = Literal["viewer", "operator", "restorer", "admin"]
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_HERE = ("127.0.0.0/8", "::1/128")
_ADDRESS = r"^https?://[^/\s?#@]+/?$"


def _address(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be an address in quotes")  # noqa: TRY004 -- pydantic collects ValueError
    parts = urlsplit(value)
    whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.path in {"", "/"}
    if not whole or parts.query or parts.fragment or "@" in parts.netloc or not value.isprintable() or " " in value:
        raise ValueError("must be https:// and a host, without a path: https://backups.example.org")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _issuer(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be an address in quotes")  # noqa: TRY004 -- see above
    parts = urlsplit(value)
    good = bool(parts.hostname) and value.isprintable() and " " not in value and "@" not in parts.netloc
    if not good or parts.query or parts.fragment or parts.scheme not in {"http", "https"}:
        raise ValueError("must be the address of an issuer: https://login.example.org/realms/team")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ValueError("must begin with https://: what it says lets people in")
    return value


def _network(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a network in quotes")  # noqa: TRY004 -- see above
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise ValueError("must be an address or a network: 127.0.0.1, 10.0.0.0/8") from None


def _host(value: object) -> str:
    words = "must be an address of this host, 127.0.0.1 for example, or localhost"
    if not isinstance(value, str):
        raise ValueError(words)  # noqa: TRY004 -- see above
    try:
        return value if value in _LOOPBACK else str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError(words) from None


Address = Annotated[str, BeforeValidator(_address), WithJsonSchema({"type": "string", "pattern": _ADDRESS})]
Issuer = Annotated[str, BeforeValidator(_issuer), WithJsonSchema({"type": "string", "pattern": r"^https?://\S+$"})]
Network = Annotated[str, BeforeValidator(_network), WithJsonSchema({"type": "string"})]
Host = Annotated[str, BeforeValidator(_host), WithJsonSchema({"type": "string"})]


class OidcTable(ClientSecretTable):
    """Single sign-on by OpenID Connect, Keycloak for example, beside passwords."""

    issuer: Issuer = Field(
        description="Its address, letter for letter as it names itself.",
        examples=["https://login.example.org/realms/team"],
    )
    client_id: str = Field(min_length=1, description="What it calls Daybreak.", examples=["daybreak"])
    name: str = Field("single sign-on", min_length=1, description="What stands on the button.")
    roles_claim: str = Field(
        "roles", min_length=1, description="The claim of the ID token that says what somebody may; dots lead inside."
    )
    roles: dict[str, RoleWord] = Field(
        description="A value of that claim and the role that it gives here; the highest counts, and who has none "
        "does not come in.",
        examples=[{"backup-admins": "admin", "team": "viewer"}],
    )


class ConsoleTable(Table):
    """The web console of `daybreak serve`; see docs/console-security.md."""

    host: Host = Field("127.0.0.1", description="The address that it listens on. Any other than this host needs `url`.")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(8317, description="The port that it listens on.")
    url: Address | None = Field(
        None,
        description="Its address as browsers know it behind a proxy with TLS. Left out: only this host comes, for "
        "example through `ssh -L 8317:127.0.0.1:8317`.",
        examples=["https://backups.example.org"],
    )
    state: AbsolutePath | None = Field(
        None,
        description="Folder for its own database: people, sessions, tokens, audit. Left out: `console` in the state "
        "folder.",
        examples=["/var/lib/daybreak-console"],
    )
    proxies: list[Network] | None = Field(
        None,
        description="Networks of proxies whose X-Forwarded-For is believed. Left out: this host, where `url` is set.",
        examples=[["127.0.0.1/32"]],
    )
    downloads: bool = Field(False, description="Whether an archive may leave through the browser.")
    session: PositiveDuration = Field(
        timedelta(hours=12), description="When somebody has to sign in again. After two quiet hours it is in any case."
    )
    oidc: OidcTable | None = Field(
        None,
        description="Single sign-on. Left out: names and passwords.",
        examples=[
            {
                "issuer": "https://login.example.org/realms/team",
                "client_id": "daybreak",
                "client_secret_file": "/etc/daybreak/oidc.secret",
                "roles": {"backup-admins": "admin", "team": "viewer"},
            }
        ],
    )


def console_problems(table: ConsoleTable) -> Iterator[tuple[str, str]]:
    """What is wrong between the keys: the path and the words."""
    if table.host not in _LOOPBACK and not ipaddress.ip_address(table.host).is_loopback and not table.url:
        yield "console.host", "is open to other hosts, which needs TLS: set `url` to its https:// address"
    if table.url and not table.url.startswith("https://") and urlsplit(table.url).hostname not in _LOOPBACK:
        yield "console.url", "must begin with https://: cookies and passwords go that way"
    if table.oidc is not None:
        named = [key for key in ClientSecretTable.model_fields if getattr(table.oidc, key) is not None]
        if len(named) > 1:
            yield "console.oidc", f"{' and '.join(named)} exclude each other: keep one"
        if not named:
            yield "console.oidc", "needs client_secret_file, client_secret_env or client_secret_command"
        if not table.oidc.roles:
            yield "console.oidc.roles", "is empty: nobody would come in"


def console_of(table: ConsoleTable | None) -> Console:
    """The console, as it is where the file says nothing."""
    if table is None:
        return Console()
    return Console(
        host=table.host,
        port=table.port,
        url=table.url or "",
        state=table.state,
        proxies=_proxies(table),
        downloads=table.downloads,
        session=table.session,
        oidc=None if table.oidc is None else _oidc_of(table.oidc),
    )


def sound_console(table: object) -> Console | None:
    """The console of a table in a file that has faults elsewhere; None where it has its own."""
    try:
        found = ConsoleTable.model_validate(table)
    except ValidationError:
        return None
    return None if any(console_problems(found)) else console_of(found)


def _proxies(table: ConsoleTable) -> tuple[str, ...]:
    """Behind a proxy that nobody believes, all visitors would be one, and one who guesses would lock out all."""
    if table.proxies is None:
        return _HERE if table.url else ()
    return tuple(table.proxies)


def _oidc_of(table: OidcTable) -> Oidc:
    return Oidc(
        issuer=table.issuer,
        client_id=table.client_id,
        client_secret=source_of(table),
        name=table.name,
        roles_claim=table.roles_claim,
        roles=dict(table.roles),
    )


def console_values(console: Console) -> dict[str, object]:
    """The keys of a console with their values; None for what is left out."""
    return {
        "host": console.host,
        "port": console.port,
        "url": console.url or None,
        "state": console.state,
        "proxies": list(console.proxies),
        "downloads": console.downloads,
        "session": console.session,
        "oidc": None if console.oidc is None else _oidc_values(console.oidc),
    }


def _oidc_values(oidc: Oidc) -> dict[str, object]:
    return {
        "issuer": oidc.issuer,
        "client_id": oidc.client_id,
        **_secret(oidc.client_secret),
        "name": oidc.name,
        "roles_claim": oidc.roles_claim,
        "roles": dict(oidc.roles),
    }


def _secret(source: SecretSource) -> dict[str, object]:
    named = {"file": source.file, "env": source.env, "command": source.command}
    return {f"client_secret_{key}": value for key, value in named.items() if value is not None}
