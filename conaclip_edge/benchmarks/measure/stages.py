"""End to end: from a picture's bytes to its embedding, and from a text to the ten nearest pictures, stage by stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from conaclip_edge.data.preprocess import decode
from conaclip_edge.evaluation.encoder import Encoder

TOP = 10


def search(index: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Return the places of the ten rows of an index [N, d] that are nearest to a unit vector [d], best first."""
    scores = index @ query
    top = np.argpartition(-scores, TOP)[:TOP]
    return np.asarray(top[np.argsort(-scores[top])])


def random_index(count: int, width: int, seed: int = 0) -> np.ndarray:
    """Return unit vectors [count, width] to search in; exact search takes the same time whatever they are."""
    values = np.random.default_rng(seed).standard_normal((count, width), dtype=np.float32)
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True))


def stage_times(
    subjects: Mapping[str, Encoder], pictures: list[bytes], captions: list[str], index: np.ndarray, rounds: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Time the stages of every subject in interleaved rounds.

    Args:
        subjects: row -> subject with both towers.
        pictures: encoded bytes, which take turns.
        captions: which take turns.
        index: unit vectors [N, d].
        rounds: timed passes.

    Returns:
        row -> "picture" or "query" -> stage -> median milliseconds, in order of time.
    """
    order = np.random.default_rng(0)
    times: dict[tuple[str, str], list[dict[str, float]]] = {}
    for number in range(-1, rounds):
        for place in order.permutation(len(subjects)).tolist():
            row = list(subjects)[place]
            subject = subjects[row]
            for way, value, steps in (
                ("picture", pictures[number % len(pictures)], _picture(subject)),
                ("query", captions[number % len(captions)], _query(subject, index)),
            ):
                found = _timed(value, steps)
                if number >= 0:  # the round before the first is the warm-up
                    times.setdefault((row, way), []).append(found)
    return {
        row: {
            way: {stage: float(np.median([run[stage] for run in times[row, way]])) for stage in times[row, way][0]}
            for way in ("picture", "query")
        }
        for row in subjects
    }


def _picture(subject: Encoder) -> dict[str, Callable[[Any], Any]]:
    assert subject.image is not None
    return {"decode": decode, "resize": lambda picture: subject.pixels([picture]), "tower": subject.image}


def _query(subject: Encoder, index: np.ndarray) -> dict[str, Callable[[Any], Any]]:
    assert subject.text is not None
    return {
        "tokenise": lambda text: subject.tokens([text], False),
        "tower": subject.text,
        "search": lambda found: search(index, found[0]),
    }


def _timed(value: Any, steps: dict[str, Callable[[Any], Any]]) -> dict[str, float]:
    times = {}
    for name, step in steps.items():
        before = time.perf_counter_ns()
        value = step(value)
        times[name] = (time.perf_counter_ns() - before) / 1e6
    return times
