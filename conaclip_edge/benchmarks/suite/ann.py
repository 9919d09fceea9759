"""The benchmark of the index's HNSW graph: every size and storage of a suite, as a report of its own.

What was measured is kept beside the report until all of it is: a run can be interrupted.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from conaclip_edge.benchmarks.measure.fresh_process import in_fresh_process
from conaclip_edge.benchmarks.measure.hnsw_recall import K, build_hnsw, exact_neighbours, query_hnsw
from conaclip_edge.benchmarks.measure.machine import environment
from conaclip_edge.benchmarks.report.new_report import new_report
from conaclip_edge.benchmarks.report.write import write_report
from conaclip_edge.benchmarks.schema.ann import AnnReport, AnnRow
from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.bundle.manifest import read_manifest
from conaclip_edge.config.benchmark import AnnConfig, BenchmarkConfig
from conaclip_edge.search.hnsw_graph import CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH
from conaclip_edge.system.files import read_json, sha256_text, write_json
from conaclip_edge.system.progress import say

Precision = Literal["f32", "f16", "i8"]
MIN_RECALL = 0.95
BYTES: dict[Precision, int] = {"f32": 4, "f16": 2, "i8": 1}


def run_ann(
    bundle: Path, suite: BenchmarkConfig, out: Path, call: Callable[..., Any] = in_fresh_process
) -> BenchmarkReport:
    """Measure the graph at every size and storage of a suite and write a report of that alone.

    Args:
        bundle: gives the width of the vectors.
        suite: whose `ann` says what is measured.
        out: folder of the report; `<out>.parts` keeps what is measured until it is written.
        call: calls a function with arguments in a fresh process.
    """
    assert suite.ann is not None
    config, manifest, machine = suite.ann, read_manifest(bundle), environment()
    finished = out.with_name(f"{out.name}.parts") / sha256_text(config.model_dump_json(), str(manifest.embed_dim))[:16]
    finished.mkdir(parents=True, exist_ok=True)
    rows = []
    for size in config.sizes:
        for precision in config.precisions[: 1 if size > (config.others_up_to or size) else None]:
            path = finished / f"{precision}-{size}.json"
            if not path.exists():
                say(f"graph of {size:,} vectors in {precision}")
                row = _measure(finished, precision, size, manifest.embed_dim, config, call)
                write_json(path, row.model_dump(mode="json"))
            rows.append(AnnRow.model_validate(read_json(path, "measurement")))
    machine = machine.model_copy(update={"versions": machine.versions | {"usearch": version("usearch")}})
    ann = AnnReport(
        data=(
            f"synthetic: {config.clusters:,} clusters in {config.latent} dimensions (spread {config.spread:g}), "
            f"turned into {manifest.embed_dim}; queries are new vectors of the same kind"
        ),
        queries=config.queries,
        k=K,
        added=config.added,
        connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD,
        expansion_search=EXPANSION_SEARCH,
        choice=choose_storage(rows),
        rows=tuple(rows),
    )
    report = new_report(bundle, manifest, suite, machine, ann=ann)
    write_report(report, out)
    shutil.rmtree(finished.parent)
    return report


def _measure(
    folder: Path, precision: Precision, size: int, dim: int, config: AnnConfig, call: Callable[..., Any]
) -> AnnRow:
    """Build and ask one graph; its file is removed afterwards."""
    neighbours = exact_neighbours(folder, size, dim, config)
    graph = folder / f"{precision}-{size}.usearch"
    built = call(build_hnsw, folder, graph, precision, size, dim, config.added)
    asked = call(query_hnsw, folder, graph, neighbours, precision)
    graph.unlink()
    return AnnRow(
        id=graph.stem,
        vectors=size,
        precision=precision,
        raw_bytes=size * dim * BYTES[precision],
        **asdict(built),
        **asdict(asked),
    )


def choose_storage(rows: Sequence[AnnRow]) -> Precision | None:
    """Return the smallest storage that finds enough of the nearest vectors at every size, None if none does."""
    least: dict[Precision, float] = {}
    for row in rows:
        least[row.precision] = min(row.recall, least.get(row.precision, 1.0))
    enough = [name for name in sorted(least, key=BYTES.__getitem__) if least[name] >= MIN_RECALL]
    return enough[0] if enough else None
