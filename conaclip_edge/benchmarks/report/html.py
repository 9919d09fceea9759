"""report.html: one self-contained page that opens with what to ship; every number on it is read from a row."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from conaclip_edge.benchmarks.report.advice import advice, without_recall
from conaclip_edge.benchmarks.report.ann_tables import ann_answer, ann_chart, ann_legend
from conaclip_edge.benchmarks.report.baselines import baselines, kept_plain_rows, lossy_plain_rows
from conaclip_edge.benchmarks.report.device_table import LEGEND, device_answer, device_rows, without_devices
from conaclip_edge.benchmarks.report.markdown import recall_line
from conaclip_edge.benchmarks.report.numbers import ABSENT, ReportValues, bare
from conaclip_edge.benchmarks.report.row_charts import (
    latency_charts,
    memory_chart,
    recall_chart,
    row_style,
    size_chart,
    stages_charts,
)
from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.benchmarks.schema.row import Latency, ReportRow, Tower
from conaclip_edge.benchmarks.schema.row_ids import TEACHER
from conaclip_edge.bundle.card.accelerators import LEGEND as ACCELERATORS
from conaclip_edge.bundle.card.accelerators import Accelerator, accelerator_names
from conaclip_edge.config.benchmark import BenchmarkConfig

TOWERS = {"image": "picture", "text": "text"}
SECTIONS = {
    "answer": "Answer",
    "rows": "Rows",
    "device": "On a device",
    "pareto": "Recall / latency",
    "size": "Size",
    "latency": "Latency",
    "stages": "End to end",
    "relative": "Relative recall",
    "training": "Training",
    "coverage": "Coverage",
    "ann": "Index",
    "gallery": "Gallery",
    "method": "Method",
}
_GALLERY = (
    ("typed", "Typed by hand"),
    ("example", "Captions of the split"),
    ("failure", "Where the student falls behind the teacher the most"),
)


@dataclass(frozen=True)
class Tile:
    """One of the numbers that the page opens with.

    Attributes:
        name: what the number is.
        path: where the row has it.
        kind: how it is formatted.
        smaller_is_better: whether the teacher's is shown as a multiple of it.
        own: length of the row's bar, in percent; None where the teacher has no such number.
        other: length of the teacher's bar.
    """

    name: str
    path: str
    kind: str
    smaller_is_better: bool
    own: float | None = None
    other: float | None = None


@dataclass
class LatencyGroup:
    """Timings of one condition.

    Attributes:
        title: the condition.
        rows: a row, and the path of its timing.
        references: ids of the rows that ratios refer to.
    """

    title: str
    rows: list[tuple[ReportRow, str]] = field(default_factory=list)
    references: list[str] = field(default_factory=list)


def render_html(report: BenchmarkReport) -> str:
    """Render a report as one HTML document without scripts, links to other files or requests."""
    here = files("conaclip_edge.benchmarks.report")
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters["bare"] = bare
    template = page.from_string(here.joinpath("report.html").read_text("utf-8"))
    return template.render(css=Markup(here.joinpath("report.css").read_text("utf-8")), **_template_values(report))


def _template_values(report: BenchmarkReport) -> dict[str, Any]:
    """Return what report.html names."""
    values, devices = ReportValues(report), device_rows(report)
    device_text = device_answer(report) if devices else ""
    report = without_devices(report)
    ship = report.row(report.ship) if report.ship else None
    measured = [row for row in report.rows if row.group != "training"]
    training = [row for row in report.rows if row.group == "training"]
    timings = [latency for row in report.rows for latency in (*row.latency_ms.values(), *row.more_latency)]
    shown: dict[str, Any] = {
        "report": report,
        "values": values,
        "absent": ABSENT,
        "towers": TOWERS,
        "rows": report.rows,
        "labels": {row.id: report.name(row) for row in report.rows},
        "style": lambda row: row_style(row, report.ship),
        "tilde": _tilde,
        "ship": ship,
        "advice": advice(report) if report.dataset else None,
        "without_recall": "" if report.dataset else without_recall(report),
        "recall_line": recall_line(report) if report.dataset and report.dataset.chance is not None else "",
        "ship_path": f"rows/{report.ship}",
        "teacher": TEACHER,
        "baselines": baselines(report, ship) if ship else [],
        "kept_plain": kept_plain_rows(report),
        "lossy": lossy_plain_rows(report),
        "tiles": _tiles(values, report.ship) if ship else [],
        "many_hosts": bool(report.other_environments),
        "phones": any(other.kind == "phone" for other in report.other_environments),
        "noisy": sum(latency.noisy for latency in timings),
        "timings": len(timings),
        "picture_chart": recall_chart(report, "image", "one picture"),
        "query_chart": recall_chart(report, "text", "one query"),
        "size_chart": size_chart(report),
        "memory_chart": memory_chart(report),
        "cold": [
            (row, tower)
            for row in measured
            for tower, latency in row.latency_ms.items()
            if latency.cold_load is not None
        ],
        "latency_charts": latency_charts(report),
        "latency_groups": _latency_groups(report),
        "stages": stages_charts(report),
        "relative": [row for row in measured if row.relative_recall],
        "training": training,
        "training_split": next((row.equal_budget.split for row in training if row.equal_budget), ""),
        "covered": [(row, tower) for row in measured for tower in row.coverage],
        "accelerated": [(row, tower, _numbers(found)) for row in measured for tower, found in row.accelerators.items()],
        "accelerator_names": accelerator_names(found for row in measured for found in row.accelerators.values()),
        "accelerator_legend": ACCELERATORS,
        "gallery_kinds": _GALLERY,
        "devices": devices,
        "many_devices": len({row.device for row in devices}) > 1,
        "device_answer": device_text,
        "device_legend": LEGEND,
        "ann": report.ann,
        "ann_answer": bold(ann_answer(report.ann)) if report.ann else "",
        "ann_legend": ann_legend(report.ann) if report.ann else "",
        "ann_chart": ann_chart(report.ann) if report.ann else None,
        "environments": (report.environment, *report.other_environments),
        "commands": commands(report, " --device arm64" if devices and not report.rows else ""),
        "suite": yaml.safe_dump(report.suite.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
    }
    filled = {
        "rows": report.rows,
        "device": devices,
        "pareto": shown["picture_chart"] or shown["query_chart"],
        "size": report.rows,
        "latency": shown["latency_charts"],
        "stages": shown["stages"],
        "relative": shown["relative"],
        "training": training,
        "coverage": shown["covered"] or shown["accelerated"],
        "ann": report.ann,
        "gallery": report.gallery,
    }
    return shown | {"sections": [(name, title) for name, title in SECTIONS.items() if filled.get(name, True)]}


def _numbers(found: Sequence[Accelerator]) -> dict[str, int]:
    """Return name of an accelerator -> its number among those of a row."""
    return {one.name: number for number, one in enumerate(found)}


def commands(report: BenchmarkReport, device: str = "") -> str:
    """Return the commands that make this report again; a suite of one's own is shown below them."""
    suite = "" if report.suite == BenchmarkConfig() else f" --suite {report.suite.name}.yaml"
    return (
        f"conaclip-edge benchmark {shlex.quote(report.model.bundle)}{suite}{device}\n"
        "conaclip-edge report report.json --check report.json    # fails where recall or a latency ratio got worse"
    )


