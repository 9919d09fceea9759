"""Writing a report: the figures, a page for people, and text for a repository, together or not at all."""

from __future__ import annotations

import json
from pathlib import Path

from conaclip_edge.benchmarks.markdown import render_markdown
from conaclip_edge.benchmarks.report import render_html
from conaclip_edge.benchmarks.schema import Report, plain
from conaclip_edge.files import atomic_folder


def write_report(report: Report, out: Path) -> None:
    """Write report.json, report.md and report.html into a folder, which is replaced as a whole."""
    with atomic_folder(out) as folder:
        (folder / "report.json").write_text(report_text(report), "utf-8")
        (folder / "report.md").write_text(render_markdown(report), "utf-8")
        (folder / "report.html").write_text(render_html(report), "utf-8")


def report_text(report: Report) -> str:
    """Return the text of report.json."""
    return json.dumps(plain(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def stored(report: Report) -> Report:
    """Return a report without its gallery, for benchmarks/results: figures, and no pictures."""
    return report.model_copy(update={"gallery_row": None, "gallery": (), "pictures": {}})
