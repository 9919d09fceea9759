"""report.html: one self-contained page that opens with what to ship; every figure on it is read from a row."""

from __future__ import annotations

import shlex
from importlib.resources import files
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from conaclip_edge.benchmarks.report import svg_charts as charts
from conaclip_edge.benchmarks.report.ann_tables import ann_answer, ann_chart, ann_legend
from conaclip_edge.benchmarks.report.numbers import ABSENT, Figures, bare, megabytes, milliseconds
from conaclip_edge.benchmarks.schema.report import STUDENT, TEACHER, Latency, Report, Row, Tower, plain
from conaclip_edge.benchmarks.schema.row_ids import PLAIN_ONNX
from conaclip_edge.config.benchmark import BenchmarkConfig

_LETTERS = 42
TOWERS = {"image": "picture", "text": "text"}
SECTIONS = {
    "answer": "Answer",
    "rows": "Rows",
    "pareto": "Recall / latency",
    "size": "Size",
    "latency": "Latency",
    "stages": "End to end",
    "kept": "Recall kept",
    "training": "Training",
    "coverage": "Coverage",
    "ann": "Index",
    "gallery": "Gallery",
    "method": "Method",
}
STAGES = {
    "picture": (
        "A picture, from bytes to embedding",
        {"decode": "s-first", "resize": "s-other", "tower": "s-tower"},
    ),
    "query": (
        "A query, from text to ten pictures",
        {"tokenise": "s-first", "tower": "s-tower", "search": "s-other"},
    ),
}


def render_html(report: Report) -> str:
    """Render a report as one HTML document without scripts, links to other files or requests."""
    here = files("conaclip_edge.benchmarks.report")
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters["bare"] = bare
    values = plain(report)
    template = page.from_string(here.joinpath("report.html").read_text("utf-8"))
    return template.render(css=Markup(here.joinpath("report.css").read_text("utf-8")), **_content(report, values))


def style(row: Row, ship: str | None) -> str:
    """Return the style class of a row: what it is, not how it did."""
    if row.id == ship:
        return "ship"
    if row.group == "files":
        return "files"
    kinds = {TEACHER: "teacher", STUDENT: "student"}
    return kinds.get(row.id, "clip" if row.weights == "random" else "plain")


def _content(report: Report, values: dict[str, Any]) -> dict[str, Any]:
    figures = Figures(values)
    ship = report.row(report.ship) if report.ship else None
    rows = [row for row in report.rows if row.group != "training"]
    timings = [found for row in report.rows for found in (*row.latency_ms.values(), *row.more_latency)]
    drawn = {
        "picture": _pareto(report, "image", "one picture"),
        "query": _pareto(report, "text", "one query"),
        "size": _sizes(report) if report.rows else None,
        "memory": _memory(report),
    }
    content: dict[str, Any] = {
        "report": values | {"suite": report.suite, "dataset": report.dataset, "model": report.model},
        "f": figures,
        "absent": ABSENT,
        "towers": TOWERS,
        "rows": report.rows,
        "labels": {row.id: report.name(row) for row in report.rows},
        "style": lambda row: style(row, report.ship),
        "tilde": _tilde,
        "ship": ship,
        "at": f"rows/{report.ship}",
        "teacher": TEACHER,
        "plain": PLAIN_ONNX,
        "tiles": _tiles(figures, report.ship) if ship else [],
        "many_hosts": bool(report.other_environments),
        "phones": any(other.kind == "phone" for other in report.other_environments),
        "noisy": sum(found.noisy for found in timings),
        "timings": len(timings),
        "charts": drawn,
        "cold": [
            (row, tower) for row in rows for tower, found in row.latency_ms.items() if found.cold_load is not None
        ],
        "boxes": _boxes(report),
        "latency_groups": _latency_groups(report),
        "stages": _stages(report),
        "kept": [row for row in rows if row.relative_recall],
        "training": [row for row in report.rows if row.group == "training"],
        "training_split": next((row.equal_budget["split"] for row in report.rows if row.equal_budget), ""),
        "covered": [(row, tower) for row in rows for tower in row.coverage],
        "gallery_kinds": (
            ("typed", "Typed by hand"),
            ("example", "Captions of the split"),
            ("failure", "Where the student falls behind the teacher the most"),
        ),
        "ann": report.ann,
        "ann_answer": bold(ann_answer(report.ann)) if report.ann else "",
        "ann_legend": ann_legend(report.ann) if report.ann else "",
        "ann_chart": ann_chart(report.ann) if report.ann else None,
        "environments": (report.environment, *report.other_environments),
        "commands": commands(report),
        "suite": yaml.safe_dump(values["suite"], sort_keys=False, allow_unicode=True),
    }
    absent = {
        "pareto": not (drawn["picture"] or drawn["query"]),
        "latency": not content["boxes"],
        "gallery": not report.gallery,
        **{name: not content[name] for name in ("stages", "kept", "training")},
        "coverage": not content["covered"],
        "rows": not report.rows,
        "size": not report.rows,
        "ann": not report.ann,
    }
    content["sections"] = [(name, title) for name, title in SECTIONS.items() if not absent.get(name)]
    return content


