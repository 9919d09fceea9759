"""Publishes a result: python -m tests.tools.publish runs/demo/report/report.json demo (or .../speed.json speed).

It keeps the figures in benchmarks/results/NAME.json and renders docs/results/benchmarks.md from all of them. Of the
result `demo` it also puts a table of three rows into README.md and takes its picture, docs/images/report.png, with
Chromium.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

from conaclip_edge.benchmarks.answer.platforms import decided
from conaclip_edge.benchmarks.report.html import render_html
from conaclip_edge.benchmarks.report.results_page import results_page
from conaclip_edge.benchmarks.report.write import json_text
from conaclip_edge.benchmarks.schema.report import BenchmarkReport, read_report
from conaclip_edge.benchmarks.schema.speed import read_speed
from conaclip_edge.system.files import atomic_file
from conaclip_edge.web.measure.chromium import FLAGS, find_chromium
from tests.tools.first_table import first_table

ROOT = Path(__file__).parents[2]
FIRST, SPEED = "demo", "speed"  # the result that README.md opens with, and the one that is no report
BEGIN, END = "<!-- report: python -m tests.tools.publish -->\n", "<!-- end of report -->"
WIDTH, HEIGHT = 1280, 800


def publish(source: Path, name: str, root: Path = ROOT) -> None:
    """Keep a result and render the pages that show it.

    Args:
        source: report.json, or speed.json.
        name: of the result.
        root: of the repository.
    """
    kept = root / "benchmarks" / "results" / f"{name}.json"
    if name == SPEED:
        _write(kept, json_text(read_speed(source)))
    else:
        report = decided(read_report(source))
        _write(kept, json_text(report.model_copy(update={"gallery_row": None, "gallery": (), "pictures": {}})))
        if name == FIRST:
            page = root / "README.md"
            _write(page, with_table(page.read_text("utf-8"), report))
            take_picture(render_html(report), root / "docs" / "images" / "report.png")
    _write(root / "docs" / "results" / "benchmarks.md", results_page(root / "benchmarks"))


def with_table(page: str, report: BenchmarkReport) -> str:
    """Return the text of README.md with the table of a report between its two marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, f"README.md has no line {BEGIN}"
    assert end, f"README.md has no line {END}"
    return f"{before}{begin}\n{first_table(report)}\n\n{end}{after}"


def take_picture(page: str, path: Path) -> None:
    """Save what a wide window shows of a page first, as PNG."""
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "report.html").write_text(page, "utf-8")
        command = [
            *(find_chromium(), *FLAGS, "--hide-scrollbars", f"--window-size={WIDTH},{HEIGHT}"),
            *(f"--user-data-dir={scratch}/profile", f"--screenshot={path}", f"{scratch}/report.html"),
        ]
        subprocess.run(command, capture_output=True, timeout=240, check=True)


def _write(path: Path, text: str) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(text, "utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="report.json or speed.json")
    parser.add_argument("name", help="of the result, e.g. demo")
    given = parser.parse_args()
    publish(given.source, given.name)
