"""What other programs ask without signing in: `/healthz` and, from this host alone, `/metrics`.

Neither has a secret or the name of a person, and neither changes anything.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Final

from litestar import MediaType, Request, Response, get
from litestar.types import ControllerRouterHandler

from daybreak import files
from daybreak.console.world import World
from daybreak.errors import DaybreakError
from daybreak.jobs.measure import measure
from daybreak.metrics import CONTENT_TYPE, render
from daybreak.runner.words import SOCKET

#: What a proxy says of the visitor: behind one, everybody seems to come from this host.
_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


def handlers() -> list[ControllerRouterHandler]:
    """Both."""
    return [healthz, metrics]


@get("/healthz", sync_to_thread=True, opt={"open": True}, summary="Whether everything is up that pages stand on")
def healthz(request: Request[Any, Any, Any]) -> Response[dict[str, bool]]:
    """200 where the configuration counts, the catalog can be read and the runner listens; else 503, with which."""
    world: World = request.app.state.world
    seen = world.look()
    found = {"configuration": seen.configured and not world.faults, "catalog": seen.known, "runner": _listens(world)}
    return Response(found, status_code=200 if all(found.values()) else 503)


@get("/metrics", sync_to_thread=True, opt={"open": True}, media_type=MediaType.TEXT, include_in_schema=False)
def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Every number of every plan, as Prometheus reads them; for programs on this host."""
    if not _is_here(request):
        return Response(b"only for this host\n", status_code=403, media_type=MediaType.TEXT)
    world: World = request.app.state.world
    seen = world.look()
    if not seen.known:
        return Response(b"the catalog cannot be read\n", status_code=503, media_type=MediaType.TEXT)
    plans = seen.settings
    try:
        found = measure(seen.catalog, plans.backups.values(), plans.refreshes.values(), seen.at)
    except DaybreakError as error:  # Prometheus sees the target as down
        return Response(error.code.encode() + b"\n", status_code=503, media_type=MediaType.TEXT)
    return Response(render(found), headers={"Content-Type": CONTENT_TYPE})


def _is_here(request: Request[Any, Any, Any]) -> bool:
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _listens(world: World) -> bool:
    """Whether a runner lives: it holds its lock as long as it does. Nothing is asked of it."""
    try:
        return files.is_locked((world.folder / SOCKET).with_suffix(".lock"))
    except OSError:
        return False
