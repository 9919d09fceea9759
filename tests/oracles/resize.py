"""Bicubic resizing with antialiasing, as `preprocess.py` writes it down, in plain loops over float64."""

from __future__ import annotations

import numpy as np


def cubic(x: float, a: float = -0.5) -> float:
    """Keys' cubic kernel."""
    x = abs(x)
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def resize_axis(values: np.ndarray, size: int) -> np.ndarray:
    """Resize the first axis; the kernel widens by the shrink factor, edges renormalise."""
    before = len(values)
    scale = before / size
    stretch = max(scale, 1.0)
    rows = []
    for place in range(size):
        centre = (place + 0.5) * scale
        weights = np.array([cubic((source + 0.5 - centre) / stretch) for source in range(before)])
        rows.append(np.tensordot(weights / weights.sum(), values, axes=1))
    return np.stack(rows)


def resize(picture: np.ndarray, width: int, height: int, across_first: bool) -> np.ndarray:
    """Resize uint8 [H, W, C]; each of the two passes rounds to whole levels 0..255, as 8-bit pictures do."""
    values = picture.astype(float)
    for axis in (1, 0) if across_first else (0, 1):
        resized = resize_axis(values.swapaxes(0, axis), (height, width)[axis]).swapaxes(0, axis)
        values = np.clip(np.rint(resized), 0, 255)
    return values
