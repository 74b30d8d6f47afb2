"""A file of authorized keys: our lines in it, each with its forced command; everybody else's stay as they are. Pure.

sshd takes the first line that has the key of a caller, so a key of ours must stand nowhere else in the file: a line
that gives the same key more is taken out.

Source  sshd(8), "AUTHORIZED_KEYS FILE FORMAT".
Errors  `ConfigError` for what is no public key, or a program whose path a forced command cannot hold.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from daybreak.errors import ConfigError

_KEY: Final = re.compile(
    r"(?P<kind>(?:sk-)?(?:ssh-ed25519|ecdsa-sha2-nistp\d+|ssh-rsa)(?:@openssh\.com)?) "
    r"(?P<blob>[A-Za-z0-9+/]{40,}={0,2})(?: (?P<comment>[\w.@:+ -]*))?"
)
_OURS: Final = re.compile(r'^restrict,command="[^"]* gate (?:backup|refresh):[^"]*" ')
_PLAIN: Final = re.compile(r"/[A-Za-z0-9/._+-]+")


def key_line(public: str, may: Iterable[str], *, program: Path, configuration: Path) -> str:
    """The line of a key that may ask for so much. `public` is the content of a file.pub."""
    found = _KEY.fullmatch(public.strip())
    if found is None or not _names_its_kind(found["kind"], found["blob"]):
        raise ConfigError("is not one public key", hint="it is one line, as ssh-keygen writes it into a file.pub")
    for path in (program, configuration):
        if _PLAIN.fullmatch(str(path)) is None:
            raise ConfigError(f"{path} cannot stand in a forced command", hint="use a path of plain letters")
    comment = f" {found['comment']}" if found["comment"] else ""
    command = f"{program} --config {configuration} gate {' '.join(may)}"
    return f'restrict,command="{command}" {found["kind"]} {found["blob"]}{comment}'


def with_keys(text: str, lines: Iterable[str]) -> str:
    """The file with exactly these lines of ours, at its end."""
    ours = list(lines)
    blobs = [found["blob"] for found in map(_KEY.search, ours) if found]
    kept = [line for line in text.splitlines() if not _OURS.match(line) and not _has(line, blobs)]
    return "".join(f"{line}\n" for line in [*kept, *ours])


def _has(line: str, blobs: Iterable[str]) -> bool:
    return not line.lstrip().startswith("#") and any(blob in line.split() for blob in blobs)


def _names_its_kind(kind: str, blob: str) -> bool:
    """Whether the blob begins with the name of its own kind, as all of them do."""
    try:
        raw = base64.b64decode(blob, validate=True)
    except (binascii.Error, ValueError):
        return False
    return raw[4 : 4 + int.from_bytes(raw[:4], "big")] == kind.encode()