def commands(report: Report) -> str:
    """Return the commands that make this report again; a suite of one's own is shown below them."""
    suite = "" if report.suite == BenchmarkConfig() else f" --suite {report.suite.name}.yaml"
    return (
        f"conaclip-edge benchmark {shlex.quote(report.model.bundle)}{suite}\n"
        "conaclip-edge report report.json --check report.json    # fails where recall or a latency ratio got worse"
    )


def _tiles(figures: Figures, ship: str | None) -> list[dict[str, Any]]:
    """List the figures that the page opens with, the teacher's beside them on one scale."""
    tiles: list[dict[str, Any]] = [
        {"name": "Recall, mean of six", "path": "mean_recall", "kind": "pct", "better": "more"},
        {"name": "A picture", "path": "latency_ms/image/p50", "kind": "ms", "better": "less"},
        {"name": "A query", "path": "latency_ms/text/p50", "kind": "ms", "better": "less"},
        {"name": "Size of both files", "path": "size_bytes/total", "kind": "mb", "better": "less"},
        {"name": "Peak memory", "path": "peak_rss_bytes/both", "kind": "mb", "better": "less"},
    ]
    for tile in tiles:
        own = figures.value(f"rows/{ship}/{tile['path']}")
        other = figures.value(f"rows/{TEACHER}/{tile['path']}")
        tile["against"] = other if own is not None else None
        if tile["against"] is not None:
            most = max(own, other)
            tile |= {"own": 100 * own / most, "other": 100 * other / most}
    return [tile for tile in tiles if figures.value(f"rows/{ship}/{tile['path']}") is not None]


def _pareto(report: Report, tower: Tower, axis: str) -> Markup | None:
    points = [
        charts.Point(
            row.id, _label(report, row), style(row, report.ship), row.latency_ms[tower].typical, row.mean_recall
        )
        for row in report.rows
        if row.mean_recall is not None and tower in row.latency_ms
    ]
    if len(points) < 2:
        return None
    points.sort(key=lambda point: point.row == report.ship)  # drawn last, over what lies under it
    shown = "; ".join(f"{point.label} {milliseconds(point.latency)} and {point.recall:.1f} %" for point in points)
    return charts.pareto(points, f"Mean recall against the latency of {axis}: {shown}", axis)


def _sizes(report: Report) -> Markup:
    rows = []
    for row in report.rows:
        if row.size_bytes is None:
            continue
        sizes = row.size_bytes
        whole = (("s-base", sizes.total),)
        parts = (
            whole if sizes.image is None or sizes.text is None else (("s-image", sizes.image), ("s-text", sizes.text))
        )
        rows.append(charts.Bar(row.id, _label(report, row), style(row, report.ship), parts, megabytes(sizes.total)))
    rows.sort(key=lambda bar: sum(value for _, value in bar.parts))
    return charts.bars(rows, "Size: " + "; ".join(f"{bar.label} {bar.shown}" for bar in rows))


