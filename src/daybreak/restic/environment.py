"""The environment of a repository's restics: address, password and keys, read at the moment of use.

Errors  `ConfigError` for a secret that cannot be read.
Source  restic's manual, "Environment variables"; RESTIC_REST_USERNAME is read by restic itself from 0.16 on.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, unquote, urlsplit

from daybreak.credentials import read_env_file, read_secret
from daybreak.model import Repository
from daybreak.process import Runner
from daybreak.secret import Secret


def environment(repository: Repository, runner: Runner) -> Mapping[str, str | Secret]:
    """The environment of every restic of this repository. Raise ConfigError for a secret that cannot be read."""
    env: dict[str, str | Secret] = dict(repository.env)
    if repository.env_file:
        env |= read_env_file(repository.env_file)
    address = repository.url
    user_part = urlsplit(address.partition(":")[2] if "://" in address else "").password
    for hidden in {user_part, unquote(user_part)} if user_part else ():
        Secret(hidden)  # from now on it is masked wherever restic repeats it
    login = _login(address, env)
    if login:
        Secret(quote(login[1], safe=""))
        address = address.replace("://", f"://{quote(login[0], safe='')}:{quote(login[1], safe='')}@", 1)
    env["RESTIC_REPOSITORY"] = Secret(address) if user_part or login else address
    password = read_secret(repository.password, runner)
    if repository.password.file:
        env["RESTIC_PASSWORD_FILE"] = str(repository.password.file)
    else:
        env["RESTIC_PASSWORD"] = password
    return env


def _login(address: str, env: Mapping[str, str | Secret]) -> tuple[str, str] | None:
    """Name and password of a rest-server, put into the address for restics before 0.16 too; None: not needed."""
    user, password = (env.get(f"RESTIC_REST_{part}") for part in ("USERNAME", "PASSWORD"))
    if not address.startswith("rest:http") or user is None or password is None or "@" in address:
        return None
    texts = [one.reveal() if isinstance(one, Secret) else one for one in (user, password)]
    return texts[0], texts[1]
