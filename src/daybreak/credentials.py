"""Secrets, read at the moment of use from where the configuration says they are kept.

Shapes  a secret is one line of UTF-8 text; one line end at its end does not belong to it.
Errors  `ConfigError` (exit 3) names the place and what to do, never a part of the value.
Source  PostgreSQL manual, "The Password File", for the escapes of a passfile.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import stat
import tempfile
from collections.abc import Generator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

from daybreak.command import Command
from daybreak.errors import CommandError, ConfigError, TimedOut
from daybreak.model import SecretSource
from daybreak.process import Runner
from daybreak.secret import Secret

COMMAND_DEADLINE: Final = timedelta(seconds=30)
_LARGEST_BYTES: Final = 64 * 1024
#: Settings that everybody may see. As secrets they would mask words like `auto` or `true` in every log.
_NO_SECRET: Final = frozenset(
    {
        "AWS_DEFAULT_REGION",
        "AWS_EC2_METADATA_DISABLED",
        "AWS_PROFILE",
        "AWS_REGION",
        "RESTIC_CACHE_DIR",
        "RESTIC_COMPRESSION",
        "RESTIC_PACK_SIZE",
        "RESTIC_READ_CONCURRENCY",
    }
)
_ASSIGNMENT: Final = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_COMMENT: Final = re.compile(r"\s*(?:\s#.*)?", re.DOTALL)
_DOUBLE_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_SINGLE_QUOTED: Final = re.compile(r"'([^']*)'")
_BARE: Final = re.compile(r"[^\s'\"]*")


def read_secret(
    source: SecretSource, runner: Runner, *, env: Mapping[str, str] | None = None, what: str = "password"
) -> Secret:
    """Read the one place that `source` names; faults call it a `what`. `env` is our own environment unless given.

    Raise ConfigError where it cannot be read, is empty, has several lines or is open to everybody.
    """
    if source.file is not None:
        return _one_line(_read_private(source.file), f"the {what} file {source.file}")
    if source.env is not None:
        value = (os.environ if env is None else env).get(source.env)
        if value is None:
            raise ConfigError(
                f"the environment variable {source.env} is not set",
                hint="set it for the user and the unit that runs Daybreak, or use password_file",
            )
        return _one_line(value.encode("utf-8", "surrogateescape"), f"the environment variable {source.env}")
    if source.command is not None:
        return _one_line(_run(source.command, runner), f"the {what} command {source.command[0]}")
    raise ValueError("a secret without a source")


def read_env_file(path: Path) -> dict[str, str | Secret]:
    """Read `NAME=value` lines; all values are secret but a few names that say nothing (a region, a cache folder).

    Comments, blank lines, `export ` and quotes are read as a shell would, but nothing is expanded.
    Raise ConfigError with the number of a line that cannot be read.
    """
    try:
        text = _read_private(path).decode("utf-8-sig")  # editors of Windows put a mark before the first name
    except UnicodeDecodeError:
        raise ConfigError(f"the env file {path} is not UTF-8 text", hint="save it as UTF-8") from None
    values: dict[str, str | Secret] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        assignment = _ASSIGNMENT.fullmatch(line.strip())
        value = None if assignment is None else _unquote(assignment[2])
        if assignment is None or value is None:
            raise ConfigError(
                f"line {number} of the env file {path} is not NAME=value",
                hint="quote a value with blanks or quotes in it: NAME='value'",
            )
        name = assignment[1]
        if name in values:
            raise ConfigError(f"{name} stands twice in the env file {path}", hint=f"remove line {number} or the other")
        values[name] = value if name in _NO_SECRET else Secret(value)
    return values


@contextlib.contextmanager
def passfile(password: Secret, folder: Path) -> Generator[Path]:
    """Lend a passfile in the private `folder` that gives `password` to every server; gone after the block.

    It goes to libpq as PGPASSFILE, so that the password stands in no argument and no environment.
    """
    escaped = password.reveal().replace("\\", "\\\\").replace(":", "\\:")
    descriptor, name = tempfile.mkstemp(prefix="pgpass-", dir=folder)  # 0600, which libpq asks for
    path = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"*:*:*:*:{escaped}\n")
        yield path
    finally:
        with contextlib.suppress(OSError):  # read-only by now: it is removed with its folder, at last by the next run
            path.unlink(missing_ok=True)


def _read_private(path: Path) -> bytes:
    """The bytes of a regular file that not everybody can read or write."""
    try:
        # O_NONBLOCK: opening a named pipe that nobody writes would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ConfigError(f"{path} is not there", hint="make it, or correct the path in the configuration") from None
    except OSError as error:
        hint = f"let the user who runs Daybreak read it: ls -l {shlex.quote(str(path))}"
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint=hint) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path} is not a regular file", hint="name a file that holds the secret alone")
        if status.st_mode & stat.S_IRWXO:
            raise ConfigError(
                f"{path} holds a secret and is open to every user (mode {stat.S_IMODE(status.st_mode):04o})",
                hint=f"chmod o= {shlex.quote(str(path))}   # then consider changing the secret",
            )
        content = os.read(descriptor, _LARGEST_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > _LARGEST_BYTES:
        raise ConfigError(f"{path} is larger than {_LARGEST_BYTES // 1024} KiB: that is no secret")
    return content


def _run(command: tuple[str, ...], runner: Runner) -> bytes:
    try:
        return runner.run(Command(argv=command, deadline=COMMAND_DEADLINE)).stdout
    except (CommandError, TimedOut) as error:
        raise ConfigError(
            f"the password command gave no password: {error.message}",
            hint=f"try it as the user who runs Daybreak: {shlex.join(command)}",
        ) from error


def _one_line(content: bytes, where: str) -> Secret:
    value = content.removesuffix(b"\n").removesuffix(b"\r")
    if not value:
        raise ConfigError(f"{where} is empty", hint="put the secret there, on one line")
    if b"\n" in value or b"\r" in value or b"\0" in value:
        raise ConfigError(f"{where} holds more than one line", hint="put the secret there alone, on one line")
    try:
        return Secret(value.decode("utf-8"))
    except UnicodeDecodeError:
        raise ConfigError(f"{where} is not UTF-8 text", hint="save it as UTF-8") from None


def _unquote(text: str) -> str | None:
    """The value in `text`, up to a comment; None where it is not one word."""
    for pattern in (_DOUBLE_QUOTED, _SINGLE_QUOTED, _BARE):
        match = pattern.match(text)
        if match is None:
            continue
        if _COMMENT.fullmatch(text, match.end()) is None:
            return None
        if pattern is _DOUBLE_QUOTED:
            return re.sub(r'\\(["\\$`])', r"\1", match[1])
        return match[1] if pattern is _SINGLE_QUOTED else match[0]
    return None
