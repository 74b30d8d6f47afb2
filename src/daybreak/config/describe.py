"""What `tables.py` says, as a complete example, a JSON Schema, a table for the manual; and settings as TOML.

Shapes  texts end with a newline. The example passes the check; what `show_settings` writes reads back as
        the same settings. A test holds both, and that the manual has the present table.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, cast

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from daybreak.config.alerts import PingTable
from daybreak.config.conninfo import to_conninfo
from daybreak.config.console import OidcTable, console_values
from daybreak.config.fields import NEVER
from daybreak.config.records import Settings
from daybreak.config.server import KeyTable
from daybreak.config.tables import (
    SECTIONS,
    SINGLES,
    CheckTable,
    File,
    HookTable,
    KeepTable,
    KeptTable,
    TopTable,
)
from daybreak.model import BackupPlan, Database, Destination, Ping, RefreshPlan, Repository, Schedule, SecretSource
from daybreak.replacement import Check, Hook, KeptRows
from daybreak.server import Server, ServerKey
from daybreak.upkeep import RepositoryPlan, Upkeep

#: The tables of the example with the keys that are set in them; the first of each kind shows all others as comments.
_EXAMPLE: Final[Mapping[str, Mapping[str, Mapping[str, object]]]] = {
    "hosts": {"vps": {"ssh": "deploy@203.0.113.7"}},
    "databases": {
        "prod": {
            "url": "postgresql://daybreak@127.0.0.1:5432/genjishimada",
            "password_file": "/etc/daybreak/prod.password",
            "protected": True,
        },
        "dev": {
            "url": "postgresql://daybreak@127.0.0.1:5433/genjishimada",
            "password_file": "/etc/daybreak/dev.password",
        },
    },
    "backups": {
        "nightly": {
            "database": "prod",
            "archive": "/var/backups/genji/postgres/genjishimada-prod.dump",
            "schedule": "02:00",
            "timezone": "America/Chicago",
            "repositories": ["r2"],
        },
    },
    "refreshes": {
        "weekly": {
            "backup": "nightly",
            "target": "dev",
            "schedule": "Sun 02:00",
            "timezone": "America/Chicago",
        },
    },
    "repositories": {
        "r2": {
            "url": "s3:https://ACCOUNT.r2.cloudflarestorage.com/genji-db-backups",
            "password_file": "/etc/daybreak/r2.password",
            "env_file": "/etc/daybreak/r2.env",
            "keep": {"daily": 7, "weekly": 4, "monthly": 12},
            "check": "Sun 05:00",
            "prune": "Sun 06:00",
            "timezone": "America/Chicago",
        },
    },
    "alerts": {"discord": {"url_file": "/etc/daybreak/discord.url"}},
}
_EXAMPLE_SINGLES: Final[Mapping[str, Mapping[str, object]]] = {
    "server": {
        "group": "genji-backup",
        "user": "deploy",
        "scripts": {
            "backup:nightly": "/opt/genji/scripts/backup_prod_db.sh",
            "refresh:weekly": "/opt/genji/scripts/refresh_dev_from_prod.sh",
        },
        "keys": [{"file": "/etc/daybreak/github.pub", "may": ["backup:nightly", "refresh:weekly"]}],
    },
    "console": {"url": "https://backups.example.org"},
}
_WIDTH: Final = 100
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


def example_text() -> str:
    """A complete configuration with every key explained."""
    lines = [
        "# The configuration of Daybreak: /etc/daybreak/daybreak.toml, ./daybreak.toml, --config or DAYBREAK_CONFIG.",
        "# Lines with # before a key show its default, or an example where there is none.",
        "# Secrets never stand here, only where they are kept. `daybreak config check` reads this file alone.",
        "",
        *_example_table(TopTable, {}, explain=True),
    ]
    for section, tables in _EXAMPLE.items():
        kind = SECTIONS[section]
        for number, (name, values) in enumerate(tables.items()):
            lines += ["", f"# {_first_line(kind)}"] if number == 0 else [""]
            lines += [f"[{section}.{name}]", *_example_table(kind, values, explain=number == 0)]
    for name, kind in SINGLES.items():
        lines += [
            "",
            f"# {_first_line(kind)}",
            f"[{name}]",
            *_example_table(kind, _EXAMPLE_SINGLES[name], explain=True),
        ]
    return "\n".join(lines) + "\n"


def written_text(tables: Mapping[str, Mapping[str, Mapping[str, object]]], top: Mapping[str, object]) -> str:
    """A configuration with these tables, every key explained; what has no table is shown as a comment."""
    lines = [
        "# The configuration of Daybreak, written by `daybreak init`. `daybreak config check` reads this file alone."
    ]
    lines += ["# Secrets never stand here, only where they are kept.", "", *_example_table(TopTable, top, explain=True)]
    for section, kind in SECTIONS.items():
        given = tables.get(section)
        for number, (name, values) in enumerate((given or _EXAMPLE[section]).items()):
            if given is None and number:
                continue  # one example is enough
            table = [f"[{section}.{name}]", *_example_table(kind, values, explain=number == 0)]
            head = ["", f"# {_first_line(kind)}"] if number == 0 else [""]
            lines += [*head, *(table if given else (line if line.startswith("#") else f"# {line}" for line in table))]
    return "\n".join(lines) + "\n"


def json_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of the file, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | File.model_json_schema()


def reference_text() -> str:
    """The tables of keys in the manual, in Markdown."""
    lines: list[str] = []
    kinds: dict[str, type[BaseModel]] = {"Before the first table": TopTable}
    kinds |= {f"`[{section}.NAME]`": kind for section, kind in SECTIONS.items()}
    kinds |= {f"`[{name}]`": kind for name, kind in SINGLES.items()}
    kinds["Each of the `keep` of a refresh"] = KeptTable
    kinds["Each of the `checks` of a refresh"] = CheckTable
    kinds["Each of the `hooks` of a refresh"] = HookTable
    kinds["`keep` of a repository"] = KeepTable
    kinds["Each of the `keys` of `[server]`"] = KeyTable
    kinds["`oidc` of `[console]`"] = OidcTable
    kinds["`ping` of a backup or a refresh"] = PingTable
    for title, kind in kinds.items():
        lines += [f"### {title}", "", _first_line(kind), "", "| key | default | meaning |", "|---|---|---|"]
        for key in _keys(kind):
            field = kind.model_fields[key]
            default = "required" if field.is_required() else _default_words(field)
            example = f" Example: `{_toml(_sample(field))}`." if field.examples else ""
            lines.append(f"| `{key}` | {default} | {field.description}{example} |")
        lines.append("")
    return "\n".join(lines)


def show_settings(settings: Settings) -> str:
    """Settings as a configuration with every default written out; secrets are only named."""
    sections: dict[str, dict[str, dict[str, object]]] = {
        "hosts": {name: {"ssh": one.destination} for name, one in settings.hosts.items()},
        "databases": {name: _database(one) for name, one in settings.databases.items()},
        "backups": {name: _backup(one) for name, one in settings.backups.items()},
        "refreshes": {name: _refresh(one) for name, one in settings.refreshes.items()},
        "repositories": {name: _repository(one, settings.upkeep) for name, one in settings.repositories.items()},
        "alerts": {name: _destination(one) for name, one in settings.alerts.items()},
    }
    lines = [f"# {settings.path}, with every default written out"]
    if settings.state is not None:
        lines.append(f"state = {_toml(settings.state)}")
    lines.append(f"timezone = {_toml(settings.timezone)}")
    if settings.doctor is not None:
        lines.append(f"doctor = {_toml(settings.doctor.spec)}")
    if settings.metrics_file is not None:
        lines.append(f"metrics_file = {_toml(settings.metrics_file)}")
    lines.append(f"log = {_toml('json' if settings.json_log else 'text')}")
    for section, tables in sections.items():
        for name, values in tables.items():
            lines += ["", f"[{section}.{name}]"]
            lines += [f"{key} = {_toml(value)}" for key, value in values.items() if value is not None]
    singles = {"server": None if settings.server is None else _server(settings.server)}
    for name, values in {**singles, "console": console_values(settings.console)}.items():
        if values is not None:
            lines += ["", f"[{name}]"]
            lines += [f"{key} = {_toml(value)}" for key, value in values.items() if value is not None]
    return "\n".join(lines) + "\n"


def show_length(value: timedelta) -> str:
    """The shortest exact way to write a duration that the configuration reads."""
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        if value and value % timedelta(seconds=size) == timedelta(0):
            return f"{value // timedelta(seconds=size)}{unit}"
    milliseconds, rest = divmod(value, timedelta(milliseconds=1))
    return f"{milliseconds}.{rest.microseconds:03}ms" if rest else f"{milliseconds}ms"


def _example_table(kind: type[BaseModel], values: Mapping[str, object], *, explain: bool) -> Iterator[str]:
    # Keys that are set come first, so that the short file inside the long one can be seen.
    for key in dict.fromkeys([*values, *_keys(kind)]):
        field = kind.model_fields[key]
        if key not in values and not explain:
            continue
        if explain:
            yield from textwrap.wrap(f"{field.description}", _WIDTH, initial_indent="# ", subsequent_indent="# ")
        yield f"{key} = {_toml(values[key])}" if key in values else f"# {key} = {_toml(_sample(field))}"


def _keys(kind: type[BaseModel]) -> list[str]:
    """The keys of a kind of table, its own before those that it shares with others."""
    keys = [key for key in kind.model_fields if kind is not TopTable or key not in SINGLES]
    return sorted(keys, key=lambda key: key not in kind.__annotations__)


def _first_line(kind: type[BaseModel]) -> str:
    return (kind.__doc__ or "").partition("\n")[0]


def _sample(field: FieldInfo) -> object:
    """What to show for a key: its default where there is one that says something, else its example."""
    default = None if field.is_required() else field.default
    if default in (None, [], {}) and field.examples:
        return field.examples[0]
    return default


def _default_words(field: FieldInfo) -> str:
    return "" if field.default in (None, [], {}) else f"`{_toml(field.default)}`"


def _toml(value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, timedelta):
        return f'"{show_length(value)}"'
    if isinstance(value, str | Path):
        # A JSON string is a TOML string but for DEL, which TOML wants escaped.
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in cast('Sequence[object]', value))}]"
    if isinstance(value, Mapping):
        pairs = [f"{_toml_key(key)} = {_toml(item)}" for key, item in cast("Mapping[str, object]", value).items()]
        return f"{{ {', '.join(pairs)} }}" if pairs else "{}"
    return str(value)


def _toml_key(key: str) -> str:
    return key if _BARE.fullmatch(key) else json.dumps(key)


def _secret(source: SecretSource | None) -> dict[str, object]:
    if source is None:
        return {}
    return {"password_file": source.file, "password_env": source.env, "password_command": source.command}


def _url(source: SecretSource) -> dict[str, object]:
    named = {"url_file": source.file, "url_env": source.env, "url_command": source.command}
    return {key: value for key, value in named.items() if value is not None}


def _ping(ping: Ping | None) -> dict[str, object] | None:
    if ping is None:
        return None
    return {
        **_url(ping.url),
        "send": list(ping.send),
        "start": ping.start,
        "success": ping.success,
        "fail": ping.fail,
    }


def _destination(destination: Destination) -> dict[str, object]:
    return {**_url(destination.url), "events": [event.value for event in destination.events]}


def _schedule(schedule: Schedule | None) -> dict[str, object]:
    if schedule is None:
        return {}
    names = {"spec": "schedule"}
    return {names.get(field.name, field.name): getattr(schedule, field.name) for field in fields(schedule)}


def _database(database: Database) -> dict[str, object]:
    return {
        "host": None if database.place.ssh is None else database.place.ssh.name,
        "container": database.place.container or None,
        "runtime": database.place.runtime or None,
        "url": to_conninfo(database.conninfo) or None,
        **_secret(database.password),
        "bin": database.bin,
        "protected": database.protected,
        "shares_cluster_with": database.shares_cluster_with,
    }


def _backup(plan: BackupPlan) -> dict[str, object]:
    return {
        "database": plan.database.name,
        "archive": plan.archive,
        **_schedule(plan.schedule),
        "repositories": [repository.name for repository in plan.repositories],
        "keep_local": plan.keep_local,
        "proof": plan.proof.value,
        "drill_image": plan.drill_image,
        "drill_on": plan.drill_on.name if plan.drill_on else None,
        "backlog": plan.backlog,
        "ship": plan.ship.value,
        "shard_kib": plan.shard_kib,
        "search_path": list(plan.quirks.search_path),
        "leave_out": list(plan.quirks.leave_out),
        "globals_passwords": plan.globals_passwords,
        "lock_wait": plan.lock_wait,
        "idle": plan.idle,
        "wait": plan.wait,
        "deadline": plan.deadline,
        "ping": _ping(plan.ping),
    }


def _refresh(plan: RefreshPlan) -> dict[str, object]:
    return {
        "backup": plan.backup.name,
        "target": plan.target.name,
        **_schedule(plan.schedule),
        "max_age": plan.max_age,
        "jobs": plan.how.jobs,
        "owner": plan.how.owner,
        "cron": plan.how.cron.value,
        "restart": plan.how.restart,
        "foreign": plan.how.foreign,
        "event_triggers": plan.how.event_triggers,
        "older_extensions": list(plan.how.older_extensions),
        "keep": [_filled(one) for one in plan.how.keep],
        "checks": [_filled(one) for one in plan.how.checks],
        "hooks": [_filled(one) for one in plan.how.hooks],
        "swap_within": plan.how.swap_within,
        "wait": plan.wait,
        "deadline": plan.how.deadline,
        "ping": _ping(plan.ping),
    }


def _server(server: Server) -> dict[str, object]:
    return _filled(server) | {"keys": [_filled(key) for key in server.keys]}


def _filled(noun: KeptRows | Check | Hook | Server | ServerKey) -> dict[str, object]:
    """The fields that say something; they are called as the keys are."""
    found = {field.name: getattr(noun, field.name) for field in fields(noun)}
    return {name: value for name, value in found.items() if value is not None}


def _repository(repository: Repository, plans: Mapping[str, RepositoryPlan]) -> dict[str, object]:
    keep = repository.keep
    check, prune = (plans[kind.plan_of(repository.name)] for kind in (Upkeep.CHECK, Upkeep.PRUNE))
    zones = [plan.schedule.timezone for plan in (check, prune) if plan.schedule]
    return {
        "url": repository.url,
        **_secret(repository.password),
        "env_file": repository.env_file,
        "env": repository.env,
        "keep": None if keep is None else {key: getattr(keep, key) for key in KeepTable.model_fields},
        "check": check.schedule.spec if check.schedule else None,
        "prune": prune.schedule.spec if prune.schedule else NEVER if repository.append_only else None,
        "timezone": zones[0] if zones else None,
        "wait": check.wait,
        "limit_upload": _rate(repository.limit_upload),
        "limit_download": _rate(repository.limit_download),
        "restic": repository.restic,
        "deadline": repository.deadline,
    }


def _rate(bytes_per_s: int | None) -> str | None:
    """A rate as the configuration reads it."""
    return None if bytes_per_s is None else f"{bytes_per_s}B/s"