def _memory(report: Report) -> Markup | None:
    rows = [
        charts.Bar(
            row.id,
            _label(report, row),
            style(row, report.ship),
            (("s-base", memory.runtime), ("s-added", max(0, memory.both - memory.runtime))),
            megabytes(memory.both),
        )
        for row in report.rows
        if (memory := row.peak_rss_bytes) is not None
    ]
    rows.sort(key=lambda bar: sum(value for _, value in bar.parts))
    title = "Peak memory: " + "; ".join(f"{bar.label} {bar.shown}" for bar in rows)
    return charts.bars(rows, title) if rows else None


def _boxes(report: Report) -> list[tuple[str, Markup]]:
    drawn = []
    names: dict[Tower, str] = {"image": "A picture, one thread", "text": "A query at its own length, one thread"}
    for tower, name in names.items():
        rows = [
            charts.Box(row.id, _label(report, row), style(row, report.ship), found.quantiles, found.noisy)
            for row in report.rows
            if (found := row.latency_ms.get(tower)) and found.quantiles
        ]
        if rows:
            drawn.append(
                (name, charts.boxes(rows, f"Distribution of latency: {name}; the figures are in the table below"))
            )
    return drawn


def _latency_groups(report: Report) -> list[dict[str, Any]]:
    """Group all timings by condition, the headline conditions first."""
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in report.rows:
        found = [(f"rows/{row.id}/latency_ms/{tower}", one) for tower, one in row.latency_ms.items()]
        found += [(f"rows/{row.id}/more_latency/{place}", one) for place, one in enumerate(row.more_latency)]
        for path, one in found:
            key = (one.threads, one.batch, one.tower, one.texts or "")
            group = groups.setdefault(key, {"title": _condition(one), "rows": [], "references": []})
            group["rows"].append((row, path))
            group["references"] += [name for name in one.ratio_to if name not in group["references"]]
    headline = [key for key in groups if key[0] == 1 and key[1] == 1]
    order = [*headline, *sorted(key for key in groups if key not in headline)]
    return [groups[key] for key in order]


def _condition(found: Latency) -> str:
    what = "pictures" if found.tower == "image" else f"texts ({found.texts})"
    return f"{what.capitalize()}, batch {found.batch}, {found.threads} {'thread' if found.threads == 1 else 'threads'}"


def _stages(report: Report) -> list[dict[str, Any]]:
    drawn = []
    for way, (title, names) in STAGES.items():
        rows = [row for row in report.rows if way in row.stages]
        if not rows:
            continue
        bars = []
        for row in rows:
            found = row.stages[way]  # type: ignore[index]  # way is one of the literal keys
            parts = tuple((kind, found[name]) for name, kind in names.items())
            whole = sum(found.values())
            shown = f"{milliseconds(whole)}, tower {100 * found['tower'] / whole:.0f} %"
            bars.append(charts.Bar(row.id, _label(report, row), style(row, report.ship), parts, shown))
        summary = "; ".join(f"{bar.label} {bar.shown}" for bar in bars)
        chart = charts.bars(bars, f"{title}: {summary}")
        drawn.append({"way": way, "title": title, "names": names, "rows": rows, "chart": chart})
    return drawn


def bold(text: str) -> Markup:
    """Turn the one thing that a sentence of Markdown puts in bold into HTML."""
    before, name, after = text.split("**") if text.count("**") == 2 else (text, "", "")
    return Markup("{}<b>{}</b>{}").format(before, name, after)


def _tilde(row: Row, tower: Tower) -> Markup:
    found = row.latency_ms.get(tower)
    noisy = found is not None and found.noisy
    return Markup(' <abbr title="noisier than the suite allows">~</abbr>') if noisy else Markup("")


def _label(report: Report, row: Row) -> str:
    """Name a row in a chart, where its value has to fit beside it on a phone."""
    name = report.name(row)
    return name if len(name) <= _LETTERS else name[: _LETTERS - 1] + "\N{HORIZONTAL ELLIPSIS}"
