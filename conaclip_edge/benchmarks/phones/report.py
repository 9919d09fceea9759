"""What reports of phones have in common: rows with speed and no recall, named by the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from conaclip_edge.benchmarks.measure.candidates import Candidate
from conaclip_edge.benchmarks.measure.rounds import summarise
from conaclip_edge.benchmarks.report.model_values import model_values
from conaclip_edge.benchmarks.report.write import write_report
from conaclip_edge.benchmarks.schema.environment import Environment
from conaclip_edge.benchmarks.schema.report import SCHEMA, BenchmarkReport, parse_report, plain
from conaclip_edge.benchmarks.schema.row import Latency, Tower
from conaclip_edge.bundle.manifest import Manifest
from conaclip_edge.config.benchmark import BenchmarkConfig


def latency(
    tower: Tower, threads: int, times: Sequence[float], statistics: Mapping[str, float], noise: float
) -> Latency:
    """Make a latency of a phone's calls at batch 1, texts at the full context.

    Args:
        tower: which.
        threads: CPU threads.
        times: milliseconds of each call; where the benchmark program does not print them, its statistics count.
        statistics: keys of `Latency` that it prints, with at least "mean" and "n".
        noise: bar above which times count as noisy.
    """
    given: dict[str, Any] = {"tower": tower, "threads": threads, "texts": "full context" if tower == "text" else None}
    if times:
        return Latency.model_validate({"warmup": 0, **summarise(np.asarray(times), 1, 1, noise), **given})
    unknown = dict.fromkeys(("p50", "p90", "p95", "p99", "std", "iqr", "noise"))
    rest = {"batch": 1, "noisy": False, "warmup": 0, "per_second": 1000 / statistics["mean"]}
    return Latency.model_validate(unknown | rest | dict(statistics) | given)


def device_report(
    bundle: Path,
    manifest: Manifest,
    suite: BenchmarkConfig,
    environment: Environment,
    candidates: Sequence[Candidate],
    measured: Mapping[str, Mapping[Tower, Latency]],
    notes: Mapping[str, Sequence[str]],
    out: Path,
) -> dict[str, Any]:
    """Write the report of a device and return the content of its report.json.

    Args:
        bundle: the folder.
        manifest: its manifest.
        suite: the settings.
        environment: the device.
        candidates: the bundle's rows that were run.
        measured: row -> tower -> latency.
        notes: row -> what else is known.
        out: folder of the report.
    """
    rows = [
        {
            "id": one.spec.row,
            "label": one.label,
            "group": "files",
            "host": environment.label,
            "model": one.model,
            "target": one.target,
            "precision": one.precision,
            "format": one.format,
            "weights": one.weights,
            "executed": "native",
            "size_bytes": one.sizes,
            "recall": None,
            "latency_ms": measured[one.spec.row],
            "notes": ("texts were timed at the full context", *notes.get(one.spec.row, ())),
        }
        for one in candidates
        if one.spec.row in measured
    ]
    report: BenchmarkReport = parse_report(
        {
            "schema": SCHEMA,
            "created": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "model": model_values(bundle, manifest),
            "suite": suite,
            "environment": environment,
            "dataset": None,
            "ship": None,
            "rows": rows,
        },
        "the report",
    )
    write_report(report, out)
    return plain(report)
