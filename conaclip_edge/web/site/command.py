"""What the command `web` does, between the command line and the site."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from conaclip_edge.web.site.build import build_site, site_text


def make_site(bundle: Path, index: Path, out: Path, credit: str, report: Path | None) -> dict[str, Any]:
    """Write a site, and measure it in Chromium if a report.json is to get its row.

    Returns:
        What `build_site` gives; with a report also `measured`: tower -> median milliseconds in the browser.
    """
    outcome = build_site(bundle, index, out, credit)
    if report is None:
        return outcome
    from conaclip_edge.web.measure.report import add_to_report, measure_site

    found = measure_site(out)
    add_to_report(found, out, report)
    medians = {name: statistics.median(times["ms"]) for name, times in found["times"].items()}
    return outcome | {"report": str(report), "measured": medians}


def web_text(outcome: dict[str, Any]) -> str:
    """Say for a terminal what was written and measured."""
    lines = [site_text(outcome)]
    if "measured" in outcome:
        text, image = (f"{outcome['measured'][name]:.1f} ms" for name in ("text", "image"))
        lines.append(f"in Chromium on one thread: a query {text}, a picture {image} (medians); in {outcome['report']}")
    return "\n".join(lines)
