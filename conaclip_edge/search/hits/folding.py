"""Near-duplicates among hits: copies, other sizes and other encodings of one picture are shown once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from conaclip_edge.search.hits.hit import Hit

_CELLS = 8  # across and down, of the small picture that is compared
_LEVELS = 10  # of 255, by which no cell of a near-duplicate is off


def look_of(pixels: np.ndarray) -> bytes:
    """Return what a picture looks like: the mean colours of 8 x 8 cells.

    Args:
        pixels: float32 [3, size, size] in [0, 1].

    Returns:
        192 bytes: channel, row, column.
    """
    edges = np.linspace(0, pixels.shape[-1], _CELLS + 1).astype(int)[:-1]
    counts = np.diff(np.append(edges, pixels.shape[-1]))
    sums = np.add.reduceat(np.add.reduceat(pixels, edges, axis=1), edges, axis=2)
    means = sums / (counts[:, None] * counts[None])
    cells: np.ndarray = np.rint(255 * means.clip(0, 1)).astype(np.uint8)
    return cells.tobytes()


def folded(hits: Sequence[Hit], looks: Mapping[int, bytes]) -> list[tuple[Hit, list[Hit]]]:
    """Put near-duplicates behind the best of them.

    Args:
        hits: best first.
        looks: key -> `look_of` its picture; a picture without one is nobody's duplicate.

    Returns:
        Each hit that is shown, with the ones that are not, best first.
    """
    kept: list[tuple[Hit, list[Hit]]] = []
    shown = np.empty((0, 3 * _CELLS**2), np.int16)
    owners: list[list[Hit]] = []
    for hit in hits:
        look = np.frombuffer(looks.get(hit.key, b""), np.uint8).astype(np.int16)
        whole = look.size == shown.shape[1]
        same = np.flatnonzero(np.abs(shown - look).max(axis=1) <= _LEVELS) if whole and len(shown) else np.empty(0, int)
        if len(same):
            owners[int(same[0])].append(hit)
            continue
        kept.append((hit, []))
        if whole:
            shown = np.vstack([shown, look])
            owners.append(kept[-1][1])
    return kept
