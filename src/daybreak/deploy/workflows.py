"""GitHub's workflows that call this server, one for each plan with a schedule. Pure but for its own template.

Source  docs.github.com, "Workflow syntax for GitHub Actions": `schedule` takes five POSIX fields and a `timezone`.
Errors  `ConfigError` for a schedule that GitHub cannot read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

from daybreak.errors import ConfigError
from daybreak.model import BackupPlan, RefreshPlan, Schedule
from daybreak.schedule import parse_spec

GITHUB: Final = "github"
_NAMES: Final = re.compile(
    r"sun|mon|tue|wed|thu|fri|sat|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec", re.IGNORECASE
)
_FIELD: Final = re.compile(r"[0-9*,/-]+")


def workflows(
    backups: Iterable[BackupPlan], refreshes: Iterable[RefreshPlan], scripts: Mapping[str, Path], *, minutes: int
) -> dict[str, str]:
    """The text of each workflow by the name of its file, for plans that GitHub is expected to come for.

    `scripts` by `backup:NAME` and `refresh:NAME`.
    """
    found: dict[str, str] = {}
    for plan in backups:
        if plan.schedule is not None and plan.schedule.trigger == GITHUB:
            found[f"db-backup-{plan.name}.yml"] = _workflow(
                "backup",
                plan.name,
                plan.schedule,
                plan.database.name,
                f"Back up {plan.database.name}",
                scripts,
                minutes,
            )
    for plan in refreshes:
        if plan.schedule is not None and plan.schedule.trigger == GITHUB:
            source, title = plan.backup.database.name, f"Refresh {plan.target.name}"
            found[f"db-refresh-{plan.target.name}-{plan.name}.yml"] = _workflow(
                "refresh", plan.name, plan.schedule, source, title, scripts, minutes
            )
    return found


def _workflow(  # noqa: PLR0917 -- the holes of one template, used above alone
    kind: str, plan: str, schedule: Schedule, source: str, title: str, scripts: Mapping[str, Path], minutes: int
) -> str:
    verb = f"{kind}:{plan}"
    return fill(
        "workflow.yml",
        DOES=f"{title} ({plan})",
        SPEC=schedule.spec,
        ZONE=schedule.timezone,
        TITLE=title,
        CRON=_cron(verb, schedule),
        GROUP=f"db-{source}",
        KIND=kind,
        MINUTES=str(minutes),
        ASKED=str(scripts.get(verb, verb)),
    )


def _cron(verb: str, schedule: Schedule) -> str:
    cron = parse_spec(schedule.spec)
    if not all(_FIELD.fullmatch(_NAMES.sub("0", field)) for field in cron.split()):
        raise ConfigError(
            f"GitHub cannot read the schedule of {verb}: {schedule.spec!r}",
            hint="GitHub knows numbers, names, * , - and / in five fields; let `daybreak serve` keep the others",
        )
    return cron


def fill(template: str, **holes: str) -> str:
    """A text of this folder with its `@HOLES@` filled; each of them is there."""
    text = files("daybreak.deploy").joinpath(template).read_text("utf-8")
    for name, value in holes.items():
        assert f"@{name}@" in text
        text = text.replace(f"@{name}@", value)
    return text
