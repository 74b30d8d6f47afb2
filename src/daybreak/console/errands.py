"""What is asked of the runner at once, with an answer instead of a run: plans, locks, files, the doctor, tests.

And what is done to runs: they are cancelled, or begun again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from litestar import Response, get, post
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect, Template
from litestar.types import ControllerRouterHandler

from daybreak.console.asking import Asking, Done, Form, Key, Note, Problem, problem, who, world_of
from daybreak.console.guards import needs, person_of
from daybreak.console.inquiry import answer, answers, new_key, signed, status_of
from daybreak.console.paging import page
from daybreak.console.people import Role
from daybreak.console.retrying import again
from daybreak.console.world import Examined, Look
from daybreak.errors import DaybreakError, UsageError
from daybreak.jobs.doctor.finding import Finding, Severity
from daybreak.runner.looks import Reply
from daybreak.runner.words import (
    Cancel,
    Doctor,
    Files,
    Locks,
    LookAhead,
    LookAtForgetting,
    NotifyTest,
    Request,
    Snapshots,
)
from daybreak.site.base import pick

#: So many files of a snapshot stand on its page.
_SHOWN: Final = 200
_OPERATE: Final = [needs(Role.OPERATOR)]


def handlers(note: Note) -> list[ControllerRouterHandler]:
    """All of them."""
    return [
        *(_plan, _plan_document, _locks, _locks_document, _snapshot, _snapshot_document),
        *(_listed_document, _forgetting_document),
        *_cancelling(note),
        *_retrying(note),
        *_examining(note),
        *_testing(note),
    ]


# -- looks ------------------------------------------------------------------------------------------------


@get("/dev/{plan:str}/plan", guards=_OPERATE, sync_to_thread=True, include_in_schema=False)
def _plan(request: Asking, plan: FromPath[str]) -> Template:
    _require(request, lambda look: look.settings.refreshes, plan, "refresh")
    return _told(request, "actions/plan.html", LookAhead(plan=plan), plan=plan)


@get("/api/dev/{plan:str}/plan", guards=_OPERATE, sync_to_thread=True, tags=["look"], summary="What a refresh would do")
def _plan_document(request: Asking, plan: FromPath[str]) -> Response[dict[str, Any]] | Response[Problem]:
    _require(request, lambda look: look.settings.refreshes, plan, "refresh")
    return _one(request, LookAhead(plan=plan))


@get("/off-site/{repository:str}/locks", guards=_OPERATE, sync_to_thread=True, include_in_schema=False)
def _locks(request: Asking, repository: FromPath[str]) -> Template:
    _require(request, lambda look: look.settings.repositories, repository, "repository")
    return _told(request, "actions/locks.html", Locks(repository=repository), repository=repository, key=new_key())


@get(
    "/api/off-site/{repository:str}/locks", guards=_OPERATE, sync_to_thread=True, tags=["look"], summary="Who holds it"
)
def _locks_document(request: Asking, repository: FromPath[str]) -> Response[dict[str, Any]] | Response[Problem]:
    _require(request, lambda look: look.settings.repositories, repository, "repository")
    return _one(request, Locks(repository=repository))


@get(
    "/off-site/{repository:str}/snapshots/{snapshot:str}",
    guards=_OPERATE,
    sync_to_thread=True,
    include_in_schema=False,
)
def _snapshot(request: Asking, repository: FromPath[str], snapshot: FromPath[str]) -> Template:
    _require(request, lambda look: look.settings.repositories, repository, "repository")

    def tables(look: Look) -> tuple[str, list[tuple[str, int]]]:
        for one in look.catalog.snapshots.list(repository=repository, forgotten=True):
            record = look.catalog.archives.get(one.archive) if one.id.startswith(snapshot) else None
            if record is not None:
                return record.archive.id, sorted(record.table_rows.items())
        return "", []

    _, (archive, rows) = world_of(request).show(tables, person_of(request))
    found, error = _all(request, Files(repository=repository, snapshot=snapshot))
    files = [one for part in found for one in part["files"]]
    return page(
        request,
        "actions/snapshot.html",
        status=200 if error is None else status_of(error),
        repository=repository,
        snapshot=snapshot,
        files=files,
        shown=_SHOWN,
        archive=archive,
        tables=rows,
        error=error,
    )


@get(
    "/api/off-site/{repository:str}/snapshots/{snapshot:str}",
    guards=_OPERATE,
    sync_to_thread=True,
    tags=["look"],
    summary="The files of a snapshot",
)
def _snapshot_document(
    request: Asking, repository: FromPath[str], snapshot: FromPath[str]
) -> Response[dict[str, Any]] | Response[Problem]:
    _require(request, lambda look: look.settings.repositories, repository, "repository")
    return _joined(request, Files(repository=repository, snapshot=snapshot), "files")


@get(
    "/api/off-site/{repository:str}/snapshots",
    guards=_OPERATE,
    sync_to_thread=True,
    tags=["look"],
    summary="What the repository itself says it holds",
)
def _listed_document(request: Asking, repository: FromPath[str]) -> Response[dict[str, Any]] | Response[Problem]:
    _require(request, lambda look: look.settings.repositories, repository, "repository")
    return _joined(request, Snapshots(repository=repository), "snapshots")


@get(
    "/api/off-site/{repository:str}/forget",
    guards=_OPERATE,
    sync_to_thread=True,
    tags=["look"],
    summary="What would be forgotten, and why; `seen` is what the act wants to hear",
)
def _forgetting_document(
    request: Asking, repository: FromPath[str], only: FromQuery[str] = ""
) -> Response[dict[str, Any]] | Response[Problem]:
    _require(request, lambda look: look.settings.repositories, repository, "repository")
    return _one(request, LookAtForgetting(repository=repository, only=only))


# -- runs ---------------------------------------------------------------------------------------------------


def _cancelling(note: Note) -> list[ControllerRouterHandler]:
    guards = [needs(Role.OPERATOR, "cancel")]

    def cancel(request: Asking, run: str) -> Reply:
        said = answer(world_of(request), signed(Cancel(run=run), who(request)))
        note(request, "cancel", f"run {run}", "asked for")
        return said

    @post("/runs/{run:str}/cancel", guards=guards, sync_to_thread=True, include_in_schema=False)
    def form(request: Asking, run: FromPath[str], data: Form) -> Redirect | Template:  # noqa: ARG001 -- its csrf was looked at
        try:
            cancel(request, run)
        except DaybreakError as error:
            return _refused(request, note, "cancel", f"run {run}", error, back=f"/runs/{run}")
        return Redirect(f"/runs/{run}", status_code=303)

    @post("/api/runs/{run:str}/cancel", guards=guards, sync_to_thread=True, tags=["act"], summary="Ask a run to end")
    def document(request: Asking, run: FromPath[str]) -> Response[Done] | Response[Problem]:
        try:
            said = cancel(request, run)
        except DaybreakError as error:
            return _problem(request, note, "cancel", f"run {run}", error)
        return Response(Done(run=run, state=str(said["state"]), joined=False, said=said), status_code=202)

    return [form, document]


def _retrying(note: Note) -> list[ControllerRouterHandler]:
    guards = [needs(Role.OPERATOR, "retry")]

    @post("/runs/{run:str}/retry", guards=guards, sync_to_thread=True, include_in_schema=False)
    def form(request: Asking, run: FromPath[str], data: Form) -> Redirect | Template:
        found = again(_run(request, run))
        if isinstance(found, str):  # a page that asks first
            return Redirect(found, status_code=303)
        try:
            said = answer(world_of(request), signed(found, who(request), str(data.get("key", "")) or new_key()))
        except DaybreakError as error:
            return _refused(request, note, "retry", f"run {run}", error, back=f"/runs/{run}")
        note(request, "retry", f"run {run}", f"run {said['run']}")
        return Redirect(f"/runs/{said['run']}", status_code=303)

    @post("/api/runs/{run:str}/retry", guards=guards, sync_to_thread=True, tags=["act"], summary="Do it once more")
    def document(request: Asking, run: FromPath[str], key: Key = "") -> Response[Done] | Response[Problem]:
        found = again(_run(request, run))
        if isinstance(found, str):
            return problem(UsageError("that is not begun again from its run", hint=f"POST /api{found}"))
        try:
            said = answer(world_of(request), signed(found, who(request), key or new_key()))
        except DaybreakError as error:
            return _problem(request, note, "retry", f"run {run}", error)
        note(request, "retry", f"run {run}", f"run {said['run']}")
        done = Done(run=str(said["run"]), state=str(said["state"]), joined=bool(said["joined"]), said=said)
        return Response(done, status_code=202)

    return [form, document]


def _run(request: Asking, run: str) -> Any:  # noqa: ANN401 -- a Run, which `again` reads
    _, found = world_of(request).show(lambda look: look.catalog.runs.get(run), person_of(request))
    if found is None:
        raise NotFoundException
    return found


# -- the doctor, destinations ---------------------------------------------------------------------------------


def _examining(note: Note) -> list[ControllerRouterHandler]:
    guards = [needs(Role.OPERATOR, "doctor")]

    def examine(request: Asking, *, tonight: bool) -> Examined:
        world = world_of(request)
        said = answers(world, Doctor(tonight=tonight))
        made = Examined(at=world.clock(), by=who(request).name, findings=tuple(map(_finding, said)))
        world.examined[tonight] = made
        note(request, "doctor", "tonight" if tonight else "everything", "done")
        return made

    @post("/doctor", guards=guards, sync_to_thread=True, include_in_schema=False)
    def form(request: Asking, data: Form) -> Redirect | Template:
        tonight = data.get("tonight") == "yes"
        try:
            examine(request, tonight=tonight)
        except DaybreakError as error:
            return _refused(request, note, "doctor", "", error, back="/doctor")
        return Redirect("/doctor", status_code=303)

    @post("/api/doctor", guards=guards, sync_to_thread=True, tags=["act"], summary="Examine every piece, or tonight's")
    def document(request: Asking, *, tonight: FromQuery[bool] = False) -> Response[dict[str, Any]] | Response[Problem]:
        try:
            made = examine(request, tonight=tonight)
        except DaybreakError as error:
            return _problem(request, note, "doctor", "", error)
        return Response({"findings": [one.as_json() for one in made.findings]}, status_code=200)

    return [form, document]


def _testing(note: Note) -> list[ControllerRouterHandler]:
    guards = [needs(Role.OPERATOR, "notify")]

    def test(request: Asking, name: str) -> list[Reply]:
        _require(request, lambda look: look.settings.alerts, name, "destination")
        said = answers(world_of(request), NotifyTest(destination=name))
        outcome = "; ".join(one["fault"] or "sent" for one in said)
        note(request, "notify", f"destination {name}", outcome)
        return said

    @post("/settings/notify/{name:str}", guards=guards, sync_to_thread=True, include_in_schema=False)
    def form(request: Asking, name: FromPath[str], data: Form) -> Template:  # noqa: ARG001 -- its csrf was looked at
        try:
            said = test(request, name)
        except DaybreakError as error:
            return _refused(request, note, "notify", f"destination {name}", error, back="/settings")
        return page(request, "actions/notify.html", said=said, name=name)

    @post("/api/notify/{name:str}", guards=guards, sync_to_thread=True, tags=["act"], summary="Send a test message")
    def document(request: Asking, name: FromPath[str]) -> Response[dict[str, Any]] | Response[Problem]:
        try:
            return Response({"destinations": test(request, name)}, status_code=200)
        except DaybreakError as error:
            return _problem(request, note, "notify", f"destination {name}", error)

    return [form, document]


def _finding(said: Reply) -> Finding:
    return Finding(
        id=said["id"],
        subject=said["subject"],
        severity=Severity(said["severity"]),
        text=said["finding"],
        fix=said["fix"],
    )


# -- what they share ------------------------------------------------------------------------------------------


def _require(request: Asking, named: Callable[[Look], Any], name: str, what: str) -> None:
    """A name that is not in the configuration is no page."""
    look = world_of(request).look(person_of(request))
    try:
        pick(named(look), name, what)
    except UsageError as error:
        raise NotFoundException(error.message) from error


def _all(request: Asking, asked: Request) -> tuple[list[Reply], DaybreakError | None]:
    try:
        return answers(world_of(request), asked), None
    except DaybreakError as error:
        return [], error


def _told(request: Asking, template: str, asked: Request, **more: object) -> Template:
    """A page about one answer, or about why there is none."""
    found, error = _all(request, asked)
    status = 200 if error is None else status_of(error)
    return page(request, template, status=status, said=found[-1] if found else None, error=error, **more)


def _one(request: Asking, asked: Request) -> Response[dict[str, Any]] | Response[Problem]:
    found, error = _all(request, asked)
    return Response(found[-1] if found else {}) if error is None else problem(error)


def _joined(request: Asking, asked: Request, name: str) -> Response[dict[str, Any]] | Response[Problem]:
    found, error = _all(request, asked)
    return Response({name: [one for part in found for one in part[name]]}) if error is None else problem(error)


def _problem(request: Asking, note: Note, verb: str, subject: str, error: DaybreakError) -> Response[Problem]:
    note(request, verb, subject, f"refused: {error.message}")
    return problem(error)


def _refused(request: Asking, note: Note, verb: str, subject: str, error: DaybreakError, *, back: str) -> Template:
    note(request, verb, subject, f"refused: {error.message}")
    return page(request, "actions/refused.html", status=status_of(error), error=error, back=back)
