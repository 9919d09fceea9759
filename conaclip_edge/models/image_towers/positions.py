"""The positions of a vision transformer, brought to another picture size."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def resized_positions(positions: Tensor, count: int, others: tuple[int, ...] = (1,)) -> Tensor:
    """Bring position rows [k + n * n, width] to another picture size [count, width]; the first k, of no patch, stay.

    Bicubic, as such towers are fine-tuned at a larger size. Rows of no square grid are returned as they are.

    Args:
        positions: of the tower.
        count: of rows wanted.
        others: what k may be; the first that fits counts.
    """
    for first in others:
        old, new = (round(max(0, rows - first) ** 0.5) for rows in (len(positions), count))
        if first + old * old == len(positions) and first + new * new == count:
            break
    else:
        return positions
    if old == new:
        return positions
    grid = positions[first:].T.reshape(1, -1, old, old)
    grid = F.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
    return torch.cat([positions[:first], grid.flatten(2)[0].T])
