"""The roles of a cluster from what `pg_dumpall --globals-only` wrote: those that a server lacks are made. Pure.

A role that is there is never altered, whatever the globals say of it.

Shapes  a text goes in, a `RolePlan` comes out; its script is one transaction, in which memberships, settings and
        comments may fail one by one: each tells so by a warning that `told` understands.
Source  PostgreSQL, src/bin/pg_dump/pg_dumpall.c: dumpRoles, dumpRoleMembership, dumpUserConfig; aclitemout.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from daybreak.postgres.abilities import Abilities
from daybreak.postgres.sql import identifier, literal
from daybreak.secret import Secret

_ID: Final = r'(?P<{}>"(?:[^"]|"")+"|[^\s";]+)'
_CREATE: Final = re.compile(rf"CREATE ROLE {_ID.format('role')}")
_ALTER: Final = re.compile(rf"ALTER ROLE {_ID.format('role')} WITH (?P<rest>.*)", re.DOTALL)
_SET: Final = re.compile(
    rf"(?:ALTER|(?P<what>COMMENT) ON|(?P<label>SECURITY LABEL) FOR .*? ON) ROLE {_ID.format('role')} (?:SET|IS) "
)
_GRANT: Final = re.compile(
    rf"GRANT {_ID.format('role')} TO {_ID.format('member')}(?: WITH (?P<options>.*?))?(?: GRANTED BY .*)?", re.DOTALL
)
_TABLESPACE: Final = re.compile(rf"CREATE TABLESPACE {_ID.format('name')} ")
_PASSWORD: Final = re.compile(r" PASSWORD (?: ?E)?'((?:[^']|'')*)'")
_ENCODING: Final = re.compile(r"SET client_encoding = '([^']+)'")
#: What only a superuser may say of a role, also to deny it.
_SUPERIOR: Final = re.compile(r"\b(NO)?(SUPERUSER|REPLICATION|BYPASSRLS) ?")
_TOLD: Final = re.compile(r"daybreak left out (\d+): (.*)")
_OPTIONS_SINCE: Final = 16
_DATABASE: Final = {"C": "CREATE", "T": "TEMPORARY", "c": "CONNECT"}
_ITEM: Final = re.compile(r'(?P<who>"(?:[^"]|"")*"|[^=]*)=(?P<what>[A-Za-z*]*)/')


@dataclass(frozen=True, slots=True, kw_only=True)
class RolePlan:
    """What it takes to have the roles of the globals."""

    created: tuple[str, ...]
    script: bytes  # empty where nothing is missing; may hold the hashes of passwords
    soft: tuple[str, ...]  # what each statement that may fail is about, for people
    left_out: tuple[str, ...]  # what our role may not do, or nobody could, in words
    locked_out: tuple[str, ...]  # roles that may log in and get no password
    borrowed: tuple[str, ...]  # roles that ours is made a member of, for the time of the restore


def plan_roles(globals_sql: bytes, abilities: Abilities) -> RolePlan:
    """Which roles are missing, and the statements that make them."""
    said = list(statements(globals_sql.decode("utf-8", "surrogateescape")))
    found = (one for text in said if (one := _CREATE.fullmatch(text)))
    missing = [name for one in found if (name := plain(one["role"])) not in abilities.roles]
    making = _Making(missing=frozenset(missing), abilities=abilities)
    for text in said:
        making.take(text)
    borrowed = () if abilities.superuser else tuple(missing)
    encoding = next((one[1] for text in said if (one := _ENCODING.fullmatch(text))), "UTF8")
    lines = [f"SET client_encoding TO {literal(encoding)}", "BEGIN", *making.hard]
    # Ours first: what production grants may make a ring with it, and then is left out.
    lines += [_borrow(role, abilities.major) for role in borrowed]
    lines += [_forgiving(number, text) for number, (_, text) in enumerate(making.soft)]
    script = "".join(f"{line};\n" for line in [*lines, "COMMIT"])
    return RolePlan(
        created=tuple(missing),
        script=script.encode("utf-8", "surrogateescape") if missing else b"",
        soft=tuple(what for what, _ in making.soft),
        left_out=tuple(making.left_out),
        locked_out=tuple(role for role in missing if role in making.logins - making.passwords),
        borrowed=borrowed,
    )


@dataclass(kw_only=True)
class _Making:
    """Sorts the statements of the globals, one by one."""

    missing: frozenset[str]
    abilities: Abilities
    hard: list[str] = field(default_factory=list[str])
    soft: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])  # what it is about, the statement
    left_out: list[str] = field(default_factory=list[str])
    logins: set[str] = field(default_factory=set[str])
    passwords: set[str] = field(default_factory=set[str])

    def take(self, text: str) -> None:
        """One statement."""
        if (found := _CREATE.fullmatch(text)) and plain(found["role"]) in self.missing:
            self.hard.append(text)
        elif (found := _ALTER.fullmatch(text)) and plain(found["role"]) in self.missing:
            self.hard.append(f"ALTER ROLE {found['role']} WITH {self._attributes(plain(found['role']), found['rest'])}")
        elif found := _GRANT.fullmatch(text):
            role, member = plain(found["role"]), plain(found["member"])
            if {role, member} & self.missing:
                options = _options(found["options"], self.abilities.major)
                grant = f"GRANT {found['role']} TO {found['member']}{options}"
                self.soft.append((f"the membership of {member} in {role}", grant))
        elif (found := _SET.match(text)) and plain(found["role"]) in self.missing:
            what = "the comment" if found["what"] else "a security label" if found["label"] else "a setting"
            self.soft.append((f"{what} of the role {plain(found['role'])}", text))
        elif (found := _TABLESPACE.match(text)) and (name := plain(found["name"])) not in self.abilities.tablespaces:
            self.left_out.append(f"the tablespace {name}: it needs a folder on the server")

    def _attributes(self, role: str, text: str) -> str:
        """What is said of a role, without what ours may not say."""
        if secret := _PASSWORD.search(text):
            Secret(secret[1])  # nothing that we print has it
            self.passwords.add(role)
        if re.search(r"\bLOGIN\b", text):
            self.logins.add(role)
        if self.abilities.superuser:
            return text
        for one in _SUPERIOR.finditer(text):
            if not one[1]:
                self.left_out.append(f"{one[2]} of the role {role}: only a superuser may give it")
        return _SUPERIOR.sub("", text)


def told(plan: RolePlan, line: str) -> str | None:
    """What a warning of the script says could not be done, in words; None for any other line."""
    found = _TOLD.search(line)
    return f"{plan.soft[int(found[1])]}: {found[2]}" if found else None


def give_back(plan: RolePlan) -> list[str]:
    """The statements that end our own memberships."""
    return [f"REVOKE {identifier(role)} FROM CURRENT_USER" for role in plan.borrowed]


def _borrow(role: str, major: int) -> str:
    options = " WITH INHERIT TRUE, SET TRUE" if major >= _OPTIONS_SINCE else ""
    return f"GRANT {identifier(role)} TO CURRENT_USER{options}"


def _options(options: str | None, major: int) -> str:
    """The options of a membership; before 16 there is only one."""
    if not options:
        return ""
    if major >= _OPTIONS_SINCE:
        return f" WITH {options}"
    return " WITH ADMIN OPTION" if re.search(r"\bADMIN (OPTION|TRUE)\b", options) else ""


def _forgiving(number: int, statement: str) -> str:
    """A statement that may fail, and then says so without ending the transaction."""
    # RAISE takes % as a place for a value.
    block = (
        f"BEGIN EXECUTE {literal(statement)}; "
        f"EXCEPTION WHEN OTHERS THEN RAISE WARNING 'daybreak left out {number}: %', SQLERRM; END"
    )
    return f"DO {literal(block)}"


def plain(name: str) -> str:
    """A name without its quotes."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def statements(text: str) -> Iterator[str]:
    """The statements of a script of pg_dumpall, without their semicolons; comments and psql's own lines left out."""
    piece: list[str] = []
    at = 0
    while at < len(text):
        char = text[at]
        if (char == "\\" and not "".join(piece).strip()) or text.startswith("--", at):
            at = _behind(text, "\n", at)
        elif char in "'\"":
            end = _closing(text, at, escapes=char == "'" and text[at - 1 : at] == "E")
            piece.append(text[at:end])
            at = end
        elif char == ";":
            yield "".join(piece).strip()
            piece = []
            at += 1
        else:
            piece.append(char)
            at += 1


def _behind(text: str, mark: str, at: int) -> int:
    found = text.find(mark, at)
    return len(text) if found < 0 else found + 1


def _closing(text: str, at: int, *, escapes: bool) -> int:
    """Where the quoted text that begins at `at` ends; a doubled quote is one in it."""
    quote = text[at]
    at += 1
    while at < len(text):
        if escapes and text[at] == "\\":
            at += 2
        elif text[at] == quote:
            if text[at + 1 : at + 2] != quote:
                return at + 1
            at += 2
        else:
            at += 1
    return at


def database_acl(items: Sequence[str]) -> list[dict[str, Any]]:
    """A database's privileges from the catalogue's text (`app=Tc/postgres`), as `TargetFacts` has them."""
    found: list[dict[str, Any]] = []
    for item in items:
        match = _ITEM.match(item)
        if match is None:
            continue
        grantee = plain(match["who"]) or None
        for letter, star in re.findall(r"([A-Za-z])(\*?)", match["what"]):
            if letter in _DATABASE:
                found.append({"grantee": grantee, "privilege": _DATABASE[letter], "grantable": bool(star)})
    return found
