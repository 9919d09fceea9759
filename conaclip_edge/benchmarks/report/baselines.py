"""The plain exports that a row is compared with: per tower the fastest one that keeps the recall, whichever it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from conaclip_edge.benchmarks.report.numbers import BY, TO, megabytes, share, times
from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.benchmarks.schema.row import ReportRow, Tower
from conaclip_edge.benchmarks.schema.row_ids import PLAIN
from conaclip_edge.benchmarks.schema.spread import Spread
from conaclip_edge.models.certainty import WIDEST

INPUTS: dict[Tower, str] = {"image": "picture", "text": "query"}


@dataclass(frozen=True)
class Baseline:
    """The plain export that one tower of a row is compared with.

    Attributes:
        tower: the tower.
        plain: row of the plain export.
        ratio: time of the row's tower over that of the plain export, in the same rounds.
        verdict: what the plain export is; "as fast" where the ratio is nearer to 1 than the suite measures medians.
    """

    tower: Tower
    plain: ReportRow
    ratio: Spread
    verdict: Literal["faster", "as fast", "slower"]

    @property
    def input(self) -> str:
        """What the tower takes, in a word."""
        return INPUTS[self.tower]


def keeps_recall(row: ReportRow, least: float) -> bool:
    """Return whether a row was timed natively and keeps enough recall, known well enough.

    Args:
        row: of a bundle, or a plain export: the rule is the same.
        least: relative recall to the float32 student that the upper end of the 95 % interval must reach, in both
            directions: with few pairs a rank or two flips either way in any file.
    """
    found = row.relative_recall.get("student", {}).values()
    return (
        row.executed == "native"
        and bool(found)
        and min(interval.high for interval in found) >= least
        and max(100 * (interval.high - interval.low) for interval in found) <= WIDEST
        and set(row.latency_ms) == {"image", "text"}
    )


def picture_and_query_time(row: ReportRow) -> float:
    """Return the milliseconds of a picture and a query together."""
    return sum(latency.typical for latency in row.latency_ms.values())


def kept_plain_rows(report: BenchmarkReport) -> list[ReportRow]:
    """Return the plain exports that keep enough recall, the fastest first (picture and query together)."""
    kept = [row for row in _plain_rows(report) if keeps_recall(row, report.suite.min_relative_recall)]
    return sorted(kept, key=picture_and_query_time)


def lossy_plain_rows(report: BenchmarkReport) -> list[ReportRow]:
    """Return the plain exports whose recall was measured and is too low: they are shown, and are no baseline."""
    kept = {row.id for row in kept_plain_rows(report)}
    return [row for row in _plain_rows(report) if row.relative_recall.get("student") and row.id not in kept]


def baselines(report: BenchmarkReport, row: ReportRow) -> list[Baseline]:
    """Return what each tower of a row is compared with: the fastest plain export that keeps enough recall.

    Args:
        report: the report.
        row: of the bundle.

    Returns:
        The picture's, then the query's; nothing where no such export was timed in the row's rounds.
    """
    kept = {plain.id: plain for plain in kept_plain_rows(report)}
    found: list[Baseline] = []
    for tower in INPUTS:
        latency = row.latency_ms.get(tower)
        ratios = {name: ratio for name, ratio in latency.ratio_to.items() if name in kept} if latency else {}
        if ratios:
            name = max(ratios, key=lambda one: ratios[one].median)
            found.append(Baseline(tower, kept[name], ratios[name], _verdict(ratios[name].median, report)))
    return found


def beside_plain(report: BenchmarkReport, row: ReportRow) -> str:
    """Say in Markdown how a row compares with its baselines, and which plain exports are none; "" without any."""
    least = share(report.suite.min_relative_recall)
    parts = []
    for one in baselines(report, row):
        middle, low, high = (times(value) for value in (one.ratio.median, one.ratio.q25, one.ratio.q75))
        verdict = f"**{one.verdict}**" if one.verdict == "faster" else one.verdict
        padded = f" (padded to {report.model.context} ids for plain exports)" if one.tower == "text" else ""
        parts.append(
            f"for a {one.input}{padded}, {one.plain.label}{_size(one)}, which is {verdict}: {row.label} takes {middle} "
            f"[{low.removesuffix(BY)}{TO}{high.removesuffix(BY)}] its time"
        )
    text = f"The fastest plain export whose relative recall reaches {least} is, {'; '.join(parts)}." if parts else ""
    lossy = lossy_plain_rows(report)
    if lossy and not kept_plain_rows(report):
        text = f" No plain export reaches a relative recall of {least}."
    if lossy:
        text += f" Left out for their relative recall: {'; '.join(map(_relative_recall, lossy))}."
    return text.strip()


def _verdict(ratio: float, report: BenchmarkReport) -> Literal["faster", "as fast", "slower"]:
    if abs(ratio - 1) <= report.suite.rounds.precision:
        return "as fast"
    return "faster" if ratio > 1 else "slower"


def _size(one: Baseline) -> str:
    size = getattr(one.plain.size_bytes, one.tower, None)
    return f" ({megabytes(size)})" if size else ""


def _relative_recall(row: ReportRow) -> str:
    shares = [share(interval.value) for interval in row.relative_recall["student"].values()]
    return f"{row.label}, {' and '.join(shares)}"


def _plain_rows(report: BenchmarkReport) -> Sequence[ReportRow]:
    return [row for row in report.rows if row.id in PLAIN]
