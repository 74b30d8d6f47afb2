"""An authenticator in software, with real keys: it makes passkeys and signs with them as a device would, or wrongly."""

from __future__ import annotations

import hashlib
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any, Final

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key

LOCAL: Final = "http://localhost:8317"
_PRESENT, _VERIFIED, _ATTESTED = 0x01, 0x04, 0x40


def text(content: bytes) -> str:
    """As browsers write bytes."""
    return urlsafe_b64encode(content).decode().rstrip("=")


def content(text_: str) -> bytes:
    return urlsafe_b64decode(text_ + "=" * (-len(text_) % 4))


@dataclass
class Key:
    """One passkey, with its private half."""

    credential: bytes
    handle: bytes
    private: EllipticCurvePrivateKey


@dataclass
class Device:
    """It answers whatever it is asked; what is wrong with an answer is said with it."""

    counts: bool = True
    uses: int = 0
    keys: list[Key] = field(default_factory=list[Key])

    def make(self, asked: dict[str, Any], **wrong: Any) -> str:
        """What a browser tells of a new passkey."""
        key = Key(secrets.token_bytes(32), content(asked["user"]["id"]), generate_private_key(SECP256R1()))
        self.keys.append(key)
        public = key.private.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: public.x.to_bytes(32, "big"), -3: public.y.to_bytes(32, "big")}
        attested = bytes(16) + len(key.credential).to_bytes(2, "big") + key.credential + cbor2.dumps(cose)
        said = self._said(asked["rp"]["id"], wrong, _ATTESTED) + attested
        made = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": said})
        client = self._client("webauthn.create", asked, wrong)
        return _told(key, {"clientDataJSON": text(client), "attestationObject": text(made)})

    def show(self, asked: dict[str, Any], key: Key | None = None, **wrong: Any) -> str:
        """What a browser tells of a passkey that is shown."""
        key = key or self.keys[-1]
        said, client = self._said(asked["rpId"], wrong), self._client("webauthn.get", asked, wrong)
        signed = key.private.sign(said + hashlib.sha256(client).digest(), ECDSA(hashes.SHA256()))
        if wrong.get("tampered"):
            said = said[:-1] + bytes([said[-1] ^ 1])
        handle = wrong.get("handle", key.handle)
        response = {"clientDataJSON": text(client), "authenticatorData": text(said), "signature": text(signed)}
        return _told(key, response if handle is None else {**response, "userHandle": text(handle)})

    def _said(self, name: str, wrong: dict[str, Any], more: int = 0) -> bytes:
        self.uses += 1
        uses = wrong.get("uses", self.uses) if self.counts else 0
        flags = more | _PRESENT | (0 if wrong.get("unverified") else _VERIFIED)
        return hashlib.sha256(wrong.get("place", name).encode()).digest() + bytes([flags]) + uses.to_bytes(4, "big")

    def _client(self, kind: str, asked: dict[str, Any], wrong: dict[str, Any]) -> bytes:
        said = {
            "type": wrong.get("kind", kind),
            "challenge": wrong.get("challenge", asked["challenge"]),
            "origin": wrong.get("origin", LOCAL),
            "crossOrigin": False,
        }
        return json.dumps(said).encode()


def _told(key: Key, response: dict[str, str]) -> str:
    name = text(key.credential)
    return json.dumps({"id": name, "rawId": name, "type": "public-key", "response": response})
