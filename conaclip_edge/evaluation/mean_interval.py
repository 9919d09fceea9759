"""The mean recall beside chance: what a random order would give, and an interval over the pictures."""

from __future__ import annotations

import numpy as np

from conaclip_edge.evaluation.recall import KS, Ranks, hits_by_picture
from conaclip_edge.models.certainty import Certainty, certainty
from conaclip_edge.models.teacher.record import SplitRecall

_CHUNK = 4_000_000  # resampled weights that are held at a time


def certainty_of(found: Ranks, teacher: Ranks | float | None = None) -> Certainty:
    """Say what the mean recall of some ranks is worth.

    Args:
        found: of a model.
        teacher: the teacher's ranks, or its mean recall, of the same pictures and captions; None where not known.
    """
    of_teacher = teacher.mean_recall() if isinstance(teacher, Ranks) else teacher
    return certainty(len(found.i2t), chance(found), mean_interval(found), of_teacher)


def split_recall(found: Ranks) -> SplitRecall:
    """Turn the ranks of a teacher on a split into its record."""
    return SplitRecall(
        recall=found.recall(), mean_recall=found.mean_recall(), n=len(found.i2t), certainty=certainty_of(found)
    )


def chance(found: Ranks) -> float:
    """Return the mean of the six recalls in percent that a random order of the same queries would give.

    A text finds its picture among the first k of P with k/P. A picture with c of the C captions misses with
    (C-c)/C * (C-c-1)/(C-1) * ..., k factors.
    """
    pictures, texts = len(found.i2t), len(found.t2i)
    own = np.bincount(found.caption_to_image, minlength=pictures)
    own = own[own > 0]
    shares = [min(1.0, k / pictures) for k in KS]
    for k in KS:
        misses = np.ones(len(own))
        for drawn in range(min(k, texts)):
            misses *= np.maximum(texts - own - drawn, 0) / (texts - drawn)
        shares.append(1 - float(misses.mean()))
    return 100 * float(np.mean(shares))


def mean_interval(found: Ranks, samples: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of the mean of the six recalls in percent, resampling pictures with their captions.

    Args:
        found: from `ranks`.
        samples: number of resamples.
        seed: of the resampling.
    """
    random = np.random.default_rng(seed)
    hits, asked = hits_by_picture(found)
    count, sides = len(found.i2t), list(hits)
    table = np.stack([hits[side] for side in sides], axis=1)
    queries = np.stack([asked[direction] for direction, _ in sides], axis=1)
    means, step = [], max(1, _CHUNK // count)
    for start in range(0, samples, step):
        drawn = random.multinomial(count, np.full(count, 1 / count), size=min(step, samples - start)).astype(float)
        means.append(100 * (drawn @ table / np.maximum(drawn @ queries, 1)).mean(axis=1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)
