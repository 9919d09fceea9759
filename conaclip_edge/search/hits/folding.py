"""Near-duplicates among hits: copies, other sizes and other encodings of one picture are shown once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from conaclip_edge.search.hits.hit import Hit

_CELLS = 16  # across and down, of the small picture that is compared
_LEVELS = 6  # of 255; copies in other sizes and encodings are off by 2, by which no cell of a near-duplicate is off


def look_of(pixels: np.ndarray) -> bytes:
    """Return what a picture looks like: the mean colours of 16 x 16 cells; fewer of a smaller picture.

    Args:
        pixels: float32 [3, size, size] in [0, 1].

    Returns:
        768 bytes: channel, row, column.
    """
    size = pixels.shape[-1]
    edges = np.linspace(0, size, min(_CELLS, size) + 1).astype(int)[:-1]
    counts = np.diff(np.append(edges, size))
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
    shown = np.empty((0, len(next(iter(looks.values()), b""))), np.int16)
    owners: list[list[Hit]] = []
    for hit in hits:
        look = np.frombuffer(looks.get(hit.key, b""), np.uint8).astype(np.int16)
        whole = 0 < look.size == shown.shape[1]
        same = np.flatnonzero(np.abs(shown - look).max(axis=1) <= _LEVELS) if whole and len(shown) else np.empty(0, int)
        if len(same):
            owners[int(same[0])].append(hit)
            continue
        kept.append((hit, []))
        if whole:
            shown = np.vstack([shown, look])
            owners.append(kept[-1][1])
    return kept
