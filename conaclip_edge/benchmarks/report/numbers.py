"""Figures as they are shown: each is read from report.json by a path, formatted in one place, and keeps its path."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from markupsafe import Markup

TO, BY = "\N{EN DASH}", "\N{MULTIPLICATION SIGN}"
ABSENT = TO


def milliseconds(value: float) -> str:
    """Format milliseconds to three digits."""
    return f"{value:.0f} ms" if value >= 100 else f"{value:#.3g} ms" if value >= 0.001 else f"{value:.1g} ms"


def megabytes(value: float) -> str:
    """Format bytes as MB (10^6) to about three digits."""
    mega = value / 1e6
    return f"{mega:.0f} MB" if mega >= 100 else f"{mega:.1f} MB" if mega >= 10 else f"{mega:.2f} MB"


def percent(value: float) -> str:
    """Format a figure that is in percent already."""
    return f"{value:.1f} %"


def share(value: float) -> str:
    """Format a share of 1 in percent."""
    return f"{100 * value:.1f} %"


def times(value: float) -> str:
    """Format a ratio."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{digits}f}{BY}"


def count(value: float) -> str:
    """Format a whole number."""
    return f"{value:,.0f}"


def rate(value: float) -> str:
    """Format a throughput."""
    return f"{value:,.0f} / s" if value >= 10 else f"{value:.1f} / s"


def number(value: float) -> str:
    """Format a plain number to three digits."""
    return f"{value:.3g}"


FORMATS: dict[str, Callable[[float], str]] = {
    "ms": milliseconds,
    "mb": megabytes,
    "pct": percent,
    "share": share,
    "times": times,
    "count": count,
    "rate": rate,
    "number": number,
}


def resolve(report: dict[str, Any], path: str) -> Any:
    """Return what a path names, e.g. rows/onnx-int8/latency_ms/image/p50; None where something on the way is absent.

    Rows are named by their id, entries of other lists by their place.
    """
    place: Any = report
    for step in path.split("/"):
        if isinstance(place, list):
            named = {row["id"]: row for row in place if isinstance(row, dict) and "id" in row}
            place = named.get(step) if named else place[int(step)] if int(step) < len(place) else None
        elif isinstance(place, dict):
            place = place.get(step)
        else:
            return None
    return place


class Figures:
    """Shows figures of one report as HTML.

    Args:
        report: plain values of report.json.
    """

    def __init__(self, report: dict[str, Any]):
        self.report = report

    def value(self, path: str) -> Any:
        """Return what a path names, or None."""
        return resolve(self.report, path)

    def show(self, path: str, kind: str) -> Markup:
        """Show the figure at a path; a dash where there is none."""
        value = self.value(path)
        if value is None:
            return Markup('<span class="absent">{}</span>').format(ABSENT)
        return Markup('<data value="{}" data-from="{}" data-as="{}">{}</data>').format(
            value, path, kind, FORMATS[kind](value)
        )

    def quotient(self, path: str, over: str, kind: str = "times") -> Markup:
        """Show the figure at a path divided by that at another; a dash where one is absent or 0."""
        value, divisor = self.value(path), self.value(over)
        if value is None or not divisor:
            return Markup('<span class="absent">{}</span>').format(ABSENT)
        found = value / divisor
        return Markup('<data value="{}" data-from="{}" data-over="{}" data-as="{}">{}</data>').format(
            found, path, over, kind, FORMATS[kind](found)
        )

    def interval(self, path: str) -> Markup:
        """Show a share with its 95 % interval."""
        if self.value(path) is None:
            return Markup('<span class="absent">{}</span>').format(ABSENT)
        low, high = (self.show(f"{path}/{end}", "share") for end in ("low", "high"))
        return Markup('{} <span class="interval">[{}{}{}]</span>').format(
            self.show(f"{path}/value", "share"), bare(low), TO, high
        )


def bare(shown: Markup) -> Markup:
    """Leave the unit of a figure out, where its column or neighbour names it."""
    return Markup(re.sub(f"(?: %| ms|{BY})</data>$", "</data>", str(shown)))
