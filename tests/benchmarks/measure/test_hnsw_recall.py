"""The vectors that graphs are measured on, and what counts as right."""

from __future__ import annotations

import numpy as np

from conaclip_edge.benchmarks.measure.hnsw_recall import exact_search, synthetic
from conaclip_edge.config.benchmark import AnnConfig

CONFIG = AnnConfig(clusters=5, latent=3)


def test_the_vectors_are_of_unit_length_in_clusters_and_the_same_each_time() -> None:
    first, again, other = (np.concatenate(list(synthetic(500, 32, CONFIG, seed))) for seed in (1, 1, 2))
    assert first.dtype == np.float32
    assert np.allclose(np.linalg.norm(first, axis=1), 1, atol=1e-5)
    assert (first == again).all()
    assert not (first == other).any()
    assert np.linalg.matrix_rank(first, tol=1e-3) == CONFIG.latent
    near = np.sort(other @ first.T, axis=1)
    assert np.median(near[:, -1]) > 0.95
    assert np.median(near[:, 250]) < 0.6


def test_exact_search_is_that_of_sorting_everything() -> None:
    random = np.random.default_rng(0)
    vectors, queries = random.standard_normal((333, 8)), random.standard_normal((9, 8))
    rows, scores = exact_search(vectors, queries, 10, chunk=64)
    everything = queries @ vectors.T
    assert rows.tolist() == np.argsort(-everything, axis=1)[:, :10].tolist()
    assert np.allclose(scores, -np.sort(-everything, axis=1)[:, :10])
