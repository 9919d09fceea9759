"""What a bundle does in a browser of this machine: golden vectors, encode latency, and its row of a report."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from conaclip_edge.benchmarks.answer.merge import check_same_bundle
from conaclip_edge.benchmarks.answer.platforms import decided
from conaclip_edge.benchmarks.measure.machine import environment
from conaclip_edge.benchmarks.measure.rounds import summarise
from conaclip_edge.benchmarks.report.write import write_report
from conaclip_edge.benchmarks.schema.report import BenchmarkReport, checked, read_report
from conaclip_edge.benchmarks.schema.row import Latency, ReportRow, Tower
from conaclip_edge.config.parse import parse
from conaclip_edge.errors import GateFailed, UserError
from conaclip_edge.system.files import read_json
from conaclip_edge.web.measure.chromium import page_report
from conaclip_edge.web.measure.findings import EncodeTimes, PageFindings

ROW = "web-int8"


def measure_site(site: Path, open_page: Callable[[Path, str], bytes] = page_report) -> PageFindings:
    """Run the golden vectors of a site in headless Chromium on one thread, and time both towers there.

    Args:
        site: its folder.
        open_page: (site, page with its query) -> the JSON that the page sends.

    Raises:
        UserError: no Chromium, or the page fails in it.
        GateFailed: an id, a pixel or an embedding is further from its golden value than the bundle allows.
    """
    sent = json.loads(open_page(site, "check.html?threads=1&report"))
    if "error" in sent:
        raise UserError(f"the page of {site} fails in Chromium: {sent['error']}")
    found = parse(PageFindings, sent, f"what the page of {site} sends")
    least, of_pictures, levels = found.min_cosine, found.picture_min_cosine, found.pixel_levels
    wrong = [
        *(f"ids of {one.text[:40]!r}" for one in found.texts if not one.same),
        *(f"text {one.text[:40]!r}: {one.cosine:.4f}, at least {least}" for one in found.texts if one.cosine < least),
        *(f"{one.name}: {one.levels} levels" for one in found.pictures if one.levels > levels),
        *(
            f"{one.name}: {one.cosine:.4f}, at least {of_pictures}"
            for one in found.pictures
            if one.cosine < of_pictures
        ),
    ]
    if wrong:
        raise GateFailed(f"{len(wrong)} golden values differ in Chromium, first {wrong[0]}.")
    return found


def add_to_report(found: PageFindings, site: Path, path: Path) -> None:
    """Put the row of what `measure_site` found into a report.json, and write its folder again.

    Args:
        found: in the browser.
        site: that was measured.
        path: of the report.json.

    Raises:
        UserError: no report, or one of another bundle.
    """
    report = read_report(path)
    check_same_bundle(report, str(path), found.bundle)
    write_report(with_row(report, found, site), path.parent)


def with_row(report: BenchmarkReport, found: PageFindings, site: Path) -> BenchmarkReport:
    """Return the report with the browser's row; an older one is replaced."""
    here = environment()
    machines = [report.environment, *report.other_environments]
    more = () if here.label in {one.label for one in machines} else (here,)
    rows = [row for row in report.rows if row.id != ROW]
    after_files = max((number + 1 for number, row in enumerate(rows) if row.group == "files"), default=len(rows))
    rows.insert(after_files, _row(report, here.label, found, site))
    changes = {"platforms": (), "rows": tuple(rows), "other_environments": (*report.other_environments, *more)}
    return decided(checked(report.model_copy(update=changes), "the report"))


def _row(report: BenchmarkReport, host: str, found: PageFindings, site: Path) -> ReportRow:
    sizes = {tower: (site / "model" / f"{tower}.int8.onnx").stat().st_size for tower in ("image", "text")}
    runtime = (site / "vendor" / "ort-wasm-simd-threaded.wasm").stat().st_size
    version = read_json(site / "vendor" / "versions.json", "versions of the site's modules")["onnxruntime-web"]
    agent = re.search(r"(?:Headless)?Chrome/(\d+)", found.agent)
    browser = f"Chromium {agent[1]}" if agent else found.agent
    return ReportRow.model_validate(
        {
            "id": ROW,
            "label": f"Web int8, {browser}",
            "group": "files",
            "host": host,
            "model": report.model.name,
            "target": "web",
            "precision": "int8",
            "format": "onnx",
            "weights": "trained",
            "executed": "native",
            "size_bytes": sizes | {"total": sum(sizes.values())},
            "recall": None,
            "latency_ms": {tower: _latency(report, tower, found.times[tower]) for tower in ("image", "text")},
            "notes": [
                f"in {browser} by onnxruntime-web {version} (WebAssembly SIMD, {runtime / 1e6:.1f} MB more)",
                "timed apart from the other rows, on the golden inputs; golden ids, pixels and embeddings agree",
            ],
        }
    )


def _latency(report: BenchmarkReport, tower: Tower, times: EncodeTimes) -> Latency:
    texts: Literal["captions"] | None = "captions" if tower == "text" else None
    noise_limit = report.suite.rounds.noise
    return summarise(
        np.asarray(times.ms), times.inputs, noise_limit, tower=tower, threads=1, texts=texts, warmup=times.warmup
    )
