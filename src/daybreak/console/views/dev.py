"""Dev and every other target: how fresh it is, what is kept in it, and what can be done about it."""

from __future__ import annotations

from dataclasses import dataclass

from daybreak.console.views.freshness import Freshness, freshness_of
from daybreak.console.world import Look
from daybreak.model import RefreshPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptTable:
    """Rows of a target that go on in the refreshed one."""

    table: str
    where: str  # "" for all of them
    conflict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One target."""

    fresh: Freshness
    source: str  # the database that it is made from
    server: str  # as enrolled; "" for one that nobody enrolled yet
    protected: bool
    kept: tuple[KeptTable, ...]
    checks: tuple[str, ...]
    hooks: tuple[str, ...]
    cron: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dev:
    """Every target."""

    targets: tuple[Target, ...]


def dev(look: Look) -> Dev:
    """Every target of the configuration."""
    return Dev(targets=tuple(_target(look, plan) for plan in look.settings.refreshes.values()))


def _target(look: Look, plan: RefreshPlan) -> Target:
    enrolled = look.catalog.databases.enrolled(plan.target.name)
    how = plan.how
    return Target(
        fresh=freshness_of(look, plan),
        source=plan.backup.database.name,
        server=str(enrolled.identity) if enrolled else "",
        protected=plan.target.protected,
        kept=tuple(
            KeptTable(table=one.table, where=(one.where or "") if look.full else "", conflict=one.conflict.value)
            for one in how.keep
        ),
        checks=tuple(one.name for one in how.checks),
        hooks=tuple(f"{one.name} ({one.when.value.replace('_', ' ')})" for one in how.hooks),
        cron=how.cron.value,
    )
