"""The same student's files compared with each other, embedding by embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from conaclip_edge.benchmarks.measure.recall import Embedded
from conaclip_edge.benchmarks.schema.agreement import Agreement
from conaclip_edge.benchmarks.schema.row import Tower


def agreements(embedded: Mapping[str, Embedded], rows: Sequence[str]) -> tuple[Agreement, ...]:
    """Compare every two rows on the pictures and on the captions of the split.

    Args:
        embedded: row -> embeddings, of the same inputs.
        rows: ids of rows of one student, in the order of the table; those without a tower are left out of its part.
    """
    found: list[Agreement] = []
    for tower in ("image", "text"):
        vectors = {row: _of(embedded[row], tower) for row in rows if row in embedded}
        there = {row: one.astype(np.float64) for row, one in vectors.items() if one is not None}
        for one, other in combinations(there, 2):
            norms = np.linalg.norm(there[one], axis=1) * np.linalg.norm(there[other], axis=1)
            cosines = (there[one] * there[other]).sum(axis=1) / norms
            mean, least = float(cosines.mean()), float(cosines.min())
            found.append(Agreement(tower=tower, rows=(one, other), mean=mean, least=least, n=len(cosines)))
    return tuple(found)


def _of(embedded: Embedded, tower: Tower) -> np.ndarray | None:
    return embedded.pictures if tower == "image" else embedded.texts