def _tiles(values: ReportValues, ship: str | None) -> list[Tile]:
    """List the numbers that the page opens with, the teacher's beside them on one scale."""
    tiles = []
    for name, path, kind, smaller_is_better in (
        ("Recall, mean of six", "mean_recall", "pct", False),
        ("A picture", "latency_ms/image/p50", "ms", True),
        ("A query", "latency_ms/text/p50", "ms", True),
        ("Size of both files", "size_bytes/total", "mb", True),
        ("Peak memory", "peak_rss_bytes/both", "mb", True),
    ):
        own, other = values.value(f"rows/{ship}/{path}"), values.value(f"rows/{TEACHER}/{path}")
        if own is None:
            continue
        bars = (None, None) if other is None else (100 * own / max(own, other), 100 * other / max(own, other))
        tiles.append(Tile(name, path, kind, smaller_is_better, *bars))
    return tiles


def _latency_groups(report: BenchmarkReport) -> list[LatencyGroup]:
    """Group all timings by condition, the headline conditions first."""
    groups: dict[tuple[int, int, Tower, str], LatencyGroup] = {}
    for row in report.rows:
        timed = [(f"rows/{row.id}/latency_ms/{tower}", latency) for tower, latency in row.latency_ms.items()]
        timed += [(f"rows/{row.id}/more_latency/{number}", one) for number, one in enumerate(row.more_latency)]
        for path, latency in timed:
            key = (latency.threads, latency.batch, latency.tower, latency.texts or "")
            group = groups.setdefault(key, LatencyGroup(_condition(latency)))
            group.rows.append((row, path))
            group.references += [name for name in latency.ratio_to if name not in group.references]
    headline = [key for key in groups if key[0] == 1 and key[1] == 1]
    order = [*headline, *sorted(key for key in groups if key not in headline)]
    return [groups[key] for key in order]


def _condition(latency: Latency) -> str:
    inputs = "pictures" if latency.tower == "image" else f"texts ({latency.texts})"
    threads = f"{latency.threads} {'thread' if latency.threads == 1 else 'threads'}"
    return f"{inputs.capitalize()}, batch {latency.batch}, {threads}"


def bold(text: str) -> Markup:
    """Turn the one thing that a sentence of Markdown puts in bold into HTML."""
    before, name, after = text.split("**") if text.count("**") == 2 else (text, "", "")
    return Markup("{}<b>{}</b>{}").format(before, name, after)


def _tilde(row: ReportRow, tower: Tower) -> Markup:
    latency = row.latency_ms.get(tower)
    noisy = latency is not None and latency.noisy
    return Markup(' <abbr title="noisier than the suite allows">~</abbr>') if noisy else Markup("")
