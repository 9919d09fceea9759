"""Writing a report: the figures, a page for people, and text for a repository, together or not at all."""

from __future__ import annotations

import json
from pathlib import Path

from conaclip_edge.benchmarks.report.html import render_html
from conaclip_edge.benchmarks.report.markdown import render_markdown, render_readme
from conaclip_edge.benchmarks.report.speed_table import page, speed_text
from conaclip_edge.benchmarks.schema.report import Report, plain, read_report
from conaclip_edge.benchmarks.schema.speed import read_speed
from conaclip_edge.system.files import atomic_file, atomic_folder


def write_report(report: Report, out: Path) -> None:
    """Write report.json, report.md and report.html into a folder, which is replaced as a whole."""
    with atomic_folder(out) as folder:
        (folder / "report.json").write_text(report_text(report), "utf-8")
        (folder / "report.md").write_text(render_markdown(report), "utf-8")
        (folder / "report.html").write_text(render_html(report), "utf-8")


def report_text(report: Report) -> str:
    """Return the text of report.json."""
    return json.dumps(plain(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def publish(source: Path, benchmarks: Path, name: str) -> None:
    """Keep the figures of a report.json, without its pictures, as results/<name>.json and render README.md anew."""
    report = read_report(source).model_copy(update={"gallery_row": None, "gallery": (), "pictures": {}})
    with atomic_file(benchmarks / "results" / f"{name}.json") as temporary:
        temporary.write_text(report_text(report), "utf-8")
    with atomic_file(benchmarks / "README.md") as temporary:
        temporary.write_text(readme(benchmarks), "utf-8")


def readme(benchmarks: Path) -> str:
    """Return the text of README.md for the results in a folder."""
    results = sorted((benchmarks / "results").glob("*.json"))
    text = render_readme({path.stem: read_report(path) for path in results if path.stem != "speed"})
    speed = benchmarks / "results" / "speed.json"
    if not speed.is_file():
        return text
    return f"{text.rstrip()}\n\n## speed\n\n{page(read_speed(speed))} What was tried is in [SPEED.md](SPEED.md).\n"


def publish_speed(source: Path, benchmarks: Path) -> None:
    """Keep a speed.json as results/speed.json and render README.md anew."""
    report = read_speed(source)
    with atomic_file(benchmarks / "results" / "speed.json") as temporary:
        temporary.write_text(speed_text(report), "utf-8")
    with atomic_file(benchmarks / "README.md") as temporary:
        temporary.write_text(readme(benchmarks), "utf-8")
