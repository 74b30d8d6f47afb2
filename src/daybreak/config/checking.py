"""Tables into nouns: every fault of a file at once, each with its dotted path.

Every named table is checked on its own, and what is wrong in it is put aside, so that no fault hides
another; then names that refer to each other are followed. Nothing is dialled, no secret read, no program looked up.

Errors  `ConfigError` whose `problems` has one line per fault. No line repeats a value that may be secret.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, cast, get_args

from pydantic import ValidationError

from daybreak.config.alerts import AlertTable, PingTable, destination_of
from daybreak.config.base import PasswordTable, Table, UrlTable, secret_keys, source_of
from daybreak.config.console import console_of, console_problems
from daybreak.config.fields import NAME, NEVER
from daybreak.config.nearest import nearest
from daybreak.config.nouns import backup_of, keep_of, refresh_of, server_of, upkeep_of
from daybreak.config.records import Settings
from daybreak.config.rings import ring_of
from daybreak.config.tables import (
    SECTIONS,
    BackupTable,
    DatabaseTable,
    HostTable,
    PlanTable,
    RefreshTable,
    RepositoryTable,
    TopTable,
)
from daybreak.errors import ConfigError
from daybreak.model import Database, Place, Repository, Schedule, SecretSource, SshHost
from daybreak.replacement import RESTART_CONTAINER
from daybreak.schedule import EARLY
from daybreak.upkeep import Upkeep

_T = TypeVar("_T", bound=Table)
#: Keys that somebody may write a secret into, and what to use instead.
_INLINE: Final = {"password", "secret", "passphrase", "access_key", "secret_key", "secret_access_key", "token"}
_PLACE: Final = re.compile(r"[.:]")
_KINDS: Final = {
    "string_type": "must be a text in quotes",
    "int_type": "must be a whole number, without quotes",
    "bool_type": "must be true or false, without quotes",
    "list_type": "must be a list in square brackets",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "missing": "is missing",
    "string_too_short": "is empty",
}


def check_tables(path: Path, tables: Mapping[str, object]) -> Settings:
    """Check a whole file that was read from `path`. Raise ConfigError with all faults."""
    checker = _Checker(tables)
    settings = checker.build(path)
    if settings is None:
        problems = checker.sorted_problems()
        shown = "\n".join(f"  {problem}" for problem in problems)
        faults = "a fault" if len(problems) == 1 else f"{len(problems)} faults"
        raise ConfigError(
            f"{path} has {faults}:\n{shown}",
            hint="`daybreak config example` shows every key with its meaning",
            problems=problems,
        )
    return settings


class _Checker:
    """Collects problems on the way from tables to nouns."""

    def __init__(self, tables: Mapping[str, object]) -> None:
        self._tables = tables
        self.problems: list[str] = []
        self._faulty: set[str] = set()  # paths that were reported

    def build(self, path: Path) -> Settings | None:
        """The settings, or None where there are problems."""
        top = self._validate(TopTable, {key: value for key, value in self._tables.items() if key not in SECTIONS}, "")
        hosts = self._section("hosts", HostTable)
        databases = self._section("databases", DatabaseTable)
        backups = self._section("backups", BackupTable)
        refreshes = self._section("refreshes", RefreshTable)
        repositories = self._section("repositories", RepositoryTable)
        if not self._names("databases") and "databases" not in self._tables:
            self._add("databases", "is missing: at least one [databases.NAME] is needed")
        alerts = self._section("alerts", AlertTable)
        its_hosts = {name: SshHost(name=name, destination=table.ssh) for name, table in hosts.items()}
        its_databases = {name: self._database(name, table, its_hosts) for name, table in databases.items()}
        its_repositories = {name: self._repository(name, table, top) for name, table in repositories.items()}
        for name, alert in alerts.items():
            self._check_url(alert, f"alerts.{name}")
        for section, plans in (("backups", backups), ("refreshes", refreshes)):
            for name, plan in plans.items():
                if plan.ping is not None:
                    self._check_url(plan.ping, f"{section}.{name}.ping")
        self._check_backups(backups, databases)
        for section, plans in (("backups", backups), ("refreshes", refreshes)):
            for name, table in plans.items():
                self._check_schedule(f"{section}.{name}", table)
        self._check_upkeep(repositories)
        self._check_refreshes(refreshes, backups, databases)
        self._check_singles(top)
        if self.problems:
            return None
        its_backups = {
            name: backup_of(name, table, top, its_databases, its_repositories) for name, table in backups.items()
        }
        return Settings(
            path=path,
            state=top.state,
            json_log=top.log == "json",
            server=None if top.server is None else server_of(top.server),
            timezone=top.timezone,
            doctor=None if top.doctor is None else Schedule(spec=top.doctor, timezone=top.timezone),
            console=console_of(top.console),
            metrics_file=top.metrics_file,
            alerts={name: destination_of(name, table) for name, table in alerts.items()},
            hosts=its_hosts,
            databases=its_databases,
            repositories=its_repositories,
            upkeep=upkeep_of(repositories, top, its_repositories),
            backups=its_backups,
            refreshes={
                name: refresh_of(name, table, top, its_databases, its_backups) for name, table in refreshes.items()
            },
        )

    def sorted_problems(self) -> list[str]:
        """All problems, those of one table together, in the order of the file's sections."""
        order = {"": 0}
        for section in SECTIONS:
            order |= {f"{section}.{name}": len(order) + number for number, name in enumerate(self._names(section))}
        return sorted(self.problems, key=lambda problem: order.get(".".join(_PLACE.split(problem)[:2]), 0))

    def _add(self, path: str, problem: str) -> None:
        self.problems.append(f"{path}: {problem}")
        self._faulty.add(path)

    def _sound(self, *paths: str) -> bool:
        """Whether nothing was said about these paths; what was put aside there is not what the file says."""
        return not self._faulty.intersection(paths)

    def _names(self, section: str) -> list[str]:
        """The names of a section's tables, those with faults too: a reference to them is no second fault."""
        found = self._tables.get(section, {})
        tables = cast("dict[str, object]", found).items() if isinstance(found, dict) else ()
        return [name for name, table in tables if isinstance(table, dict)]

    def _section(self, section: str, kind: type[_T]) -> dict[str, _T]:
        found = self._tables.get(section, {})
        if not isinstance(found, dict):
            self._add(section, f"must be tables like [{section}.NAME]")
            return {}
        valid: dict[str, _T] = {}
        for name, table in cast("dict[str, object]", found).items():
            path = f"{section}.{_key(name)}"
            if NAME.fullmatch(name) is None:
                self._add(path, "the name must be made of letters, digits, _ and - (at most 63)")
            elif not isinstance(table, dict):
                known = kind.model_fields
                word = nearest(name, known) if name not in known else f"; {name} belongs into [{section}.NAME]"
                self._add(path, f"must be a table [{section}.{name}]{word}")
            else:
                valid[name] = self._validate(kind, cast("dict[str, object]", table), path)
        return valid

    def _validate(self, kind: type[_T], table: Mapping[str, object], path: str) -> _T:
        """The table; where it has faults, without the faulty keys, required ones replaced by their example."""
        try:
            return kind.model_validate(table)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_context=False, include_input=False)
        for fault in faults:
            where = ".".join([path] * bool(path) + [_key(str(part)) for part in fault["loc"]])
            self._add(where, _words(kind, fault["type"], fault["msg"], fault["loc"]))
            self._faulty.add(f"{path}.{fault['loc'][0]}")
        faulty = {fault["loc"][0] for fault in faults}
        rest = {key: value for key, value in table.items() if key not in faulty}
        for key, field in kind.model_fields.items():
            if field.is_required() and key not in rest:
                rest[key] = (field.examples or [None])[0]
        return kind.model_validate(rest)

    def _secret(self, table: PasswordTable | UrlTable, path: str) -> SecretSource | None:
        keys = secret_keys(table)
        named = [key for key in keys if getattr(table, key) is not None]
        named += [key for key in keys if not self._sound(f"{path}.{key}")]
        if len(named) > 1:
            self._add(path, f"{' and '.join(named)} exclude each other: keep one")
        if not named:
            return None
        return source_of(table)

    def _check_url(self, table: AlertTable | PingTable, path: str) -> None:
        if self._secret(table, path) is None and self._sound(path):
            self._add(path, "needs url_file, url_env or url_command: its address is a secret, and never stands here")

    def _database(self, name: str, table: DatabaseTable, hosts: Mapping[str, SshHost]) -> Database:
        path = f"databases.{name}"
        keywords = dict(table.url or {})
        ssh = hosts.get(table.host or "")
        named = {"service": table.service, "port": table.port, "user": table.user, "dbname": table.database}
        named["host"] = table.host if ssh is None else None
        keywords |= {key: str(value) for key, value in named.items() if value is not None}
        if not self._sound(*(f"{path}.{key}" for key in ("url", "service", "database", "container"))):
            pass  # what it says cannot be judged
        elif table.container is not None:
            if named["host"] is not None:
                self._refer(f"{path}.host", str(named["host"]), "hosts")
        elif not keywords:
            self._add(
                path, 'says nowhere which database it is: give url = "postgresql://user@host:5432/name", or container'
            )
        elif "service" not in keywords and not keywords.get("dbname"):
            self._add(
                f"{path}.url" if table.url else path, "names no database: end the URI with /NAME, or give database"
            )
        other = table.shares_cluster_with
        if other is not None:
            self._refer(f"{path}.shares_cluster_with", other, "databases")
            if other == name:
                self._add(f"{path}.shares_cluster_with", "names the database itself")
        return Database(
            name=name,
            conninfo=keywords,
            place=Place(ssh=ssh, container=table.container or "", runtime=table.runtime or ""),
            password=self._secret(table, path),
            bin=table.bin,
            protected=table.protected,
            shares_cluster_with=other,
        )

    def _repository(self, name: str, table: RepositoryTable, top: TopTable) -> Repository:
        path = f"repositories.{name}"
        password = self._secret(table, path)
        if password is None and self._sound(path, *(f"{path}.{key}" for key in PasswordTable.model_fields)):
            self._add(path, "a restic repository needs password_file, password_env or password_command")
        if table.keep is not None and not any(table.keep.model_dump().values()):
            self._add(f"{path}.keep", "keeps nothing; give at least one rule a number, or leave keep out to keep all")
        return Repository(
            name=name,
            url=table.url,
            password=password or SecretSource(),
            env=table.env,
            env_file=table.env_file,
            keep=None if table.keep is None else keep_of(table.keep),
            append_only=table.prune == NEVER,
            limit_upload=table.limit_upload,
            limit_download=table.limit_download,
            restic=table.restic or top.restic,
            deadline=table.deadline,
        )

    def _refer(self, path: str, name: str, section: str) -> None:
        names = self._names(section)
        if name not in names and self._sound(path):
            known = ", ".join(names) or "none"
            self._add(path, f"there is no [{section}.{name}]{nearest(name, names)} (there is: {known})")

    def _check_schedule(self, path: str, table: PlanTable) -> None:
        if table.schedule is None and self._sound(f"{path}.schedule"):
            for key in sorted({"catch_up", "trigger", "grace"} & table.model_fields_set):
                self._add(f"{path}.{key}", "means nothing without a schedule")
        elif table.catch_up < EARLY:
            self._add(f"{path}.catch_up", f"must be {EARLY.seconds // 60}m or more")
        elif table.trigger is not None and table.grace >= table.catch_up:
            self._add(f"{path}.grace", "must be shorter than catch_up, or the scheduler never begins")

    def _check_backups(self, backups: Mapping[str, BackupTable], databases: Mapping[str, DatabaseTable]) -> None:
        sources = {table.database for table in backups.values()}
        places: dict[str, str] = {}
        for name, table in backups.items():
            path = f"backups.{name}"
            self._refer(f"{path}.database", table.database, "databases")
            if table.drill_on is not None:
                self._refer(f"{path}.drill_on", table.drill_on, "databases")
                on = databases.get(table.drill_on)
                if on is not None and (on.protected or table.drill_on in sources):
                    self._add(f"{path}.drill_on", f"databases.{table.drill_on} is protected: no drill writes there")
            for number, repository in enumerate(table.repositories):
                self._refer(f"{path}.repositories.{number}", repository, "repositories")
            if len(set(table.repositories)) < len(table.repositories):
                self._add(f"{path}.repositories", "names a repository twice")
            # The folder: what is staged, pinned, quarantined and proven stands there for one archive.
            place = str(Path(os.path.normpath(table.archive)).parent)
            if not self._sound(f"{path}.archive"):
                continue
            if place in places:
                self._add(f"{path}.archive", f"is in the folder of backups.{places[place]}: each needs one of its own")
            places.setdefault(place, name)

    def _check_upkeep(self, repositories: Mapping[str, RepositoryTable]) -> None:
        """Check and prune are plans: no other plan may have their names."""
        taken = {kind.plan_of(name): f"the {kind} of repositories.{name}" for name in repositories for kind in Upkeep}
        for section in ("backups", "refreshes"):
            for name in self._names(section):
                if name in taken:
                    self._add(f"{section}.{name}", f"is the name of {taken[name]}: choose another one")

    def _check_refreshes(
        self,
        refreshes: Mapping[str, RefreshTable],
        backups: Mapping[str, BackupTable],
        databases: Mapping[str, DatabaseTable],
    ) -> None:
        feeds: dict[str, list[tuple[str, str]]] = {}  # source database -> (target, refresh)
        for name, table in refreshes.items():
            path = f"refreshes.{name}"
            self._refer(f"{path}.backup", table.backup, "backups")
            self._refer(f"{path}.target", table.target, "databases")
            if table.jobs == 1:
                self._add(f"{path}.jobs", "must be 2 or more, or 0: a restore by one worker cannot be proven")
            target = databases.get(table.target)
            if table.restart == RESTART_CONTAINER and target is not None and target.container is None:
                self._add(f"{path}.restart", f"databases.{table.target} is in no container: name a command")
            if self._sound(f"{path}.target") and table.target in databases and databases[table.target].protected:
                self._add(f"{path}.target", f"databases.{table.target} is protected and never a target")
            self._check_twice(f"{path}.keep", (one.table for one in table.keep))
            self._check_twice(f"{path}.checks", (one.name for one in table.checks))
            self._check_twice(f"{path}.hooks", (one.name for one in table.hooks))
            sound = self._sound(f"{path}.backup", f"{path}.target", f"backups.{table.backup}.database")
            if table.backup in backups and sound:
                source = backups[table.backup].database
                if source == table.target:
                    self._add(f"{path}.target", f"backups.{table.backup} dumps this very database")
                else:
                    feeds.setdefault(source, []).append((table.target, name))
        ring = ring_of(feeds)
        if ring:
            self._add("refreshes", f"{', '.join(ring)} form a ring: each would replace what another one is made from")

    def _check_singles(self, top: TopTable) -> None:
        for path, problem in () if top.console is None else console_problems(top.console):
            if self._sound(path):
                self._add(path, problem)
        if top.server is None:
            return
        asked = {f"server.scripts.{_key(verb)}": verb for verb in top.server.scripts}
        for number, key in enumerate(top.server.keys):
            asked |= {f"server.keys.{number}.may.{at}": verb for at, verb in enumerate(key.may)}
        for path, verb in asked.items():
            kind, _, name = verb.partition(":")
            self._refer(path, name, "backups" if kind == "backup" else "refreshes")
        if top.server.keys and top.server.user is None and self._sound("server.user"):
            self._add("server.user", "is missing: whose keys are [server] keys?")
        self._check_twice("server.scripts", map(str, top.server.scripts.values()))
        self._check_twice("server.keys", (str(key.file) for key in top.server.keys))

    def _check_twice(self, path: str, names: Iterable[str]) -> None:
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            self._add(path, f"has {twice[0]!r} twice")


