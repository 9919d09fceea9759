"""How good and how fast the index's graph is against exact search, on synthetic vectors of the student's width.

Real embeddings lie near a surface of few dimensions and in clusters; so do these. They are labelled as synthetic
wherever they are shown. What was measured is kept beside the report until all of it is: a run can be
interrupted.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from conaclip_edge.benchmarks.measure.fresh_process import in_fresh_process, resident
from conaclip_edge.benchmarks.measure.machine import environment
from conaclip_edge.benchmarks.report.model_values import model_values
from conaclip_edge.benchmarks.report.write import write_report
from conaclip_edge.benchmarks.schema.ann import AnnRow
from conaclip_edge.benchmarks.schema.report import SCHEMA, parse_report, plain
from conaclip_edge.bundle.manifest import read_manifest
from conaclip_edge.config.benchmark import AnnConfig, BenchmarkConfig
from conaclip_edge.search.hnsw_graph import (
    CONNECTIVITY,
    EXPANSION_ADD,
    EXPANSION_SEARCH,
    HnswFile,
    empty_hnsw,
    extend,
    nearest,
    open_hnsw,
    save_hnsw,
)
from conaclip_edge.search.index import candidates
from conaclip_edge.system.files import atomic_file, read_json, sha256_file, sha256_text, write_json
from conaclip_edge.system.progress import say

K = 10
MIN_RECALL = 0.95
_PART = 10_000
_BYTES = {"f32": 4, "f16": 2, "i8": 1}


def run_ann(bundle: Path, suite: BenchmarkConfig, out: Path) -> dict[str, Any]:
    """Measure the graph at every size and storage of a suite and write a report of that alone.

    Args:
        bundle: gives the width of the vectors.
        suite: whose `ann` says what is measured.
        out: folder of the report; `<out>.parts` keeps what is measured until it is written.

    Returns:
        The content of report.json.
    """
    assert suite.ann is not None
    config, manifest, machine = suite.ann, read_manifest(bundle), environment()
    parts = out.with_name(f"{out.name}.parts") / sha256_text(config.model_dump_json(), str(manifest.embed_dim))[:16]
    parts.mkdir(parents=True, exist_ok=True)
    rows = []
    for size in config.sizes:
        for precision in config.precisions[: 1 if size > (config.others_up_to or size) else None]:
            kept = parts / f"{precision}-{size}.json"
            if not kept.exists():
                say(f"graph of {size:,} vectors in {precision}")
                truth = _truth(parts, size, manifest.embed_dim, config)
                graph = parts / f"{precision}-{size}.usearch"
                built = in_fresh_process(build, parts, graph, precision, size, manifest.embed_dim, config.added)
                found = in_fresh_process(ask, parts, graph, truth, precision)
                raw = size * manifest.embed_dim * _BYTES[precision]
                write_json(
                    kept, {"id": kept.stem, "vectors": size, "precision": precision, "raw_bytes": raw} | built | found
                )
                graph.unlink()
            rows.append(AnnRow.model_validate(read_json(kept, "measurement")))
    machine = machine.model_copy(update={"versions": machine.versions | {"usearch": version("usearch")}})
    data = (
        f"synthetic: {config.clusters:,} clusters in {config.latent} dimensions (spread {config.spread:g}), "
        f"turned into {manifest.embed_dim}; queries are new vectors of the same kind"
    )
    report = parse_report(
        {
            "schema": SCHEMA,
            "created": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "model": model_values(bundle, manifest),
            "suite": suite,
            "environment": machine,
            "dataset": None,
            "ship": None,
            "rows": (),
            "ann": {
                "data": data,
                "queries": config.queries,
                "k": K,
                "added": config.added,
                "connectivity": CONNECTIVITY,
                "expansion_add": EXPANSION_ADD,
                "expansion_search": EXPANSION_SEARCH,
                "choice": choose(rows),
                "rows": rows,
            },
        },
        "the report",
    )
    write_report(report, out)
    shutil.rmtree(parts.parent)
    return plain(report)


def choose(rows: list[AnnRow]) -> str | None:
    """Return the smallest storage that finds enough of the nearest vectors at every size, None if none does."""
    least: dict[str, float] = {}
    for row in rows:
        least[row.precision] = min(row.recall, least.get(row.precision, 1.0))
    enough = [name for name in sorted(least, key=_BYTES.__getitem__) if least[name] >= MIN_RECALL]
    return enough[0] if enough else None


def synthetic(count: int, dim: int, config: AnnConfig, seed: int) -> Iterator[np.ndarray]:
    """Yield parts of `count` unit vectors float32 [n, dim]; the same clusters for every seed."""
    shared = np.random.default_rng(0)
    turn = shared.standard_normal((config.latent, dim), dtype=np.float32)
    centres = shared.standard_normal((config.clusters, config.latent), dtype=np.float32)
    random = np.random.default_rng(seed)
    for start in range(0, count, _PART):
        some = min(_PART, count - start)
        noise = random.standard_normal((some, config.latent), dtype=np.float32)
        vectors = (centres[random.integers(0, config.clusters, some)] + np.float32(config.spread) * noise) @ turn
        yield vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def exact(vectors: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return places [q, k] of the nearest vectors and their cosines, best first, by comparing with all of them."""
    places = np.zeros((len(queries), 0), dtype=np.int64)
    scores = np.zeros((len(queries), 0), dtype=np.float32)
    for start in range(0, len(vectors), _PART):
        some = queries @ np.asarray(vectors[start : start + _PART]).T
        best = np.argpartition(-some, min(k, some.shape[1] - 1), axis=1)[:, :k]
        places = np.concatenate([places, best + start], axis=1)
        scores = np.concatenate([scores, np.take_along_axis(some, best, axis=1)], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        places, scores = np.take_along_axis(places, order, axis=1), np.take_along_axis(scores, order, axis=1)
    return places, scores


def build(parts: Path, graph: Path, precision: str, size: int, dim: int, added: int) -> dict[str, float]:
    """Build a graph, write it, then add some vectors to it as it was written; seconds of each."""
    vectors = np.load(parts / "vectors.npy", mmap_mode="r")
    with _Clock() as built:
        made = empty_hnsw(dim, precision)
        extend(made, precision, _slices(vectors, 0, size))
    saved = save_hnsw(made, graph)
    del made
    with _Clock() as loaded:
        opened = open_hnsw(graph, saved, view=False)
    with _Clock() as grown:
        extend(opened, precision, _slices(vectors, size, size + added))
    with _Clock() as written:
        save_hnsw(opened, graph.with_suffix(".grown"))
    graph.with_suffix(".grown").unlink()
    return {
        "build_s": built.wall,
        "build_cpu_s": built.cpu,
        "file_bytes": saved.size,
        "load_s": loaded.wall,
        "add_s": grown.wall,
        "add_cpu_s": grown.cpu,
        "write_s": written.wall,
    }


class _Clock:
    """Seconds that a block took, and those that the processor worked on it: others' work stretches the first alone."""

    wall = cpu = 0.0

    def __enter__(self) -> _Clock:
        self._began = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self._began[0], time.process_time() - self._began[1]


def ask(parts: Path, graph: Path, truth: Path, precision: str) -> dict[str, float]:
    """Ask a graph all queries on one thread, as the index does; its resident memory is this process's growth.

    The memory is that of a graph that is looked at where it lies; `loaded_bytes` is that of one read into memory.
    """
    vectors = np.load(parts / "vectors.npy", mmap_mode="r")
    queries = np.load(parts / "queries.npy")
    wanted = np.load(truth)
    nearest(_warm(queries), "f32", queries[0], K)  # the library's own memory is not the graph's
    before = resident()[0]
    written = HnswFile(graph.stat().st_size, sha256_file(graph))
    view = open_hnsw(graph, written, view=True)
    answers, times = [], []
    for query in np.concatenate([queries, queries]):  # the first round brings the file's pages
        with _Clock() as clock:
            answers.append(nearest(view, precision, query, candidates(K)))
        times.append((1e3 * clock.wall, 1e3 * clock.cpu))
    viewed = resident()[0] - before
    del view
    loaded = _loaded(graph, written)
    answers, times = answers[len(queries) :], times[len(queries) :]
    hits = ranked = 0
    for query, answer, right in zip(queries, answers, wanted, strict=True):
        best = answer[np.argsort(-(vectors[answer] @ query), kind="stable")]
        hits += len(set(answer[:K].tolist()) & set(right.tolist()))
        ranked += len(set(best[:K].tolist()) & set(right.tolist()))
    asked = len(queries) * K
    return {
        "graph_recall": hits / asked,
        "recall": ranked / asked,
        **dict(zip(("p50", "p50_cpu"), np.percentile(times, 50, axis=0).tolist(), strict=True)),
        **dict(zip(("p95", "p95_cpu"), np.percentile(times, 95, axis=0).tolist(), strict=True)),
        "resident_bytes": viewed,
        "loaded_bytes": loaded,
    }


def _warm(queries: np.ndarray) -> Any:
    graph = empty_hnsw(queries.shape[1], "f32")
    extend(graph, "f32", [(np.arange(len(queries)), queries)])
    return graph


def _loaded(graph: Path, written: HnswFile) -> int:
    before = resident()[0]
    held = open_hnsw(graph, written, view=False)
    return resident()[0] - before if len(held) else 0


def _truth(parts: Path, size: int, dim: int, config: AnnConfig) -> Path:
    """Return the file of the right places [q, k] among the first `size` vectors; makes vectors and queries first."""
    everything = parts / "vectors.npy"
    if not everything.exists():
        total = max(config.sizes) + config.added
        with atomic_file(parts / "queries.npy") as temporary, open(temporary, "wb") as handle:
            np.save(handle, np.concatenate(list(synthetic(config.queries, dim, config, seed=2))))
        with atomic_file(everything) as temporary:
            table = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=(total, dim))
            start = 0
            for part in synthetic(total, dim, config, seed=1):
                table[start : start + len(part)] = part
                start += len(part)
            table.flush()
    truth = parts / f"truth-{size}.npy"
    if not truth.exists():
        places, _ = exact(np.load(everything, mmap_mode="r")[:size], np.load(parts / "queries.npy"), K)
        with atomic_file(truth) as temporary, open(temporary, "wb") as handle:
            np.save(handle, places)
    return truth


def _slices(vectors: np.ndarray, start: int, end: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for first in range(start, end, _PART):
        last = min(first + _PART, end)
        yield np.arange(first, last), np.asarray(vectors[first:last])
