"""study.json and study.html: what a study found, for programs and for people."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from conaclip_edge.benchmarks.measure.machine import environment
from conaclip_edge.benchmarks.report import svg_charts as charts
from conaclip_edge.distill.supervisions import SUPERVISIONS
from conaclip_edge.system.files import atomic_file, write_json

TYPES = {
    "intra-ts": "within a modality, teacher and student",
    "inter-ts": "across modalities, teacher and student",
    "intra-ss": "within a modality, student alone",
    "inter-ss": "across modalities, student alone",
}


def write_study(found: dict[str, Any], out: Path) -> dict[str, Any]:
    """Write study.json and study.html into a folder; returns what study.json holds.

    Args:
        found: from `distill.study.study`.
        out: the study's folder.
    """
    whole = found | {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment().model_dump(mode="json") | {"threads_a_run": 1},
    }
    write_json(out / "study.json", whole)
    with atomic_file(out / "study.html") as temporary:
        temporary.write_text(render_study(whole), "utf-8")
    return whole


def render_study(found: dict[str, Any]) -> str:
    """Render the content of study.json as one page without scripts or requests."""
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters |= {"pct": lambda value: f"{value:.1f}", "signed": _signed, "shade": shade}
    template = page.from_string(files("conaclip_edge.study").joinpath("study.html").read_text("utf-8"))
    most = max([abs(row["difference"]) for row in found["cells"].values()] or [1.0])
    return template.render(
        css=Markup(files("conaclip_edge.benchmarks.report").joinpath("report.css").read_text("utf-8")),
        s=found,
        types=TYPES,
        losses={name: one.title for name, one in SUPERVISIONS.items()},
        most=max(most, 1e-9),
        sizes=_sizes(found),
        sweeps=[(axis, rows) for axis, rows in found["sweeps"].items() if rows],
        top=_top(found),
        config=yaml.safe_dump(json.loads(json.dumps(found["config"])), sort_keys=False, allow_unicode=True),
    )


def shade(difference: float, most: float) -> str:
    """Return the background of a cell of the heat map: green for a gain, rust for a loss, strong where it is large."""
    colour = "--ship" if difference >= 0 else "--teacher"
    return f"color-mix(in srgb, var({colour}) {round(45 * abs(difference) / most)}%, transparent)"


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")


def _top(found: dict[str, Any]) -> float:
    """Return the largest mean on val that a bar of the page shows, for their common scale."""
    rows = [found["baseline"], *found["cells"].values(), *(step["row"] for step in found["path"])]
    rows += [one["row"] for part in found["sweeps"].values() for one in part]
    return max([float(row["mean"]) for row in rows] + [1e-9])


def _sizes(found: dict[str, Any]) -> Markup | None:
    points = [
        charts.Point(one["name"], one["name"], "student", one["parameters"] / 1e6, one["row"]["mean"])
        for one in found["sizes"]
    ]
    if len(points) < 2:
        return None

    def shown(millions: float) -> str:
        return f"{millions:.2f} M parameters"

    title = "Recall on val against parameters: " + "; ".join(
        f"{point.label} {shown(point.latency)}, {point.recall:.1f} %" for point in points
    )
    return charts.pareto(points, title, "parameters", "mean recall on val", "million", shown)
