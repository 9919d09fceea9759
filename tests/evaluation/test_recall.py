"""Ranks and recall against the naive full matrix, with ties, several captions, and pictures that have none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conaclip_edge.evaluation.recall import KS, Ranks, bootstrap, mean_recall, ranks

Problem = tuple[np.ndarray, np.ndarray, np.ndarray]


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Vectors of few small whole numbers: sums are exact, so equal scores are equal in any order of adding."""
    pictures, texts = draw(st.integers(1, 7)), draw(st.integers(1, 9))
    number = st.integers(-2, 2)
    vector = st.lists(number, min_size=2, max_size=2)
    a = np.array(draw(st.lists(vector, min_size=pictures, max_size=pictures)), dtype=np.float32)
    b = np.array(draw(st.lists(vector, min_size=texts, max_size=texts)), dtype=np.float32)
    caption_to_image = np.array(draw(st.lists(st.integers(0, pictures - 1), min_size=texts, max_size=texts)))
    return a, b, caption_to_image


def naive(pictures: np.ndarray, texts: np.ndarray, caption_to_image: np.ndarray) -> tuple[list[int], list[int]]:
    """Ranks by counting in the whole matrix: one more than the wrong answers that are not worse than the right one."""
    scores = [[int(p @ t) for t in texts] for p in pictures]
    t2i = [
        1 + sum(scores[p][t] >= scores[owner][t] for p in range(len(pictures)) if p != owner)
        for t, owner in enumerate(caption_to_image)
    ]
    i2t = []
    for p, row in enumerate(scores):
        own = [score for score, owner in zip(row, caption_to_image, strict=True) if owner == p]
        wrong = [score for score, owner in zip(row, caption_to_image, strict=True) if owner != p]
        i2t.append(1 + sum(score >= max(own) for score in wrong) if own else 0)
    return t2i, i2t


@settings(max_examples=150, deadline=None)
@given(problems(), st.integers(1, 4))
def test_ranks_equal_those_of_the_whole_matrix(problem: Problem, chunk: int) -> None:
    found = ranks(*problem, chunk=chunk)
    assert (found.t2i.tolist(), found.i2t.tolist()) == naive(*problem)


def embeddings(pictures: int, captions: int, seed: int, noise: float = 1.0) -> Problem:
    random = np.random.default_rng(seed)
    a = random.standard_normal((pictures, 8))
    caption_to_image = np.repeat(np.arange(pictures), captions)
    b = a[caption_to_image] + noise * random.standard_normal((len(caption_to_image), 8))
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    return a, b, caption_to_image


def test_the_chunk_size_does_not_matter() -> None:
    problem = embeddings(50, 3, seed=0)
    whole = ranks(*problem)
    for chunk in (1, 7, 49, 1000):
        part = ranks(*problem, chunk=chunk)
        assert np.array_equal(part.t2i, whole.t2i)
        assert np.array_equal(part.i2t, whole.i2t)


def test_never_more_than_a_chunk_of_the_matrix_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []

    class Watched(np.ndarray[Any, Any]):
        def __matmul__(self, other: Any) -> Any:
            product = np.asarray(self) @ np.asarray(other)
            shapes.append(product.shape)
            return product

    pictures, texts, caption_to_image = embeddings(20, 2, seed=0)
    ranks(pictures.view(Watched), texts, caption_to_image, chunk=6)
    assert set(shapes) == {(6, 40), (2, 40)}


def test_the_order_of_texts_does_not_matter() -> None:
    pictures, texts, caption_to_image = embeddings(20, 3, seed=1)
    order = np.random.default_rng(0).permutation(len(texts))
    shuffled, plain = ranks(pictures, texts[order], caption_to_image[order]), ranks(pictures, texts, caption_to_image)
    assert np.array_equal(shuffled.t2i, plain.t2i[order])
    assert np.array_equal(shuffled.i2t, plain.i2t)


def test_any_caption_is_a_right_answer_for_its_picture() -> None:
    pictures = np.eye(2, dtype=np.float32)
    # picture 0 has one hopeless caption and one that fits best of all
    texts = np.array([[-1, 0], [1, 0], [0.5, 0.5]], dtype=np.float32)
    found = ranks(pictures, texts, np.array([0, 0, 1]))
    assert found.i2t.tolist() == [1, 1]
    assert found.t2i.tolist() == [2, 1, 2]  # the last one ties with picture 0, and a tie counts against it


def test_a_collapsed_model_finds_nothing() -> None:
    same = np.ones((12, 4), dtype=np.float32) / 2
    assert ranks(same, same, np.arange(12)).recall() == {
        way: dict.fromkeys(("1", "5", "10"), 0.0) for way in ("t2i", "i2t")
    }


def test_a_picture_without_captions_is_a_candidate_but_no_query() -> None:
    pictures = np.eye(3, dtype=np.float32)
    texts = np.array([[1, 0, 0], [0, 0.5, 0.9]], dtype=np.float32)
    found = ranks(pictures, texts, np.array([0, 1]))
    assert found.i2t.tolist() == [1, 1, 0]
    assert found.t2i.tolist() == [1, 2]
    assert found.recall()["i2t"]["1"] == 100
    assert found.recall()["t2i"]["1"] == 50
    assert found.median_rank() == {"t2i": 1.5, "i2t": 1}


def test_recall_counts_ranks_up_to_k() -> None:
    found = Ranks(np.array([1, 2, 5, 6, 10, 11]), np.array([1, 11, 0, 0, 0, 0]), np.arange(6))
    assert found.recall()["t2i"] == pytest.approx({"1": 100 / 6, "5": 50, "10": 500 / 6})
    assert found.recall()["i2t"] == {"1": 50, "5": 50, "10": 50}
    assert found.mean_recall() == pytest.approx((100 / 6 + 50 + 500 / 6 + 150) / 6)
    assert mean_recall(found.recall()) == found.mean_recall()
    assert found.median_rank() == {"t2i": 5.5, "i2t": 6}


def test_the_interval_holds_the_measured_value_and_is_the_same_every_time() -> None:
    found = ranks(*embeddings(80, 3, seed=2))
    first, again, other = bootstrap(found, seed=5), bootstrap(found, seed=5), bootstrap(found, seed=6)
    assert first == again
    assert first != other
    for way, recalls in found.recall().items():
        for k, value in recalls.items():
            low, high = first[way][k]
            assert low <= value <= high
            assert 1 < high - low < 30


def test_the_interval_is_that_of_resampled_pictures_with_all_their_captions() -> None:
    """With equal hits within a picture, resampling captions one by one would give a third of the variance."""
    pictures = 100
    caption_to_image = np.repeat(np.arange(pictures), 3)
    hit = np.arange(pictures) % 2 == 0
    found = Ranks(np.where(hit, 1, 50)[caption_to_image], np.where(hit, 1, 50), caption_to_image)
    for way in ("t2i", "i2t"):
        low, high = bootstrap(found, samples=4000)[way]["1"]
        # 50 % of 100 independent pictures: a standard error of 5 points
        assert high - low == pytest.approx(2 * 1.96 * 5, rel=0.1)


def test_the_interval_of_certainty_is_a_point() -> None:
    found = Ranks(np.ones(4, dtype=int), np.array([1, 1, 1, 0]), np.array([0, 1, 2, 2]))
    assert bootstrap(found) == {way: {str(k): (100.0, 100.0) for k in KS} for way in ("t2i", "i2t")}
