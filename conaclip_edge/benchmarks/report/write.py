"""Writing reports: the JSON, a page for people, and text for a repository, together or not at all."""

from __future__ import annotations

import json
from pathlib import Path

from conaclip_edge.benchmarks.report.html import render_html
from conaclip_edge.benchmarks.report.markdown import render_markdown
from conaclip_edge.benchmarks.report.tables.speed_table import speed_section
from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.benchmarks.schema.speed import SpeedReport
from conaclip_edge.system.files import atomic_folder
from conaclip_edge.system.products import REPORT
from conaclip_edge.system.result import Result


def write_report(report: BenchmarkReport, out: Path) -> None:
    """Write report.json, report.md and report.html into a folder, which is replaced as a whole."""
    with atomic_folder(out, REPORT) as folder:
        (folder / "report.json").write_text(json_text(report), "utf-8")
        (folder / "report.md").write_text(render_markdown(report), "utf-8")
        (folder / "report.html").write_text(render_html(report), "utf-8")


def write_speed(report: SpeedReport, out: Path) -> None:
    """Write speed.json and speed.md into a folder, which is replaced as a whole."""
    with atomic_folder(out, REPORT) as folder:
        (folder / "speed.json").write_text(json_text(report), "utf-8")
        (folder / "speed.md").write_text(f"# Speed\n\n{speed_section(report)}\n", "utf-8")


def json_text(report: Result) -> str:
    """Return the text of a report's JSON file."""
    values = report.model_dump(mode="json", by_alias=True)
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
