"""What the command `web` does, between the command line and the site."""

from __future__ import annotations

import statistics
from pathlib import Path

from conaclip_edge.web.site.build import SiteReport, build_site, site_text


class MeasuredSite(SiteReport):
    """A site that was also measured in Chromium.

    Attributes:
        report: the report.json that got its row.
        measured: tower -> median milliseconds in the browser; "picture" is the image tower with its preprocessing.
    """

    report: Path
    measured: dict[str, float]


def make_site(bundle: Path, index: Path, out: Path, credit: str, report: Path | None) -> SiteReport:
    """Write a site, and measure it in Chromium if a report.json is to get its row.

    Args:
        bundle: its ONNX files run in the browser.
        index: of the pictures, made with this bundle.
        out: folder of the site.
        credit: of the pictures, for the foot of the page.
        report: a report.json of this bundle.

    Raises:
        UserError: what `build_site`, `measure_site` and `add_to_report` refuse.
        GateFailed: the browser's embeddings are not the bundle's.
    """
    site = build_site(bundle, index, out, credit)
    if report is None:
        return site
    from conaclip_edge.web.measure.report import add_to_report, measure_site

    found = measure_site(out)
    add_to_report(found, out, report)
    medians = {name: statistics.median(times.ms) for name, times in found.times.items()}
    return MeasuredSite(**site.model_dump(), report=report, measured=medians)


def web_text(site: SiteReport) -> str:
    """Format for a terminal what was written and measured."""
    lines = [site_text(site)]
    if isinstance(site, MeasuredSite):
        text, image = (f"{site.measured[name]:.1f} ms" for name in ("text", "image"))
        lines.append(f"in Chromium on one thread: a query {text}, a picture {image} (medians); in {site.report}")
    return "\n".join(lines)
