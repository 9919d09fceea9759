"""How good and how fast an HNSW graph of the index is, compared with exact search over the same vectors.

Real embeddings lie near a surface of few dimensions and in clusters; so do the synthetic vectors here. They are
labelled as synthetic wherever they are shown.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from conaclip_edge.benchmarks.measure.fresh_process import resident
from conaclip_edge.config.benchmark import AnnConfig
from conaclip_edge.search.hnsw_graph import HnswFile, empty_hnsw, extend, nearest, open_hnsw, save_hnsw
from conaclip_edge.search.index import candidates
from conaclip_edge.system.files import atomic_file, sha256_file

K = 10
_CHUNK = 10_000  # vectors that are looked at together


@dataclass(frozen=True)
class BuildCosts:
    """What building, writing and growing a graph took; fields as of the report's `AnnRow`."""

    build_s: float
    build_cpu_s: float
    file_bytes: int
    load_s: float
    add_s: float
    add_cpu_s: float
    write_s: float


@dataclass(frozen=True)
class QueryResults:
    """What a graph finds, in which time and memory; fields as of the report's `AnnRow`."""

    graph_recall: float
    recall: float
    p50: float
    p50_cpu: float
    p95: float
    p95_cpu: float
    resident_bytes: int
    loaded_bytes: int


