"""Every key of the configuration file: its kind, its default, what it means, an example.

The one description. The check, `config schema`, `config example` and the table in
`docs/configuration.md` are all made from it, and so cannot tell different stories.

Shapes  one class per kind of table; a default of None means that the key may be left out.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from daybreak.config.alerts import AlertTable, PingTable
from daybreak.config.base import PasswordTable, Table
from daybreak.config.console import ConsoleTable
from daybreak.config.fields import (
    NAME,
    AbsolutePath,
    ArchivePath,
    CommandWords,
    Conninfo,
    ContainerName,
    Count,
    Duration,
    ImageName,
    MetricsPath,
    PlainEnv,
    PositiveDuration,
    PruneSpec,
    Rate,
    RepositoryUrl,
    Spec,
    SqlName,
    SshDestination,
    Timezone,
)
from daybreak.config.onway import CheckTable, HookTable, KeptTable
from daybreak.config.server import ServerTable


class DatabaseTable(PasswordTable):
    """A database: how to reach it, and what may be done to it."""

    url: Conninfo | None = Field(
        None,
        description="Where it is: a postgresql:// URI or libpq's keywords and values. Never with the password. "
        "Without a password here, ~/.pgpass, peer and trust work as they do for psql.",
        examples=["postgresql://daybreak@127.0.0.1:5432/genjishimada"],
    )
    service: str | None = Field(
        None, min_length=1, description="A service of ~/.pg_service.conf, instead of url or with it.", examples=["prod"]
    )
    host: str | None = Field(
        None,
        min_length=1,
        description="The NAME of a [hosts.NAME]: everything for this database runs there, and url is meant as seen "
        "from there. Any other value is libpq's host, or the folder of the socket, and counts before the one in url.",
        examples=["vps"],
    )
    container: ContainerName | None = Field(
        None,
        description="The container that PostgreSQL runs in, here or on host. User, database and password come from "
        "its environment (POSTGRES_USER, POSTGRES_DB, POSTGRES_PASSWORD, also with _FILE).",
        examples=["genjishimada-db"],
    )
    runtime: Literal["docker", "podman"] | None = Field(
        None, description="What runs the container. Left out: the one that knows it.", examples=["podman"]
    )
    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        None, description="Port; counts before the one in url.", examples=[5432]
    )
    user: str | None = Field(
        None, min_length=1, description="Role; counts before the one in url.", examples=["daybreak"]
    )
    database: str | None = Field(
        None, min_length=1, description="Name of the database; counts before the one in url.", examples=["genjishimada"]
    )
    bin: AbsolutePath | None = Field(
        None,
        description="Folder of pg_dump, pg_restore and psql. Left out: the tools that fit the server are looked for.",
        examples=["/usr/lib/postgresql/17/bin"],
    )
    protected: bool = Field(False, description="Never a target: no refresh ever writes here.")
    shares_cluster_with: str | None = Field(
        None,
        description="The protected database whose server this target is allowed to share. Without it a target "
        "on the server of a protected database is refused.",
        examples=["prod"],
    )


class HostTable(Table):
    """Another host, reached by the OpenSSH client with this user's keys and configuration."""

    ssh: SshDestination = Field(
        description="What to give to ssh: user@host, ssh://user@host:port, or a Host of ~/.ssh/config. It must work "
        "without a question, and its key must be known: none is trusted unseen.",
        examples=["deploy@203.0.113.7"],
    )


class PlanTable(Table):
    """What backups and refreshes have in common."""

    schedule: Spec | None = Field(
        None,
        description='When it is due: "02:00", "Sun 02:00", "Mon-Fri 02:00" or five cron fields.',
        examples=["02:00"],
    )
    timezone: Timezone | None = Field(
        None, description="The zone that the schedule is meant in. Left out: the one at the top.", examples=["UTC"]
    )
    catch_up: PositiveDuration = Field(
        timedelta(hours=12),
        description="How late a slot may still begin, after a shutdown for example; one run makes up for all that were "
        "missed. At least 5m.",
    )
    trigger: Literal["github"] | None = Field(
        None,
        description="Who is expected to come for its slots, from outside. The scheduler then waits for grace, begins "
        "the job itself and says that nobody came. Left out: the scheduler begins it on time.",
        examples=["github"],
    )
    grace: Duration = Field(
        timedelta(minutes=30), description="How long the scheduler waits for trigger. Shorter than catch_up."
    )
    wait: Duration = Field(timedelta(hours=2), description="How long to wait for a run that holds what this one needs.")
    deadline: PositiveDuration = Field(timedelta(hours=12), description="How long a run may take; then it is ended.")
    ping: PingTable | None = Field(
        None,
        description="A dead-man's switch: it is called when a run begins and ends.",
        examples=[{"url_file": "/etc/daybreak/nightly.ping"}],
    )


