"""Tables of alerts and pings, and the nouns that they mean."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from daybreak.config.base import UrlTable, source_of
from daybreak.config.fields import Event, Suffix
from daybreak.model import AlertEvent, Destination, Ping


class AlertTable(UrlTable):
    """Where alerts go: anything that Apprise knows an address for, Discord for example."""

    events: list[Event] = Field(
        list(get_args(Event)),
        description="What it is told. Each is told once, until the plan has recovered.",
    )


class PingTable(UrlTable):
    """A dead-man's switch (healthchecks and its kin) that is called at the start and the end of every run of a plan."""

    send: list[Literal["start", "success", "fail"]] = Field(
        ["start", "success", "fail"], description="Which of them are called."
    )
    start: Suffix = Field("/start", description="What is appended to the address when a run begins.")
    success: Suffix = Field(
        "", description="What is appended to it when a run succeeded, or was skipped behind one that did."
    )
    fail: Suffix = Field("/fail", description="What is appended to it when a run failed.")


def destination_of(name: str, table: AlertTable) -> Destination:
    """Where alerts go."""
    return Destination(name=name, url=source_of(table), events=tuple(map(AlertEvent, table.events)))


def ping_of(table: PingTable | None) -> Ping | None:
    """The switch of a plan."""
    if table is None:
        return None
    return Ping(url=source_of(table), start=table.start, success=table.success, fail=table.fail, send=tuple(table.send))
