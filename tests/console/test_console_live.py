"""What goes on, followed over a real port: parts, lines of the log, the end, and too many who look."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import socket
import threading
import time
from collections.abc import Generator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import uvicorn
from console_view_samples import begin_run, person_of, sample_app, sample_settings, sample_world

from daybreak.catalog import Catalog
from daybreak.console import live
from daybreak.console.people import Role
from daybreak.jobs.run import now
from daybreak.model import RunState


@contextlib.contextmanager
def _served(folder: Path, role: Role) -> Generator[int]:
    """The console on a port of its own."""
    world = sample_world(folder, settings=sample_settings(folder), at=None)
    app = sample_app(world, person_of(role))
    sock = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield sock.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        sock.close()


class _Stream:
    """One stream, as a browser reads it."""

    def __init__(self, port: int, path: str, **headers: str) -> None:
        self._line = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self._line.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        self.answer = self._line.getresponse()

    def events(self) -> Iterator[tuple[str, str, str]]:
        """Name, data and id of each event; comments are named "comment"."""
        name, data, id_ = "message", list[str](), ""
        while line := self.answer.readline():
            text = line.decode().rstrip("\r\n")
            key, _, value = text.partition(": ")
            match key:
                case "event":
                    name = value
                case "data":
                    data.append(value)
                case "id":
                    id_ = value
                case "" if text.startswith(": "):
                    yield "comment", value, ""
                case "" if data:
                    yield name, "\n".join(data), id_
                    name, data = "message", []
        yield "closed", "", ""

    def close(self) -> None:
        self.answer.close()
        self._line.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[Catalog, Path, str]]:
    """A backup that goes on, its lock held."""
    with Catalog.open(tmp_path) as catalog:
        run = begin_run(catalog, tmp_path, now())
        with (tmp_path / "runs" / f"{run}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield catalog, tmp_path, run


def test_a_run_is_followed_to_its_end(running: tuple[Catalog, Path, str]) -> None:
    catalog, folder, run = running
    with _served(folder, Role.OPERATOR) as port:
        stream = _Stream(port, f"/runs/{run}/events?from=0")
        assert stream.answer.status == 200
        assert stream.answer.headers["content-type"].startswith("text/event-stream")
        assert stream.answer.headers["cache-control"] == "no-store"
        events = stream.events()
        assert next(events)[0] == "comment"
        name, data, id_ = next(events)
        assert (name, data.count("step dump"), id_) == ("log", 20, "800")
        name, data, _ = next(events)
        assert name == "part"
        assert "public.maps" in data
        assert "about" in data  # how long it may still take
        with (folder / "logs" / f"{run}.log").open("a") as log:
            log.write("a new line \x1b[31m<b>\nhalf")
        new = next(one for one in events if one[0] == "log")
        assert new[1] == "a new line <b>"
        catalog.runs.end_step(run, 1, at=now(), facts={"rows": 5})
        catalog.runs.set_state(run, RunState.SUCCEEDED, at=now())
        rest = list(events)
        assert ("end", "ended", "800") not in rest
        assert [name for name, _, _ in rest][-2:] == ["end", "closed"]
        assert "succeeded" in [data for name, data, _ in rest if name == "told"][-1]
        stream.close()


def test_a_viewer_gets_no_line_of_the_log(running: tuple[Catalog, Path, str]) -> None:
    catalog, folder, run = running
    with _served(folder, Role.VIEWER) as port:
        stream = _Stream(port, f"/runs/{run}/events?from=0")
        events = stream.events()
        assert [next(events)[0], next(events)[0]] == ["comment", "part"]
        catalog.runs.set_state(run, RunState.CANCELLED, at=now(), reason="cancelled by ada")
        assert "log" not in {name for name, _, _ in events}
        stream.close()


def test_the_log_goes_on_where_a_broken_line_left_it(running: tuple[Catalog, Path, str]) -> None:
    _, folder, run = running
    with _served(folder, Role.OPERATOR) as port:
        stream = _Stream(port, f"/runs/{run}/events?from=0", Last_Event_ID="760")
        log = next(one for one in stream.events() if one[0] == "log")
        assert log[1].count("step dump") == 1
        stream.close()


def test_a_run_that_is_over_ends_at_once(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        run = begin_run(catalog, tmp_path, now() - timedelta(hours=1))
        catalog.runs.set_state(run, RunState.SUCCEEDED, at=now())
    with _served(tmp_path, Role.VIEWER) as port:
        stream = _Stream(port, f"/runs/{run}/events")
        assert [name for name, _, _ in stream.events()] == ["comment", "part", "end", "closed"]
        stream.close()


def test_the_overview_goes_on(running: tuple[Catalog, Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "OVERVIEW_S", 0.1)
    monkeypatch.setattr(live, "BEAT_S", 0.2)
    catalog, folder, run = running
    with _served(folder, Role.VIEWER) as port:
        stream = _Stream(port, "/events")
        events = stream.events()
        first = next(one for one in events if one[0] == "part")
        assert "Running now" in first[1]
        catalog.runs.set_state(run, RunState.SUCCEEDED, at=now())
        assert "Running now" not in next(one for one in events if one[0] == "part")[1]
        assert next(one for one in events if one[0] == "comment")[1] == "still here"
        stream.close()


def test_too_many_who_look_are_sent_away_and_make_room_when_they_go(
    running: tuple[Catalog, Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "CLIENTS", 2)
    _, folder, run = running
    with _served(folder, Role.VIEWER) as port:
        streams = [_Stream(port, f"/runs/{run}/events") for _ in range(2)]
        for one in streams:
            next(one.events())
        third = _Stream(port, "/events")
        assert third.answer.status == 429
        assert third.answer.headers["retry-after"] == "30"
        third.close()
        for one in streams:
            one.close()
        until = time.monotonic() + 15
        while True:
            again = _Stream(port, "/events")
            status = again.answer.status
            again.close()
            if status == 200 or time.monotonic() > until:
                break
            time.sleep(0.2)
        assert status == 200


def test_a_crowd_that_comes_at_once_gets_no_more_room(
    running: tuple[Catalog, Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "CLIENTS", 3)
    _, folder, _ = running
    with _served(folder, Role.VIEWER) as port, contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30)) for _ in range(20)]
        for one in crowd:
            one.sendall(f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        answers = [one.recv(12) for one in crowd]
        assert sorted(answers) == [b"HTTP/1.1 200"] * 3 + [b"HTTP/1.1 429"] * 17


def test_a_stream_ends_after_its_time(running: tuple[Catalog, Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LASTS_S", 0.5)
    _, folder, run = running
    with _served(folder, Role.VIEWER) as port:
        stream = _Stream(port, f"/runs/{run}/events")
        assert [name for name, _, _ in stream.events()][-1] == "closed"
        stream.close()
