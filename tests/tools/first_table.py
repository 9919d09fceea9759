"""The one table of README.md: what the demo's files find, weigh and cost, in three rows."""

from __future__ import annotations

from conaclip_edge.benchmarks.report.numbers import megabytes
from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.benchmarks.schema.row import ReportRow

HEAD = "| | Of 100 captions, find their picture among the first ten | Size | Work per picture on a phone's processor |"


def first_table(report: BenchmarkReport) -> str:
    """Return three rows: the teacher, the best plain export on arm64, and what the report names for Android.

    Args:
        report: of the demo, with rows counted on arm64.
    """
    rows = {row.id: row for row in report.rows}
    android = next(choice for choice in report.platforms if choice.platform == "Android")
    assert android.row, "the report names nothing for Android"
    plain = next(one.row for one in android.plain if one.tower == "image")
    shown = (
        ("Large model (teacher)", rows["teacher-fp32"], None),
        ("Small model, exported the plain way", rows[plain.removesuffix("-arm64")], rows[plain]),
        (f"**Small model, by conaclip-edge** ({android.label})", rows[android.row], rows[f"{android.row}-arm64"]),
    )
    lines = [HEAD, "|---|---|---|---|"]
    for name, row, counted in shown:
        assert row.recall, f"{row.id} has no recall"
        size = megabytes(row.size_bytes.total) if row.size_bytes else "-"
        lines.append(f"| {name} | {row.recall['t2i']['10']:.0f} | {size} | {_work(counted)} |")
    note = (
        f"Measured on {report.dataset.pictures} held-out pictures of the demo, one training. Work is instructions,"
        " counted on an emulated arm64 processor; it is no time. No phone was timed."
    )
    return "\n".join([*lines, "", note])


def _work(row: ReportRow | None) -> str:
    if row is None or row.on_device is None:
        return "not counted"
    counted = row.on_device["image"].instructions
    assert counted
    return f"{counted.median / 1e6:.0f} million instructions"
