"""The table of the host itself: who shares Daybreak's folders, and what a key of ssh may ask for."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from daybreak.config.base import Table
from daybreak.config.fields import AbsolutePath, AccountName, PlainPath, Verb


class KeyTable(Table):
    """A key of ssh that may ask for some plans, and for nothing else."""

    file: AbsolutePath = Field(
        description="The public key, as ssh-keygen writes it into a file.pub.", examples=["/etc/daybreak/github.pub"]
    )
    may: Annotated[list[Verb], Field(min_length=1)] = Field(
        description="What it may ask for: backup:NAME, refresh:NAME.", examples=[["backup:nightly", "refresh:weekly"]]
    )


class ServerTable(Table):
    """This host as `daybreak server setup` makes it; see docs/gate.md."""

    group: AccountName = Field(
        "daybreak", description="The group that shares the archives, the state folder and the runner's socket."
    )
    user: AccountName | None = Field(
        None, description="The user that comes over ssh; it becomes a member of the group.", examples=["deploy"]
    )
    configuration: AbsolutePath = Field(
        "/etc/daybreak/daybreak.toml",  # pyright: ignore[reportArgumentType] -- read as any other value
        validate_default=True,
        description="Where this file belongs on the server; root owns it, the group reads it.",
    )
    scripts: dict[Verb, PlainPath] = Field(
        {},
        description="A script for each plan that has one: it carries the plan out, and over ssh its path is another "
        "word for the plan.",
        examples=[{"backup:nightly": "/opt/genji/scripts/backup_prod_db.sh"}],
    )
    keys: list[KeyTable] = Field(
        [],
        description="Keys of ssh with a forced command.",
        examples=[[{"file": "/etc/daybreak/github.pub", "may": ["backup:nightly", "refresh:weekly"]}]],
    )
    authorized_keys: AbsolutePath | None = Field(
        None,
        description="Where sshd looks for the user's keys. Left out: ~user/.ssh/authorized_keys.",
        examples=["/etc/ssh/keys/deploy"],
    )
