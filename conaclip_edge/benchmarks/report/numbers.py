"""Numbers as they are shown: each is read from report.json by a path, formatted in one place, and keeps its path."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from conaclip_edge.benchmarks.schema.report import BenchmarkReport

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
    """Format a number that is in percent already."""
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


def millions(value: float) -> str:
    """Format a count in millions to at least four digits, so that a hundredth of it shows."""
    return f"{value / 1e6:.{1 if value >= 1e8 else 2 if value >= 1e7 else 3}f}"


def cosine(value: float) -> str:
    """Format a cosine."""
    return f"{value:.5f}"


FORMATS: dict[str, Callable[[float], str]] = {
    "ms": milliseconds,
    "mb": megabytes,
    "pct": percent,
    "share": share,
    "times": times,
    "count": count,
    "rate": rate,
    "number": number,
    "millions": millions,
    "cosine": cosine,
}


def value_at(values: Any, path: str) -> Any:
    """Return what a path names in the content of a report.json; None where something on the way is absent.

    Args:
        values: the content.
        path: e.g. rows/onnx-int8/latency_ms/image/p50; rows are named by their id, entries of other lists by their
            number from 0.
    """
    found = values
    for step in path.split("/"):
        if isinstance(found, list):
            named = {row["id"]: row for row in found if isinstance(row, dict) and "id" in row}
            found = named.get(step) if named else found[int(step)] if int(step) < len(found) else None
        elif isinstance(found, dict):
            found = found.get(step)
        else:
            return None
    return found


class ReportValues:
    """Shows values of one report as HTML that says where in report.json each comes from.

    Args:
        report: the report.
    """

    def __init__(self, report: BenchmarkReport):
        self._values = report.model_dump(mode="json", by_alias=True)

    def value(self, path: str) -> Any:
        """Return what a path names, or None."""
        return value_at(self._values, path)

    def show(self, path: str, kind: str) -> Markup:
        """Show the number at a path; a dash where there is none."""
        value = self.value(path)
        if value is None:
            return Markup('<span class="absent">{}</span>').format(ABSENT)
        return Markup('<data value="{}" data-from="{}" data-as="{}">{}</data>').format(
            value, path, kind, FORMATS[kind](value)
        )

    def quotient(self, path: str, over: str, kind: str = "times") -> Markup:
        """Show the number at a path divided by that at another; a dash where one is absent or 0."""
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
    """Leave the unit of a number out, where its column or neighbour names it."""
    return Markup(re.sub(f"(?: %| ms|{BY})</data>$", "</data>", str(shown)))
