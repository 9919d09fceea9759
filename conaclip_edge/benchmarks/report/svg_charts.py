"""Charts as inline SVG. Across they are laid out in percent, down in pixels: type stays readable at every width."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from conaclip_edge.benchmarks.report.numbers import milliseconds

_NARROW = 330.0  # px: the width that labels are laid out for; on wider screens they only move apart
_LETTER = 6.3  # px: average width of a letter of the charts' type
_PLOT = (11.0, 97.0)  # % of the width between which points lie
_TOP, _BOTTOM, _HEIGHT = 14.0, 236.0, 272.0  # px
# (dx, dy, text anchor) of a label beside its mark, the nearest first
_LABEL_PLACES = tuple(
    (dx, dy, anchor)
    for dy in (4.0, -10.0, 18.0, -24.0, 32.0, -38.0, 46.0, -52.0, 60.0, -66.0)
    for dx, anchor in ((10.0, "start"), (-10.0, "end"), (0.0, "middle"))
    if (dy, anchor) != (4.0, "middle")
)


@dataclass(frozen=True)
class Point:
    """A row in the plot of recall against latency."""

    row: str
    label: str
    style: str
    latency: float
    recall: float


@dataclass(frozen=True)
class Bar:
    """A row of a bar chart: its parts are (style, value), `shown` is the text of the whole."""

    row: str
    label: str
    style: str
    parts: tuple[tuple[str, float], ...]
    shown: str


@dataclass(frozen=True)
class Box:
    """A row of a chart of distributions: quantiles at 0, 5, .. 100 %."""

    row: str
    label: str
    style: str
    quantiles: tuple[float, ...]
    noisy: bool


def pareto(
    points: Sequence[Point],
    title: str,
    axis: str,
    kind: str = "mean recall",
    unit: str = "ms",
    form: Callable[[float], str] = milliseconds,
) -> Markup:
    """Plot recall in percent against latency (or another cost) on a logarithmic axis, with the frontier.

    Args:
        points: at least one.
        title: what the chart is, for those who do not see it.
        axis: what the latency is of.
        kind: of recall.
        unit: of the cost, where it is not a latency.
        form: formats such a cost.
    """
    low, high = _log_range([point.latency for point in points])
    bottom, top, step = _recall_range([point.recall for point in points])

    def x(latency: float) -> float:
        return _PLOT[0] + (math.log(latency) - low) / (high - low) * (_PLOT[1] - _PLOT[0])

    def y(recall: float) -> float:
        return _BOTTOM - (recall - bottom) / (top - bottom) * (_BOTTOM - _TOP)

    parts = []
    for tick in _steps(bottom, top, step):
        parts.append(_line(_PLOT[0], y(tick), _PLOT[1], y(tick), "grid"))
        parts.append(_text(_PLOT[0] - 1.5, y(tick) + 4, f"{tick:g}", "tick", "end"))
    for tick in _log_ticks(low, high):
        parts.append(_line(x(tick), _TOP, x(tick), _BOTTOM, "grid"))
        parts.append(_text(x(tick), _BOTTOM + 16, f"{tick:g}", "tick", "middle"))
    parts.append(_text(_PLOT[1], _BOTTOM + 33, f"{axis}, {unit} (log scale)", "tick", "end"))
    parts.append(_text(_PLOT[0], _TOP - 4, f"{kind}, %", "tick", "start"))
    best = frontier(points)
    level = []  # the frontier's level parts, which no label should lie on
    for before, after in itertools.pairwise(best):
        left, right = (x(one.latency) / 100 * _NARROW for one in (before, after))
        level.append((left, y(before.recall) - 3, right, y(before.recall) + 3))
        parts.append(_line(x(before.latency), y(before.recall), x(after.latency), y(before.recall), "frontier"))
        parts.append(_line(x(after.latency), y(before.recall), x(after.latency), y(after.recall), "frontier"))
    spots = [(x(point.latency) / 100 * _NARROW, y(point.recall)) for point in points]
    places = place_labels(spots, [point.label for point in points], level)
    for point, (dx, dy, _) in zip(points, places, strict=True):
        if abs(dy - _LABEL_PLACES[0][1]) > 20:  # too far to be seen as its mark's
            end = dy + 2 if dy < 0 else dy - 10
            parts.append(
                Markup(
                    '<svg x="{:.2f}%" y="{:.1f}" aria-hidden="true">'
                    '<line x1="0" y1="0" x2="{:.1f}" y2="{:.1f}" class="leader"/></svg>'
                ).format(x(point.latency), y(point.recall), dx, end)
            )
    for point, (dx, dy, anchor) in zip(points, places, strict=True):
        shown = f"{point.label}: {form(point.latency)}, {kind} {point.recall:.1f} %"
        parts.append(
            Markup(
                '<circle cx="{:.2f}%" cy="{:.1f}" r="5.5" class="mark {}" data-row="{}"><title>{}</title></circle>'
            ).format(x(point.latency), y(point.recall), point.style, point.row, shown)
        )
        parts.append(
            Markup('<text x="{:.2f}%" y="{:.1f}" dx="{:.1f}" class="label" text-anchor="{}">{}</text>').format(
                x(point.latency), y(point.recall) + dy, dx, anchor, point.label
            )
        )
    return _svg(parts, _HEIGHT, title)


def frontier(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other one beats in both latency and recall, fastest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda one: (one.latency, -one.recall)):
        if not best or point.recall > best[-1].recall:
            best.append(point)
    return best


def place_labels(
    spots: Sequence[tuple[float, float]], labels: Sequence[str], lines: Sequence[tuple[float, float, float, float]] = ()
) -> list[tuple[float, float, str]]:
    """Find a place for each label beside its spot, clear of spots and earlier labels where there is such a place.

    Args:
        spots: (x, y) in pixels.
        labels: their texts.
        lines: (left, top, right, bottom) of what else should not lie under a label.

    Returns:
        (dx, dy, text anchor) of each, in pixels.
    """
    taken = [*((x - 6, y - 6, x + 6, y + 6) for x, y in spots), *lines]
    found = []
    for (x, y), label in zip(spots, labels, strict=True):
        places = [(_label_box(x, y, len(label) * _LETTER, option), option) for option in _LABEL_PLACES]
        costs = [_label_cost(box, taken) for box, _ in places]
        box, option = places[costs.index(min(costs))]
        taken.append(box)
        found.append(option)
    return found


def _label_box(x: float, y: float, width: float, option: tuple[float, float, str]) -> tuple[float, float, float, float]:
    dx, dy, anchor = option
    left = x + dx - width * {"start": 0, "middle": 0.5, "end": 1}[anchor]
    return left, y + dy - 11, left + width, y + dy + 3


def _label_cost(box: tuple[float, float, float, float], taken: Sequence[tuple[float, float, float, float]]) -> float:
    """Return how much of a label is hidden or outside of the plot."""
    left, top, right, bottom = box
    outside = (
        max(0, _PLOT[0] / 100 * _NARROW - left)
        + max(0, right - _NARROW)
        + max(0, _TOP - 8 - top)
        + max(0, bottom - _BOTTOM)
    )
    over = sum(
        max(0, min(right, other[2]) - max(left, other[0])) * max(0, min(bottom, other[3]) - max(top, other[1]))
        for other in taken
    )
    return round(over + 20 * outside, 3)


def bars(rows: Sequence[Bar], title: str) -> Markup:
    """Draw horizontal bars, each with its label above and its value at the right end."""
    most = max(sum(value for _, value in row.parts) for row in rows)
    parts = []
    for place, row in enumerate(rows):
        top = place * 40.0
        parts.append(_text(0, top + 13, row.label, f"label {row.style}", "start"))
        parts.append(_text(100, top + 13, row.shown, "value", "end"))
        parts.append(Markup('<rect x="0" y="{:.1f}" width="100%" height="12" rx="3" class="track"/>').format(top + 19))
        left = 0.0
        for style, value in row.parts:
            width = 100 * value / most
            parts.append(
                Markup('<rect x="{:.2f}%" y="{:.1f}" width="{:.2f}%" height="12" class="{}" data-row="{}"/>').format(
                    left, top + 19, width, style, row.row
                )
            )
            left += width
    return _svg(parts, 40.0 * len(rows), title)


def boxes(rows: Sequence[Box], title: str) -> Markup:
    """Draw distributions on one logarithmic axis: whiskers 5-95 %, box 25-75 %, a stroke at the median."""
    low, high = _log_range([value for row in rows for value in (row.quantiles[1], row.quantiles[19])])

    def x(value: float) -> float:
        return 1 + 98 * (math.log(value) - low) / (high - low)

    height = 42.0 * len(rows)
    parts = []
    for tick in _log_ticks(low, high):
        parts.append(_line(x(tick), 0, x(tick), height, "grid"))
        parts.append(_text(x(tick), height + 15, f"{tick:g}", "tick", "middle"))
    parts.append(_text(100, height + 31, "ms per call (log scale)", "tick", "end"))
    for place, row in enumerate(rows):
        top = place * 42.0
        p5, q25, p50, q75, p95 = (x(row.quantiles[at]) for at in (1, 5, 10, 15, 19))
        parts.append(_text(0, top + 13, row.label, f"label {row.style}", "start"))
        parts.append(
            _text(100, top + 13, milliseconds(row.quantiles[10]) + (" ~" if row.noisy else ""), "value", "end")
        )
        parts.append(_line(p5, top + 26, p95, top + 26, "whisker"))
        parts.append(
            Markup('<rect x="{:.2f}%" y="{:.1f}" width="{:.2f}%" height="12" rx="2" class="{}" data-row="{}"/>').format(
                q25, top + 20, max(q75 - q25, 0.4), row.style, row.row
            )
        )
        parts.append(_line(p50, top + 17, p50, top + 35, "median"))
    return _svg(parts, height + 38, title)


def _svg(parts: Sequence[Markup], height: float, title: str) -> Markup:
    return Markup('<svg class="chart" width="100%" height="{:.0f}" role="img" aria-label="{}">{}</svg>').format(
        height, title, Markup("").join(parts)
    )


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> Markup:
    return Markup('<line x1="{:.2f}%" y1="{:.1f}" x2="{:.2f}%" y2="{:.1f}" class="{}"/>').format(x1, y1, x2, y2, style)


def _text(x: float, y: float, text: str, style: str, anchor: str) -> Markup:
    return Markup('<text x="{:.2f}%" y="{:.1f}" class="{}" text-anchor="{}">{}</text>').format(
        x, y, style, anchor, text
    )


def _log_range(values: Sequence[float]) -> tuple[float, float]:
    low, high = math.log(min(values)), math.log(max(values))
    pad = max(0.08 * (high - low), 0.15)
    return low - pad, high + pad


def _log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten in a range of logarithms; powers alone where those would crowd."""
    powers = range(math.floor(low / math.log(10)), math.ceil(high / math.log(10)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        ticks = [digit * 10.0**power for power in powers for digit in digits]
        inside = [tick for tick in ticks if low <= math.log(tick) <= high]
        if len(inside) <= 8:
            return inside
    return inside


def _recall_range(values: Sequence[float]) -> tuple[float, float, float]:
    """Return where the recall axis begins and ends, and the distance of its ticks."""
    spread = max(max(values) - min(values), 4)
    step = next(step for step in (1, 2, 5, 10, 20, 50) if spread / step <= 6)
    top = min(100, (math.ceil(max(values) / step) + 1) * step)
    return max(0, math.floor(min(values) / step) - 1) * step, top, step


def _steps(low: float, high: float, step: float) -> list[float]:
    return [low + step * place for place in range(round((high - low) / step) + 1)]