class BackupTable(PlanTable):
    """A backup: one database into one archive, some kept here, copies off-site."""

    database: str = Field(description="The database to dump.", examples=["prod"])
    archive: ArchivePath = Field(
        description="The file that always is the newest good archive. Replaced by rename, never written in place. "
        "Each backup needs a folder of its own.",
        examples=["/var/backups/genji/postgres/genjishimada-prod.dump"],
    )
    repositories: list[str] = Field([], description="The restic repositories that get a copy.", examples=[["r2"]])
    keep_local: Annotated[int, Field(ge=1, le=10_000)] = Field(
        1, description="How many archives stay here; 1 is the newest only."
    )
    proof: Literal["refresh", "nightly", "weekly"] = Field(
        "refresh",
        description="When its archives are proven: by the refresh that they feed, each by a drill right after the "
        "backup, or by a drill when the newest proven one is older than 7 days.",
    )
    drill_image: ImageName | None = Field(
        None,
        description="The container image that a drill runs its server from, with docker or podman, where no server "
        "that fits is installed here.",
        examples=["postgres:17"],
    )
    drill_on: str | None = Field(
        None,
        description="A database whose server takes the drill, in a database beside it, where there is neither a "
        "server nor an image. Never a protected one.",
        examples=["dev"],
    )
    backlog: Annotated[int, Field(ge=1, le=1000)] = Field(
        7,
        description="How many archives wait here at most, the newest with them, while a repository cannot be reached; "
        "the oldest is let go with a warning. They are sent, oldest first, as soon as it can be reached again.",
    )
    ship: Literal["shards", "file"] = Field(
        "shards",
        description="As what the archive goes off-site: cut into shards, of which a night adds few, or as one file. "
        "Shards stay beside the archive and need as much room as the tables' rows, not compressed.",
    )
    shard_kib: Annotated[int, Field(ge=16, le=4096)] | None = Field(
        None,
        description="The average size of a shard in KiB. Left out: as it was the last time; the first time 64, more "
        "for a database above 2 GiB. A change sends everything again.",
        examples=[64],
    )
    search_path: list[SqlName] = Field(
        [],
        description="Schemas that every restore of its archives searches. Only for functions that name tables or other "
        "functions without a schema, and that checks or generated columns call: pg_restore searches none.",
        examples=[["app", "public"]],
    )
    leave_out: list[SqlName] = Field(
        [],
        description="Objects that no restore of its archives makes, each as a failed restore names it: for what cannot "
        "be restored. Never rows.",
        examples=[["FK CONSTRAINT public.orders orders_customer_id_fkey"]],
    )
    globals_passwords: bool = Field(
        False, description="Put the roles' password hashes into the globals file. It needs a superuser."
    )
    lock_wait: PositiveDuration = Field(
        timedelta(seconds=60), description="How long pg_dump waits for the lock of a table."
    )
    idle: PositiveDuration = Field(
        timedelta(minutes=15), description="pg_dump is ended when it gave no byte for so long."
    )


class RefreshTable(PlanTable):
    """A refresh: a target database replaced by the newest archive of a backup."""

    backup: str = Field(description="The backup whose archive is restored.", examples=["nightly"])
    target: str = Field(description="The database that is replaced. Never a protected one.", examples=["dev"])
    max_age: Duration = Field(
        timedelta(hours=1), description="An archive younger than this is used again; else a backup comes first."
    )
    jobs: Annotated[int, Field(ge=0, le=256)] = Field(
        0, description="Parallel workers of pg_restore: 2 or more, or 0 to go by the processors."
    )
    owner: str | None = Field(
        None,
        min_length=1,
        description="The role that owns what is restored, so that the application's migrations run. Left out: the "
        "owner of the target.",
        examples=["genji_app"],
    )
    cron: Literal["dev", "production", "none"] = Field(
        "dev",
        description="Whose pg_cron jobs the target has afterwards: its own, production's (switched off), or none.",
    )
    restart: CommandWords | None = Field(
        None,
        description="What Daybreak may do when pg_cron's launcher does not come back after a swap (before version "
        '1.6.1): "container" restarts the target\'s container, any other text or list is a command. Left out: it says '
        "that a restart is needed.",
        examples=[["sudo", "systemctl", "restart", "postgresql"]],
    )
    foreign: bool = Field(
        False,
        description="Also restore foreign servers, their user mappings and tables: they lead to other servers. "
        "A foreign data wrapper of one's own needs a superuser.",
    )
    event_triggers: bool = Field(True, description="Also restore event triggers; that needs a superuser.")
    older_extensions: list[str] = Field(
        [], description="Extensions that may be older on the target than in production.", examples=[["postgis"]]
    )
    keep: list[KeptTable] = Field(
        [],
        description="Rows of the target that go on in the refreshed one.",
        examples=[[{"table": "app.feature_flags"}]],
    )
    checks: list[CheckTable] = Field(
        [],
        description="Assertions about the restored database, before the swap.",
        examples=[[{"name": "users are there", "sql": "SELECT count(*) > 0 FROM app.users"}]],
    )
    hooks: list[HookTable] = Field(
        [],
        description="SQL and programs of your own on the way.",
        examples=[[{"name": "the app looks again", "when": "after_swap", "command": ["/usr/local/bin/reload-app"]}]],
    )
    swap_within: PositiveDuration = Field(
        timedelta(seconds=10), description="How long the swap may try to get the last session out of the target."
    )