def _key(part: str) -> str:
    """A part of a dotted path as TOML would write it."""
    return part if NAME.fullmatch(part) else '"' + part.encode("unicode_escape").decode().replace('"', '\\"') + '"'


def _kind_at(kind: type[Table], place: tuple[int | str, ...]) -> type[Table]:
    """The kind of table that the key at the end of `place` stands in."""
    for part in place[:-1]:
        if isinstance(part, str) and part in kind.model_fields:
            kind = _nested(kind.model_fields[part].annotation) or kind
    return kind


def _nested(annotation: Any) -> type[Table] | None:  # noqa: ANN401 -- whatever a field is annotated with
    """The kind of table inside an annotation like `list[CheckTable]`."""
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return annotation
    return next(filter(None, map(_nested, get_args(annotation))), None)


def _words(kind: type[Table], fault: str, message: str, place: tuple[int | str, ...]) -> str:
    """A fault of pydantic's in our words."""
    if fault == "extra_forbidden":
        key = str(place[-1])
        if issubclass(_kind_at(kind, place), UrlTable) and key.lower() in {"url", "webhook"}:
            return "no secret belongs into this file; name its place with url_file, url_env or url_command"
        if key.lower() == "client_secret":
            return "no secret belongs into this file; name its place with client_secret_file, _env or _command"
        if key.lower() in _INLINE:
            return "no secret belongs into this file; name its place with password_file, password_env or env_file"
        known = [*_kind_at(kind, place).model_fields, *(SECTIONS if kind is TopTable else ())]
        return f"is not a key of Daybreak{nearest(key, known)}"
    if fault in _KINDS:
        return _KINDS[fault]
    words = message.removeprefix("Value error, ")
    words = re.sub(r"Input should be greater than or equal to (\S+)", r"must be \1 or more", words)
    words = re.sub(r"Input should be less than or equal to (\S+)", r"must be \1 or less", words)
    return words.replace("Input should be", "must be", 1)
