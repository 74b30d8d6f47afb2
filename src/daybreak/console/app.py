"""The application: routes, templates, what stands before them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.static_files import create_static_files_router  # pyright: ignore[reportUnknownVariableType] -- Litestar's own types
from litestar.template.config import TemplateConfig
from litestar.types import ControllerRouterHandler

from daybreak.console.faultpages import exception_handlers
from daybreak.console.furnish import furnish
from daybreak.console.guards import needs
from daybreak.console.people import Role
from daybreak.console.security import Middleware
from daybreak.console.world import World

_HERE: Final = Path(__file__).parent


def _furnish(engine: JinjaTemplateEngine) -> None:
    furnish(engine.engine)


def build(world: World, *, handlers: Sequence[ControllerRouterHandler], middleware: Sequence[Middleware]) -> Litestar:
    """The console of a world; `middleware` stands before everything, unknown paths too, the first outermost."""
    app = Litestar(
        # One router: Litestar registers a handler again for each later one of the same path, and then runs it wrongly.
        route_handlers=[
            Router("/", route_handlers=handlers),
            create_static_files_router(path="/static", directories=[_HERE / "static"]),
        ],
        exception_handlers=exception_handlers(),
        logging_config=None,  # Litestar's own takes the log of the whole process, down to what httpx tells of addresses
        state=State({"world": world}),
        openapi_config=OpenAPIConfig(
            title="Daybreak",
            version=version("daybreak"),
            description="Everything that the console's pages show and do, as JSON, with the same roles.",
            openapi_router=Router("/api/schema", route_handlers=[], guards=[needs(Role.VIEWER)]),
            render_plugins=[JsonRenderPlugin()],  # no page of somebody else's, and nothing from a CDN
        ),
        template_config=TemplateConfig(
            directory=_HERE / "templates", engine=JinjaTemplateEngine, engine_callback=_furnish
        ),
    )
    for wrap in reversed(middleware):
        # Litestar's own middleware begins behind the routes: a path that nobody has would come past it.
        app.asgi_handler = wrap(app.asgi_handler)
    return app
