"""The tables inside a refresh: what is kept of the target, what is checked, what is done on the way."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, Self

from pydantic import Field, model_validator

from daybreak.config.base import Table
from daybreak.config.fields import AbsolutePath, CommandWords, PositiveDuration, Query, Sql, TableName, Title


class KeptTable(Table):
    """Rows of the target that go on in the refreshed one: all of a table, or those that a condition names."""

    table: TableName = Field(description="The table, with its schema.", examples=["app.feature_flags"])
    where: Query | None = Field(
        None, description="An SQL condition on the target's rows. Left out: all of them.", examples=["made_by = 'dev'"]
    )
    conflict: Literal["dev", "production", "fail"] = Field(
        "dev",
        description="Where production has a row of the same key (the primary key, or another unique one): dev's row "
        "counts, or production's, or the refresh ends.",
    )


class CheckTable(Table):
    """An assertion about the restored database; one that does not hold stops the run before the swap."""

    name: Title = Field(description="What it says, in words.", examples=["users are there"])
    sql: Query = Field(
        description="One SELECT that gives one row with one boolean. It only reads, in the restored database, with "
        "the search_path that the target has.",
        examples=["SELECT count(*) > 0 FROM app.users"],
    )
    deadline: PositiveDuration = Field(timedelta(minutes=5), description="How long it may take.")


class HookTable(Table):
    """Something of your own on the way, in SQL or as a program; exactly one of sql, sql_file and command."""

    name: Title = Field(description="What it does, in words.", examples=["mails go nowhere"])
    when: Literal["before", "after_restore", "before_swap", "after_swap"] = Field(
        description="before: nothing was made yet. after_restore: the data is there and proven, nothing of the "
        "target's own yet; materialized views are filled afterwards, so rows are masked here. before_swap: all is "
        "ready. after_swap: the target has the new data.",
        examples=["after_restore"],
    )
    sql: Sql | None = Field(
        None,
        description="Statements, in one transaction, in the restored database (after_restore, before_swap) or in the "
        "target (before, after_swap).",
        examples=["UPDATE app.users SET email = concat('user', id, '@example.org')"],
    )
    sql_file: AbsolutePath | None = Field(
        None, description="The same from a file of this host, at most 100 kB.", examples=["/etc/daybreak/dev.sql"]
    )
    command: CommandWords | None = Field(
        None,
        description="Program that runs on this host, as one text or a list of words, without a shell. Its environment "
        "has DAYBREAK_RUN, DAYBREAK_PLAN, DAYBREAK_TARGET, DAYBREAK_DATABASE and DAYBREAK_CONNINFO, which leads "
        "nowhere where the server is in a container or behind ssh.",
        examples=[["/usr/local/bin/tell-the-app", "refreshed"]],
    )
    deadline: PositiveDuration = Field(timedelta(minutes=5), description="How long it may take; then it is ended.")

    @model_validator(mode="after")
    def _one_deed(self) -> Self:
        named = [key for key in ("sql", "sql_file", "command") if getattr(self, key) is not None]
        if len(named) != 1:
            raise ValueError(f"{' and '.join(named) or 'nothing'} to do: give exactly one of sql, sql_file, command")
        return self
