"""Databases in real containers and behind a real sshd, started when first asked for, gone when the session ends."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engines import Box, Dockerd, Engine, docker_over_podman, dockerd
from in_containers import Deployment
from sshd import Sshd, sshd

from containers import Podman
from daybreak.embedded.binaries import tools_folder

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def podman_engine(podman: Podman) -> Engine:
    return Engine(label="podman", runtime="podman", bin=podman.path)


@pytest.fixture(scope="session")
def docker_daemon(scratch: Path) -> Iterator[Dockerd]:
    with dockerd(scratch / "docker", tools_folder()) as daemon:
        yield daemon


@pytest.fixture(scope="session")
def docker_engine(docker_daemon: Dockerd) -> Engine:
    return docker_daemon.engine


@pytest.fixture(scope="session")
def mixed_engine(scratch: Path, podman_engine: Engine) -> Iterator[Engine]:
    with docker_over_podman(scratch / "mixed", tools_folder(), podman_engine) as engine:
        yield engine


@pytest.fixture(scope="session", params=["podman", "docker"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each runtime in turn."""
    found: Engine = request.getfixturevalue(f"{request.param}_engine")
    return found


@pytest.fixture(scope="session")
def vps(scratch: Path, podman_engine: Engine) -> Iterator[Sshd]:
    """A host behind ssh, on which podman knows the containers."""
    with sshd(scratch / "sshd", env=podman_engine.environment()) as server:
        yield server


@pytest.fixture
def deploy(scratch: Path) -> Iterator[Callable[..., Deployment]]:
    """`deploy(engine, dev_mount=…)`: the deployment's containers and a Daybreak for them; gone after the test."""
    with contextlib.ExitStack() as stack:

        def make(engine: Engine, **how: object) -> Deployment:
            folder = scratch / f"site{next(_numbers)}"
            folder.mkdir()
            made = Deployment(folder=folder, engine=engine, **how)
            stack.callback(made.remove)
            return made

        yield make


@pytest.fixture(scope="session")
def box(podman_engine: Engine) -> Iterator[Box]:
    """One container for tests that only ask."""
    made = podman_engine.start("box")
    yield made
    made.remove()
