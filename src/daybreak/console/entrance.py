"""The whole console of a world: everything that answers, and what stands before it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

from litestar import Litestar

from daybreak.console import (
    api,
    asking,
    changing,
    download,
    errands,
    health,
    live,
    pages,
    passkeys,
    peopleapi,
    peoplepages,
    security,
    signing,
)
from daybreak.console.accounts import Accounts
from daybreak.console.app import build
from daybreak.console.asking import Asking, who
from daybreak.console.world import World
from daybreak.web import Console

_FOLDER = "console"


def accounts_folder(console: Console, state: Path) -> Path:
    """Where the console keeps what is its own: people, sessions, tokens, audit."""
    return console.state or state / _FOLDER


def application(world: World, accounts: Accounts, closing: asyncio.Event | None = None) -> Litestar:
    """The console, ready to be served; what streams ends when `closing` is set."""

    def note(request: Asking, what: str, subject: str, outcome: str) -> None:
        address = str(cast("dict[str, Any]", request.scope).get("address", ""))
        accounts.audit.note(who(request).name, what, subject, outcome, world.clock(), address=address)

    desk = signing.Desk(accounts)
    return build(
        world,
        handlers=[
            *health.handlers(),
            *signing.handlers(accounts, desk),
            *passkeys.handlers(accounts, desk),
            *peoplepages.handlers(accounts),
            *peopleapi.handlers(accounts),
            *pages.handlers(),
            *live.handlers(closing),
            *api.handlers(),
            *asking.handlers(note),
            *errands.handlers(note),
            *changing.handlers(note),
            *download.handlers(note),
        ],
        middleware=security.middleware(world, accounts),
    )
