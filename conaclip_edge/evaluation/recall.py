"""Recall@k of text-picture retrieval, both ways, without ever holding the whole similarity matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KS = (1, 5, 10)


@dataclass(frozen=True)
class Ranks:
    """The rank of the best right answer of every query, from 1.

    A tie counts against the query: a wrong answer with exactly the right one's score ranks before it.

    Attributes:
        t2i: one rank per text [C].
        i2t: one rank per picture [P]; any of its captions is a right answer. Pictures without captions have none (0).
        caption_to_image: position of each text's picture [C].
    """

    t2i: np.ndarray
    i2t: np.ndarray
    caption_to_image: np.ndarray

    def recall(self) -> dict[str, dict[str, float]]:
        """Return {"t2i": {"1": %, "5": %, "10": %}, "i2t": {...}} in percent."""
        asked = self.i2t[self.i2t > 0]
        return {
            "t2i": {str(k): 100 * float(np.mean(self.t2i <= k)) for k in KS},
            "i2t": {str(k): 100 * float(np.mean(asked <= k)) for k in KS},
        }

    def median_rank(self) -> dict[str, float]:
        """Return the median rank of each direction."""
        return {"t2i": float(np.median(self.t2i)), "i2t": float(np.median(self.i2t[self.i2t > 0]))}

    def mean_recall(self) -> float:
        """Return the mean of the six recalls, in percent: the one number that runs are compared by."""
        return mean_recall(self.recall())


def mean_recall(recall: dict[str, dict[str, float]]) -> float:
    """Return the mean of all recalls of a table from `Ranks.recall`."""
    return float(np.mean([value for direction in recall.values() for value in direction.values()]))


def ranks(pictures: np.ndarray, texts: np.ndarray, caption_to_image: np.ndarray, chunk: int = 512) -> Ranks:
    """Rank every query against all candidates by cosine.

    Args:
        pictures: unit vectors [P, d].
        texts: unit vectors [C, d].
        caption_to_image: for each text the position of its picture [C].
        chunk: pictures scored at a time; memory is chunk * C scores.
    """
    # the right score has to come from the same product as the others, or rounding would decide ties
    right = np.empty(len(texts), dtype=np.result_type(pictures, texts))
    t2i = np.ones(len(texts), dtype=np.int64)
    i2t = np.zeros(len(pictures), dtype=np.int64)
    columns = texts.T
    order = np.argsort(caption_to_image, kind="stable")
    starts = np.searchsorted(caption_to_image[order], np.arange(len(pictures) + 1))
    for first in range(0, len(pictures), chunk):
        scores = pictures[first : first + chunk] @ columns
        for row, line in enumerate(scores, start=first):
            own = order[starts[row] : starts[row + 1]]
            if len(own):
                right[own] = line[own]
                best = line[own].max()
                i2t[row] = 1 + int(np.count_nonzero(line >= best)) - int(np.count_nonzero(line[own] >= best))
    for first in range(0, len(pictures), chunk):
        scores = pictures[first : first + chunk] @ columns
        t2i += np.count_nonzero(scores >= right, axis=0)
    t2i -= 1  # the right picture itself was counted
    return Ranks(t2i, i2t, caption_to_image)


def hits_by_picture(result: Ranks) -> tuple[dict[tuple[str, int], np.ndarray], dict[str, np.ndarray]]:
    """Return the number of hits of each picture's queries by (direction, k), and the number of queries by direction."""
    count = len(result.i2t)
    asked = {
        "t2i": np.bincount(result.caption_to_image, minlength=count).astype(float),
        "i2t": (result.i2t > 0).astype(float),
    }
    hits = {("t2i", k): np.bincount(result.caption_to_image, weights=result.t2i <= k, minlength=count) for k in KS} | {
        ("i2t", k): ((result.i2t <= k) & (result.i2t > 0)).astype(float) for k in KS
    }
    return hits, asked


def bootstrap(result: Ranks, samples: int = 1000, seed: int = 0) -> dict[str, dict[str, tuple[float, float]]]:
    """Return 95 % intervals of every recall, resampling pictures together with their captions.

    Args:
        result: from `ranks`.
        samples: number of resamples.
        seed: of the resampling.
    """
    random = np.random.default_rng(seed)
    count = len(result.i2t)
    hits, asked = hits_by_picture(result)  # per picture, so that each resample is a weighted mean
    weights = random.multinomial(count, np.full(count, 1 / count), size=samples).astype(float)
    intervals: dict[str, dict[str, tuple[float, float]]] = {"t2i": {}, "i2t": {}}
    for (direction, k), hit in hits.items():
        share = 100 * (weights @ hit) / np.maximum(weights @ asked[direction], 1)
        low, high = np.percentile(share, [2.5, 97.5])
        intervals[direction][str(k)] = (float(low), float(high))
    return intervals
