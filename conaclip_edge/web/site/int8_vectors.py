"""The index of a site: int8 rows with a scale each, and the same search in numpy that the page does in JavaScript."""

from __future__ import annotations

import numpy as np


def quantise(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round vectors to int8, each by the scale that maps its largest value to 127.

    Args:
        vectors: float32 [n, d].

    Returns:
        int8 rows [n, d] and float32 scales [n]; a row is about `values * scale`.
    """
    most = np.abs(vectors).max(axis=1, initial=0)
    # the scale of a smaller row would be 0, or too coarse a number: such a row is rounded to 0
    scales = (np.where(most > 127 * np.finfo(np.float32).tiny, most, 1) / 127).astype(np.float32)
    values = np.rint(vectors.astype(np.float64) / scales[:, None].astype(np.float64))
    return values.clip(-127, 127).astype(np.int8), scales


def best(values: np.ndarray, scales: np.ndarray, vector: np.ndarray, k: int) -> list[tuple[int, float]]:
    """Return the k rows nearest to a vector as (row, cosine), best first, equal ones in the order of rows.

    Args:
        values: int8 [n, d].
        scales: float32 [n].
        vector: float32 [d].
        k: how many.
    """
    query, scale = quantise(vector[None])
    sums = values.astype(np.int32) @ query[0].astype(np.int32)
    scores = sums.astype(np.float64) * scales * float(scale[0])
    order = np.argsort(-scores, kind="stable")[:k]
    return [(int(row), float(scores[row])) for row in order]
