"""Charts as SVG, drawn here without a script. Every chart has a title and a table beside it, a code its text.

Shapes  coordinates are those of the view box; colours come from classes of the style sheet. What is drawn is also said:
        `title` in words for whoever hears the page, each mark's own title on hover.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Final

import segno
from markupsafe import Markup

from daybreak.units import show_bytes

_WIDTH: Final = 720
_LEFT: Final = 62
_HEIGHT: Final = 150
_FLOOR: Final = 126
_TOP: Final = 10
_ROW: Final = 30
_WIDEST: Final = 40  # a bar with its margins; few of them stand at the left


def code(text: str) -> Markup:
    """A text as a QR code, dark on light in both themes: not every phone reads the other way.

    It has attributes and no style, which the pages' policy would not let through.
    """
    made = segno.make(text, error="m", micro=False)
    return Markup(made.svg_inline(scale=5, dark="#000", light="#fff", svgclass="", lineclass=""))  # noqa: S704 -- numbers and our colours


def bars(points: Sequence[tuple[datetime, float, str]], zone: tzinfo, title: str) -> Markup:
    """One bar for each instant, value in bytes and text for hovering."""
    if not points:
        return Markup("")
    high = _nice(max(value for _, value, _ in points))
    room = min(_WIDEST, (_WIDTH - _LEFT) / len(points))
    drawn = Markup("").join(
        Markup('<rect class="bar" x="{}" y="{}" width="{}" height="{}" rx="1.5"><title>{}</title></rect>').format(
            f"{_LEFT + number * room + room * 0.12:.1f}",
            f"{_y(value, high):.1f}",
            f"{max(1.0, room * 0.76):.1f}",
            f"{max(0.8, _FLOOR - _y(value, high)):.1f}",
            text,
        )
        for number, (_, value, text) in enumerate(points)
    )
    return _frame(title, _axis(high) + drawn + _ends(points[0][0], points[-1][0], zone))


def line(points: Sequence[tuple[datetime, float, str]], zone: tzinfo, title: str) -> Markup:
    """A line through values in bytes, over time."""
    if not points:
        return Markup("")
    high = _nice(max(value for _, value, _ in points))
    first, last = points[0][0], points[-1][0]
    whole = max((last - first).total_seconds(), 1.0)

    def x(at: datetime) -> float:
        return _LEFT + 4 + (_WIDTH - _LEFT - 12) * (at - first).total_seconds() / whole

    path = " ".join(f"{x(at):.1f},{_y(value, high):.1f}" for at, value, _ in points)
    area = f"{x(first):.1f},{_FLOOR} {path} {x(last):.1f},{_FLOOR}"
    dots = Markup("").join(
        Markup('<circle class="dot" cx="{}" cy="{}" r="3"><title>{}</title></circle>').format(
            f"{x(at):.1f}", f"{_y(value, high):.1f}", text
        )
        for at, value, text in points
    )
    drawn = Markup('<polygon class="area" points="{}"/><polyline class="line" points="{}"/>').format(area, path)
    return _frame(title, _axis(high) + drawn + dots + _ends(first, last, zone))


def timeline(marks: Sequence[tuple[datetime, str, bool]], zone: tzinfo, title: str) -> Markup:
    """A row for each name with a mark for each instant: tall where it is there, short where it is gone."""
    if not marks:
        return Markup("")
    names = list(dict.fromkeys(name for _, name, _ in marks))
    first = min(at for at, _, _ in marks)
    last = max(*(at for at, _, _ in marks), first + timedelta(hours=1))
    whole = (last - first).total_seconds()
    left = 120
    drawn = Markup("")
    for row, name in enumerate(names):
        y = _TOP + row * _ROW + _ROW / 2
        drawn += Markup('<text class="label" x="0" y="{}">{}</text>').format(f"{y + 4:.0f}", _short(name, 16))
        drawn += Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(left, _WIDTH, f"{y}", f"{y}")
        for shown, stays, half in (("mark gone", False, 3), ("mark kept", True, 9)):
            its = (at for at, of, kept in marks if of == name and kept is stays)
            # A thousand of them are one path.
            ticks = "".join(
                f"M{left + 5 + (_WIDTH - left - 10) * (at - first).total_seconds() / whole:.1f} {y - half}v{2 * half}"
                for at in its
            )
            drawn += Markup('<path class="{}" d="{}"/>').format(shown, ticks) if ticks else Markup("")
    height = _TOP + len(names) * _ROW + 20
    return _frame(title, drawn + _ends(first, last, zone, left=left, y=height - 4), height=height)


def _frame(title: str, drawn: Markup, *, height: int = _HEIGHT) -> Markup:
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}" preserveAspectRatio="xMidYMid meet">{}</svg>'
    ).format(_WIDTH, height, title, drawn)


def _axis(high: float) -> Markup:
    drawn = Markup("")
    for share in (0.0, 0.5, 1.0):
        y = _FLOOR - share * (_FLOOR - _TOP)
        drawn += Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(_LEFT, _WIDTH, f"{y}", f"{y}")
        drawn += Markup('<text class="label" x="{}" y="{}" text-anchor="end">{}</text>').format(
            _LEFT - 8, f"{y + 4:.0f}", show_bytes(high * share)
        )
    return drawn


def _ends(first: datetime, last: datetime, zone: tzinfo, *, left: int = _LEFT, y: int = _HEIGHT - 6) -> Markup:
    text = Markup('<text class="label" x="{}" y="{}" text-anchor="{}">{}</text>')
    return text.format(left, y, "start", f"{first.astimezone(zone):%d %b %Y}") + text.format(
        _WIDTH, y, "end", f"{last.astimezone(zone):%d %b %Y}"
    )


def _y(value: float, high: float) -> float:
    return _FLOOR - (_FLOOR - _TOP) * value / high


def _nice(value: float) -> float:
    """The next round number, as people read an axis."""
    if value <= 0:
        return 1.0
    power = 10.0 ** (len(f"{value:.0f}") - 1)
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
