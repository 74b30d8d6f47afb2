"""Checked tables into nouns. Pure; whatever can be wrong was found before."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from daybreak.config.alerts import ping_of
from daybreak.config.fields import NEVER
from daybreak.config.server import ServerTable
from daybreak.config.tables import (
    BackupTable,
    HookTable,
    KeepTable,
    PlanTable,
    RefreshTable,
    RepositoryTable,
    TopTable,
)
from daybreak.model import BackupPlan, Database, Keep, ProofWhen, RefreshPlan, Repository, Schedule, ShipForm
from daybreak.replacement import Check, Conflict, CronJobs, Hook, HookTime, KeptRows, Quirks, Replacement
from daybreak.server import Server, ServerKey
from daybreak.upkeep import RepositoryPlan, Upkeep


def schedule_of(table: PlanTable, top: TopTable) -> Schedule | None:
    """When a plan is due, in its own zone or the file's."""
    if table.schedule is None:
        return None
    return Schedule(
        spec=table.schedule,
        timezone=table.timezone or top.timezone,
        catch_up=table.catch_up,
        trigger=table.trigger,
        grace=table.grace,
    )


def keep_of(table: KeepTable) -> Keep:
    """Retention rules."""
    return Keep(last=table.last, daily=table.daily, weekly=table.weekly, monthly=table.monthly, yearly=table.yearly)


def backup_of(
    name: str,
    table: BackupTable,
    top: TopTable,
    databases: Mapping[str, Database],
    repositories: Mapping[str, Repository],
) -> BackupPlan:
    """A backup, its names followed."""
    return BackupPlan(
        name=name,
        database=databases[table.database],
        archive=Path(os.path.normpath(table.archive)),
        repositories=tuple(repositories[one] for one in table.repositories),
        keep_local=table.keep_local,
        proof=ProofWhen(table.proof),
        drill_image=table.drill_image,
        drill_on=None if table.drill_on is None else databases[table.drill_on],
        backlog=table.backlog,
        ship=ShipForm(table.ship),
        shard_kib=table.shard_kib,
        schedule=schedule_of(table, top),
        quirks=Quirks(search_path=tuple(table.search_path), leave_out=tuple(table.leave_out)),
        globals_passwords=table.globals_passwords,
        lock_wait=table.lock_wait,
        idle=table.idle,
        wait=table.wait,
        deadline=table.deadline,
        ping=ping_of(table.ping),
    )


def upkeep_of(
    tables: Mapping[str, RepositoryTable], top: TopTable, repositories: Mapping[str, Repository]
) -> dict[str, RepositoryPlan]:
    """Check and prune of every repository, with or without a schedule."""
    plans: dict[str, RepositoryPlan] = {}
    for name, table in tables.items():
        specs = {Upkeep.CHECK: table.check, Upkeep.PRUNE: None if table.prune == NEVER else table.prune}
        for kind, spec in specs.items():
            zone = table.timezone or top.timezone
            plan = RepositoryPlan(
                name=kind.plan_of(name),
                kind=kind,
                repository=repositories[name],
                schedule=None if spec is None else Schedule(spec=spec, timezone=zone),
                wait=table.wait,
            )
            plans[plan.name] = plan
    return plans


def refresh_of(
    name: str,
    table: RefreshTable,
    top: TopTable,
    databases: Mapping[str, Database],
    backups: Mapping[str, BackupPlan],
) -> RefreshPlan:
    """A refresh, its names followed."""
    backup = backups[table.backup]
    return RefreshPlan(
        name=name,
        backup=backup,
        target=databases[table.target],
        max_age=table.max_age,
        schedule=schedule_of(table, top),
        wait=table.wait,
        ping=ping_of(table.ping),
        how=replace(replacement_of(table), quirks=backup.quirks),
    )


def replacement_of(table: RefreshTable) -> Replacement:
    """How a target is replaced."""
    return Replacement(
        jobs=table.jobs,
        owner=table.owner,
        cron=CronJobs(table.cron),
        restart=None if table.restart is None else tuple(table.restart),
        foreign=table.foreign,
        event_triggers=table.event_triggers,
        older_extensions=tuple(table.older_extensions),
        keep=tuple(KeptRows(table=one.table, where=one.where, conflict=Conflict(one.conflict)) for one in table.keep),
        checks=tuple(Check(name=one.name, sql=one.sql, deadline=one.deadline) for one in table.checks),
        hooks=tuple(hook_of(one) for one in table.hooks),
        swap_within=table.swap_within,
        deadline=table.deadline,
    )


def hook_of(table: HookTable) -> Hook:
    """Something of the user's on the way."""
    return Hook(
        name=table.name,
        when=HookTime(table.when),
        sql=table.sql,
        sql_file=table.sql_file,
        command=table.command,
        deadline=table.deadline,
    )


def server_of(table: ServerTable) -> Server:
    """This host."""
    return Server(
        group=table.group,
        user=table.user,
        configuration=table.configuration,
        scripts=table.scripts,
        keys=tuple(ServerKey(file=one.file, may=tuple(one.may)) for one in table.keys),
        authorized_keys=table.authorized_keys,
    )
