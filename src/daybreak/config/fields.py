"""The kinds of values in a configuration file: how each is read, and how JSON Schema tells of it.

Importing this loads pydantic; only `tables.py` does.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal, cast

from pydantic import BeforeValidator, Field, WithJsonSchema

from daybreak.config.conninfo import KEYWORDS, lists_differ, parse_conninfo, value_wanted
from daybreak.config.nearest import nearest
from daybreak.schedule import parse_spec, parse_zone
from daybreak.units import parse_duration, parse_size

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
IMAGE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*")
ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: What Daybreak sets itself, because a dump, its proof and the search for dead sessions depend on it.
_OURS: Final = {
    "application_name": "Daybreak finds its own sessions by it",
    "client_encoding": "a dump is read in the encoding of its database",
    "options": "a dump and its proof need settings of their own; use ALTER ROLE … SET for yours",
    "replication": "a dump needs an ordinary connection",
}
#: A repository from which this host deletes nothing.
NEVER: Final = "never"
#: Of restic's kinds of storage those that are no folder of this host; what has no kind is one to restic.
_STORAGES: Final = "azure|b2|gs|rclone|rest|s3|sftp|swift"
_REPOSITORY_URL: Final = re.compile(rf"(?:{_STORAGES}):.+|(?:local:)?/.*", re.DOTALL)
_SLOWEST: Final = 1024
_TITLE_LENGTH: Final = 80
_PART: Final = r'(?:[a-z_][a-z0-9_$]*|"(?:[^"\0]|"")+")'
_TABLE_NAME: Final = re.compile(rf"{_PART}\.{_PART}")
_SECRET_KEYWORDS: Final = {"sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"}
_SECRET_NAME: Final = re.compile(r"SECRET|PASSWORD|PASSWD|TOKEN|CREDENTIAL|_KEY$", re.IGNORECASE)


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be {what} in quotes")  # noqa: TRY004 -- pydantic collects ValueError
    return value


def _path(value: object) -> Path:
    text = _text(value, "a path")
    if not text.startswith("/"):
        raise ValueError("must be an absolute path, beginning with a slash")
    if any(ord(char) < ord(" ") for char in text):
        raise ValueError("must be a path without control characters")
    return Path(text)


def _archive(value: object) -> Path:
    text = _text(value, "a path")
    if text.endswith("/"):
        raise ValueError("must name a file, not a folder: do not end it with a slash")
    path = _path(text)
    if ".." in path.parts or ".daybreak" in path.parts:
        raise ValueError("must not go through .. or .daybreak")
    return path


def _duration(value: object) -> timedelta:
    text = _text(value, "a duration like 90s, 30m, 1h or 7d")
    try:
        return parse_duration(text)
    except OverflowError:
        raise ValueError(f"{text!r} is longer than anything lasts") from None


def _above_zero(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than nothing")
    return value


def _schedule(value: object) -> str:
    text = _text(value, 'a schedule like "02:00" or "Sun 02:00"')
    parse_spec(text)
    return text


def _prune(value: object) -> str:
    text = _text(value, 'a schedule like "Sun 06:00", or "never"')
    return text if text == NEVER else _schedule(text)


def _rate(value: object) -> int:
    text = _text(value, "a rate like 500KiB/s or 2MiB/s")
    size, slash, unit = text.strip().rpartition("/")
    if slash and unit.strip() == "s":
        with contextlib.suppress(ValueError):
            if (rate := parse_size(size)) >= _SLOWEST:
                return rate
    raise ValueError(f"{text!r} is not a rate of 1KiB/s or more; write for example 500KiB/s or 2MiB/s")


def _timezone(value: object) -> str:
    text = _text(value, "a time zone")
    parse_zone(text)
    return text


def _command(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise ValueError(f"cannot be split into words: {str(error).lower()}") from None
    elif isinstance(value, list) and all(isinstance(word, str) for word in cast("list[object]", value)):
        words = cast("list[str]", value)
    else:
        raise ValueError("must be a command in quotes or a list of its words")
    if not words or not words[0]:
        raise ValueError("names no program")
    return tuple(words)


def _plain_path(value: object) -> Path:
    path = _path(value)
    if re.fullmatch(r"[A-Za-z0-9/._-]+", str(path)) is None or ".." in path.parts:
        raise ValueError("must be made of letters, digits, / . _ and -: it stands in commands of a shell")
    return path


def _account(value: object) -> str:
    text = _text(value, "the name of a user or group")
    if re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", text) is None:
        raise ValueError("must be the name of a user or group: small letters, digits, _ and - (at most 32)")
    return text


def _verb(value: object) -> str:
    text = _text(value, "backup:NAME or refresh:NAME")
    kind, _, name = text.partition(":")
    if kind not in {"backup", "refresh"} or NAME.fullmatch(name) is None:
        raise ValueError("must be backup:NAME or refresh:NAME, with the NAME of a plan")
    return text


def _sql(value: object) -> str:
    text = _text(value, "SQL").strip()
    if not text:
        raise ValueError("is empty")
    if "\0" in text:
        raise ValueError("holds a NUL, which SQL cannot")
    return text


def _query(value: object) -> str:
    text = _sql(value).rstrip("; \t\r\n")
    if not text:
        raise ValueError("is empty")
    return text


def _table_name(value: object) -> str:
    text = _text(value, "the name of a table")
    if _TABLE_NAME.fullmatch(text) is None:
        raise ValueError("must be schema.table, each in double quotes where it is not plain lower case")
    return text


def _title(value: object) -> str:
    text = _text(value, "a name")
    if not text.strip() or not text.isprintable() or len(text) > _TITLE_LENGTH:
        raise ValueError(f"must be some words on one line, at most {_TITLE_LENGTH} letters")
    return text


def _env_name(value: object) -> str:
    text = _text(value, "the name of an environment variable")
    if ENV_NAME.fullmatch(text) is None:
        raise ValueError("must be the name of an environment variable, not its value")
    return text


def _conninfo(value: object) -> dict[str, str]:
    keywords = parse_conninfo(_text(value, "a connection string"))
    for keyword, set_to in keywords.items():
        if keyword == "password":
            raise ValueError("holds a password; take it out and name its place with password_file")
        if keyword in _SECRET_KEYWORDS:
            raise ValueError(f"holds a secret ({keyword}); Daybreak takes no secret but the password, by password_file")
        if keyword in _OURS:
            raise ValueError(f"sets {keyword}, which Daybreak sets itself: {_OURS[keyword]}")
        if keyword not in KEYWORDS:
            raise ValueError(f"has a keyword that libpq does not know{nearest(keyword, KEYWORDS)}")
        if wanted := value_wanted(keyword, set_to):
            raise ValueError(f"has a {keyword} that libpq does not take: it must be {wanted}")
    if difference := lists_differ(keywords):
        raise ValueError(difference)
    return keywords


def _container(value: object) -> str:
    text = _text(value, "the name of a container")
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", text) is None:
        raise ValueError("must be the name of a container: letters, digits, _ . and -")
    return text


def _image(value: object) -> str:
    text = _text(value, "the name of a container image")
    if IMAGE.fullmatch(text) is None:
        raise ValueError("must be the name of a container image, like postgres:17")
    return text


def _metrics(value: object) -> Path:
    path = _path(value)
    if path.suffix != ".prom":
        raise ValueError("must end in .prom: node_exporter reads nothing else")
    return path


def _suffix(value: object) -> str:
    text = _text(value, "what to append to an address")
    if not text.isascii() or not text.isprintable() or " " in text or (text and text[0] not in "/?&"):
        raise ValueError("must begin with /, ? or &, and have no blanks")
    return text


def _ssh_destination(value: object) -> str:
    text = _text(value, "what to give to ssh")
    if re.match(r"ssh://[^/@]*:[^/@]*@", text):
        raise ValueError("holds a password; ssh takes none from here: use a key")
    if text.startswith("-") or re.search(r"[\s\x00-\x1f]", text) or not text:
        raise ValueError("must be user@host, ssh://user@host:port, or a Host of ~/.ssh/config, without blanks")
    return text


def _repository_url(value: object) -> str:
    text = _text(value, "the address of a restic repository")
    if not text.strip():
        raise ValueError("is empty")
    if _REPOSITORY_URL.fullmatch(text) is None:
        raise ValueError(
            "must be the absolute path of a folder, beginning with a slash, or begin with the kind of its storage: "
            f"{_STORAGES.replace('|', ':, ')}:"
        )
    # In a path or an S3 key a colon before an @ is fine; in user:password@host it is a secret.
    if re.match(r"[a-z0-9]+:(?:[a-z]+://|//)[^/@]*:[^/@]*@", text):
        raise ValueError(
            "holds a password; take it out and put it into env_file "
            "(for rest: as RESTIC_REST_USERNAME and RESTIC_REST_PASSWORD)"
        )
    return text


def _plain_env(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError('must be a table of names and values, { AWS_DEFAULT_REGION = "auto" }')  # noqa: TRY004 -- pydantic collects ValueError
    plain: dict[str, str] = {}
    for name, text in cast("dict[str, object]", value).items():
        if ENV_NAME.fullmatch(name) is None:
            raise ValueError(f"{name!r} is not the name of an environment variable")
        if name.startswith(("RESTIC_REPOSITORY", "RESTIC_PASSWORD")):
            raise ValueError(f"{name} is what the keys url and password_file are for")
        if _SECRET_NAME.search(name):
            raise ValueError(f"{name} is a secret; put it into env_file")
        plain[name] = _text(text, f"{name} a text")
    return plain


def _schema(kind: str, **more: object) -> WithJsonSchema:
    return WithJsonSchema({"type": kind, **more})


_DURATION_SCHEMA: Final = _schema(
    "string", pattern=r"^\s*(\d+(\.\d+)?\s*(ms|s|m|min|h|d|w)\s*)+$", examples=["90s", "1h"]
)

AbsolutePath = Annotated[Path, BeforeValidator(_path), _schema("string", pattern="^/")]
PlainPath = Annotated[Path, BeforeValidator(_plain_path), _schema("string", pattern="^/[A-Za-z0-9/._-]+$")]
AccountName = Annotated[str, BeforeValidator(_account), _schema("string", pattern="^[a-z_][a-z0-9_-]{0,31}$")]
Verb = Annotated[str, BeforeValidator(_verb), _schema("string", pattern=f"^(backup|refresh):{NAME.pattern}$")]
ArchivePath = Annotated[Path, BeforeValidator(_archive), _schema("string", pattern="^/.*[^/]$")]
Duration = Annotated[timedelta, BeforeValidator(_duration), _DURATION_SCHEMA]
PositiveDuration = Annotated[timedelta, BeforeValidator(lambda value: _above_zero(_duration(value))), _DURATION_SCHEMA]
Spec = Annotated[str, BeforeValidator(_schedule), _schema("string", examples=["02:00", "Sun 02:00", "0 2 * * *"])]
PruneSpec = Annotated[str, BeforeValidator(_prune), _schema("string", examples=["Sun 06:00", NEVER])]
Rate = Annotated[
    int,
    BeforeValidator(_rate),
    _schema("string", pattern=r"^\s*\d+(\.\d+)?\s*([KkMmGg][Ii]?)?[Bb]\s*/\s*s\s*$", examples=["500KiB/s", "2MiB/s"]),
]
Timezone = Annotated[str, BeforeValidator(_timezone), _schema("string", examples=["America/Chicago", "UTC"])]
CommandWords = Annotated[
    tuple[str, ...],
    BeforeValidator(_command),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
Sql = Annotated[str, BeforeValidator(_sql), _schema("string", minLength=1)]
Query = Annotated[str, BeforeValidator(_query), _schema("string", minLength=1)]
SqlName = Annotated[str, BeforeValidator(_sql), _schema("string", minLength=1)]
TableName = Annotated[str, BeforeValidator(_table_name), _schema("string", pattern=f"^{_TABLE_NAME.pattern}$")]
Title = Annotated[str, BeforeValidator(_title), _schema("string", minLength=1, maxLength=_TITLE_LENGTH)]
EnvName = Annotated[str, BeforeValidator(_env_name), _schema("string", pattern=f"^{ENV_NAME.pattern}$")]
Conninfo = Annotated[dict[str, str], BeforeValidator(_conninfo), _schema("string")]
ContainerName = Annotated[str, BeforeValidator(_container), _schema("string", pattern="^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
MetricsPath = Annotated[Path, BeforeValidator(_metrics), _schema("string", pattern="^/.*[.]prom$")]
Suffix = Annotated[str, BeforeValidator(_suffix), _schema("string", pattern=r"^([/?&]\S*)?$")]
Event = Literal[
    "failed",
    "refused",
    "quarantined",
    "late",
    "missed",
    "check_failed",
    "tonight_will_fail",
    "recovered",
    "weekly_all_is_well",
]
ImageName = Annotated[str, BeforeValidator(_image), _schema("string", pattern=f"^{IMAGE.pattern}$")]
SshDestination = Annotated[str, BeforeValidator(_ssh_destination), _schema("string", pattern=r"^[^-\s]\S*$")]
RepositoryUrl = Annotated[
    str, BeforeValidator(_repository_url), _schema("string", pattern=rf"^(({_STORAGES}):.|(local:)?/)")
]
PlainEnv = Annotated[
    dict[str, str], BeforeValidator(_plain_env), _schema("object", additionalProperties={"type": "string"})
]
Count = Annotated[int, Field(ge=0, le=100_000)]
