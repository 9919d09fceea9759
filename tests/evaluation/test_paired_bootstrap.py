"""The paired bootstrap against a naive one, which counts the recalls of every resample."""

from __future__ import annotations

import numpy as np
import pytest

from conaclip_edge.evaluation.paired_bootstrap import paired_bootstrap
from conaclip_edge.evaluation.recall import KS, Ranks, mean_recall


def ranks(random: np.random.Generator, pictures: int = 7) -> Ranks:
    caption_to_image = np.repeat(np.arange(pictures), [2, 1, 0, 3, 1, 2, 1])
    i2t = random.integers(1, 15, pictures)
    i2t[2] = 0  # has no caption
    return Ranks(random.integers(1, 15, len(caption_to_image)), i2t, caption_to_image)


def test_the_paired_bootstrap_is_that_of_a_naive_one() -> None:
    random = np.random.default_rng(3)
    ones, others = [ranks(random) for _ in range(3)], [ranks(random) for _ in range(3)]
    difference, interval = paired_bootstrap(ones, others, samples=60, seed=5)
    assert difference == pytest.approx(
        np.mean([mean_recall(a.recall()) - mean_recall(b.recall()) for a, b in zip(ones, others, strict=True)])
    )
    same = np.random.default_rng(5)
    pictures = same.multinomial(7, np.full(7, 1 / 7), size=60)
    seeds = same.multinomial(3, np.full(3, 1 / 3), size=60)
    found = []
    for drawn, chosen in zip(pictures, seeds, strict=True):
        total = 0.0
        for seed, times in enumerate(chosen):
            total += times / 3 * (resampled(ones[seed], drawn) - resampled(others[seed], drawn))
        found.append(total)
    assert interval == pytest.approx(tuple(np.percentile(found, [2.5, 97.5])))


def resampled(one: Ranks, drawn: np.ndarray) -> float:
    """Mean of the six recalls where picture i, with its captions, stands drawn[i] times."""
    recalls = []
    for k in KS:
        texts = [
            rank <= k
            for rank, picture in zip(one.t2i, one.caption_to_image, strict=True)
            for _ in range(drawn[picture])
        ]
        asked = [rank <= k for rank, times in zip(one.i2t, drawn, strict=True) if rank for _ in range(times)]
        recalls += [sum(texts) / max(len(texts), 1), sum(asked) / max(len(asked), 1)]
    return 100 * float(np.mean(recalls))


def test_a_way_of_training_does_not_differ_from_itself() -> None:
    found = [ranks(np.random.default_rng(seed)) for seed in range(2)]
    assert paired_bootstrap(found, found) == (0.0, (0.0, 0.0))
