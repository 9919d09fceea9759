"""Whether the recall of a report tells anything: pictures enough, and a model above chance."""

from __future__ import annotations

from typing import Literal

from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.benchmarks.schema.row import ReportRow
from conaclip_edge.benchmarks.schema.row_ids import STUDENT, TEACHER
from conaclip_edge.models.certainty import LEAST_PICTURES, Certainty, certainty

RecallVerdict = Literal["tells", "too few", "at chance", "not measured"]


def recall_verdict(report: BenchmarkReport) -> RecallVerdict:
    """Say whether a report's recall can be the base of a choice."""
    if report.dataset is None:
        return "not measured"
    row = judged_row(report)
    beside = beside_recall(report, row) if row else None
    if (beside and beside.too_few) or report.dataset.pictures < LEAST_PICTURES:
        return "too few"
    if beside and beside.at_chance:
        return "at chance"
    return "tells" if row else "not measured"


def judged_row(report: BenchmarkReport) -> ReportRow | None:
    """Return the row whose recall stands for the model's: the float32 student's, else the first file's."""
    measured = [row for row in report.rows if row.recall]
    student = [row for row in measured if row.id == STUDENT]
    return next(iter([*student, *(row for row in measured if row.group == "files")]), None)


def beside_recall(report: BenchmarkReport, row: ReportRow) -> Certainty | None:
    """Return what stands beside a row's mean recall; None for a row without one, or an older report without it."""
    if report.dataset is None or report.dataset.chance is None or row.mean_interval is None:
        return None
    teacher = next((one.mean_recall for one in report.rows if one.id == TEACHER), None)
    return certainty(report.dataset.pictures, report.dataset.chance, row.mean_interval, teacher)
