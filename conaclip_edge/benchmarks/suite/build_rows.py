"""From measurements to the rows of a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from conaclip_edge.benchmarks.measure.candidates import Candidate
from conaclip_edge.benchmarks.measure.cold_start import ColdStart
from conaclip_edge.benchmarks.measure.latency import Timings
from conaclip_edge.benchmarks.measure.recall import Embedded, rank, relative_recall
from conaclip_edge.benchmarks.schema.row import (
    DIRECTIONS,
    Coverage,
    Direction,
    EqualBudget,
    Latency,
    RecallTable,
    ReportRow,
    Tower,
    TowerAlone,
)
from conaclip_edge.benchmarks.schema.row_ids import STUDENT, TEACHER
from conaclip_edge.benchmarks.schema.spread import Interval
from conaclip_edge.config.benchmark import BenchmarkConfig
from conaclip_edge.errors import UserError
from conaclip_edge.evaluation.mean_interval import mean_interval
from conaclip_edge.evaluation.recall import Ranks, bootstrap, mean_recall
from conaclip_edge.runtime.tower import Executed

_NO_PLATFORM = "its platform's runtime is not on this machine: run by"
_RAN_BY: dict[Executed, str] = {
    "reference": f"{_NO_PLATFORM} the reference interpreter, recall only",
    "executor": f"{_NO_PLATFORM} the executor of Apple's package, recall only",
}


@dataclass(frozen=True)
class Measurements:
    """What was measured of all candidates, by row of the report.

    Attributes:
        host: label of the machine.
        executed: what ran them, of those whose recall was measured.
        embedded: embeddings of the split.
        ranked: ranks of both towers, None if a tower cannot be run.
        caption_to_image: picture of each caption of the split.
        timings: latencies and stages, of native rows.
        cold_starts: of native rows.
        coverage: file -> where its operations run.
    """

    host: str
    executed: Mapping[str, Executed]
    embedded: Mapping[str, Embedded]
    ranked: Mapping[str, Ranks | None]
    caption_to_image: np.ndarray
    timings: Mapping[str, Timings]
    cold_starts: Mapping[str, ColdStart]
    coverage: Mapping[Path, Coverage]


def make_row(candidate: Candidate, measured: Measurements, suite: BenchmarkConfig) -> ReportRow:
    """Put together what was measured of a candidate.

    Args:
        candidate: the candidate.
        measured: of all candidates.
        suite: gives resamples and seed.
    """
    row = candidate.spec.row
    executed = measured.executed.get(row, "native") if candidate.runs else "no"
    timings = measured.timings.get(row, Timings())
    cold_start = measured.cold_starts.get(row)
    headline, others = _latencies(timings, cold_start)
    notes = [*candidate.notes, *([_RAN_BY[executed]] if executed in _RAN_BY else []), *timings.refused]
    ranks = measured.ranked.get(row)
    recall = _recall(ranks) if ranks else None
    return ReportRow(
        id=row,
        label=candidate.label,
        group="files" if candidate.spec.shipped else "comparison",
        host=measured.host,
        model=candidate.model,
        target=candidate.target,
        precision=candidate.precision,
        format=candidate.format,
        weights=candidate.weights,
        executed=executed,
        size_bytes=candidate.sizes,
        recall=recall,
        recall_interval=_recall_interval(ranks, suite) if ranks else None,
        mean_recall=mean_recall(ranks.recall()) if ranks else None,
        mean_interval=mean_interval(ranks, suite.bootstrap, suite.seed) if ranks else None,
        relative_recall=_relative_recall(row, ranks, measured.ranked, suite) if ranks else {},
        alone=_alone(row, measured, suite) if candidate.spec.shipped else {},
        latency_ms=headline,
        more_latency=others,
        peak_rss_bytes=cold_start.memory if cold_start else None,
        stages=timings.stages,
        coverage={
            tower: measured.coverage[path] for tower, path in candidate.spec.files.items() if path in measured.coverage
        },
        accelerators=candidate.accelerators,
        notes=tuple(notes),
    )


def _recall(ranks: Ranks) -> RecallTable:
    recall = ranks.recall()
    return {direction: recall[direction] for direction in DIRECTIONS}


def _recall_interval(ranks: Ranks, suite: BenchmarkConfig) -> dict[Direction, dict[str, tuple[float, float]]]:
    intervals = bootstrap(ranks, suite.bootstrap, suite.seed)
    return {direction: intervals[direction] for direction in DIRECTIONS}


def _relative_recall(
    row: str, ranks: Ranks, ranked: Mapping[str, Ranks | None], suite: BenchmarkConfig
) -> dict[Literal["student", "teacher"], dict[Direction, Interval]]:
    """Return a row's recall as a share of the student's and of the teacher's."""
    bases: dict[Literal["student", "teacher"], str] = {"student": STUDENT, "teacher": TEACHER}
    found = {}
    for side, base in bases.items():
        base_ranks = ranked.get(base)
        # the teacher's recall is no share of its student's
        if base_ranks and row not in (base, TEACHER):
            found[side] = relative_recall(ranks, base_ranks, suite.bootstrap, suite.seed)
    return found


def _alone(row: str, measured: Measurements, suite: BenchmarkConfig) -> dict[Tower, TowerAlone]:
    """Rank each exported tower with the float32 student's other one."""
    base = measured.ranked.get(STUDENT)
    if not base:
        return {}
    exported, student = measured.embedded[row], measured.embedded[STUDENT]
    pairs: dict[Tower, Embedded] = {
        "image": Embedded(exported.pictures, student.texts),
        "text": Embedded(student.pictures, exported.texts),
    }
    alone: dict[Tower, TowerAlone] = {}
    for tower, pair in pairs.items():
        ranks = rank(pair, measured.caption_to_image)
        if ranks:
            relative = relative_recall(ranks, base, suite.bootstrap, suite.seed)
            alone[tower] = TowerAlone(recall=_recall(ranks), relative_recall=relative)
    return alone


def _latencies(timings: Timings, start: ColdStart | None) -> tuple[dict[Tower, Latency], tuple[Latency, ...]]:
    """Split latencies into the headline ones (batch 1, one thread, texts at their own lengths) and the others."""
    headline: dict[Tower, Latency] = {}
    others = []
    for latency in timings.latencies:
        if latency.threads == 1 and latency.batch == 1 and latency.texts != "full context":
            headline[latency.tower] = latency
        else:
            others.append(latency)
    for tower, cold in (start.towers if start else {}).items():
        if tower in headline:
            headline[tower] = headline[tower].model_copy(update={"cold_load": cold.load, "first_call": cold.first})
    return headline, tuple(others)


def training_rows(comparison: dict[str, Any], host: str) -> list[ReportRow]:
    """Turn comparison.json (teacher and students at equal budget) into rows that have recall alone.

    Args:
        comparison: the content of comparison.json.
        host: label of the machine.

    Raises:
        UserError: it is not what the command `compare` writes.
    """
    try:
        return [
            ReportRow(
                id=name,
                label=name,
                group="training",
                host=host,
                model=name,
                target="torch",
                precision="fp32",
                format="",
                weights="trained",
                executed="native",
                size_bytes=None,
                recall=row["recall"],
                mean_recall=row["mean"],
                equal_budget=EqualBudget(
                    split=comparison["split"],
                    pictures=comparison["n"],
                    seeds=len(row.get("mean_recall", [])) or None,  # a teacher has none
                    spread=row.get("spread"),
                    seconds=row.get("seconds"),
                ),
            )
            for name, row in comparison["rows"].items()
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"the comparison is not what 'conaclip-edge compare' writes: {error}.") from None
