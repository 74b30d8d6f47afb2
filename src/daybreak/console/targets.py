"""What an act really hits, as a page shows it before anything is done: where it is, and which database it is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from daybreak.console.world import Look
from daybreak.errors import DaybreakError
from daybreak.model import Database, Repository
from daybreak.runner.looks import Reply
from daybreak.units import parse_instant, show_instant

_USERINFO = re.compile(r"(?<=//)[^/@]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One database or repository, resolved."""

    name: str  # what has to be typed
    facts: tuple[tuple[str, str], ...]  # what, and what that is
    warning: str = ""  # in words, where it is not what is known
    asks: str = field(default="its name")


def database_target(look: Look, database: Database, *, name: str = "", what: str = "its name") -> Target:
    """A database as it is configured and enrolled; `name` is what has to be typed, else its own."""
    info, place = database.conninfo, database.place
    host = info.get("host") or info.get("hostaddr") or (f"service {info['service']}" if "service" in info else "local")
    facts = [
        ("in the configuration", f"databases.{database.name}"),
        ("host", place.ssh.destination if place.ssh is not None else "this host"),
        *([("container", place.container)] if place.container else []),
        ("server", f"{host}:{info['port']}" if "port" in info else host),
        ("database", info.get("dbname", "as its server has it by itself")),
        *([("user", info["user"])] if "user" in info else []),
    ]
    known = look.catalog.databases.enrolled(database.name)
    if known is None:
        facts.append(("enrolled as", "nothing yet: the first run takes note of it"))
    else:
        one, at = known.identity, show_instant(known.enrolled_at)
        facts.append(("enrolled as", f"{one.database}, oid {one.oid}, system {one.system_identifier}, on {at}"))
    return Target(name=name or database.name, facts=tuple(facts), asks=what)


def repository_target(repository: Repository) -> Target:
    """A repository as it is configured, without what may be a password in its address."""
    return Target(
        name=repository.name,
        facts=(
            ("in the configuration", f"repositories.{repository.name}"),
            ("address", _USERINFO.sub("…@", repository.url)),
            ("rules", "append-only: nothing is forgotten" if repository.append_only else "those of its keep table"),
        ),
    )


def with_answer(target: Target, answer: Reply | DaybreakError) -> Target:
    """The same with what answers there just now."""
    if isinstance(answer, DaybreakError):
        return _more(target, "answers now", f"nobody could be asked: {answer.message}", warning="")
    now = answer["now"]
    if now is None:
        return _more(target, "answers now", "nothing", warning=f"it does not answer: {answer['why']}")
    text = f"{now['database']}, oid {now['oid']}, system {now['system_identifier']}"
    if answer["same"] is False:
        at = show_instant(parse_instant(answer["enrolled"]["at"]))
        return _more(
            target,
            "answers now",
            text,
            warning=f"this is not the database that was enrolled on {at}: nothing will be done",
        )
    return _more(target, "answers now", text, warning="")


def _more(target: Target, name: str, text: str, *, warning: str) -> Target:
    return Target(name=target.name, facts=(*target.facts, (name, text)), warning=warning, asks=target.asks)
