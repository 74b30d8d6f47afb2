"""The nouns of what is done with a repository beside sending to it. No behaviour beyond themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from daybreak.model import Repository, Schedule


class Upkeep(StrEnum):
    """What is done with a repository beside sending to it; each is a plan of its own, and a kind of run."""

    CHECK = "check"
    PRUNE = "prune"

    def plan_of(self, repository: str) -> str:
        """What it is called among the plans."""
        return f"{repository}-{self}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryPlan:
    """Check or prune one repository, outside of the nights that send to it."""

    name: str  # `<repository>-check`, `<repository>-prune`
    kind: Upkeep
    repository: Repository
    schedule: Schedule | None = None
    wait: timedelta = timedelta(hours=2)  # for a run that sends to the repository
