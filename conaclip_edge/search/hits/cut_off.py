"""From which cosine on a hit says anything: what queries of random words find is what nothing looks like.

A query's score says little by itself: towers differ, indexes differ, and some queries are near to all pictures. So the
best score of each of some random queries is taken, less that query's mean over the index, and the cut-off is a
quantile of those. The bundle's held-out pairs say what that costs: each right picture is put into the index, and of the
texts that find theirs among the first ten, at most one in twenty may have its best hit below the cut-off.
It is kept in the index and is computed again when the index has grown or shrunk by a tenth.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from conaclip_edge.bundle.held_out_pairs import HeldOutPairs

NAMES = ("cut_off_mean", "cut_off_margin", "cut_off_pictures")  # of what is recorded in an index
QUERIES = 128
QUANTILE = 0.6  # of the random queries, that are below; docs/results/search.md says what it costs right ones
HARMED = 0.05  # of the held-out texts that find their picture, that may be below
LEAST_FOUND = 20  # of those texts; of fewer, a twentieth says nothing
LEAST_PICTURES = 50  # of fewer, the best says little about how good a best can be
_LEAST_WORDS = 200  # of the vocabulary
_MOST_WORDS = 3  # of a query
_FIRST = 10  # hits that a right picture has to be among
_SAME = 1e-3  # cosine within which a picture of the index may be a text's own, through another file


@dataclass(frozen=True)
class CutOff:
    """What separates hits from what any words find.

    Attributes:
        mean: mean of the index's vectors, float32 [d].
        margin: cosine above a query's mean that a hit needs.
    """

    mean: np.ndarray
    margin: float

    def of(self, vector: np.ndarray) -> float:
        """Return the cosine below which a picture is not like a query, given the query's unit vector [d]."""
        return float(self.mean @ vector) + self.margin

    def meta(self, pictures: int) -> dict[str, str | int]:
        """Return what is recorded in an index of so many pictures."""
        mean = base64.b64encode(self.mean.astype("<f4").tobytes()).decode()
        return dict(zip(NAMES, (mean, repr(self.margin), pictures), strict=True))


def recorded(meta: Mapping[str, str], dim: int) -> CutOff | None:
    """Read what is recorded in an index; None where there is nothing, or something else than a cut-off.

    Args:
        meta: of the index.
        dim: of its vectors.
    """
    try:
        mean = np.frombuffer(base64.b64decode(meta["cut_off_mean"], validate=True), "<f4")
        margin = float(meta["cut_off_margin"])
    except (KeyError, ValueError):
        return None
    if mean.shape != (dim,) or not np.isfinite(mean).all() or not np.isfinite(margin):
        return None
    return CutOff(mean, margin)


def outdated(meta: Mapping[str, str], pictures: int) -> bool:
    """Say whether an index of so many pictures needs another cut-off than the recorded one."""
    if pictures < LEAST_PICTURES:
        return "cut_off_mean" in meta
    try:
        before = int(meta.get("cut_off_pictures", "0"))
    except ValueError:
        before = 0
    return abs(pictures - before) > before // 10


def random_queries(words: Sequence[str]) -> list[str]:
    """Return queries of one to three words each, the same for the same words."""
    pick = random.Random(0)
    return [" ".join(pick.choices(words, k=1 + number % _MOST_WORDS)) for number in range(QUERIES)]


def calibrated(
    words: Sequence[str],
    embed: Callable[[list[str]], np.ndarray],
    parts: Callable[[], Iterator[np.ndarray]],
    pairs: HeldOutPairs | None = None,
) -> CutOff | None:
    """Measure what random queries find, and what right ones do.

    Args:
        words: of the model's vocabulary.
        embed: the text tower, texts -> unit vectors float32 [n, d].
        parts: gives the index's vectors float32 [n, d], a part at a time.
        pairs: of the bundle; None where it has none.

    Returns:
        The cut-off; None for a vocabulary that is too small to make nonsense of.
    """
    if len(words) < _LEAST_WORDS:
        return None
    nonsense = embed(random_queries(words))
    right = pairs.texts if pairs else nonsense[:0]
    own = np.sum(right * pairs.pictures, axis=1) if pairs else np.zeros(0, np.float32)
    queries = np.concatenate([nonsense, right])
    best = np.full(len(queries), -np.inf)
    nearer = np.zeros(len(right), np.int64)  # pictures of the index that are nearer to a text than its own
    total = np.zeros(queries.shape[1], np.float64)
    count = 0
    for part in parts():
        scores = part @ queries.T
        best = np.maximum(best, scores.max(axis=0))
        nearer += (scores[:, len(nonsense) :] > own + _SAME).sum(axis=0)
        total += part.sum(axis=0, dtype=np.float64)
        count += len(part)
    mean = (total / max(1, count)).astype(np.float32)
    margins = best - queries @ mean
    margin = float(np.quantile(margins[: len(nonsense)], QUANTILE))
    of_right = np.maximum(margins[len(nonsense) :], own - right @ mean)[nearer < _FIRST]
    if len(of_right) >= LEAST_FOUND:
        margin = min(margin, float(np.quantile(of_right, HARMED)))
    return CutOff(mean, margin)
