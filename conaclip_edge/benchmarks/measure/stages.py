"""End to end: from a picture's bytes to its embedding, and from a text to the ten nearest pictures, stage by stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from conaclip_edge.data.preprocess import decode
from conaclip_edge.evaluation.encoder import Encoder

TOP = 10
Stages = dict[Literal["picture", "query"], dict[str, float]]
_Steps = dict[str, Callable[[Any], Any]]


def search(index: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Return the numbers of the ten rows of an index [N, d] that are nearest to a unit vector [d], best first."""
    scores = index @ query
    top = np.argpartition(-scores, TOP)[:TOP]
    return np.asarray(top[np.argsort(-scores[top])])


def random_index(count: int, width: int, seed: int = 0) -> np.ndarray:
    """Return unit vectors [count, width] to search in; exact search takes the same time whatever they are."""
    values = np.random.default_rng(seed).standard_normal((count, width), dtype=np.float32)
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True))


def stage_times(
    encoders: Mapping[str, Encoder], pictures: list[bytes], captions: list[str], index: np.ndarray, rounds: int
) -> dict[str, Stages]:
    """Time the stages of every encoder in interleaved rounds.

    Args:
        encoders: row of the report -> encoder with both towers.
        pictures: encoded bytes, which take turns.
        captions: which take turns.
        index: unit vectors [N, d].
        rounds: timed passes.

    Returns:
        Row -> "picture" or "query" -> stage -> median milliseconds, in order of time.
    """
    order, rows = np.random.default_rng(0), list(encoders)
    picture_steps = {row: _picture_steps(encoder) for row, encoder in encoders.items()}
    query_steps = {row: _query_steps(encoder, index) for row, encoder in encoders.items()}
    picture_times: dict[str, list[dict[str, float]]] = {row: [] for row in rows}
    query_times: dict[str, list[dict[str, float]]] = {row: [] for row in rows}
    for number in range(-1, rounds):
        for position in order.permutation(len(rows)).tolist():
            row = rows[position]
            picture = _timed(pictures[number % len(pictures)], picture_steps[row])
            query = _timed(captions[number % len(captions)], query_steps[row])
            if number >= 0:  # the round before the first is the warm-up
                picture_times[row].append(picture)
                query_times[row].append(query)
    return {row: {"picture": _medians(picture_times[row]), "query": _medians(query_times[row])} for row in rows}


def _picture_steps(encoder: Encoder) -> _Steps:
    assert encoder.image is not None
    return {"decode": decode, "resize": lambda picture: encoder.pixels([picture]), "tower": encoder.image}


def _query_steps(encoder: Encoder, index: np.ndarray) -> _Steps:
    assert encoder.text is not None
    return {
        "tokenise": lambda text: encoder.tokens([text], False),
        "tower": encoder.text,
        "search": lambda vectors: search(index, vectors[0]),
    }


def _timed(value: Any, steps: _Steps) -> dict[str, float]:
    times = {}
    for name, step in steps.items():
        before = time.perf_counter_ns()
        value = step(value)
        times[name] = (time.perf_counter_ns() - before) / 1e6
    return times


def _medians(times: list[dict[str, float]]) -> dict[str, float]:
    return {stage: float(np.median([one[stage] for one in times])) for stage in times[0]}
