"""Relative recall: the share of a base's mean recall that a model has, by direction, with a bootstrap interval."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from conaclip_edge.evaluation.recall import KS, Ranks, hits_by_picture


class Share(NamedTuple):
    """A share of 1 and its 95 % interval."""

    value: float
    low: float
    high: float


def relative_recall(found: Ranks, base: Ranks, samples: int, seed: int = 0) -> dict[str, Share]:
    """Return a model's mean recall as a share of a base's, by direction, with 95 % bootstrap intervals.

    Both sides are resampled together (the same pictures with their captions), so what makes a picture hard for both
    does not widen the interval. A base that finds nothing has nothing to lose: its share is 1.

    Args:
        found: ranks of the model.
        base: ranks of the student or teacher on the same pictures and captions.
        samples: number of resamples.
        seed: of the resampling.
    """
    count = len(found.i2t)
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=samples)
    shares = {}
    for direction in ("t2i", "i2t"):
        left, whole = _hits(found, direction), _hits(base, direction)
        value = _share(left.sum(), whole.sum())
        # which queries are asked is the same on both sides, so their number cancels
        drawn = [_share(*pair) for pair in zip(weights @ left, weights @ whole, strict=True)]
        low, high = np.percentile(drawn, [2.5, 97.5])
        shares[direction] = Share(value, float(low), float(high))
    return shares


def _hits(found: Ranks, direction: str) -> np.ndarray:
    """Sum each picture's hits at 1, 5 and 10 over its queries of a direction [P]."""
    hits, _ = hits_by_picture(found)
    return np.asarray(sum(hits[direction, k] for k in KS))


def _share(left: float, whole: float) -> float:
    return float(left / whole) if whole else 1.0
