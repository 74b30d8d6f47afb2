"""What a configuration file means, in the nouns of `model.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from daybreak.model import BackupPlan, Database, Destination, RefreshPlan, Repository, Schedule, SshHost
from daybreak.server import Server
from daybreak.upkeep import RepositoryPlan
from daybreak.web import Console


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A whole configuration file, checked; each mapping is by name, in the order of the file."""

    path: Path  # the file
    databases: Mapping[str, Database]
    backups: Mapping[str, BackupPlan] = field(default_factory=dict[str, BackupPlan])
    refreshes: Mapping[str, RefreshPlan] = field(default_factory=dict[str, RefreshPlan])
    repositories: Mapping[str, Repository] = field(default_factory=dict[str, Repository])
    upkeep: Mapping[str, RepositoryPlan] = field(default_factory=dict[str, RepositoryPlan])
    hosts: Mapping[str, SshHost] = field(default_factory=dict[str, SshHost])
    alerts: Mapping[str, Destination] = field(default_factory=dict[str, Destination])
    timezone: str = "UTC"  # of all that names none
    doctor: Schedule | None = None  # when it looks whether the coming night will work
    metrics_file: Path | None = None  # for the textfile collector of node_exporter
    json_log: bool = False  # `log = "json"`
    state: Path | None = None  # `state = "…"`; see `choose_state`
    console: Console = field(default_factory=Console)
    server: Server | None = None  # None: this file says nothing about the host

    @property
    def scripts(self) -> Mapping[str, Path]:
        """The script of each plan that has one, by `backup:NAME` and `refresh:NAME`."""
        return {} if self.server is None else self.server.scripts
