"""This host: configuration and secrets, the state folder, the clock, zone data, destinations of alerts."""

from __future__ import annotations

import shlex
import stat
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from daybreak import files
from daybreak.catalog import Catalog
from daybreak.catalog.folder import ANOTHER, is_our_own
from daybreak.credentials import read_env_file, read_secret
from daybreak.errors import DaybreakError
from daybreak.jobs.doctor.finding import Finding, Piece
from daybreak.model import AlertEvent, Destination, Schedule, SecretSource
from daybreak.process import Runner
from daybreak.retention import FAR_AHEAD
from daybreak.units import show_bytes, show_duration

_STATE_ROOM: Final = 50 * 10**6
#: Before this no Daybreak was: a clock there is wrong.
_BORN: Final = datetime(2026, 1, 1, tzinfo=UTC)
_AHEAD: Final = timedelta(minutes=5)
_OLD_ZONES_YEARS: Final = 2


def judge_file_mode(piece: Piece, path: Path) -> Finding:
    """The configuration names no secret, but programs that are run: nobody else may write it."""
    mode = stat.S_IMODE(path.stat().st_mode)
    where = shlex.quote(str(path))
    if mode & stat.S_IWOTH:
        return piece.error(f"{path} can be changed by every user (mode {mode:04o})", f"sudo chmod o-w {where}")
    return piece.ok(f"{path} is {mode:04o}")


def secret(piece: Piece, source: SecretSource, *, what: str) -> Finding:
    """Whether a secret can be read by us and by nobody else."""
    try:
        read_secret(source, Runner(), what=what)
    except DaybreakError as error:
        return piece.fault(error)
    return piece.ok(f"the {what} can be read")


def env_file(piece: Piece, path: Path) -> Finding:
    """The same for a file of secrets."""
    try:
        read_env_file(path)
    except DaybreakError as error:
        return piece.fault(error)
    return piece.ok(f"{path} can be read")


def state_folder(catalog: Catalog) -> Iterator[Finding]:
    """Where runs are remembered."""
    folder = catalog.folder
    piece = Piece("state.folder", "")
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & stat.S_IRWXO:
        # A home, or /etc, by a slip: nobody comes in by ssh any more, or no program runs.
        closed = f"sudo chmod 2770 {shlex.quote(str(folder))}" if is_our_own(folder) else ANOTHER
        yield piece.warning(f"{folder} is open to every user (mode {mode:04o})", closed)
    else:
        yield piece.ok(f"{folder} is {mode:04o}")
    yield judge_state_room(Piece("state.room", ""), folder, files.free_bytes(folder))


def judge_state_room(piece: Piece, folder: Path, free_bytes: int) -> Finding:
    """Room for the catalog and the logs."""
    text = f"{show_bytes(free_bytes)} free for {folder}"
    return piece.ok(text) if free_bytes >= _STATE_ROOM else piece.warning(text, "make room: backups go on without")


def judge_clock(piece: Piece, at: datetime, newest: datetime | None) -> Finding:
    """A clock that was set back, or that is years off, spoils the order of everything."""
    if at < _BORN:
        return piece.error(f"the clock says {at:%Y-%m-%d}", "timedatectl set-ntp true")
    if newest is not None and newest - at > _AHEAD:
        ahead = show_duration((newest - at).total_seconds())
        text = f"the newest run was asked for {ahead} from now: the clock was set back, or was ahead then"
        if newest - at > FAR_AHEAD:  # no run of tonight depends on it, and it may be so for years
            return piece.warning(text, "timedatectl set-ntp true; what is dated so is the newest of nothing until then")
        return piece.error(text, "timedatectl set-ntp true; ages are wrong until that instant")
    return piece.ok(f"it is {at:%Y-%m-%d %H:%M} UTC")


def zone_data(piece: Piece, schedules: Iterable[Schedule], *, year: int) -> Finding:
    """Whether the zones of the schedules are known here, and from which edition."""
    wanted = {one.timezone for one in schedules}
    if missing := sorted(wanted - available_timezones()):
        return piece.error(f"no data of {', '.join(missing)} here", "apt install tzdata, or mend timezone")
    edition = _edition()
    if edition and year - int(edition[:4]) > _OLD_ZONES_YEARS:
        return piece.warning(f"the zone data is of {edition}: rules may have changed", "upgrade tzdata")
    now = ", ".join(f"{zone} is UTC{datetime.now(ZoneInfo(zone)):%z}" for zone in sorted(wanted))
    return piece.ok(f"zone data {edition or 'of the system'}{f'; {now}' if now else ''}")


def _edition() -> str:
    """Like 2026b: of the package, which is what Python takes where the system has none."""
    try:
        import tzdata  # noqa: PLC0415 -- a package that only holds data
    except ImportError:
        return ""
    return str(tzdata.IANA_VERSION)


def destinations(catalog: Catalog, wanted: Iterable[Destination]) -> Iterator[Finding]:
    """Whether anybody would hear of a failure."""
    there = list(wanted)
    piece = Piece("alerts.configured", "")
    if not any(AlertEvent.FAILED in one.events for one in there):
        yield piece.warning("nobody is told when a backup fails", "add [alerts.NAME] (docs/alerts.md)")
    else:
        yield piece.ok(f"{', '.join(one.name for one in there)}")
    for one in there:
        yield secret(Piece("alerts.address", one.name), one.url, what="address")
    for delivery in catalog.alerts.deliveries():
        arrived = Piece("alerts.delivered", delivery.destination)
        if delivery.fault:
            switch = delivery.destination not in {one.name for one in there}  # a ping: only a run calls it
            fix = "look at its address (`ping`): the next run calls it again" if switch else "daybreak notify test"
            yield arrived.error(f"the last message did not arrive: {delivery.fault}", fix)
        else:
            yield arrived.ok("the last message arrived")
