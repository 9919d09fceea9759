"""The HNSW graph (usearch) over an index's vectors: how they are stored in it, built, extended and searched.

Removed pictures stay in the graph, and what it finds is looked up in the sidecar: the graph is never the truth.
Vectors are added in the order of their keys by one thread, so that the same history gives the same file.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime  # noqa: F401  # importing it after usearch ends the process: the first one brings its C++ library
from usearch.index import Index

from conaclip_edge.errors import UserError, unknown
from conaclip_edge.system.files import atomic_file, sha256_file

PRECISIONS = ("f32", "f16", "i8")
DEFAULT = "i8"
CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH = 12, 64, 192
_AGAIN = "Make it again from the vectors beside it: conaclip-edge index with the same BUNDLE, PICTURES and --out."


class HnswFile(NamedTuple):
    """The file of an HNSW graph as it was written: its size in bytes and its hash."""

    size: int
    sha256: str


def check_precision(name: str) -> None:
    """Refuse a storage that is not known."""
    if name not in PRECISIONS:
        raise unknown("storage of vectors", name, PRECISIONS, where="--vectors")


def stored(vectors: np.ndarray, precision: str) -> np.ndarray:
    """Turn vectors float32 [n, d] into what the graph stores: a cosine ignores lengths, so i8 uses its whole range."""
    if precision != "i8":
        return vectors.astype(np.float16 if precision == "f16" else np.float32, copy=False)
    peaks = np.abs(vectors).max(axis=1, keepdims=True)
    quantised: np.ndarray = np.rint(vectors * (127 / np.maximum(peaks, 1e-12))).astype(np.int8)
    return quantised


def empty_hnsw(dim: int, precision: str, connectivity: int = CONNECTIVITY, expansion: int = EXPANSION_ADD) -> Index:
    """Make an HNSW graph without vectors; keys cannot be looked up in it, which saves a table of them in memory."""
    return Index(
        ndim=dim,
        metric="cos",
        dtype=precision,
        connectivity=connectivity,
        expansion_add=expansion,
        expansion_search=EXPANSION_SEARCH,
        enable_key_lookups=False,
    )


def extend(hnsw: Index, precision: str, parts: Iterable[tuple[np.ndarray, np.ndarray]], threads: int = 1) -> None:
    """Add parts of (keys int64 [n], vectors float32 [n, d])."""
    for keys, vectors in parts:
        hnsw.add(keys, stored(vectors, precision), threads=threads)


def nearest(hnsw: Index, precision: str, vector: np.ndarray, count: int) -> np.ndarray:
    """Return the keys int64 of the nearest vectors that the graph finds, best first."""
    found = hnsw.search(stored(vector[None], precision)[0], count, threads=1)
    return np.asarray(found.keys, dtype=np.int64)


def save_hnsw(hnsw: Index, path: Path) -> HnswFile:
    """Write an HNSW graph, atomically."""
    with atomic_file(path) as temporary:
        hnsw.save(str(temporary))
        return HnswFile(temporary.stat().st_size, sha256_file(temporary))


def damage(path: Path, written: HnswFile) -> str:
    """Say how the file of an HNSW graph differs from what was written; "" if it does not.

    Raises:
        FileNotFoundError: there is no such file.
    """
    size = path.stat().st_size
    if size != written.size:
        return f"it has {size} bytes of {written.size}"
    found = sha256_file(path)
    return "" if found == written.sha256 else f"its sha256 is {found[:12]}.., the index says {written.sha256[:12]}.."


def open_hnsw(path: Path, written: HnswFile, view: bool) -> Index:
    """Open the file of an HNSW graph.

    Args:
        path: the file.
        written: what it was when it was written.
        view: look at the file where it lies instead of copying it into memory; such a graph cannot be extended.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is not what was written, or no graph.
    """
    # usearch follows the numbers in a file wherever they point, so it gets none that was changed
    if reason := damage(path, written):
        raise UserError(f"graph file {path} is damaged: {reason}. {_AGAIN}")
    try:
        hnsw = Index.restore(str(path), view=view, enable_key_lookups=False)
    except Exception as error:  # usearch raises what its C++ throws
        path.stat()  # a writer may have replaced it since it was hashed
        raise UserError(f"graph file {path} cannot be read: {error}. Remove it and run conaclip-edge index.") from error
    if hnsw is None:
        path.stat()  # the same
        raise UserError(f"graph file {path} is no graph. Remove it and run conaclip-edge index.")
    hnsw.expansion_search = EXPANSION_SEARCH
    return hnsw
