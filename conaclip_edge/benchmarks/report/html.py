"""report.html: one self-contained page that opens with which files to ship; every number on it is read from a row."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from conaclip_edge.benchmarks.answer.platforms import COMMON_RULES, RULES, decided
from conaclip_edge.benchmarks.report.answer_text import float_model, opening, recall_bars, recall_worth
from conaclip_edge.benchmarks.report.markdown import lossy_line, noted, recall_line
from conaclip_edge.benchmarks.report.numbers import ABSENT, Line, ReportValues, bare
from conaclip_edge.benchmarks.report.platform_text import Fact, badge, facts, plain_lines, title
from conaclip_edge.benchmarks.report.row_charts import (
    latency_charts,
    memory_chart,
    recall_chart,
    row_style,
    size_chart,
    stages_charts,
)
from conaclip_edge.benchmarks.report.tables.agreement_table import LEGEND as AGREEMENT_LEGEND
from conaclip_edge.benchmarks.report.tables.agreement_table import TITLE as AGREEMENT
from conaclip_edge.benchmarks.report.tables.agreement_table import matrices
from conaclip_edge.benchmarks.report.tables.ann_tables import ann_answer, ann_chart, ann_legend
from conaclip_edge.benchmarks.report.tables.device_table import LEGEND, device_answer, device_rows, without_devices
from conaclip_edge.benchmarks.schema.choice import Choice
from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.benchmarks.schema.row import Latency, ReportRow, Tower
from conaclip_edge.bundle.card.accelerators import LEGEND as ACCELERATORS
from conaclip_edge.bundle.card.accelerators import Accelerator, accelerator_names
from conaclip_edge.config.benchmark import BenchmarkConfig

TOWERS = {"image": "picture", "text": "text"}
SECTIONS = {
    "answer": "Which files",
    "device": "Instructions",
    "rows": "Rows",
    "pareto": "Recall / latency",
    "size": "Size",
    "latency": "Latency",
    "stages": "End to end",
    "relative": "Relative recall",
    "agreement": "Formats",
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
class Card:
    """A choice for a platform, as the page shows it.

    Attributes:
        choice: the choice.
        title: name of the files.
        badge: what the choice stands on.
        facts: figures.
        plain: comparisons with plain exports; those first that take less.
    """

    choice: Choice
    title: str
    badge: str
    facts: list[Fact]
    plain: list[Line]


@dataclass(frozen=True)
class Bar:
    """A mean recall among others.

    Attributes:
        name: whose it is.
        path: where report.json has it.
        length: of the bar, in percent of the longest.
        row: the row; None for chance.
    """

    name: str
    path: str
    length: float
    row: ReportRow | None


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
    report = decided(report)
    values, devices = ReportValues(report), device_rows(report)
    first = {
        "opening": (start := opening(report)),
        "lead": bold(start.lead),
        "cards": _cards(report, start.choices),
        "worth": recall_worth(report, start.choices),
        "recall_bars": _bars(report, start.choices),
    }
    device_text = device_answer(report) if devices else ""
    report = without_devices(report)
    measured = [row for row in report.rows if row.group != "training"]
    training = [row for row in report.rows if row.group == "training"]
    timings = [latency for row in report.rows for latency in (*row.latency_ms.values(), *row.more_latency)]
    shown: dict[str, Any] = first | {
        "report": report,
        "values": values,
        "absent": ABSENT,
        "towers": TOWERS,
        "rows": report.rows,
        "labels": {row.id: report.name(row) for row in report.rows},
        "style": lambda row: row_style(row, report.chosen),
        "tilde": _tilde,
        "chosen": report.chosen,
        "float_model": float_model(report),
        "notes": noted(report),
        "lossy": lossy_line(report),
        "common_rules": COMMON_RULES,
        "rules": RULES,
        "recall_line": recall_line(report) if report.dataset and report.dataset.chance is not None else "",
        "many_hosts": bool(report.other_environments),
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
        "agreement_title": AGREEMENT,
        "agreement_legend": AGREEMENT_LEGEND,
        "matrices": matrices(report),
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
        "agreement": report.agreement,
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


def _cards(report: BenchmarkReport, choices: Sequence[Choice]) -> list[Card]:
    return [
        Card(choice, title(choice), badge(choice), facts(report, choice), plain_lines(report, choice))
        for choice in choices
    ]


def _bars(report: BenchmarkReport, choices: Sequence[Choice]) -> list[Bar]:
    """List the recalls that stand beside those of the chosen files, with chance last."""
    rows = recall_bars(report, choices)
    found = [Bar(report.name(row), f"rows/{row.id}/mean_recall", row.mean_recall or 0, row) for row in rows]
    chance = report.dataset.chance if report.dataset else None
    if found and chance is not None:
        found.append(Bar("Chance", "dataset/chance", chance, None))
    longest = max((bar.length for bar in found), default=0) or 1
    return [replace(bar, length=100 * bar.length / longest) for bar in found]


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
