"""A TOML file into a dict, with clear words for all that can be wrong before the first key is looked at."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

from daybreak.errors import ConfigError

LARGEST_BYTES: Final = 256 * 1024
_BOM: Final = b"\xef\xbb\xbf"


def read_toml(path: Path) -> dict[str, object]:
    """Read the tables of a file. Raise ConfigError with the file, and the line where there is one."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"the configuration file {path} is not there", hint="correct --config") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint="look at the file and its rights") from error
    return parse_toml(path, content)


def parse_toml(path: Path, content: bytes) -> dict[str, object]:
    """The tables of what stands, or is to stand, in a file. Raise ConfigError as `read_toml` does."""
    if len(content) > LARGEST_BYTES:
        raise ConfigError(
            f"{path} is larger than {LARGEST_BYTES // 1024} KiB: that is no configuration of Daybreak",
            hint="correct --config",
        )
    if content.startswith(_BOM):
        raise ConfigError(
            f"{path}, line 1: the file begins with a byte order mark", hint="save it as UTF-8 without BOM"
        )
    try:
        return tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}: the file is not UTF-8 text", hint="save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_words(path, str(error)), hint="the file must be TOML; texts stand in quotes") from None
    except RecursionError:
        raise ConfigError(f"{path} is nested too deeply", hint="the file must be TOML, a few tables deep") from None


def _words(path: Path, error: str) -> str:
    """What tomllib says, with the line in front. It names keys and places, never a value."""
    what, _, where = error.rpartition(" (at ")
    what = what or error
    if what.startswith(("Cannot overwrite", "Cannot declare", "Cannot mutate")):
        what = f"a key or table stands twice ({what[0].lower()}{what[1:]})"
    line, _, column = where.rstrip(")").removeprefix("line ").partition(", column ")
    place = f"line {line}, column {column}" if line.isdigit() else "at its end"
    return f"{path}, {place}: {what}"
