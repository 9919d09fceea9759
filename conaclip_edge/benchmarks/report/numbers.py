"""Numbers as they are shown: each is read from report.json by a path, formatted in one place, and keeps its path.

A line is words and such numbers; it is written once, and shown as HTML, as Markdown or on a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

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


@dataclass(frozen=True)
class Number:
    """A number of a line.

    Attributes:
        path: where report.json has it; see `value_at`.
        kind: how it is formatted: a key of FORMATS.
        by: what is done with the number at `other`: divided by it, without it, or together with it.
        other: path of that number.
        unit: whether the unit is shown.
    """

    path: str
    kind: str
    by: Literal["", "over", "minus", "plus"] = ""
    other: str = ""
    unit: bool = True


@dataclass(frozen=True)
class Marked:
    """Words of a line that stand out, or that are to be typed."""

    text: str
    mark: Literal["strong", "code"]


Line = Sequence[str | Number | Marked]


def interval(low: str, high: str, kind: str) -> Line:
    """Return the two ends of an interval, in brackets and without their unit."""
    return (" [", Number(low, kind, unit=False), TO, Number(high, kind, unit=False), "]")


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
        return self._number(Number(path, kind))

    def quotient(self, path: str, over: str, kind: str = "times") -> Markup:
        """Show the number at a path divided by that at another; a dash where one is absent or 0."""
        return self._number(Number(path, kind, "over", over))

    def markup(self, line: Line) -> Markup:
        """Show a line as HTML."""
        tags = {"strong": Markup("<b>{}</b>"), "code": Markup("<code>{}</code>")}
        return Markup("").join(
            self._number(part)
            if isinstance(part, Number)
            else tags[part.mark].format(part.text)
            if isinstance(part, Marked)
            else part
            for part in line
        )

    def text(self, line: Line, markdown: bool = False) -> str:
        """Show a line as text, with or without the marks of Markdown."""
        signs = {"strong": "**", "code": "`"} if markdown else {"strong": "", "code": ""}
        return "".join(
            self._shown(part)
            if isinstance(part, Number)
            else f"{signs[part.mark]}{part.text}{signs[part.mark]}"
            if isinstance(part, Marked)
            else part
            for part in line
        )

    def _number(self, number: Number) -> Markup:
        found = self._found(number)
        if found is None:
            return Markup('<span class="absent">{}</span>').format(ABSENT)
        other = Markup(' data-{}="{}"').format(number.by, number.other) if number.by else ""
        return Markup('<data value="{}" data-from="{}"{} data-as="{}">{}</data>').format(
            found, number.path, other, number.kind, self._shown(number)
        )

    def _shown(self, number: Number) -> str:
        found = self._found(number)
        if found is None:
            return ABSENT
        shown = FORMATS[number.kind](found)
        return shown if number.unit else _without_unit(shown)

    def _found(self, number: Number) -> float | None:
        found = self.value(number.path)
        if not number.by or found is None:
            return None if found is None else float(found)
        other = self.value(number.other)
        if other is None or (number.by == "over" and not other):
            return None
        return float({"over": found / (other or 1), "minus": found - other, "plus": found + other}[number.by])

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
    return Markup(re.sub(f"{_UNITS}</data>$", "</data>", str(shown)))


_UNITS = f"(?: %| ms|{BY})"


def _without_unit(shown: str) -> str:
    return re.sub(f"{_UNITS}$", "", shown)
