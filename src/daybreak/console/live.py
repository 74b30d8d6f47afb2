"""What goes on, as server-sent events: the live part of a page whenever it changes, and the lines of a run's log.

    part   the page's live part, as HTML that was escaped by its template
    told   one sentence for a screen reader, when something ended or began
    log    lines of the log (a run only)
    end    the run has ended; nothing follows

Shapes  what is sent is made once for all who look at the same thing with the same rights. Somebody always hears
        something: a comment every fifteen seconds. A stream ends after a quarter of an hour; a browser comes again, and
        has to show anew who it is.
Errors  429 with Retry-After where too many look already.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakSet

import anyio.to_thread
from litestar import Request, get
from litestar.exceptions import NotFoundException, TooManyRequestsException
from litestar.params import FromPath
from litestar.response import ServerSentEvent, ServerSentEventMessage
from litestar.types import ControllerRouterHandler

from daybreak.console.guards import needs
from daybreak.console.paging import person_of
from daybreak.console.people import Person, Role
from daybreak.console.views.log import log_since
from daybreak.console.views.overview import overview
from daybreak.console.views.run import run_page
from daybreak.console.world import World

#: How many streams there are at most, together.
CLIENTS: Final = 100
#: How often a run and the overview are looked at, whoever watches.
RUN_S: Final = 1.0
OVERVIEW_S: Final = 3.0
#: So long nobody hears nothing.
BEAT_S: Final = 15.0
#: After this a browser has to come again.
LASTS_S: Final = 900.0
_RETRY_MS: Final = 3000
_Asking = Request[Person | None, Any, Any]


@dataclass(frozen=True, slots=True)
class _Part:
    """The live part of a page."""

    html: str
    told: str
    ended: bool = False


@dataclass(slots=True)
class _Made:
    """What was made last for one thing, and when."""

    at: float = float("-inf")
    part: _Part | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class _Seat:
    """The place of one who looks. It is free again when nobody has it any more, also of a stream that never began."""


class _Stage:
    """Makes each part once for all who look, and counts them."""

    def __init__(self, closing: asyncio.Event) -> None:
        self.closing = closing
        self._seats: WeakSet[_Seat] = WeakSet()
        self._made: dict[tuple[str, bool], _Made] = {}

    async def part(self, key: tuple[str, bool], every_s: float, make: Callable[[], _Part | None]) -> _Part | None:
        """The part as it is now, or was a moment ago."""
        made = self._made.setdefault(key, _Made())
        async with made.lock:
            if time.monotonic() - made.at >= every_s * 0.9:
                made.part = await anyio.to_thread.run_sync(make)
                made.at = time.monotonic()
            return made.part

    def enter(self) -> _Seat:
        """Somebody comes to look. Raise TooManyRequestsException where too many look already."""
        if len(self._seats) >= CLIENTS:
            raise TooManyRequestsException(
                "too many pages are being followed already; load this one again by hand",
                headers={"Retry-After": "30"},
            )
        seat = _Seat()  # taken now: many may come before the first stream begins
        self._seats.add(seat)
        return seat

    def leave(self, seat: _Seat) -> None:
        """Somebody looks no more."""
        self._seats.discard(seat)
        if not self._seats:
            self._made.clear()


def handlers(closing: asyncio.Event | None = None) -> list[ControllerRouterHandler]:
    """The streams, with what they have in common; they end when `closing` is set."""
    stage = _Stage(closing or asyncio.Event())

    @get("/events", guards=[needs(Role.VIEWER)], include_in_schema=False)
    async def overview_events(request: _Asking) -> ServerSentEvent:
        world, person = _world(request), person_of(request)
        make = functools.partial(_overview, request, world, person)
        return _stream(_follow(stage, stage.enter(), (_OVERVIEW, _full(person)), OVERVIEW_S, make))

    @get("/runs/{run:str}/events", guards=[needs(Role.VIEWER)], include_in_schema=False)
    async def run_events(request: _Asking, run: FromPath[str]) -> ServerSentEvent:
        world, person = _world(request), person_of(request)
        make = functools.partial(_run, request, world, person, run)
        if await anyio.to_thread.run_sync(make) is None:
            raise NotFoundException(f"There is no run {run}.")
        begin = request.headers.get("last-event-id") or request.query_params.get("from", "")
        log = _Log(world, run, int(begin) if begin.isascii() and begin.isdigit() else 0) if _full(person) else None
        return _stream(_follow(stage, stage.enter(), (run, _full(person)), RUN_S, make, log=log))

    return [overview_events, run_events]


_OVERVIEW: Final = ""


class _Log:
    """How far somebody has read the log of a run."""

    def __init__(self, world: World, run: str, offset: int) -> None:
        self._folder, self._run, self._offset = world.folder, run, offset

    def more(self) -> ServerSentEventMessage | None:
        """The lines that came since."""
        lines, self._offset = log_since(self._folder, self._run, self._offset)
        if not lines:
            return None
        return ServerSentEventMessage(data="\n".join(lines), event="log", id=self._offset)


async def _follow(
    stage: _Stage,
    seat: _Seat,
    key: tuple[str, bool],
    every_s: float,
    make: Callable[[], _Part | None],
    *,
    log: _Log | None = None,
) -> AsyncGenerator[ServerSentEventMessage]:
    """Whatever changes, until it ends, the time is over, or nobody listens."""
    began, said_at, before = time.monotonic(), time.monotonic(), _Part(html="", told="")
    try:
        yield ServerSentEventMessage(data=None, retry=_RETRY_MS, comment="here")
        while time.monotonic() - began < LASTS_S and not stage.closing.is_set():
            part = await stage.part(key, every_s, make)
            messages: list[ServerSentEventMessage] = []
            if log is not None and (line := await anyio.to_thread.run_sync(log.more)) is not None:
                messages.append(line)
            if part is not None and part.html != before.html:
                messages.append(ServerSentEventMessage(data=part.html, event="part"))
            if part is not None and before.told and part.told != before.told:
                messages.append(ServerSentEventMessage(data=part.told, event="told"))
            if part is None or part.ended:
                messages.append(ServerSentEventMessage(data="ended", event="end"))
            if not messages and time.monotonic() - said_at > BEAT_S:
                messages.append(ServerSentEventMessage(data=None, comment="still here"))
            for one in messages:
                yield one
                said_at = time.monotonic()
            if part is None or part.ended:
                return
            before = part
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stage.closing.wait(), every_s)
    finally:
        stage.leave(seat)


def _stream(events: AsyncGenerator[ServerSentEventMessage]) -> ServerSentEvent:
    return ServerSentEvent(events, headers={"Cache-Control": "no-store"})


def _overview(request: _Asking, world: World, person: Person | None) -> _Part:
    look, view = world.show(overview, person, key="overview")
    html = _render(request, "overview-live.html", look=look, view=view)
    return _Part(html=html, told=f"{view.verdict.answer} {view.verdict.sentence}")


def _run(request: _Asking, world: World, person: Person | None, run: str) -> _Part | None:
    look, view = world.show(lambda look: run_page(look, run), person)
    if view is None:
        return None
    html = _render(request, "run-live.html", look=look, view=view)
    step = view.steps[-1].name if view.steps else ""
    told = f"{view.run.kind} {view.run.plan} {view.run.state}{'' if view.ended or not step else f', {step}'}"
    return _Part(html=html, told=told, ended=view.ended)


def _render(request: _Asking, template: str, **context: object) -> str:
    app: Any = request.app
    html: str = app.template_engine.get_template(template).render(**context)
    return html


def _full(person: Person | None) -> bool:
    return person is not None and person.role >= Role.OPERATOR


def _world(request: _Asking) -> World:
    world: World = request.app.state.world
    return world
