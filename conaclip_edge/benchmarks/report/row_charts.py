"""The charts of a report's rows: recall against latency, sizes, memory, distributions of latency, stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from conaclip_edge.benchmarks.report import svg_charts as charts
from conaclip_edge.benchmarks.report.numbers import megabytes, milliseconds
from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.benchmarks.schema.row import ReportRow, Tower
from conaclip_edge.benchmarks.schema.row_ids import STUDENT, TEACHER

_LETTERS = 42
# what the stages of a picture and of a query are called, and the style of each stage
_STAGES: dict[Literal["picture", "query"], tuple[str, dict[str, str]]] = {
    "picture": ("A picture, from bytes to embedding", {"decode": "s-first", "resize": "s-other", "tower": "s-tower"}),
    "query": ("A query, from text to ten pictures", {"tokenise": "s-first", "tower": "s-tower", "search": "s-other"}),
}


@dataclass(frozen=True)
class StagesChart:
    """The stages of a picture or of a query.

    Attributes:
        kind: which of the two.
        title: what the chart shows.
        styles: stage -> style, in order of time.
        rows: whose stages were timed.
        chart: the chart.
    """

    kind: Literal["picture", "query"]
    title: str
    styles: dict[str, str]
    rows: tuple[ReportRow, ...]
    chart: Markup


def row_style(row: ReportRow, chosen: frozenset[str]) -> str:
    """Return the style class of a row: whether it is chosen for a platform, else what it is."""
    if row.id in chosen:
        return "ship"
    if row.group == "files":
        return "files"
    kinds = {TEACHER: "teacher", STUDENT: "student"}
    return kinds.get(row.id, "clip" if row.weights == "random" else "plain")


def recall_chart(report: BenchmarkReport, tower: Tower, axis: str) -> Markup | None:
    """Plot mean recall against the latency of a tower; None for fewer than two rows that have both."""
    points = [
        charts.Point(
            row.id, _label(report, row), row_style(row, report.chosen), row.latency_ms[tower].typical, row.mean_recall
        )
        for row in report.rows
        if row.mean_recall is not None and tower in row.latency_ms
    ]
    if len(points) < 2:
        return None
    points.sort(key=lambda point: point.row in report.chosen)  # drawn last, over what lies under it
    shown = "; ".join(f"{point.label} {milliseconds(point.latency)} and {point.recall:.1f} %" for point in points)
    return charts.pareto(points, f"Mean recall against the latency of {axis}: {shown}", axis)


def size_chart(report: BenchmarkReport) -> Markup | None:
    """Draw the bytes that ship; None for a report without rows."""
    bars = []
    for row in report.rows:
        if row.size_bytes is None:
            continue
        sizes = row.size_bytes
        whole = (("s-base", sizes.total),)
        parts = (
            whole if sizes.image is None or sizes.text is None else (("s-image", sizes.image), ("s-text", sizes.text))
        )
        bars.append(
            charts.Bar(row.id, _label(report, row), row_style(row, report.chosen), parts, megabytes(sizes.total))
        )
    return _sorted_bars(bars, "Size")


def memory_chart(report: BenchmarkReport) -> Markup | None:
    """Draw the peak memory of fresh processes; None where it was not measured."""
    bars = [
        charts.Bar(
            row.id,
            _label(report, row),
            row_style(row, report.chosen),
            (("s-base", memory.runtime), ("s-added", max(0, memory.both - memory.runtime))),
            megabytes(memory.both),
        )
        for row in report.rows
        if (memory := row.peak_rss_bytes) is not None
    ]
    return _sorted_bars(bars, "Peak memory")


def latency_charts(report: BenchmarkReport) -> list[tuple[str, Markup]]:
    """Draw the distribution of each tower's times; a title and a chart per tower that was timed."""
    drawn = []
    names: dict[Tower, str] = {"image": "A picture, one thread", "text": "A query at its own length, one thread"}
    for tower, name in names.items():
        boxes = [
            charts.Box(row.id, _label(report, row), row_style(row, report.chosen), latency.quantiles, latency.noisy)
            for row in report.rows
            if (latency := row.latency_ms.get(tower)) and latency.quantiles
        ]
        if boxes:
            title = f"Distribution of latency: {name}; the numbers are in the table below"
            drawn.append((name, charts.boxes(boxes, title)))
    return drawn


def stages_charts(report: BenchmarkReport) -> list[StagesChart]:
    """Draw what a picture and a query take end to end, stage by stage, for each of the two that was timed."""
    drawn = []
    for kind, (title, styles) in _STAGES.items():
        rows = tuple(row for row in report.rows if kind in row.stages)
        bars = []
        for row in rows:
            times = row.stages[kind]
            whole = sum(times.values())
            parts = tuple((style, times[name]) for name, style in styles.items())
            shown = f"{milliseconds(whole)}, tower {100 * times['tower'] / whole:.0f} %"
            bars.append(charts.Bar(row.id, _label(report, row), row_style(row, report.chosen), parts, shown))
        if bars:
            summary = "; ".join(f"{bar.label} {bar.shown}" for bar in bars)
            drawn.append(StagesChart(kind, title, styles, rows, charts.bars(bars, f"{title}: {summary}")))
    return drawn


def _sorted_bars(bars: list[charts.Bar], title: str) -> Markup | None:
    """Draw bars, the shortest first."""
    bars.sort(key=lambda bar: sum(value for _, value in bar.parts))
    summary = "; ".join(f"{bar.label} {bar.shown}" for bar in bars)
    return charts.bars(bars, f"{title}: {summary}") if bars else None


def _label(report: BenchmarkReport, row: ReportRow) -> str:
    """Name a row in a chart, where its value has to fit beside it on a phone."""
    name = report.name(row)
    return name if len(name) <= _LETTERS else name[: _LETTERS - 1] + "\N{HORIZONTAL ELLIPSIS}"
