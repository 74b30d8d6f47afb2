"""Whatever the API's own document allows, and what it does not, gets an answer that is no fault of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from console_guests import Served

from daybreak.console.accounts import By, open_accounts
from daybreak.console.accounts.words import VERBS
from daybreak.console.people import Role

SEED = int(os.environ.get("DAYBREAK_SEED", "20261128"))
EXAMPLES = int(os.environ.get("DAYBREAK_EXAMPLES", "3"))
#: With names that are there, what only looks is asked for: everything else would begin runs by the hundred.
KNOWN = '[parameters]\nplan = "nightly"\nrepository = "safe"\ndatabase = "dev"\n'


def token(served: Served, name: str, role: Role) -> str:
    served.person(name, role)
    with open_accounts(served.town.site.state / "console") as accounts:
        user = accounts.users.get(name)
        assert user is not None
        _, text = accounts.tokens.add(
            user, "all", sorted(VERBS), lasting=timedelta(days=1), at=datetime.now(UTC), by=By(who="host")
        )
    return text


@pytest.mark.parametrize("known", [False, True], ids=["any names", "names that are there"])
def test_no_request_gets_a_fault_of_the_server(served: Served, tmp_path: Path, known: bool) -> None:  # noqa: FBT001 -- a parameter
    (tmp_path / "schemathesis.toml").write_text(KNOWN if known else "")
    print(f"seed {SEED}, {EXAMPLES} of each; DAYBREAK_SEED and DAYBREAK_EXAMPLES change them")  # noqa: T201 -- to repeat it
    with served.up():
        done = subprocess.run(
            [
                Path(sys.executable).parent / "schemathesis",
                "run",
                f"{served.base}/api/schema/openapi.json",
                f"--header=Authorization: Bearer {token(served, 'ann', Role.ADMIN)}",
                "--checks=not_a_server_error",
                "--request-timeout=120",  # a busy machine is no fault of the server
                f"--max-examples={EXAMPLES}",
                f"--seed={SEED}",
                *(["--include-method=GET"] if known else []),
            ],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, f"seed {SEED}\n{done.stdout}{done.stderr}"
