"""From measurements to the rows of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conaclip_edge.benchmarks.measure.candidates import Candidate
from conaclip_edge.benchmarks.measure.cold_start import Cold
from conaclip_edge.benchmarks.measure.latency import Speed
from conaclip_edge.benchmarks.measure.recall import Embedded, rank, relative_recall
from conaclip_edge.benchmarks.schema.row import Coverage, Latency, ReportRow, Tower, TowerAlone
from conaclip_edge.benchmarks.schema.row_ids import STUDENT, TEACHER
from conaclip_edge.config.benchmark import BenchmarkConfig
from conaclip_edge.errors import UserError
from conaclip_edge.evaluation.recall import Ranks, bootstrap, mean_recall


def make_row(
    one: Candidate,
    host: str,
    executed: Mapping[str, Any],
    embedded: Mapping[str, Embedded],
    ranked: Mapping[str, Ranks | None],
    caption_to_image: np.ndarray,
    speeds: Mapping[str, Speed],
    colds: Mapping[str, Cold],
    covered: Mapping[Path, Coverage],
    suite: BenchmarkConfig,
) -> ReportRow:
    """Put together what was measured of a candidate.

    Args:
        one: the candidate.
        host: label of the machine.
        executed: row -> "native" or "reference".
        embedded: row -> embeddings of the split.
        ranked: row -> ranks of both its towers, None if a tower cannot be run.
        caption_to_image: picture of each caption.
        speeds: row -> latencies and stages, of native rows.
        colds: row -> cold start, of native rows.
        covered: file -> where its operations run.
        suite: gives resamples and seed.
    """
    name = one.spec.row
    ran = executed.get(name, "native") if one.runs else "no"
    notes = list(one.notes)
    if ran == "reference":
        notes.append("its platform's runtime is not on this machine: run by the reference interpreter, recall only")
    values: dict[str, Any] = {
        "id": name,
        "label": one.label,
        "group": "files" if one.spec.shipped else "comparison",
        "host": host,
        "model": one.model,
        "target": one.target,
        "precision": one.precision,
        "format": one.format,
        "weights": one.weights,
        "executed": ran,
        "size_bytes": one.sizes,
        "recall": None,
        "coverage": _coverage(one, covered),
    }
    found = ranked.get(name)
    if found:
        # a teacher keeps nothing of its student
        wanted = () if name == TEACHER else (("student", STUDENT), ("teacher", TEACHER))
        bases = {side: ranked.get(row) for side, row in wanted if row != name}
        values |= {
            "recall": found.recall(),
            "recall_interval": bootstrap(found, suite.bootstrap, suite.seed),
            "mean_recall": mean_recall(found.recall()),
            "relative_recall": {
                side: relative_recall(found, base, suite.bootstrap, suite.seed) for side, base in bases.items() if base
            },
        }
    if one.spec.shipped and ranked.get(STUDENT):
        values["alone"] = _alone(embedded[name], embedded[STUDENT], ranked[STUDENT], caption_to_image, suite)
    if name in speeds:
        values |= _speed(speeds[name], colds.get(name))
        notes += speeds[name].refused
    return ReportRow.model_validate(values | {"notes": notes})


def _coverage(one: Candidate, covered: Mapping[Path, Coverage]) -> dict[Tower, Coverage]:
    paths: dict[Tower, Path | None] = {"image": one.spec.image, "text": one.spec.text}
    return {tower: covered[path] for tower, path in paths.items() if path and path in covered}


def _alone(
    found: Embedded, student: Embedded, base: Ranks | None, caption_to_image: np.ndarray, suite: BenchmarkConfig
) -> dict[str, TowerAlone]:
    """Rank each exported tower with the float32 student's other one."""
    mixed = {"image": Embedded(found.pictures, student.texts), "text": Embedded(student.pictures, found.texts)}
    alone = {}
    for tower, pair in mixed.items():
        ranks = rank(pair, caption_to_image)
        if ranks and base:
            kept = relative_recall(ranks, base, suite.bootstrap, suite.seed)
            alone[tower] = TowerAlone.model_validate({"recall": ranks.recall(), "relative_recall": kept})
    return alone


def _speed(speed: Speed, start: Cold | None) -> dict[str, Any]:
    """Split latencies into the headline ones (batch 1, one thread, texts at their own lengths) and the others."""
    headline: dict[str, Latency] = {}
    more = []
    for one in speed.latencies:
        if one.threads == 1 and one.batch == 1 and one.texts != "full context":
            headline[one.tower] = one
        else:
            more.append(one)
    for tower, step in (start.towers if start else {}).items():
        if tower in headline:
            headline[tower] = headline[tower].model_copy(update={"cold_load": step.load, "first_call": step.first})
    return {
        "latency_ms": headline,
        "more_latency": tuple(more),
        "stages": speed.stages,
        "peak_rss_bytes": start.memory if start else None,
    }


def training_rows(comparison: dict[str, Any], host: str) -> list[ReportRow]:
    """Turn comparison.json (teacher and students at equal budget) into rows that hold recall alone."""
    try:
        return [
            ReportRow.model_validate(
                {
                    "id": name,
                    "label": name,
                    "group": "training",
                    "host": host,
                    "model": name,
                    "target": "torch",
                    "precision": "fp32",
                    "format": "",
                    "weights": "trained",
                    "executed": "native",
                    "size_bytes": None,
                    "recall": row["recall"],
                    "mean_recall": row["mean"],
                    "equal_budget": {
                        "split": comparison["split"],
                        "pictures": comparison["n"],
                        "seeds": len(row.get("mean_recall", [])) or None,  # a teacher has none
                        "spread": row.get("spread"),
                        "seconds": row.get("seconds"),
                    },
                }
            )
            for name, row in comparison["rows"].items()
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"the comparison is not what 'conaclip-edge compare' writes: {error}.") from None


def choose(rows: Sequence[ReportRow], least: float) -> str | None:
    """Return the row to ship: the fastest native int8 one of the bundle that keeps enough of the student's recall.

    Args:
        rows: of one machine.
        least: share of the float32 student's mean recall that the 95 % interval of what is left must reach, in both
            directions: with few pairs a rank or two flips either way in any file.
    """
    fit = [
        row
        for row in rows
        if row.group == "files"
        and row.executed == "native"
        and row.precision == "int8"
        and "student" in row.relative_recall
        and min(kept.high for kept in row.relative_recall["student"].values()) >= least
        and set(row.latency_ms) == {"image", "text"}
    ]
    return min(fit, key=_typical).id if fit else None


def _typical(row: ReportRow) -> float:
    return sum(found.typical for found in row.latency_ms.values())
