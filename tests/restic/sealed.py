"""restic's own sealing, to make what no restic would write: a config of a newer format, another host's lock.

Source  restic's "Design" document: AES-256 in counter mode, then Poly1305-AES over the ciphertext; a key file holds
        the master key, sealed by keys that scrypt makes from the password. Plain Python: a test needs a few blocks.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import Any


def _tables() -> bytes:
    """AES's table of substitutions."""
    power, log, value = [0] * 256, [0] * 256, 1
    for exponent in range(255):
        power[exponent], log[value] = value, exponent
        value ^= (value << 1) ^ (0x11B if value & 0x80 else 0)
    box = bytearray(256)
    for byte in range(256):
        inverse = power[(255 - log[byte]) % 255] if byte else 0
        mixed = inverse
        for turn in range(1, 5):
            mixed ^= ((inverse << turn) | (inverse >> (8 - turn))) & 0xFF
        box[byte] = mixed ^ 0x63
    return bytes(box)


_BOX = _tables()


def _double(byte: int) -> int:
    return ((byte << 1) ^ (0x1B if byte & 0x80 else 0)) & 0xFF


def _expand(key: bytes) -> list[bytes]:
    """The round keys."""
    words = [key[at : at + 4] for at in range(0, len(key), 4)]
    size, constant = len(words), 1
    for number in range(size, 4 * (size + 7)):
        word = words[-1]
        if number % size == 0:
            word = bytes(_BOX[byte] for byte in word[1:] + word[:1])
            word = bytes([word[0] ^ constant]) + word[1:]
            constant = _double(constant)
        elif size > 6 and number % size == 4:
            word = bytes(_BOX[byte] for byte in word)
        words.append(bytes(a ^ b for a, b in zip(words[number - size], word, strict=True)))
    return [b"".join(words[at : at + 4]) for at in range(0, len(words), 4)]


def _encrypt_block(rounds: list[bytes], block: bytes) -> bytes:
    state = bytes(a ^ b for a, b in zip(block, rounds[0], strict=True))
    for number, key in enumerate(rounds[1:], 1):
        state = bytes(_BOX[state[(at + 4 * (at % 4)) % 16]] for at in range(16))
        if number < len(rounds) - 1:
            mixed = bytearray()
            for column in range(0, 16, 4):
                a = state[column : column + 4]
                every = a[0] ^ a[1] ^ a[2] ^ a[3]
                mixed += bytes(a[at] ^ every ^ _double(a[at] ^ a[(at + 1) % 4]) for at in range(4))
            state = bytes(mixed)
        state = bytes(a ^ b for a, b in zip(state, key, strict=True))
    return state


def _counter_mode(key: bytes, nonce: bytes, data: bytes) -> bytes:
    rounds, start = _expand(key), int.from_bytes(nonce, "big")
    stream = b"".join(_encrypt_block(rounds, (start + at).to_bytes(16, "big")) for at in range((len(data) + 15) // 16))
    return bytes(a ^ b for a, b in zip(data, stream, strict=False))


@dataclass(frozen=True)
class Key:
    """Keys to seal and open with."""

    encrypt: bytes
    k: bytes
    r: bytes

    def seal(self, plain: bytes) -> bytes:
        """nonce, ciphertext, MAC."""
        nonce = secrets.token_bytes(16)
        sealed = _counter_mode(self.encrypt, nonce, plain)
        return nonce + sealed + self._mac(nonce, sealed)

    def open(self, sealed: bytes) -> bytes:
        """The plain text. A wrong MAC fails the test."""
        nonce, inner, mac = sealed[:16], sealed[16:-16], sealed[-16:]
        assert self._mac(nonce, inner) == mac, "not sealed with this key"
        return _counter_mode(self.encrypt, nonce, inner)

    def _mac(self, nonce: bytes, data: bytes) -> bytes:
        prime, r = 2**130 - 5, int.from_bytes(self.r, "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
        total = 0
        for at in range(0, len(data), 16):
            total = (total + int.from_bytes(data[at : at + 16] + b"\x01", "little")) * r % prime
        pad = int.from_bytes(_encrypt_block(_expand(self.k), nonce), "little")
        return ((total + pad) % 2**128).to_bytes(16, "little")


def open_key(file: bytes, password: str) -> Key:
    """The master key in a key file of a repository."""
    said = json.loads(file)
    master = json.loads(_from_password(said, password).open(base64.b64decode(said["data"])))
    k, r = (base64.b64decode(master["mac"][name]) for name in ("k", "r"))
    return Key(base64.b64decode(master["encrypt"]), k, r)


def quicker(file: bytes, password: str) -> tuple[str, bytes]:
    """Name and content of a key file for the same master key and password that opens at once.

    restic spends half a second of a processor on each that it makes, and on each of its calls again. What a password
    costs whoever guesses it is not what the tests are about.
    """
    said = json.loads(file)
    master = _from_password(said, password).open(base64.b64decode(said["data"]))
    said |= {"N": 2, "r": 1, "p": 1}
    said["data"] = base64.b64encode(_from_password(said, password).seal(master)).decode()
    content = json.dumps(said).encode()
    return hashlib.sha256(content).hexdigest(), content


def _from_password(said: dict[str, Any], password: str) -> Key:
    salt = base64.b64decode(said["salt"])
    work = {"n": said["N"], "r": said["r"], "p": said["p"], "maxmem": 2**30}
    made = hashlib.scrypt(password.encode(), salt=salt, dklen=64, **work)
    return Key(made[:32], made[32:48], made[48:])
