"""The configuration: one TOML file, checked as a whole, into the nouns of `model.py`.

Loading has no side effects: it dials nobody, reads no secret and looks up no program. pydantic is loaded
by the functions that need it, not by importing this package: a door that only prints help stays fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daybreak.config.places import choose_state, find_file, here_now, home_now
from daybreak.config.reading import parse_toml, read_toml
from daybreak.config.records import Settings

__all__ = [
    "Settings",
    "check",
    "check_content",
    "choose_state",
    "example",
    "find_file",
    "here_now",
    "home_now",
    "reference",
    "schema",
    "show",
    "written",
]


def check(path: Path) -> Settings:
    """Read and check a file. Raise ConfigError with every fault of it."""
    tables = read_toml(path)
    from daybreak.config.checking import check_tables  # noqa: PLC0415 -- loads pydantic

    return check_tables(path, tables)


def check_content(path: Path, content: bytes) -> Settings:
    """Check what is to stand in a file. Raise ConfigError with every fault of it."""
    tables = parse_toml(path, content)
    from daybreak.config.checking import check_tables  # noqa: PLC0415 -- loads pydantic

    return check_tables(path, tables)


def show(settings: Settings) -> str:
    """The settings as TOML with all defaults written out; secrets are only named."""
    from daybreak.config.describe import show_settings  # noqa: PLC0415 -- loads pydantic

    return show_settings(settings)


def example() -> str:
    """A complete configuration in TOML, every key explained; it passes the check."""
    from daybreak.config.describe import example_text  # noqa: PLC0415 -- loads pydantic

    return example_text()


def written(tables: Mapping[str, Mapping[str, Mapping[str, object]]], top: Mapping[str, object]) -> str:
    """A new configuration with these tables (section, name, keys) and keys at the top, every key explained."""
    from daybreak.config.describe import written_text  # noqa: PLC0415 -- loads pydantic

    return written_text(tables, top)


def schema() -> dict[str, Any]:
    """JSON Schema of the file, for editors."""
    from daybreak.config.describe import json_schema  # noqa: PLC0415 -- loads pydantic

    return json_schema()


def reference() -> str:
    """Every key in Markdown tables, as `docs/configuration.md` has them."""
    from daybreak.config.describe import reference_text  # noqa: PLC0415 -- loads pydantic

    return reference_text()
