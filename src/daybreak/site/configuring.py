"""The configuration file as something that is changed, one key at a time: looked at first, then saved.

Nobody's change is lost: what is saved was made from what stands in the file, or it is refused. What was there before
stands beside it afterwards, as `NAME.before`.

Errors  `UsageError` for a key or value that cannot be set from here, `Refused` where the file is another one by now,
        `ConfigError` for a file that has faults already or that cannot be written.
"""

from __future__ import annotations

import os
import shlex
import tomllib
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from daybreak import config, files
from daybreak.config import editing, settable
from daybreak.errors import ConfigError, Refused, UsageError
from daybreak.site.base import Base

#: The lock of whoever writes the configuration file.
CONFIGURATION: Final = "configuration"
_WAIT: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """What the file would be with another value of one key."""

    setting: str
    before: str  # as somebody types it; "": the key is left out
    after: str
    base: str  # the sha256 of the file that was looked at
    difference: tuple[str, ...]  # the lines that go and come; () where there are faults
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What was saved."""

    setting: str
    before: str
    after: str
    digest: str  # the sha256 of the file now
    kept: Path  # the file as it was


class Configuring(Base):
    """The file itself."""

    def options(self) -> list[settable.Setting]:
        """`daybreak config set`: every key that can be set from outside of the file."""
        return list(settable.settings_of(self._tables(self._read())))

    def obstacle(self, setting: str, text: str) -> ConfigError | None:
        """Why this process cannot write the file, and who can."""
        folder = self.file.resolve().parent
        if os.access(folder, os.W_OK):
            return None
        words = shlex.join(["daybreak", "config", "set", setting, *([text] if text.strip() else ["--default"])])
        return ConfigError(
            f"{folder} cannot be written from here, so nothing is changed",
            hint=f"on the server, as root: `{words}`, then `systemctl reload daybreak daybreak-console`. To change it"
            f" from here: `systemctl edit daybreak.service`, with ReadWritePaths={folder} below [Service]",
        )

    def look_at_setting(self, setting: str, text: str) -> Prospect:
        """`daybreak config set --dry-run`: what would change, and what is wrong with it."""
        return self._made(self._read(), setting, text)[0]

    def change_setting(self, setting: str, text: str, *, base: str | None = None) -> Changed:
        """`daybreak config set`: save it. `base` is what was looked at; None: whatever stands there now."""
        content = self._read()
        if base not in {None, sha256(content).hexdigest()}:
            raise _changed_since(self.file)
        prospect, after = self._made(content, setting, text)
        if prospect.faults:
            first = prospect.faults[0]
            raise UsageError(first, hint=f"and: {'; '.join(prospect.faults[1:])}" if prospect.faults[1:] else "")
        if after == content:
            raise UsageError(f"{setting} is that already, and nothing was changed", hint="daybreak config show")
        if (obstacle := self.obstacle(setting, text)) is not None:
            raise obstacle
        path = self.file.resolve()
        kept = save(path, before=content, after=after, lock=self.engine.lock_path(CONFIGURATION))
        return Changed(
            setting=setting,
            before=prospect.before,
            after=prospect.after,
            digest=sha256(after).hexdigest(),
            kept=kept,
        )

    def _made(self, content: bytes, setting: str, text: str) -> tuple[Prospect, bytes]:
        tables = self._tables(content)
        chosen = settable.find(tables, setting)
        after, value, faults = content, text.strip(), ()
        try:
            edited = editing.set_key(content.decode(), setting, settable.written(chosen, text))
            config.check_content(self.file, edited.encode())
            settable.require_within(setting, tables, tomllib.loads(edited))
            after, value = edited.encode(), settable.find(tomllib.loads(edited), setting).value
        except ConfigError as error:
            faults = error.problems or (error.message,)
        except UsageError as error:
            faults = (error.message,)
        prospect = Prospect(
            setting=setting,
            before=chosen.value,
            after=value,
            base=sha256(content).hexdigest(),
            difference=editing.difference(content.decode(), after.decode()),
            faults=faults,
        )
        return prospect, after

    def _read(self) -> bytes:
        try:
            return self.file.read_bytes()
        except OSError as error:
            raise ConfigError(f"{self.file} cannot be read: {error.strerror}", hint="look at its rights") from error

    def _tables(self, content: bytes) -> dict[str, Any]:
        """The tables of the file. Raise ConfigError for one that has faults already."""
        try:
            config.check_content(self.file, content)
        except ConfigError as error:
            raise ConfigError(
                f"{self.file} has faults already, so nothing is changed from here",
                hint="mend them in the file first: `daybreak config check` tells them",
                problems=error.problems,
            ) from error
        return tomllib.loads(content.decode())


def save(path: Path, *, before: bytes, after: bytes, lock: Path) -> Path:
    """Put `after` in the place of a file that still is `before`; where that one stands now. Raise Refused, ConfigError.

    A symlink stays one: `path` is the file that it leads to.
    """
    kept = path.with_name(f"{path.name}.before")
    with files.lock(lock, wait=_WAIT, holder=f"process {os.getpid()}, which writes {path}"):
        try:
            if path.read_bytes() != before:
                raise _changed_since(path)
            files.write_like(kept, before, like=path)
            files.write_like(path, after, like=path)
            found = path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written: {error.strerror}", hint="look at the folder, its rights and its disk"
            ) from error
        if found != after:
            raise ConfigError(f"{path} reads other than it was written", hint=f"what was there before is in {kept}")
    return kept


def _changed_since(path: Path) -> Refused:
    return Refused(f"{path} has changed since it was looked at", hint="look again, then decide")
