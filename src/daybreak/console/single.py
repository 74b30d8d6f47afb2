"""Single sign-on by OpenID Connect: the code flow with PKCE, state and nonce (Keycloak and its kin).

Shapes  what has to be remembered on the way (state, nonce, verifier, where to) is in a cookie that is signed with a key
        of this process; nothing is kept here, and an old or foreign way leads nowhere. Only addresses below the
        configured issuer's own description are asked, without redirects, each within 10 s.
Errors  every fault is a `DaybreakError`, `Refused` where somebody is not let in; none repeats what was sent.
Source  OpenID Connect Core 1.0, 3.1; RFC 7636 (PKCE); RFC 9207 (`iss` in the answer).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, cast

from daybreak.console.accounts.words import clean, draw, same
from daybreak.console.origins import origin_of
from daybreak.console.people import Role
from daybreak.credentials import read_secret
from daybreak.errors import DaybreakError, Refused
from daybreak.process import Runner
from daybreak.web import Console, Oidc

RETURN: Final = "/sign-in/return"
_WITHIN_S: Final = 10.0
_LEEWAY_S: Final = 60
_WAY_S: Final = 600
_DESCRIBED_S: Final = 300
_LARGEST: Final = 2**20
#: Signatures that are believed: by a key of theirs, never by a secret that is shared, never none.
_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


@dataclass(frozen=True, slots=True, kw_only=True)
class Coming:
    """Somebody whom single sign-on knows."""

    subject: str
    name: str
    role: Role
    to: str
    session: str = ""  # the hash of a session whose person was to show again who he is


class Single:
    """One issuer, as it is configured."""

    def __init__(self, console: Console, oidc: Oidc) -> None:
        self.console = console
        self._oidc = oidc
        self._key = secrets.token_bytes(32)
        self._known: tuple[float, Mapping[str, Any]] | None = None
        self._back = f"{origin_of(console)}{RETURN}"

    def begin(self, to: str, at: datetime, *, session: str = "") -> tuple[str, str]:
        """Where the browser goes, and what it carries until it is back; for a session to sign in there anew."""
        from authlib.common.urls import add_params_to_uri  # noqa: PLC0415 -- only for those who use it
        from authlib.oauth2 import rfc7636  # noqa: PLC0415 -- see above

        state, nonce, verifier = draw(), draw(), draw()
        params = {
            "response_type": "code",
            "client_id": self._oidc.client_id,
            "redirect_uri": self._back,
            "scope": "openid profile email",
            "state": state,
            "nonce": nonce,
            "code_challenge": str(cast("Any", rfc7636).create_s256_code_challenge(verifier)),
            "code_challenge_method": "S256",
        }
        if session:
            params |= {"prompt": "login", "max_age": "0"}
        address = str(
            add_params_to_uri(self._endpoint(self._described(), "authorization_endpoint"), list(params.items()))
        )
        return address, self._sign(
            {"state": state, "nonce": nonce, "verifier": verifier, "to": to, "session": session}, at
        )

    def end(self, way: str, query: Mapping[str, str], at: datetime) -> Coming:
        """Who came back. Raise DaybreakError for whatever does not fit."""
        carried = self._read(way, at)
        if not same(query.get("state", ""), carried["state"]):
            raise Refused("this sign-in was not begun in this browser", hint="begin it again")
        if "error" in query or "code" not in query:
            raise Refused("single sign-on said no", hint=clean(query.get("error", "there was no code"), 80))
        if "iss" in query and query["iss"] != self._oidc.issuer:
            raise Refused("somebody else than the configured issuer answered", hint="begin it again")
        described = self._described()
        secret = read_secret(self._oidc.client_secret, Runner(), what="client secret")
        told = self._ask(
            "POST",
            self._endpoint(described, "token_endpoint"),
            data={
                "grant_type": "authorization_code",
                "code": query["code"],
                "redirect_uri": self._back,
                "code_verifier": carried["verifier"],
            },
            auth=(self._oidc.client_id, secret.reveal()),
        )
        claims = self._claims(told, described, carried["nonce"])
        if carried["session"] and not 0 <= at.timestamp() - float(claims.get("auth_time") or 0) + _LEEWAY_S <= _WAY_S:
            raise Refused("single sign-on did not ask anew who you are", hint="it has to heed `prompt=login`")
        return Coming(
            subject=f"{self._oidc.issuer} {claims['sub']}",
            name=str(claims.get("preferred_username") or claims.get("email") or claims["sub"]),
            role=self._role(claims),
            to=carried["to"],
            session=carried["session"],
        )

    def _claims(self, told: Mapping[str, Any], described: Mapping[str, Any], nonce: str) -> Mapping[str, Any]:
        from authlib.oidc.core import CodeIDToken  # noqa: PLC0415 -- only for those who use it
        from joserfc import jwt  # noqa: PLC0415 -- see above
        from joserfc.jwk import KeySet  # noqa: PLC0415 -- see above

        try:
            keys = KeySet.import_key_set(cast("Any", self._ask("GET", self._endpoint(described, "jwks_uri"))))
            decoded = jwt.decode(str(told["id_token"]), keys, algorithms=list(_ALGORITHMS))
            claims: Any = CodeIDToken(
                decoded.claims,
                decoded.header,
                {
                    "iss": {"essential": True, "value": self._oidc.issuer},
                    "aud": {"essential": True, "value": self._oidc.client_id},
                },
                {"nonce": nonce, "client_id": self._oidc.client_id, "access_token": told.get("access_token")},
            )
            claims.validate(leeway=_LEEWAY_S)
        except DaybreakError:
            raise
        except Exception as error:
            # Two libraries with many kinds of faults, and all of them mean no.
            raise Refused("what single sign-on says cannot be believed", hint=type(error).__name__) from error
        return cast("Mapping[str, Any]", claims)

    def _role(self, claims: Mapping[str, Any]) -> Role:
        """The highest role of those that the claim names. Raise Refused where there is none."""
        found: Any = claims
        for part in self._oidc.roles_claim.split("."):
            found = cast("Mapping[str, Any]", found).get(part) if isinstance(found, Mapping) else None
        values = cast("list[object]", found) if isinstance(found, list) else [found]
        words = {self._oidc.roles.get(value) for value in values if isinstance(value, str)}
        roles = [role for role in Role if role.word in words]
        if not roles:
            raise Refused(
                "single sign-on knows you, but gives you no role here",
                hint=f"ask whoever keeps it for a value of {self._oidc.roles_claim} that Daybreak knows",
            )
        return max(roles)

    def _described(self) -> Mapping[str, Any]:
        """What it says of itself; asked again after five minutes."""
        if self._known is not None and time.monotonic() < self._known[0] + _DESCRIBED_S:
            return self._known[1]
        address = f"{self._oidc.issuer.rstrip('/')}/.well-known/openid-configuration"
        described = self._ask("GET", address)
        if described.get("issuer") != self._oidc.issuer:
            raise Refused(
                f"{address} describes another issuer", hint="correct `issuer` in [console.oidc], letter for letter"
            )
        self._known = (time.monotonic(), described)
        return described

    def _endpoint(self, described: Mapping[str, Any], name: str) -> str:
        """An address of the description; over plain HTTP only where the issuer itself is."""
        address = str(described.get(name, ""))
        if not address.startswith(("https://", "http://" if self._oidc.issuer.startswith("http://") else "https://")):
            raise Refused(f"single sign-on describes no {name}", hint="look at its description")
        return address

    def _ask(self, method: str, address: str, **more: Any) -> Mapping[str, Any]:  # noqa: ANN401 -- httpx's own
        import httpx  # noqa: PLC0415 -- only for those who use it

        try:
            with httpx.Client(timeout=_WITHIN_S, follow_redirects=False, trust_env=False) as client:
                answer = client.request(method, address, headers={"Accept": "application/json"}, **more)
            if answer.status_code != HTTPStatus.OK or len(answer.content) > _LARGEST:
                raise DaybreakError(
                    "single sign-on does not answer as it should",
                    hint=f"status {answer.status_code}; look at its log, the client's id and its secret",
                )
            found = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise DaybreakError(
                "single sign-on cannot be reached", hint=f"look whether it runs ({type(error).__name__})"
            ) from error
        if not isinstance(found, dict):
            raise DaybreakError(
                "single sign-on does not answer as it should", hint="look at `issuer` in [console.oidc]"
            )
        return cast("dict[str, Any]", found)

    def _sign(self, carried: Mapping[str, str], at: datetime) -> str:
        told = json.dumps({**carried, "at": at.timestamp()}).encode()
        content = base64.urlsafe_b64encode(told).decode().rstrip("=")  # which a cookie would have in quotes
        return f"{content}.{self._mac(content)}"

    def _read(self, way: str, at: datetime) -> dict[str, str]:
        content, _, mac = way.partition(".")
        if not way or not same(mac, self._mac(content)):
            raise Refused("this sign-in was not begun in this browser", hint="begin it again")
        carried: dict[str, Any] = json.loads(base64.urlsafe_b64decode(content + "=" * (-len(content) % 4)))
        if not 0 <= at.timestamp() - carried["at"] <= _WAY_S:
            raise Refused("this sign-in took longer than 10 minutes", hint="begin it again")
        return {name: str(value) for name, value in carried.items()}

    def _mac(self, content: str) -> str:
        return hmac.new(self._key, content.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
