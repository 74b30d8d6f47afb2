"""What the workflows do, run for real: the very text of their step, the OpenSSH client, sshd, the scripts of `ops/`.

Daybreak itself is a stand-in here that says how it was called; `test_whole.py` has the real one.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from deployment import ON_THE_SERVER, SCRIPTS, SECRETS, WORKFLOWS

from installation import wait_for

STAND_IN = """#!/bin/sh
echo "called: $*"
echo "configuration: $DAYBREAK_CONFIG"
echo "umask: $(umask)"
[ ! -t 0 ] && [ ! -t 1 ] && [ ! -t 2 ] && echo "no terminal"
echo "a warning" >&2
{then}
"""
WORDS = {
    "backup": "backup nightly --slot now --trigger script",
    "refresh": "refresh weekly --slot now --trigger script",
}
JOBS = tuple(WORDS)


@pytest.fixture
def stand_in(server):
    """`stand_in(then)` puts a daybreak on the server's PATH that does that in the end."""

    def make(then: str = "exit 0", folder: Path | None = None) -> None:
        place = folder or server.folder / "bin"
        place.mkdir(exist_ok=True)
        (place / "daybreak").write_text(STAND_IN.format(then=then))
        (place / "daybreak").chmod(0o755)
        server.environment["PATH"] = f"{place}:{os.environ['PATH']}"

    return make


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("job", JOBS)
def test_a_workflow_runs_its_script_on_the_server(server, stand_in, job, shell):
    stand_in()
    out, err = server.run_step(WORKFLOWS[job], shell=shell)
    assert server.asked == [f"{ON_THE_SERVER}/{SCRIPTS[job].name}"]
    assert out.splitlines() == [
        f"called: {WORDS[job]}",
        "configuration: /etc/daybreak/daybreak.toml",
        "umask: 0007",
        "no terminal",
    ]
    assert err == "a warning\n"


@pytest.mark.parametrize("job", JOBS)
def test_the_summary_has_what_was_said_last_and_the_exit_code(server, stand_in, job, tmp_path):
    stand_in("echo 'state     failed'; exit 11")
    summary = tmp_path / "summary"
    server.run_step(WORKFLOWS[job], server.secrets | {"GITHUB_STEP_SUMMARY": str(summary)}, expect=11)
    lines = summary.read_text().splitlines()
    assert lines[0] == {"backup": "### Back up prod", "refresh": "### Refresh dev"}[job]
    assert lines[2] == "~~~text"
    assert lines[-3:] == ["state     failed", "exit code 11", "~~~"]


@pytest.mark.parametrize("job", JOBS)
def test_a_refusal_is_named(server, stand_in, job):
    stand_in("exit 4")
    out, _ = server.run_step(WORKFLOWS[job], expect=4)
    assert "::error::The server refused" in out


@pytest.mark.parametrize("job", JOBS)
def test_the_key_is_nobody_elses_while_it_is_used_and_gone_afterwards(server, stand_in, job):
    stand_in()
    server.run_step(WORKFLOWS[job])  # which looks that nothing is left
    assert server.files_of_the_caller == "id_ed25519 600\nknown_hosts 600\nsaid 600\nssh.log 600\n"


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("code", [1, 14, 17, 143])
def test_the_exit_code_comes_through(server, stand_in, job, code):
    stand_in(f"exit {code}")
    out, _ = server.run_step(WORKFLOWS[job], expect=code)
    assert f"::error::Daybreak ended with {code}; docs/exit-codes.md" in out


@pytest.mark.parametrize("job", JOBS)
def test_a_server_without_daybreak_says_so(server, job):
    server.environment["PATH"] = "/usr/bin:/bin"
    out, err = server.run_step(WORKFLOWS[job], expect=127)
    assert "::error::The script or Daybreak is not installed" in out
    assert f"{SCRIPTS[job].name}: daybreak is not installed on {os.uname().nodename}" in err
    assert "docs/install.md" in err


@pytest.mark.parametrize("job", JOBS)
def test_a_server_without_the_script_says_so(server, stand_in, job):
    stand_in()
    (server.scripts / SCRIPTS[job].name).unlink()
    out, _ = server.run_step(WORKFLOWS[job], expect=127)
    assert "::error::The script or Daybreak is not installed" in out


@pytest.mark.parametrize("job", JOBS)
def test_a_server_with_another_key_gets_nothing(server, job):
    others = {"SERVER_HOST_KNOWN_HOSTS": server.secrets["SERVER_HOST_KNOWN_HOSTS"].rsplit(" ", 1)[0]}
    others["SERVER_HOST_KNOWN_HOSTS"] += " " + (server.folder / "key.pub").read_text().split()[1]
    out, err = server.run_step(WORKFLOWS[job], server.secrets | others, expect=10)
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in err
    assert f"::error::HOST KEY MISMATCH: pinned is {server.fingerprint('key')} , " in out
    assert f"the server has {server.fingerprint('host_key')}. Nothing was sent." in out
    assert server.asked == []


@pytest.mark.parametrize("job", JOBS)
def test_a_server_whose_key_is_not_pinned_gets_nothing(server, job):
    known = server.secrets["SERVER_HOST_KNOWN_HOSTS"].replace("[127.0.0.1]", "[127.0.0.2]")
    out, err = server.run_step(WORKFLOWS[job], server.secrets | {"SERVER_HOST_KNOWN_HOSTS": known}, expect=10)
    assert "Host key verification failed" in err
    assert "the server has another one" in out
    assert server.asked == []


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_that_is_not_set_is_named(server, job, name):
    _, err = server.run_step(WORKFLOWS[job], server.secrets | {name: ""}, expect=2)
    assert f"{name}: this secret is not set, see docs/gate.md of Daybreak" in err
    assert server.asked == []


@pytest.mark.parametrize("job", JOBS)
def test_secrets_may_be_pasted_with_the_line_ends_of_windows(server, stand_in, job):
    stand_in()
    server.run_step(WORKFLOWS[job], {name: server.secrets[name] for name in SECRETS[:2]} | {
        name: server.secrets[name].replace("\n", "\r\n") + "\r\n" for name in SECRETS[2:]
    })  # fmt: skip
    assert len(server.asked) == 1


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM], ids=lambda one: one.name)
def test_a_job_that_is_cancelled_leaves_no_key(server, stand_in, job, which):
    began = server.folder / "began"
    stand_in(f"touch '{began}'; while [ -e '{began}' ]; do sleep 0.05; done")
    with server.start_step(WORKFLOWS[job]) as step:
        wait_for(began.exists, what="the script")
        step.send_signal(which)
        assert step.wait(20) == 128 + which
    assert not list(server.runner.iterdir())
    began.unlink()  # and the script ends


# By hand, on the server ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("job", JOBS)
def test_a_script_works_from_a_folder_that_is_gone_with_any_umask_and_hands_words_on(server, stand_in, job, tmp_path):
    stand_in("pwd; exit 5")
    done = subprocess.run(
        ["/bin/sh", "-c", 'umask 0777; mkdir "$1"; chmod 700 "$1"; cd "$1"; rmdir "$1"; exec "$2" --fresh --json', "sh",
         tmp_path / "gone", server.scripts / SCRIPTS[job].name],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env=server.environment | {"DAYBREAK_CONFIG": "/srv/other.toml"},
    )  # fmt: skip
    assert done.returncode == 5, done.stderr
    assert f"called: {WORDS[job]} --fresh --json" in done.stdout
    assert "configuration: /srv/other.toml" in done.stdout
    assert "umask: 0007" in done.stdout
    assert done.stdout.splitlines()[-1] == "/"
