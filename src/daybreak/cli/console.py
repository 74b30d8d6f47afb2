"""`console`: who may come into the web console, from the host itself. Passwords are asked for or read from stdin."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from daybreak.cli.output import Door, say, table, when
from daybreak.cli.shared import verb, who
from daybreak.errors import UsageError
from daybreak.units import rfc3339

if TYPE_CHECKING:
    from daybreak.console.accounts import Accounts, By, Token, User

_ROLES: Final = ("viewer", "operator", "restorer", "admin")
_LONGEST: Final = 4096


@click.group()
def console() -> None:
    """The web console's people and tokens."""


@console.command()
@verb
def first(door: Door) -> None:
    """Print a token by which the first user is made in the browser; it counts once, for an hour."""
    from daybreak.console.origins import origin_of  # noqa: PLC0415 -- keeps --help fast

    with _accounts(door) as (accounts, by):
        token = accounts.draw_first(_now(), by)
        address = f"{origin_of(_settings(door).console)}/first"
    say(door, {"token": token, "url": address}, f"{token}\n\nOpen {address} and paste it. It counts once, for an hour.")


@console.group()
def user() -> None:
    """People of the console."""


@user.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(_ROLES), required=True, help="What that person may.")
@verb
def add_user(door: Door, name: str, *, role: str) -> None:
    """Add somebody; the password is asked for, or is the first line of stdin."""
    from daybreak.console.accounts.words import role_of  # noqa: PLC0415 -- keeps --help fast

    with _accounts(door) as (accounts, by):
        made = accounts.users.add(name, _password(door), role_of(role), _now(), by)
    say(door, _user(made), f"{made.name} may sign in as {role}")


@user.command("list")
@verb
def list_users(door: Door) -> None:
    """Everybody who may sign in."""
    with _accounts(door) as (accounts, _):
        found = accounts.users.list()
    rows = [
        [
            one.name,
            one.role.word,
            "single sign-on" if one.subject else "password",
            "on" if one.has_totp else "off",
            when(one.seen_at),
        ]
        for one in found
    ]
    text = table(["name", "role", "comes by", "second factor", "last sign-in"], rows) if rows else "there is nobody yet"
    say(door, {"users": [_user(one) for one in found]}, text)


@user.command("password")
@click.argument("name")
@verb
def set_password(door: Door, name: str) -> None:
    """Give somebody another password, asked for or the first line of stdin; all sessions of that person end."""
    with _accounts(door) as (accounts, by):
        accounts.users.set_password(name, _password(door), _now(), by)
    say(door, {"user": name, "changed": True}, f"{name} has another password; all sessions have ended")


@user.command("role")
@click.argument("name")
@click.argument("role", type=click.Choice(_ROLES))
@verb
def set_role(door: Door, name: str, role: str) -> None:
    """Give somebody another role; all sessions of that person end. The last admin stays one."""
    from daybreak.console.accounts.words import role_of  # noqa: PLC0415 -- keeps --help fast

    with _accounts(door) as (accounts, by):
        accounts.users.set_role(name, role_of(role), _now(), by)
    say(door, {"user": name, "role": role}, f"{name} is {role} now")


@user.command("factor-off")
@click.argument("name")
@verb
def factor_off(door: Door, name: str) -> None:
    """Switch somebody's second factor off, for when phone and codes on paper are gone."""
    with _accounts(door) as (accounts, by):
        accounts.factors.switch_off(_must(accounts, name), _now(), by)
    say(door, {"user": name, "second_factor": False}, f"{name} signs in without a second factor now")


@user.command("passkeys-off")
@click.argument("name")
@verb
def passkeys_off(door: Door, name: str) -> None:
    """Remove all of somebody's passkeys, for when a device is in the wrong hands; all sessions of that person end."""
    with _accounts(door) as (accounts, by):
        person = _must(accounts, name)
        found = accounts.passkeys.list(person)
        for one in found:
            accounts.passkeys.remove(person, one.id, _now(), by)
    removed = [one.name for one in found]
    say(
        door, {"user": name, "removed": removed}, f"{name} has no passkeys now; removed: {', '.join(removed) or 'none'}"
    )


@user.command("remove")
@click.argument("name")
@verb
def remove_user(door: Door, name: str) -> None:
    """Take somebody out, with all sessions and tokens. The last admin stays."""
    with _accounts(door) as (accounts, by):
        accounts.users.remove(name, _now(), by)
    say(door, {"user": name, "removed": True}, f"{name} may not sign in any more")


@console.group()
def token() -> None:
    """Tokens for programs."""


