"""Hooks: what a user wants done on the way of a refresh, in SQL or by a program.

    before → (restore, proof) → after_restore → (all is ready) → before_swap → (swap) → after_swap

Shapes  SQL runs in the database that the instant is about, in one transaction, with that database's own settings;
        a program runs on this host. What either says goes to the run's log. One that fails ends those behind it.
Errors  `ConfigError` before anything is made, for what cannot be done at all; `RefreshError` that names the hook.
        After the swap the caller has to say that the target has the new data all the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from daybreak.command import Command
from daybreak.errors import Cancelled, ConfigError, DaybreakError, RefreshError
from daybreak.hosts import Host
from daybreak.hosts.shells import weight
from daybreak.jobs.rebuild import Rebuild
from daybreak.postgres.tools import conninfo_text
from daybreak.programs import find_program
from daybreak.replacement import Hook, HookTime

#: SQL is handed to psql as one word, and Linux ends words at 128 KiB; over ssh the word is quoted once more.
_FILE_BYTES: Final = 100_000
_BY_COMMAND: Final = (
    'let a command do it: ["sh", "-c", "psql -d \\"$DAYBREAK_CONNINFO\\" -f …"], for a container by docker exec -i'
)
_WHERE: Final = {
    HookTime.BEFORE: "before anything was made",
    HookTime.AFTER_RESTORE: "after the restore",
    HookTime.BEFORE_SWAP: "before the swap",
    HookTime.AFTER_SWAP: "after the swap",
}


def require_ready(hooks: Iterable[Hook], host: Host) -> None:
    """Raise ConfigError that names every hook whose program or file is not there."""
    if problems := unready(hooks, host):
        raise ConfigError(
            "; ".join(problems), hint="mend the hooks of this refresh; nothing was done yet", problems=problems
        )


def unready(hooks: Iterable[Hook], host: Host) -> list[str]:
    """The hooks that cannot be done on a target on `host`, with the reason.

    A program or a file is not there, or a file holds no SQL, or more than can be handed to psql there.
    """
    problems: list[str] = []
    for hook in hooks:
        try:
            if hook.command is not None:
                find_program(hook.command[0], os.environ.get("PATH"))
            else:
                _statements(hook, host)
        except (DaybreakError, OSError) as error:
            problems.append(f'the hook "{hook.name}": {_words(error)}')
    return problems


def run_hooks(work: Rebuild, when: HookTime) -> None:
    """Run the hooks of one instant, in the order of the configuration. Raise RefreshError that names the one."""
    for hook in work.how.hooks:
        if hook.when is not when:
            continue
        with work.run.step(f"hook {hook.name}") as facts:
            facts["when"] = when.value
            try:
                _run(work, hook)
            except Cancelled:
                raise
            except (DaybreakError, OSError) as error:
                hint = error.hint if isinstance(error, DaybreakError) else ""
                unharmed = f" ({work.held.name} is as it was)" if when.in_shadow else ""
                raise RefreshError(
                    f'the hook "{hook.name}" failed {_WHERE[when]}: {_words(error)}{unharmed}',
                    hint=hint or f"`daybreak run show {work.run.id}` names the log with all that it said",
                ) from error


def hook_lines(hooks: Iterable[Hook], when: HookTime, database: str) -> list[str]:
    """What the hooks of one instant would do, for people."""
    return [f'hook "{one.name}": {_deed(one, database)}' for one in hooks if one.when is when]


def _deed(hook: Hook, database: str) -> str:
    if hook.command is not None:
        return f"run {hook.command[0]}"
    return f"SQL{f' of {hook.sql_file}' if hook.sql_file else ''} in {database}"


def _run(work: Rebuild, hook: Hook) -> None:
    run, server = work.run, work.held.server
    database = work.name if hook.when.in_shadow else work.held.name

    def tell(line: str) -> None:
        run.log.write(f"hook {hook.name}: {line}")
        run.progress(line)

    if hook.command is None:
        said = server.execute(
            _statements(hook, server.host), dbname=database, deadline=hook.deadline, pinned=False, on_stderr=tell
        )
        for line in said.splitlines():
            tell(line)
        return
    env = {
        "DAYBREAK_RUN": run.id,
        "DAYBREAK_PLAN": run.plan,
        "DAYBREAK_TARGET": server.database.name,
        "DAYBREAK_DATABASE": database,
        **(server.environment(database) or _nowhere(server.host, database)),
    }
    # By the server's runner: after the swap a cancelled run does not end it.
    server.runner.run(Command(argv=hook.command, deadline=hook.deadline, env=env), on_line=tell, on_stderr=tell)


def _nowhere(host: Host, database: str) -> dict[str, str]:
    """What a program finds in place of a way to a server that is not reached from here.

    Without it `psql -d "$DAYBREAK_CONNINFO"` would work in whatever server this host has: production, maybe.
    """
    return {"DAYBREAK_CONNINFO": conninfo_text({"host": f"/no way from here into {host.name}", "dbname": database})}


def _statements(hook: Hook, host: Host) -> str:
    """The SQL of a hook. Raise ConfigError, OSError for what cannot be used."""
    text = (hook.sql or "") if hook.sql_file is None else _text(hook.sql_file)
    if host.place.ssh is not None and weight(text) > _FILE_BYTES:
        raise ConfigError(
            f"{hook.sql_file or 'its SQL'} is larger than {_FILE_BYTES // 1000} kB on its way over ssh, where quotes, "
            "ends of lines and what is not ASCII take several bytes each"
        )
    if text.lstrip().startswith("\\"):  # psql would do this one, and nothing of what is behind it
        command = text.split(maxsplit=1)[0]
        raise ConfigError(
            f"{hook.sql_file or 'its SQL'} begins with psql's {command}: only SQL is run", hint=_BY_COMMAND
        )
    return text


def _text(path: Path) -> str:
    """The SQL in a file. Raise ConfigError, OSError."""
    content = _read(path)
    if len(content) > _FILE_BYTES:
        raise ConfigError(
            f"{path} is larger than {_FILE_BYTES // 1000} kB",
            hint=_BY_COMMAND,
        )
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no UTF-8 text") from None
    if not text.strip() or "\0" in text:
        raise ConfigError(f"{path} holds no SQL")
    return text


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_FILE_BYTES + 1)


def _words(error: DaybreakError | OSError) -> str:
    if isinstance(error, DaybreakError):
        return error.message
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)
