"""Hold: nothing replaces a database until an instant, or until somebody releases it. `undo` works all the same.

Errors  `UsageError` for an instant that cannot be read or is over, no reason, a database that nothing ever replaces.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from typing import Final

from daybreak.catalog import Catalog
from daybreak.catalog.records import Hold
from daybreak.errors import UsageError
from daybreak.jobs.run import RunContext, Skip, now
from daybreak.model import Database, RefreshPlan
from daybreak.schedule import parse_zone
from daybreak.units import parse_duration, show_instant

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
#: In the last year that a date may have, an instant of one zone may have no name in another.
_LATEST: Final = datetime(9999, 1, 1, tzinfo=UTC)
_SAY: Final = 'say 3d, 2026-12-24, 2026-12-24T18:00+01:00 or "2026-12-24 18:00 Europe/Berlin"'


def hold(
    catalog: Catalog,
    database: Database,
    protected: Iterable[Database],
    *,
    until: str | None,
    zone: tzinfo,
    why: str,
    by: str,
) -> Hold:
    """Hold `database` from now on; another hold of it is replaced. A date as its end is meant in `zone`."""
    at = now()
    if database.name in {one.name for one in protected}:
        raise UsageError(
            f"{database.name} is production: nothing ever replaces it, so there is nothing to hold",
            hint="name the database that a refresh or a pull replaces",
        )
    if not why.strip():
        raise UsageError("a hold needs a reason", hint='say it in a few words: --why "the demo is on Thursday"')
    end = None if until is None else parse_until(until, at, zone)
    if end is not None and end <= at:
        raise UsageError(f"{until!r} is over already ({show_instant(end)})", hint=_SAY)
    made = Hold(database=database.name, until=end, why=" ".join(why.split()), by=by, at=at)
    catalog.holds.set(made)
    return made


def zone_of(refreshes: Iterable[RefreshPlan], target: str, otherwise: str) -> tzinfo:
    """The zone in which a date is meant that ends a hold: the one in which the database is refreshed."""
    schedules = [one.schedule for one in refreshes if one.target.name == target]
    return parse_zone(next((one.timezone for one in schedules if one is not None), otherwise))


def release(catalog: Catalog, database: Database) -> Hold | None:
    """Let a database be replaced again; the hold that there was."""
    found = catalog.holds.get(database.name, at=now())
    catalog.holds.release(database.name)
    return found


def require_not_held(run: RunContext, target: str) -> None:
    """End the run as skipped where a target is held."""
    found = run.catalog.holds.get(target, at=now())
    if found is not None:
        raise Skip(f"{target} is {hold_text(found)}")


def hold_text(one: Hold) -> str:
    """`held until … by ada: the demo is on Thursday`."""
    until = "until it is released" if one.until is None else f"until {show_instant(one.until)}"
    return f"held {until}, by {one.by}: {one.why}"


def parse_until(text: str, at: datetime, zone: tzinfo) -> datetime:
    """Read the end of a hold that begins at `at`: a duration, a date (its first moment in `zone`), or an instant.

    An instant has its offset, or the name of a zone behind it. Raise UsageError for anything else.
    """
    text = text.strip()
    try:
        found = _parse(text, at, zone)
    except OverflowError:
        raise _too_long(text) from None
    except ValueError as error:
        raise UsageError(f"{text!r} is no date, instant or duration: {error}", hint=_SAY) from None
    if found.tzinfo is None:
        raise UsageError(f"{text!r} does not say in which zone", hint=_SAY)
    if found > _LATEST:
        raise _too_long(text)
    return found


def _parse(text: str, at: datetime, zone: tzinfo) -> datetime:
    with contextlib.suppress(ValueError):
        return at + parse_duration(text)
    moment, _, named = text.rpartition(" ")
    if _DATE.fullmatch(text):
        return datetime.fromisoformat(text).replace(tzinfo=zone)
    if moment and not named[0].isdigit():
        return datetime.fromisoformat(moment).replace(tzinfo=parse_zone(named))
    return datetime.fromisoformat(text)


def _too_long(text: str) -> UsageError:
    return UsageError(
        f"{text!r} is longer than anything lasts", hint="without --until it is held until somebody releases it"
    )