@token.command("add")
@click.argument("name")
@click.option("--user", "person", metavar="USER", required=True, help="For whom it acts; it may no more than that.")
@click.option("--verbs", metavar="VERBS", required=True, help="What it is for: look,backup for example.")
@click.option("--days", metavar="N", type=click.IntRange(1, 366), default=90, help="When it ends; else in 90 days.")
@verb
def add_token(door: Door, name: str, *, person: str, verbs: str, days: int) -> None:
    """Make a token; it is printed this once."""
    with _accounts(door) as (accounts, by):
        asked = [one.strip() for one in verbs.split(",") if one.strip()]
        made, text = accounts.tokens.add(
            _must(accounts, person), name, asked, lasting=timedelta(days=days), at=_now(), by=by
        )
    said = f"{text}\n\nIt is printed only now, is for {', '.join(sorted(made.verbs))} and ends {when(made.ends_at)}."
    say(door, {**_token(made), "token": text}, said)


@token.command("list")
@verb
def list_tokens(door: Door) -> None:
    """Every token, also those that have ended."""
    with _accounts(door) as (accounts, _):
        found = accounts.tokens.list()
    rows = [
        [one.id, one.name, one.user.name, ",".join(sorted(one.verbs)), when(one.ends_at), when(one.used_at)]
        for one in found
    ]
    text = table(["id", "name", "acts for", "verbs", "ends", "last used"], rows) if rows else "there are none"
    say(door, {"tokens": [_token(one) for one in found]}, text)


@token.command("remove")
@click.argument("token_id", metavar="ID")
@verb
def remove_token(door: Door, token_id: str) -> None:
    """Let a token count no more."""
    with _accounts(door) as (accounts, by):
        accounts.tokens.remove(token_id, _now(), by)
    say(door, {"id": token_id, "removed": True}, "that token lets nobody in any more")


@console.command()
@click.option("--limit", metavar="N", type=click.IntRange(1, 10_000), default=20, help="So many rows; else 20.")
@verb
def audit(door: Door, *, limit: int) -> int:
    """Show the newest rows of the audit log, and whether all of them fit together. Exit 1 where they do not."""
    with _accounts(door) as (accounts, _):
        rows, verdict = accounts.audit.list(limit=limit), accounts.audit.verify()
    shown = [[str(one.id), when(one.at), one.who, one.address, one.what, one.subject, one.outcome] for one in rows]
    text = table(["no.", "when", "who", "from", "what", "about", "outcome"], shown) if shown else ""
    document = {
        "rows": verdict.rows,
        "head": verdict.head,
        "broken_at": verdict.broken_at,
        "entries": [
            {
                "id": one.id,
                "at": rfc3339(one.at),
                "who": one.who,
                "address": one.address,
                "what": one.what,
                "subject": one.subject,
                "outcome": one.outcome,
                "hash": one.hash,
            }
            for one in rows
        ],
    }
    say(door, document, f"{text}\n{verdict.text}; its head is {verdict.head or '—'}".lstrip())
    return 0 if verdict.broken_at is None else 1


def _now() -> datetime:
    return datetime.now(UTC)


def _settings(door: Door) -> Any:  # noqa: ANN401 -- its type would load what --help does without
    from daybreak.site import load  # noqa: PLC0415 -- keeps --help fast

    return load(Path(door.config) if door.config else None)


@contextlib.contextmanager
def _accounts(door: Door) -> Generator[tuple[Accounts, By]]:
    """The accounts of this configuration, and who asks."""
    from daybreak.console.accounts import By, open_accounts  # noqa: PLC0415 -- keeps --help fast
    from daybreak.site import state_of  # noqa: PLC0415 -- see above

    settings = _settings(door)
    with open_accounts(settings.console.state or state_of(settings) / "console") as accounts:
        yield accounts, By(who=f"{who()} (on the host)")


def _password(door: Door) -> str:
    """A new password: asked for twice at a terminal, else the first line of stdin. Never an argument."""
    if sys.stdin.isatty() and not door.json:
        return click.prompt("password", hide_input=True, confirmation_prompt="the same again", err=True)
    line = sys.stdin.readline(_LONGEST).rstrip("\r\n")
    if not line:
        raise UsageError("there is no password", hint="write it to stdin, or call it at a terminal and be asked")
    return line


def _must(accounts: Accounts, name: str) -> User:
    found = accounts.users.get(name)
    if found is None:
        raise UsageError(f"there is nobody called {name!r}", hint="`daybreak console user list` shows everybody")
    return found


def _user(one: User) -> dict[str, object]:
    return {
        "user": one.name,
        "role": one.role.word,
        "single_sign_on": one.subject is not None,
        "second_factor": one.has_totp,
        "made_at": rfc3339(one.made_at),
        "seen_at": None if one.seen_at is None else rfc3339(one.seen_at),
    }


def _token(one: Token) -> dict[str, object]:
    return {
        "id": one.id,
        "name": one.name,
        "user": one.user.name,
        "verbs": sorted(one.verbs),
        "ends_at": rfc3339(one.ends_at),
        "used_at": None if one.used_at is None else rfc3339(one.used_at),
    }
