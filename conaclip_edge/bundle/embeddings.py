"""Embeddings of a bundle's files: running a tower on pixels and ids, and comparing what it gives."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from functools import partial

import numpy as np

from conaclip_edge.bundle.manifest import Cosines
from conaclip_edge.errors import UserError
from conaclip_edge.runtime.instruction_sets import instruction_sets
from conaclip_edge.runtime.side_by_side import SideBySide
from conaclip_edge.runtime.tower import Tower
from conaclip_edge.system.progress import track

LONGEST = 65_536  # ids of a text; more are nobody's
NORM_ERROR = 5e-3  # what float16 arithmetic may leave; a forgotten normalisation is far above


def embed_pixels(tower: Tower, pixels: np.ndarray, label: str) -> np.ndarray:
    """Embed uint8 pictures [n, 3, H, W] to [n, d]."""
    return _each(tower, (picture[None].astype(np.float32) / 255 for picture in track(list(pixels), label)))


def embed_ids(tower: Tower, rows: tuple[np.ndarray, ...], pad_id: int, label: str) -> np.ndarray:
    """Embed rows of int32 ids to [n, d], each at the shortest length that the file takes."""
    return _each(tower, (padded(row, tower.lengths, pad_id)[None] for row in track(rows, label)))


def _each(tower: Tower, inputs: Iterable[np.ndarray]) -> np.ndarray:
    """Run a tower on each input by itself, as an app does."""
    if tower.executed != "executor":
        return np.concatenate([tower(one) for one in inputs])
    with SideBySide() as calls:
        found = [calls.add(partial(tower, one)) for one in inputs]
    return np.concatenate([one.result() for one in found])


def padded(ids: np.ndarray, lengths: tuple[int, ...] | None, pad_id: int) -> np.ndarray:
    """Fill ids up, behind their EOS, to the shortest of the lengths that holds them.

    Raises:
        UserError: none does.
    """
    room = len(ids) if lengths is None else next((length for length in lengths if length >= len(ids)), None)
    if room is None or room > LONGEST:
        raise UserError(f"a text of {len(ids)} ids cannot be filled up to one of the lengths {lengths}.")
    return np.concatenate([ids, np.full(room - len(ids), pad_id, dtype=np.int32)])


def cosines(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return the cosine of each row [n]; a row that holds NaN or infinity, or has no length, gives 0."""
    a, b = finite(found).astype(np.float64), expected.astype(np.float64)
    length = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(axis=1) / np.where(length > 0, length, 1))


def finite(embeddings: np.ndarray) -> np.ndarray:
    """Replace rows that hold NaN or infinity by zeros."""
    return np.where(np.isfinite(embeddings).all(axis=1, keepdims=True), embeddings, 0)


def summary(values: np.ndarray) -> Cosines:
    """Summarise cosines."""
    return Cosines(mean=float(values.mean()), p1=float(np.percentile(values, 1)), min=float(values.min()))


def norm_error(embeddings: np.ndarray) -> float:
    """Return the largest distance of a finite embedding's length from 1."""
    kept = embeddings[np.isfinite(embeddings).all(axis=1)].astype(np.float64)
    return float(np.abs(np.linalg.norm(kept, axis=1) - 1).max(initial=0))


def host() -> str:
    """Name the machine and the instruction sets that decide which int8 kernels run."""
    flags = instruction_sets()
    known = ("avx2", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm")
    return " ".join([platform.system(), platform.machine(), *(name for name in known if name in flags)])
