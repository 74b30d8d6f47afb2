"""Whoever is killed in the middle: archive and dev are whole, nothing is left running, the next run is green.

One blow for each here, behind ssh for one of two, with a printed seed. `DAYBREAK_BLOWS=10` strikes each ten times in a
dump and ten times in a restore; `just blows` does.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable

import pytest
from engines import SUDO, Dockerd, Engine
from in_containers import Deployment
from sshd import Sshd

from installation import Started, processes, wait_for

Deploy = Callable[..., Deployment]
SEED = int(os.environ.get("DAYBREAK_SEED", "") or random.SystemRandom().randrange(10**6))
#: How often each is struck in each verb; 0: once, in one of them. Read here: the tests run without our variables.
BLOWS = int(os.environ.get("DAYBREAK_BLOWS", "0"))
ROWS = 250_000
#: A run may be quicker than the blow; then it is tried again, so often, and each time sooner.
TRIES = 5
#: What became of a swap could not be seen.
UNSEEN = 17
TOOLS = {"backup": "pg_dump -w", "refresh": "pg_restore -w"}


def blow(site: Deployment, going: Started, victim: str, daemon: Dockerd | None = None) -> None:
    """Kill one of those who take part."""
    clients = {"podman": ["podman", "exec"], "docker": ["docker", "exec"], "ssh": ["/usr/bin/ssh", "-F"]}
    if victim == "daybreak":
        going.process.kill()
    elif victim == "client":
        words = clients["ssh" if site.vps else site.engine.runtime]
        # None, if the run was quicker than the blow.
        for pid in processes(*words, "daybreak-watchdog", below=going.process.pid):
            subprocess.run([*SUDO, "kill", "-9", str(pid)], check=False)
    elif victim == "container":
        site.engine.call("kill", "-s", "KILL", (site.dev if "refresh" in str(going.process.args) else site.prod).name)
    elif victim == "session":
        assert site.vps is not None
        for pid in site.vps.sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    else:
        assert daemon is not None
        daemon.kill()


def await_tool(site: Deployment, verb: str, going: Started) -> None:
    """Wait until the verb's program works in its container, or the run has ended."""
    box, tool = site.prod if verb == "backup" else site.dev, TOOLS[verb]
    wait_for(
        lambda: any(tool in line for line in box.ours()) or going.process.poll() is not None, within_s=90, what=tool
    )


def how_long(site: Deployment, verb: str) -> float:
    """From the moment that its program is seen to the end of an undisturbed run."""
    with site.start(verb, "--json") as going:
        await_tool(site, verb, going)
        began = time.monotonic()
        assert going.end().code == 0
        return time.monotonic() - began


def strike(site: Deployment, verb: str, victim: str, delay: float, daemon: Dockerd | None = None) -> int:
    """One blow in the middle of a dump or a restore, and everything that must hold afterwards; the exit code."""
    dev, published = site.in_dev(), site.fingerprint()
    with site.start(verb, "--json") as going:
        await_tool(site, verb, going)
        time.sleep(delay)
        blow(site, going, victim, daemon)
        end = going.end()
    code = end.code
    expected = {0, 10, 11, 12} if verb == "backup" else {0, 11, 12, 15, 16, UNSEEN}
    assert code in ({-signal.SIGKILL, 0} if victim == "daybreak" else expected), f"{victim} {verb}: {end}"
    for one in (site.prod, site.dev):
        one.engine.call("start", one.name)
        one.await_ready()
    wait_for(lambda: not [*site.prod.ours(), *site.dev.ours()], within_s=20, what="the end of all that was started")
    if code == UNSEEN:  # the server went away inside the swap; the hint says what to do when it is back
        site.json("repair")
    if code in {-signal.SIGKILL, UNSEEN}:  # it may have been done, but for the last words
        assert site.in_dev() in {dev, site.in_prod()}
        site.manifest()
    elif code != 0:
        assert site.in_dev() == dev
        assert site.fingerprint() == published
    site.refresh("--fresh")
    assert site.in_dev() == site.in_prod()
    assert site.manifest().rows == ROWS
    assert site.left_behind() == []
    assert site.leftovers() == []
    return code


@pytest.fixture
def chance() -> random.Random:
    print(f"seed {SEED}")  # noqa: T201 -- pytest shows it with a failure
    return random.Random(SEED)  # noqa: S311 -- for tests


def rounds(victims: str, chance: random.Random) -> list[tuple[str, str]]:
    """Whom to strike in which verb."""
    if not BLOWS:
        return [(victim, chance.choice(["backup", "refresh"])) for victim in victims.split()]
    return [(victim, verb) for victim in victims.split() for verb in ("backup", "refresh") for _ in range(BLOWS)]


def strike_all(site: Deployment, victims: str, chance: random.Random, daemon: Dockerd | None = None) -> None:
    """The first refresh in peace, then blow after blow."""
    site.refresh("--first")
    planned = rounds(victims, chance)
    lasts = {verb: how_long(site, verb) for verb in sorted({verb for _, verb in planned})}
    in_time = 0
    for number, (victim, verb) in enumerate(planned, 1):
        for again in range(TRIES):
            code = strike(site, verb, victim, chance.uniform(0, 0.8 * lasts[verb] / 2**again), daemon)
            said = f"exit {code}" if code else "it came too late"
            print(f"{site.engine.label} blow {number}: {victim} in {verb}, {said}, whole", flush=True)  # noqa: T201 -- the figures
            if code:
                in_time += 1
                break
    assert in_time > len(planned) // 2, f"{in_time} of {len(planned)} blows came before the end of the run"


@pytest.mark.timeout(3 * 3600)
def test_blows_in_podman(deploy: Deploy, podman_engine: Engine, chance: random.Random) -> None:
    strike_all(deploy(podman_engine, rows=ROWS, dev_mount="none"), "daybreak client container", chance)


@pytest.mark.timeout(3 * 3600)
def test_blows_in_docker(deploy: Deploy, docker_engine: Engine, chance: random.Random) -> None:
    strike_all(deploy(docker_engine, rows=ROWS), "client", chance)


@pytest.mark.timeout(3 * 3600)
def test_blows_behind_ssh(deploy: Deploy, podman_engine: Engine, vps: Sshd, chance: random.Random) -> None:
    victims = "client session"  # each blow takes a minute or two there: one of the two where the gate is
    strike_all(deploy(podman_engine, vps=vps, rows=ROWS), victims if BLOWS else chance.choice(victims.split()), chance)


@pytest.mark.timeout(3 * 3600)
def test_the_daemon_dies(deploy: Deploy, docker_daemon: Dockerd, chance: random.Random) -> None:
    """Containers and their databases die with this daemon, and come back with it."""
    strike_all(deploy(docker_daemon.engine, rows=ROWS), "daemon", chance, docker_daemon)