def synthetic(count: int, dim: int, config: AnnConfig, seed: int) -> Iterator[np.ndarray]:
    """Yield `count` unit vectors float32 [n, dim], chunk by chunk; the same clusters for every seed."""
    shared = np.random.default_rng(0)
    turn = shared.standard_normal((config.latent, dim), dtype=np.float32)
    centres = shared.standard_normal((config.clusters, config.latent), dtype=np.float32)
    random = np.random.default_rng(seed)
    for start in range(0, count, _CHUNK):
        some = min(_CHUNK, count - start)
        noise = random.standard_normal((some, config.latent), dtype=np.float32)
        vectors = (centres[random.integers(0, config.clusters, some)] + np.float32(config.spread) * noise) @ turn
        yield vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def exact_search(
    vectors: np.ndarray, queries: np.ndarray, k: int, chunk: int = _CHUNK
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest vectors by comparing with all of them.

    Args:
        vectors: unit vectors [n, d].
        queries: unit vectors [q, d].
        k: how many to find.
        chunk: vectors that are compared together.

    Returns:
        Numbers [q, k] of the nearest vectors and their cosines, best first.
    """
    nearest_rows = np.zeros((len(queries), 0), dtype=np.int64)
    scores = np.zeros((len(queries), 0), dtype=np.float32)
    for start in range(0, len(vectors), chunk):
        cosines = queries @ np.asarray(vectors[start : start + chunk]).T
        best = np.argpartition(-cosines, min(k, cosines.shape[1] - 1), axis=1)[:, :k]
        nearest_rows = np.concatenate([nearest_rows, best + start], axis=1)
        scores = np.concatenate([scores, np.take_along_axis(cosines, best, axis=1)], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        nearest_rows = np.take_along_axis(nearest_rows, order, axis=1)
        scores = np.take_along_axis(scores, order, axis=1)
    return nearest_rows, scores


def build_hnsw(folder: Path, path: Path, precision: str, size: int, dim: int, added: int) -> BuildCosts:
    """Build a graph, write it, then add some vectors to it as it was written.

    Args:
        folder: has the vectors, see `exact_neighbours`.
        path: gets the graph.
        precision: storage of the vectors.
        size: number of vectors.
        dim: their width.
        added: vectors that are added afterwards.
    """
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    with _Clock() as built:
        made = empty_hnsw(dim, precision)
        extend(made, precision, _slices(vectors, 0, size))
    saved = save_hnsw(made, path)
    del made
    with _Clock() as loaded:
        opened = open_hnsw(path, saved, view=False)
    with _Clock() as grown:
        extend(opened, precision, _slices(vectors, size, size + added))
    with _Clock() as written:
        save_hnsw(opened, path.with_suffix(".grown"))
    path.with_suffix(".grown").unlink()
    return BuildCosts(
        build_s=built.wall,
        build_cpu_s=built.cpu,
        file_bytes=saved.size,
        load_s=loaded.wall,
        add_s=grown.wall,
        add_cpu_s=grown.cpu,
        write_s=written.wall,
    )


class _Clock:
    """Seconds that a block took, and those that the processor worked on it: others' work stretches the first alone."""

    wall = cpu = 0.0

    def __enter__(self) -> _Clock:
        self._began = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self._began[0], time.process_time() - self._began[1]


def query_hnsw(folder: Path, path: Path, neighbours: Path, precision: str) -> QueryResults:
    """Ask a graph all queries on one thread, as the index does; call it in a fresh process.

    `resident_bytes` is what the process grew by while the graph was read where its file lies; `loaded_bytes` is what
    it grows by when the graph is read into memory.

    Args:
        folder: has the vectors and queries.
        path: the graph's file.
        neighbours: from `exact_neighbours`.
        precision: storage of the vectors.
    """
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    queries = np.load(folder / "queries.npy")
    wanted = np.load(neighbours)
    nearest(_warm(queries), "f32", queries[0], K)  # the library's own memory is not the graph's
    before = resident()[0]
    written = HnswFile(path.stat().st_size, sha256_file(path))
    view = open_hnsw(path, written, view=True)
    answers, times = [], []
    for query in np.concatenate([queries, queries]):  # the first round brings the file's pages
        with _Clock() as clock:
            answers.append(nearest(view, precision, query, candidates(K)))
        times.append((1e3 * clock.wall, 1e3 * clock.cpu))
    viewed = resident()[0] - before
    del view
    loaded = _loaded(path, written)
    answers, times = answers[len(queries) :], times[len(queries) :]
    hits = ranked = 0
    for query, answer, right in zip(queries, answers, wanted, strict=True):
        best = answer[np.argsort(-(vectors[answer] @ query), kind="stable")]
        hits += len(set(answer[:K].tolist()) & set(right.tolist()))
        ranked += len(set(best[:K].tolist()) & set(right.tolist()))
    asked = len(queries) * K
    (p50, p50_cpu), (p95, p95_cpu) = np.percentile(times, [50, 95], axis=0).tolist()
    return QueryResults(
        graph_recall=hits / asked,
        recall=ranked / asked,
        p50=p50,
        p50_cpu=p50_cpu,
        p95=p95,
        p95_cpu=p95_cpu,
        resident_bytes=viewed,
        loaded_bytes=loaded,
    )


def _warm(queries: np.ndarray) -> Any:
    graph = empty_hnsw(queries.shape[1], "f32")
    extend(graph, "f32", [(np.arange(len(queries)), queries)])
    return graph


def _loaded(path: Path, written: HnswFile) -> int:
    before = resident()[0]
    held = open_hnsw(path, written, view=False)
    return resident()[0] - before if len(held) else 0


def exact_neighbours(folder: Path, size: int, dim: int, config: AnnConfig) -> Path:
    """Return the file of the nearest vectors [q, k] among the first `size`; makes vectors and queries first.

    Args:
        folder: gets vectors.npy, queries.npy and a file per size; what is there already is kept.
        size: number of vectors.
        dim: their width.
        config: which vectors and how many queries.
    """
    everything = folder / "vectors.npy"
    if not everything.exists():
        total = max(config.sizes) + config.added
        with atomic_file(folder / "queries.npy") as temporary, open(temporary, "wb") as handle:
            np.save(handle, np.concatenate(list(synthetic(config.queries, dim, config, seed=2))))
        with atomic_file(everything) as temporary:
            table = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=(total, dim))
            start = 0
            for chunk in synthetic(total, dim, config, seed=1):
                table[start : start + len(chunk)] = chunk
                start += len(chunk)
            table.flush()
    neighbours = folder / f"neighbours-{size}.npy"
    if not neighbours.exists():
        nearest_rows, _ = exact_search(np.load(everything, mmap_mode="r")[:size], np.load(folder / "queries.npy"), K)
        with atomic_file(neighbours) as temporary, open(temporary, "wb") as handle:
            np.save(handle, nearest_rows)
    return neighbours


def _slices(vectors: np.ndarray, start: int, end: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for first in range(start, end, _CHUNK):
        last = min(first + _CHUNK, end)
        yield np.arange(first, last), np.asarray(vectors[first:last])
