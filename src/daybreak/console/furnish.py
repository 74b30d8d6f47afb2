"""What templates can say: instants with their zone, sizes with their bytes, states with an icon and a word.

Shapes  filters give markup that is escaped already. The zone is the page's, or the one that a plan is meant in. What is
        shown in short stands in full in a title, and in a machine's words in `datetime` and `value`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from functools import cache, lru_cache
from typing import Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from daybreak.console import charts
from daybreak.console.views.archives import Sized
from daybreak.console.views.offsite import Grown, Mark
from daybreak.console.world import Look
from daybreak.schedule import parse_zone
from daybreak.units import rfc3339, show_bytes, show_count, show_duration

#: One path each, drawn on 16 by 16; shapes differ, so that nobody needs the colours.
_ICONS: Final = {
    "ok": "M3 8.5l3.2 3.2L13 5",
    "warning": "M8 2.2L14.6 13.5H1.4zM8 6.3v3.4M8 11.4v.6",
    "failed": "M4 4l8 8M12 4l-8 8",
    "running": "M8 2a6 6 0 1 1-6 6M8 5v3l2 1.4",
    "none": "M4.5 8h7",
    "database": "M3 4c0-1 2.2-1.8 5-1.8S13 3 13 4v8c0 1-2.2 1.8-5 1.8S3 13 3 12zM3 4c0 1 2.2 1.8 5 1.8S13 5 13 4"
    "M3 8c0 1 2.2 1.8 5 1.8S13 9 13 8",
    "cloud": "M4.6 12.5a3 3 0 0 1-.3-6 4 4 0 0 1 7.6.7 2.7 2.7 0 0 1-.3 5.3z",
    "shield": "M8 1.8l5 1.9v4c0 3.2-2.1 5.4-5 6.5-2.9-1.1-5-3.3-5-6.5v-4zM5.6 7.9l1.8 1.8 3.2-3.4",
    "twin": "M2 5h8v8H2zM5.5 5V2.5H14V11h-4",
    "clock": "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2M8 4.8V8l2.4 1.6",
}  # fmt: skip
_A_DAY_S: Final = 86400
_MINUS: Final = "\u2212"


def furnish(environment: Environment) -> None:
    """Give an environment of templates its words."""
    filters: dict[str, Callable[..., object]] = {
        "when": when,
        "ago": ago,
        "size": size,
        "change": change,
        "took": took,
        "count": count,
        "share": share,
        "point_size": point_size,
        "point_added": point_added,
        "mark": mark,
    }
    environment.filters.update(filters)
    words: dict[str, Any] = {
        "icon": icon,
        "badge": badge,
        "bars": charts.bars,
        "line": charts.line,
        "timeline": charts.timeline,
        "link": link,
    }
    environment.globals.update(words)
    environment.trim_blocks = environment.lstrip_blocks = True


@cache
def icon(name: str) -> Markup:
    """An icon that only a seeing person needs: the word stands beside it."""
    return Markup(
        '<svg class="icon" viewBox="0 0 16 16" width="16" height="16" fill="none" stroke="currentColor" '
        'stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false">'
        '<path d="{}"/></svg>'
    ).format(_ICONS[name])


@lru_cache(maxsize=512)
def badge(tone: str, word: str) -> Markup:
    """A state: colour, icon and word."""
    return Markup('<span class="badge {}">{}{}</span>').format(tone, icon(tone), word)


@pass_context
def when(context: Context, at: datetime | None, zone: str = "", *, only_time: bool = False) -> Markup:
    """An instant as people say it, in full on hover."""
    if at is None:
        return Markup("—")
    local, now = at.astimezone(_zone(context, zone)), _now(context).astimezone(_zone(context, zone))
    if only_time:
        text = f"{local:%H:%M:%S}"
    elif local.date() == now.date():
        text = f"today {local:%H:%M %Z}"
    elif abs(local.date() - now.date()).days == 1:
        text = f"{'yesterday' if local < now else 'tomorrow'} {local:%H:%M %Z}"
    elif local.year == now.year:
        text = f"{local:%a %d %b %H:%M %Z}"
    else:
        text = f"{local:%a %d %b %Y %H:%M %Z}"
    full = f"{local:%A %d %B %Y %H:%M:%S %Z} · {at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(rfc3339(at), full, text)


@pass_context
def ago(context: Context, at: datetime | None) -> Markup:
    """How long ago, or in how long."""
    if at is None:
        return Markup("never")
    seconds = (_now(context) - at).total_seconds()
    text = f"{rough(seconds)} ago" if seconds >= 0 else f"in {rough(-seconds)}"
    full = f"{at.astimezone(_zone(context, '')):%A %d %B %Y %H:%M:%S %Z}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(rfc3339(at), full, text)


def rough(seconds: float) -> str:
    """A duration as one says it in passing."""
    for one, name in ((_A_DAY_S, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= one * (2 if one == _A_DAY_S else 1):
            return show_count(round(seconds / one), name)
    return "a moment" if seconds < 10 else f"{round(seconds)} seconds"  # noqa: PLR2004 -- as one says it


def size(size_bytes: float | None) -> Markup:
    """A size, with its bytes on hover."""
    if size_bytes is None:
        return Markup("—")
    exact = f"{show_count(round(size_bytes))} bytes"
    return Markup('<data value="{}" title="{}">{}</data>').format(round(size_bytes), exact, show_bytes(size_bytes))


def change(number: float | None, unit: str = "") -> Markup:
    """A difference with its sign."""
    if number is None:
        return Markup('<span class="quiet">new</span>')
    if number == 0:
        return Markup('<span class="quiet">±0</span>')
    sign = "+" if number > 0 else _MINUS
    exact = f"{sign}{show_count(round(abs(number)))}{' bytes' if unit == 'bytes' else ''}"
    text = f"{sign}{show_bytes(abs(number))}" if unit == "bytes" else exact
    return Markup('<data value="{}" title="{}">{}</data>').format(round(number), exact, text)


def took(seconds: float | None) -> Markup:
    """A duration, with its seconds on hover."""
    if seconds is None:
        return Markup("—")
    return Markup('<data value="{}" title="{} seconds">{}</data>').format(
        f"{seconds:.2f}", f"{seconds:,.2f}", show_duration(seconds)
    )


def count(number: int | None, noun: str = "") -> str:
    """A number with commas; with a noun `1 row`, `2 rows`."""
    return "—" if number is None else show_count(number, noun)


def share(number: float | None) -> str:
    """A share of the usual as `+3 %`."""
    if number is None:
        return ""
    percent = round(100 * number)
    return "as usual" if percent == 0 else f"{'+' if percent > 0 else _MINUS}{abs(percent)} % against the usual"


def point_size(one: Sized, zone: tzinfo) -> tuple[datetime, float, str]:
    """An archive as a point of a chart."""
    return one.taken_at, one.size_bytes, f"{one.taken_at.astimezone(zone):%a %d %b %Y}: {show_bytes(one.size_bytes)}"


def point_added(one: Grown, zone: tzinfo) -> tuple[datetime, float, str]:
    """What a snapshot added, as a bar."""
    return one.taken_at, one.added_bytes, f"{one.taken_at.astimezone(zone):%a %d %b %Y}: {show_bytes(one.added_bytes)}"


def mark(one: Mark) -> tuple[datetime, str, bool]:
    """A snapshot on a timeline."""
    return one.taken_at, one.plan, one.kept


def link(path: str, **query: object) -> str:
    """A path with the parts of a query that say something."""
    said = {name: str(value) for name, value in query.items() if value not in {None, "", 0}}
    return f"{path}?{urlencode(said)}" if said else path


def _zone(context: Context, name: str) -> tzinfo:
    if name:
        return parse_zone(name)
    look: object = context.get("look")
    return look.zone if isinstance(look, Look) else UTC


def _now(context: Context) -> datetime:
    look: object = context.get("look")
    return look.at if isinstance(look, Look) else datetime.now(UTC)
