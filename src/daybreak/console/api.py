"""The reading side of the API: the same records that the pages show, as JSON. Its document is made by Litestar.

Shapes  instants are RFC 3339 in UTC, sizes bytes, durations seconds; a `tone` is ok, warning, failed, running or none.
Errors  401 and 403 by role; 404 for what is not there; 503 where the catalog cannot be read, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from litestar import Request, get
from litestar.exceptions import NotFoundException, ServiceUnavailableException
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.types import ControllerRouterHandler

from daybreak.console.guards import needs
from daybreak.console.paging import person_of
from daybreak.console.people import Person, Role
from daybreak.console.views.archive import ArchivePage, archive_page
from daybreak.console.views.archives import ArchiveList, archive_list
from daybreak.console.views.dev import Dev, dev
from daybreak.console.views.doctor import DoctorPage, doctor, examined_at
from daybreak.console.views.log import LogPart, log_part
from daybreak.console.views.offsite import OffSite, RepositoryPage, off_site, repository_page
from daybreak.console.views.overview import Overview, overview
from daybreak.console.views.run import RunPage, run_page
from daybreak.console.views.runs import RunList, read_asked, run_list
from daybreak.console.views.schedule import Week, week
from daybreak.console.views.settings import SettingsPage, settings_page
from daybreak.console.world import Look, World

_Asking = Request[Person | None, Any, Any]
_T = TypeVar("_T")
_LOOK = [needs(Role.VIEWER)]
_OPERATE = [needs(Role.OPERATOR)]


def handlers() -> list[ControllerRouterHandler]:
    """Every route below `/api/` that looks."""
    return [
        get_overview,
        get_runs,
        get_run,
        get_run_log,
        get_archives,
        get_archive,
        get_off_site,
        get_repository,
        get_dev,
        get_schedule,
        get_doctor,
        get_settings,
    ]


@get("/api/overview", guards=_LOOK, sync_to_thread=True, tags=["look"], summary="Are we safe?")
def get_overview(request: _Asking) -> Overview:
    """The verdict, what needs attention, thirty days of every database. `faults` says what could not be read."""
    return _world(request).show(overview, person_of(request), key="overview")[1]


@get("/api/runs", guards=_LOOK, sync_to_thread=True, tags=["look"], summary="Runs")
def get_runs(  # noqa: PLR0917 -- Litestar hands them over by name
    request: _Asking,
    plan: FromQuery[str] = "",
    kind: FromQuery[str] = "",
    in_state: Annotated[str, QueryParameter(name="state")] = "",
    trigger: FromQuery[str] = "",
    since: FromQuery[str] = "",
    until: FromQuery[str] = "",
    page: FromQuery[int] = 1,
) -> RunList:
    """A page of runs, newest first, and the slots that no run did. `since` and `until` are days."""
    query = {"plan": plan, "kind": kind, "state": in_state, "trigger": trigger, "since": since, "until": until}
    asked = read_asked(query | {"page": str(page)})
    return _known(request, lambda look: run_list(look, asked))


@get("/api/runs/{run:str}", guards=_LOOK, sync_to_thread=True, tags=["look"], summary="One run")
def get_run(request: _Asking, run: FromPath[str]) -> RunPage:
    """Its steps, where it is, why it failed and what to do next."""
    return _there(_known(request, lambda look: run_page(look, run)), f"there is no run {run}")


@get("/api/runs/{run:str}/log", guards=_OPERATE, sync_to_thread=True, tags=["look"], summary="The log of a run")
def get_run_log(request: _Asking, run: FromPath[str], q: FromQuery[str] = "") -> LogPart:
    """The end of its log, or the lines that hold `q`."""

    def part(look: Look) -> LogPart | None:
        return log_part(look, run, q) if look.catalog.runs.get(run) is not None else None

    return _there(_known(request, part), f"there is no run {run}")


@get("/api/archives", guards=_LOOK, sync_to_thread=True, tags=["look"], summary="Archives")
def get_archives(request: _Asking, plan: FromQuery[str] = "", page: FromQuery[int] = 1) -> ArchiveList:
    """A page of archives, newest first: where each copy is, whether it was proven, why it is kept."""
    return _known(request, lambda look: archive_list(look, plan, page), key=f"archives {page} {plan}")


@get("/api/archives/{archive:str}", guards=_LOOK, sync_to_thread=True, tags=["look"], summary="One archive")
def get_archive(request: _Asking, archive: FromPath[str]) -> ArchivePage:
    """Its tables against the one before, and its chain from the dump to every restore."""
    return _there(
        _known(request, lambda look: archive_page(look, archive), key=f"archive {archive}"),
        f"there is no archive {archive}",
    )


@get("/api/off-site", guards=_LOOK, sync_to_thread=True, tags=["look"], summary="Repositories")
def get_off_site(request: _Asking) -> OffSite:
    """How each repository is, how it grew, what was read of it."""
    return _known(request, off_site, key="off-site")


@get("/api/off-site/{repository:str}", guards=_LOOK, sync_to_thread=True, tags=["look"], summary="One repository")
def get_repository(request: _Asking, repository: FromPath[str], page: FromQuery[int] = 1) -> RepositoryPage:
    """Its snapshots, with what the rules say for each."""
    view = _known(request, lambda look: repository_page(look, repository, page), key=f"repository {page} {repository}")
    return _there(view, f"the configuration has no repository {repository}")


@get("/api/dev", guards=_LOOK, sync_to_thread=True, tags=["look"], summary="Targets")
def get_dev(request: _Asking) -> Dev:
    """How fresh every target is, and its last refreshes."""
    return _known(request, dev, key="dev")


@get("/api/schedule", guards=_LOOK, sync_to_thread=True, tags=["look"], summary="A week of slots")
def get_schedule(request: _Asking) -> Week:
    """A week back and a week ahead of every plan."""
    return _known(request, week, key="schedule")


@get("/api/doctor", guards=_LOOK, sync_to_thread=True, tags=["look"], summary="What the doctor found")
def get_doctor(request: _Asking) -> DoctorPage:
    """What was found when somebody last asked, and what the catalog says without asking anybody."""
    examined = dict(_world(request).examined)
    return _known(request, lambda look: doctor(look, examined), key=f"doctor {examined_at(examined)}")


@get("/api/settings", guards=_OPERATE, sync_to_thread=True, tags=["look"], summary="The configuration")
def get_settings(request: _Asking) -> SettingsPage:
    """The configuration as Daybreak understands it. Secrets are only named."""
    alone = _world(request).alone
    return _known(request, lambda look: settings_page(look, alone=alone))


def _known(request: _Asking, view: Callable[[Look], _T], *, key: str = "") -> _T:
    look, made = _world(request).show(view, person_of(request), key=key)
    if not look.known:
        raise ServiceUnavailableException("; ".join(look.faults) or "the catalog cannot be read")
    return made


def _there(made: _T | None, what: str) -> _T:
    if made is None:
        raise NotFoundException(what)
    return made


def _world(request: _Asking) -> World:
    world: World = request.app.state.world
    return world
