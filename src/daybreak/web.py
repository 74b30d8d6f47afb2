"""The nouns of the console, as the configuration has them. No behaviour beyond themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from daybreak.model import SecretSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Oidc:
    """Who signs people in, instead of a password here."""

    issuer: str  # its address; the rest is found below /.well-known/openid-configuration
    client_id: str
    client_secret: SecretSource
    name: str = "single sign-on"  # what stands on the button
    roles_claim: str = "roles"
    roles: Mapping[str, str] = field(default_factory=dict[str, str])  # a value of that claim -> a role here


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """Where the pages are, and who may come."""

    host: str = "127.0.0.1"
    port: int = 8317
    url: str = ""  # as a browser behind a proxy knows it; "": http://HOST:PORT, and localhost
    state: Path | None = None  # users, sessions, tokens, audit; None: console/ in the state folder
    proxies: tuple[str, ...] = ()  # networks whose X-Forwarded-For is believed
    downloads: bool = False  # whether an archive may leave through the browser
    session: timedelta = timedelta(hours=12)
    oidc: Oidc | None = None
