"""What reports of phones have in common: rows with latency and no recall, named by the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from conaclip_edge.benchmarks.measure.candidates import Candidate
from conaclip_edge.benchmarks.measure.rounds import summarise
from conaclip_edge.benchmarks.report.new_report import new_report
from conaclip_edge.benchmarks.report.write import write_report
from conaclip_edge.benchmarks.schema.environment import Environment
from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.benchmarks.schema.row import Latency, ReportRow, Tower
from conaclip_edge.bundle.manifest import Manifest
from conaclip_edge.config.benchmark import BenchmarkConfig


@dataclass(frozen=True)
class Statistics:
    """What a benchmark program prints that does not print each call's time, in milliseconds.

    Attributes:
        mean: of all calls.
        n: number of calls.
        p50: and the other percentiles, where it prints them.
    """

    mean: float
    n: int
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None


def latency_of_calls(tower: Tower, threads: int, times: Sequence[float], noise_limit: float) -> Latency:
    """Make a latency of each call's time, at batch 1, texts at the full context.

    Args:
        tower: which.
        threads: CPU threads.
        times: milliseconds of each call.
        noise_limit: noise above which times count as noisy.
    """
    return summarise(np.asarray(times), 1, noise_limit, tower=tower, threads=threads, texts=_texts(tower), warmup=0)


def latency_of_statistics(tower: Tower, threads: int, statistics: Statistics) -> Latency:
    """Make a latency of what a benchmark program prints, at batch 1, texts at the full context."""
    return Latency(
        tower=tower,
        threads=threads,
        batch=1,
        texts=_texts(tower),
        p50=statistics.p50,
        p90=statistics.p90,
        p95=statistics.p95,
        p99=statistics.p99,
        mean=statistics.mean,
        std=None,
        n=statistics.n,
        warmup=0,
        iqr=None,
        noise=None,
        noisy=False,
        per_second=1000 / statistics.mean,
    )


def _texts(tower: Tower) -> Literal["full context"] | None:
    return "full context" if tower == "text" else None


def phone_report(
    bundle: Path,
    manifest: Manifest,
    suite: BenchmarkConfig,
    environment: Environment,
    candidates: Sequence[Candidate],
    latencies: Mapping[str, dict[Tower, Latency]],
    notes: Mapping[str, Sequence[str]],
    out: Path,
) -> BenchmarkReport:
    """Write the report of a device.

    Args:
        bundle: the folder.
        manifest: its manifest.
        suite: the settings.
        environment: the device.
        candidates: the bundle's rows.
        latencies: row -> tower -> latency, of the rows that were timed.
        notes: row -> what else is known.
        out: folder of the report.
    """
    rows = [
        ReportRow(
            id=candidate.spec.row,
            label=candidate.label,
            group="files",
            host=environment.label,
            model=candidate.model,
            target=candidate.target,
            precision=candidate.precision,
            format=candidate.format,
            weights=candidate.weights,
            executed="native",
            size_bytes=candidate.sizes,
            recall=None,
            latency_ms=latencies[candidate.spec.row],
            notes=("texts were timed at the full context", *notes.get(candidate.spec.row, ())),
        )
        for candidate in candidates
        if candidate.spec.row in latencies
    ]
    report = new_report(bundle, manifest, suite, environment, rows)
    write_report(report, out)
    return report
