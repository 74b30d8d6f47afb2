"""The pages that look. They read; whatever is to be done stands on pages of its own (`asking.py`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from litestar import Request, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.response import Template
from litestar.types import ControllerRouterHandler

from daybreak.console.guards import needs
from daybreak.console.inquiry import new_key
from daybreak.console.paging import page, person_of
from daybreak.console.people import Person, Role
from daybreak.console.stepup import is_fresh
from daybreak.console.views.archive import archive_page
from daybreak.console.views.archives import archive_list
from daybreak.console.views.dev import dev
from daybreak.console.views.doctor import doctor, examined_at
from daybreak.console.views.log import LogPart, log_part
from daybreak.console.views.offsite import off_site, repository_page
from daybreak.console.views.overview import overview
from daybreak.console.views.run import run_page
from daybreak.console.views.runs import read_asked, run_list
from daybreak.console.views.schedule import week
from daybreak.console.views.settings import settings_page
from daybreak.console.world import Look, World

_Asking = Request[Person | None, Any, Any]
_T = TypeVar("_T")
_LOOK = [needs(Role.VIEWER)]


def handlers() -> list[ControllerRouterHandler]:
    """Every page that looks."""
    return [
        _overview,
        _runs,
        _run,
        _archives,
        _archive,
        _off_site,
        _repository,
        _dev,
        _schedule,
        _doctor,
        _settings,
        _api,
    ]


@get("/", guards=_LOOK, sync_to_thread=True, include_in_schema=False)
def _overview(request: _Asking) -> Template:
    return _shown(request, "overview.html", overview, key="overview")


@get("/runs", guards=_LOOK, sync_to_thread=True, include_in_schema=False)
def _runs(request: _Asking) -> Template:
    asked = read_asked(dict(request.query_params))
    return _shown(request, "runs.html", lambda look: run_list(look, asked))


@get("/runs/{run:str}", guards=_LOOK, sync_to_thread=True, include_in_schema=False)
def _run(request: _Asking, run: FromPath[str]) -> Template:
    query = str(request.query_params.get("q", ""))
    look, view = _world(request).show(lambda look: run_page(look, run), person_of(request))
    if view is None:
        raise _missing(look, f"There is no run {run}.")
    log = log_part(look, run, query) if look.full else LogPart(lines=(), query="", cut=False, size_bytes=0, next=0)
    return page(request, "run.html", look=look, view=view, log=log, key=new_key())


@get("/archives", guards=_LOOK, sync_to_thread=True, include_in_schema=False)
def _archives(request: _Asking) -> Template:
    plan, number = str(request.query_params.get("plan", "")), _number(request)
    return _shown(
        request, "archives.html", lambda look: archive_list(look, plan, number), key=f"archives {number} {plan}"
    )


@get("/archives/{archive:str}", guards=_LOOK, sync_to_thread=True, include_in_schema=False)
def _archive(request: _Asking, archive: FromPath[str]) -> Template:
    look, view = _world(request).show(
        lambda look: archive_page(look, archive), person_of(request), key=f"archive {archive}"
    )
    if view is None:
        raise _missing(look, f"There is no archive {archive}.")
    world, person = _world(request), person_of(request)
    downloads = world.console.downloads
    wanted = downloads and request.query_params.get("begin") == "download"
    begins = wanted and person is not None and person.role >= Role.RESTORER and is_fresh(person, world)
    return page(request, "archive.html", look=look, view=view, downloads=downloads, begins=begins)


@get("/off-site", guards=_LOOK, sync_to_thread=True, include_in_schema=False)
def _off_site(request: _Asking) -> Template:
    return _shown(request, "off-site.html", off_site, key="off-site")


@get("/off-site/{repository:str}", guards=_LOOK, sync_to_thread=True, include_in_schema=False)
def _repository(request: _Asking, repository: FromPath[str]) -> Template:
    number = _number(request)
    look, view = _world(request).show(
        lambda look: repository_page(look, repository, number),
        person_of(request),
        key=f"repository {number} {repository}",
    )
    if view is None:
        raise _missing(look, f"The configuration has no repository {repository}.")
    return page(request, "repository.html", look=look, view=view)


@get("/dev", guards=_LOOK, sync_to_thread=True, include_in_schema=False)
def _dev(request: _Asking) -> Template:
    return _shown(request, "dev.html", dev, key="dev")


@get("/schedule", guards=_LOOK, sync_to_thread=True, include_in_schema=False)
def _schedule(request: _Asking) -> Template:
    return _shown(request, "schedule.html", week, key="schedule")


@get("/doctor", guards=_LOOK, sync_to_thread=True, include_in_schema=False)
def _doctor(request: _Asking) -> Template:
    examined = dict(_world(request).examined)
    return _shown(request, "doctor.html", lambda look: doctor(look, examined), key=f"doctor {examined_at(examined)}")


@get("/settings", guards=[needs(Role.OPERATOR)], sync_to_thread=True, include_in_schema=False)
def _settings(request: _Asking) -> Template:
    alone = _world(request).alone
    return _shown(request, "settings.html", lambda look: settings_page(look, alone=alone))


@get("/api", guards=_LOOK, sync_to_thread=True, include_in_schema=False)
def _api(request: _Asking) -> Template:
    state = request.app.state
    if "routes" not in state:
        state["routes"] = _routes(request.app.openapi_schema.to_schema())
    return _shown(request, "api.html", lambda _look: state["routes"])


def _routes(document: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Method, path, and what each of the API's routes is for."""
    paths: Mapping[str, Mapping[str, Mapping[str, Any]]] = document["paths"]
    return [
        (method.upper(), path, str(told.get("summary", "")), str(told.get("description", "")))
        for path, methods in paths.items()
        for method, told in methods.items()
    ]


def _shown(request: _Asking, template: str, view: Callable[[Look], _T], *, key: str = "") -> Template:
    look, made = _world(request).show(view, person_of(request), key=key)
    return page(request, template, look=look, view=made)


def _world(request: _Asking) -> World:
    world: World = request.app.state.world
    return world


def _missing(look: Look, text: str) -> NotFoundException:
    """Not there; or, where the catalog cannot be read, nobody knows."""
    return NotFoundException(text if look.known else f"{text} {' '.join(look.faults)}")


def _number(request: _Asking) -> int:
    text = str(request.query_params.get("page", "1"))
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 1  # noqa: PLR2004 -- a million pages