class KeepTable(Table):
    """How many snapshots each rule keeps; at least one rule must keep something."""

    last: Count = Field(0, description="The newest so many.")
    daily: Count = Field(0, description="The newest of each of the last so many days that have one.")
    weekly: Count = Field(0, description="The same for weeks.")
    monthly: Count = Field(0, description="The same for months.")
    yearly: Count = Field(0, description="The same for years.")


class RepositoryTable(PasswordTable):
    """A restic repository, for copies off-site."""

    url: RepositoryUrl = Field(
        description="The repository as restic writes it, without a password; a folder here by its absolute path.",
        examples=["s3:https://ACCOUNT.r2.cloudflarestorage.com/genji-db-backups"],
    )
    env_file: AbsolutePath | None = Field(
        None,
        description="File of NAME=value lines for restic, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for example. "
        "Not readable for everybody.",
        examples=["/etc/daybreak/r2.env"],
    )
    env: PlainEnv = Field(
        {}, description="The same for values that are no secret.", examples=[{"AWS_DEFAULT_REGION": "auto"}]
    )
    keep: KeepTable | None = Field(
        None,
        description="Which snapshots stay. Left out: nothing is ever forgotten.",
        examples=[{"daily": 7, "weekly": 4, "monthly": 12}],
    )
    check: Spec | None = Field(
        None,
        description="When the repository is checked. Each check reads a part of the data, so that all of it is read "
        "within 28 days.",
        examples=["Sun 05:00"],
    )
    prune: PruneSpec | None = Field(
        None,
        description="When forgotten data leaves the storage. `never`: nothing is forgotten or pruned from here, for "
        "a storage that only takes.",
        examples=["Sun 06:00"],
    )
    timezone: Timezone | None = Field(
        None, description="The zone that check and prune are meant in. Left out: the one at the top.", examples=["UTC"]
    )
    wait: Duration = Field(
        timedelta(hours=2), description="How long check and prune wait for a run that sends to the repository."
    )
    limit_upload: Rate | None = Field(
        None, description="Send at most so much. Left out: as fast as it goes.", examples=["2MiB/s"]
    )
    limit_download: Rate | None = Field(
        None, description="Read at most so much. Left out: as fast as it goes.", examples=["10MiB/s"]
    )
    restic: AbsolutePath | None = Field(
        None, description="The restic to use. Left out: the one at the top.", examples=["/usr/local/bin/restic"]
    )
    deadline: PositiveDuration = Field(timedelta(hours=6), description="How long one restic backup may take.")


class TopTable(Table):
    """What stands before the first table."""

    state: AbsolutePath | None = Field(
        None,
        description="Folder for the catalog and the logs, shared by everybody on this host. Left out: "
        "/var/lib/daybreak for root or where it exists, else ~/.local/state/daybreak. DAYBREAK_STATE counts before it.",
        examples=["/var/lib/daybreak"],
    )
    log: Literal["text", "json"] = Field(
        "text", description="What a line of a run's log is: text for people, or one JSON object for a log collector."
    )
    timezone: Timezone = Field("UTC", description="The zone of all schedules that name none.")
    restic: AbsolutePath | None = Field(
        None, description="The restic to use. Left out: the one on PATH.", examples=["/usr/bin/restic"]
    )
    doctor: Spec | None = Field(
        None,
        description="When, in the zone above, to look whether the coming night will work: `daybreak doctor --tonight "
        "--alert`, in the afternoon, while somebody is there. Left out: when a person asks.",
        examples=["15:00"],
    )
    server: ServerTable | None = Field(None, description="What `daybreak server setup` makes of this host.")
    console: ConsoleTable | None = Field(None, description="The web console.")
    metrics_file: MetricsPath | None = Field(
        None,
        description="File that is written after every run for node_exporter's textfile collector; it ends in .prom.",
        examples=["/var/lib/node_exporter/daybreak.prom"],
    )


#: The tables of which there is one, without a name; they stand at the end.
SINGLES: dict[str, type[Table]] = {"server": ServerTable, "console": ConsoleTable}

#: The kinds of named tables, in the order of the file.
SECTIONS: dict[str, type[Table]] = {
    "hosts": HostTable,
    "databases": DatabaseTable,
    "backups": BackupTable,
    "refreshes": RefreshTable,
    "repositories": RepositoryTable,
    "alerts": AlertTable,
}

Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]


class File(TopTable):
    """The configuration of Daybreak."""

    hosts: dict[Name, HostTable] = Field({}, description="Other hosts by name.")
    databases: dict[Name, DatabaseTable] = Field(description="Databases by name.")
    backups: dict[Name, BackupTable] = Field({}, description="Backups by name.")
    refreshes: dict[Name, RefreshTable] = Field({}, description="Refreshes by name.")
    repositories: dict[Name, RepositoryTable] = Field({}, description="Repositories by name.")
    alerts: dict[Name, AlertTable] = Field({}, description="Destinations of alerts by name.")
