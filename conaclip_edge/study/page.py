"""study.json and study.html: what a study found, for programs and for people."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import yaml
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from conaclip_edge.benchmarks.report import svg_charts as charts
from conaclip_edge.distill.supervisions import SUPERVISIONS
from conaclip_edge.study.report import StudyReport
from conaclip_edge.system.files import atomic_file, write_json

TYPES = {
    "intra-ts": "within a modality, teacher and student",
    "inter-ts": "across modalities, teacher and student",
    "intra-ss": "within a modality, student alone",
    "inter-ss": "across modalities, student alone",
}


def write_study(report: StudyReport, out: Path) -> None:
    """Write study.json and study.html.

    Args:
        report: of the study.
        out: the study's folder.
    """
    write_json(out / "study.json", report.model_dump(mode="json", by_alias=True))
    with atomic_file(out / "study.html") as temporary:
        temporary.write_text(render_study(report), "utf-8")


def render_study(report: StudyReport) -> str:
    """Render a study as one page without scripts or requests."""
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters |= {"pct": lambda value: f"{value:.1f}", "signed": _signed, "shade": shade}
    template = page.from_string(files("conaclip_edge.study").joinpath("study.html").read_text("utf-8"))
    most = max([abs(statistics.difference) for statistics in report.cells.values()] or [1.0])
    sweeps = {"temperature": report.sweeps.temperature, "weight": report.sweeps.weight}
    return template.render(
        css=Markup(files("conaclip_edge.benchmarks.report").joinpath("report.css").read_text("utf-8")),
        study=report,
        types=TYPES,
        losses={name: one.title for name, one in SUPERVISIONS.items()},
        most=max(most, 1e-9),
        sizes=_sizes(report),
        sweeps=[(axis, steps) for axis, steps in sweeps.items() if steps],
        top=_top(report),
        config=yaml.safe_dump(report.config.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
    )


def shade(difference: float, most: float) -> str:
    """Return the background of a cell of the heat map: green for a gain, rust for a loss, strong where it is large."""
    colour = "--ship" if difference >= 0 else "--teacher"
    return f"color-mix(in srgb, var({colour}) {round(45 * abs(difference) / most)}%, transparent)"


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")


def _top(report: StudyReport) -> float:
    """Return the largest mean on val that a bar of the page shows, for their common scale."""
    shown = [report.baseline, *report.cells.values(), *(step.row for step in report.path)]
    shown += [step.row for step in (*report.sweeps.temperature, *report.sweeps.weight)]
    return max(*(statistics.mean for statistics in shown), 1e-9)


def _sizes(report: StudyReport) -> Markup | None:
    points = [
        charts.Point(size.name, size.name, "student", size.parameters / 1e6, size.row.mean) for size in report.sizes
    ]
    if len(points) < 2:
        return None

    def shown(millions: float) -> str:
        return f"{millions:.2f} M parameters"

    title = "Recall on val against parameters: " + "; ".join(
        f"{point.label} {shown(point.latency)}, {point.recall:.1f} %" for point in points
    )
    return charts.pareto(points, title, "parameters", "mean recall on val", "million", shown)
