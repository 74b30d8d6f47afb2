"""What tables of the configuration have in common, and where a secret is kept."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from daybreak.config.fields import AbsolutePath, CommandWords, EnvName
from daybreak.model import SecretSource


class Table(BaseModel):
    """What all tables have in common: no unknown keys, no conversion of one type into another."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, frozen=True)


class PasswordTable(Table):
    """Where a password is kept; at most one of the three."""

    password_file: AbsolutePath | None = Field(
        None,
        description="File with the password alone on its line. Not readable for everybody (mode 0640 or less).",
        examples=["/etc/daybreak/prod.password"],
    )
    password_env: EnvName | None = Field(
        None, description="Environment variable with the password.", examples=["PROD_PASSWORD"]
    )
    password_command: CommandWords | None = Field(
        None,
        description="Program that prints the password, as one text or a list of words. It has 30 s.",
        examples=[["pass", "show", "prod"]],
    )


class UrlTable(Table):
    """Where a secret address is kept; exactly one of the three."""

    url_file: AbsolutePath | None = Field(
        None,
        description="File with the address alone on its line. Not readable for everybody (mode 0640 or less).",
        examples=["/etc/daybreak/discord.url"],
    )
    url_env: EnvName | None = Field(
        None, description="Environment variable with the address.", examples=["DISCORD_URL"]
    )
    url_command: CommandWords | None = Field(
        None,
        description="Program that prints the address, as one text or a list of words. It has 30 s.",
        examples=[["pass", "show", "discord"]],
    )


class ClientSecretTable(Table):
    """Where the secret of a client of single sign-on is kept; exactly one of the three."""

    client_secret_file: AbsolutePath | None = Field(
        None,
        description="File with the secret alone on its line. Not readable for everybody (mode 0640 or less).",
        examples=["/etc/daybreak/oidc.secret"],
    )
    client_secret_env: EnvName | None = Field(
        None, description="Environment variable with the secret.", examples=["OIDC_SECRET"]
    )
    client_secret_command: CommandWords | None = Field(
        None,
        description="Program that prints the secret, as one text or a list of words. It has 30 s.",
        examples=[["pass", "show", "oidc"]],
    )


#: The kinds of tables that name a secret; what their keys begin with.
SECRETS: dict[type[Table], str] = {PasswordTable: "password", UrlTable: "url", ClientSecretTable: "client_secret"}


def secret_keys(table: PasswordTable | UrlTable | ClientSecretTable) -> tuple[str, ...]:
    """The keys of a table that say where its secret is kept."""
    return tuple(next(kind for kind in SECRETS if isinstance(table, kind)).model_fields)


def source_of(table: PasswordTable | UrlTable | ClientSecretTable) -> SecretSource:
    """The place that a table names."""
    file, env, command = (getattr(table, key) for key in secret_keys(table))
    return SecretSource(file=file, env=env, command=command)
