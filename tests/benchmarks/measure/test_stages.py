from __future__ import annotations

import io
import time

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from conaclip_edge.benchmarks.measure.stages import random_index, search, stage_times
from conaclip_edge.evaluation.encoder import Encoder


@settings(deadline=None, max_examples=25)
@given(count=st.integers(11, 200), width=st.integers(2, 16), seed=st.integers(0, 99))
def test_search_gives_the_ten_nearest_in_order(count, width, seed):
    index = random_index(count, width, seed)
    query = random_index(1, width, seed + 1)[0]
    exact = sorted(range(count), key=lambda row: -float(index[row] @ query))[:10]
    np.testing.assert_allclose(index[search(index, query)] @ query, index[exact] @ query, atol=1e-6)


def test_the_index_holds_unit_vectors_that_a_seed_decides():
    index = random_index(50, 7)
    np.testing.assert_allclose(np.linalg.norm(index, axis=1), 1, atol=1e-6)
    assert (index == random_index(50, 7)).all()


def busy(milliseconds: float) -> None:
    end = time.perf_counter() + milliseconds / 1000
    while time.perf_counter() < end:
        pass


def encoder(**costs: float) -> Encoder:
    def pixels(pictures):
        busy(costs.get("resize", 0))
        return pictures

    def tokens(texts, full):
        assert not full
        busy(costs.get("tokenise", 0))
        return texts

    def tower(values):
        assert len(values) == 1
        busy(costs.get("tower", 0))
        return np.full((1, 4), 0.5, dtype=np.float32)

    return Encoder("busy", "native", pixels, tokens, tower, tower)


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_each_stage_has_the_time_that_is_spent_in_it():
    encoders = {"slow resize": encoder(resize=12), "slow tower": encoder(tower=12), "slow words": encoder(tokenise=12)}
    found = stage_times(encoders, [png()], ["a", "b"], random_index(20, 4), rounds=3)
    assert list(found["slow tower"]["picture"]) == ["decode", "resize", "tower"]
    assert list(found["slow tower"]["query"]) == ["tokenise", "tower", "search"]
    most = {row: {kind: max(stages, key=stages.get) for kind, stages in both.items()} for row, both in found.items()}
    assert most["slow resize"]["picture"] == "resize"
    assert most["slow tower"] == {"picture": "tower", "query": "tower"}
    assert most["slow words"]["query"] == "tokenise"
    assert found["slow tower"]["query"]["tower"] >= 12
