"""Which inner channels of a block the pictures need least: they are left out before a tower is fitted to int8.

A channel is worth what its projection makes of it: its variance times the squared weights that read it. What it gives
on average goes into biases, and the layers that are fitted afterwards make up for a part of the rest.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from conaclip_edge.models.image_towers.layers import InvertedResidual

GROUP = 16  # kernels take channels by 8 or 16, so that a part of a group costs as much as a whole one, or more


@torch.no_grad()
def least_needed(block: InvertedResidual, x: Tensor, share: float) -> Tensor:
    """Return which inner channels of a block that expands can be left out [n]; the rest are whole groups.

    Args:
        block: float, in eval mode.
        x: its input [B, channels, H, W].
        share: of the inner channels, at most.
    """
    assert block.expand is not None
    filtered = block.depthwise(block.expand(x))
    read, _ = block.project.folded()
    worth = filtered.var(dim=(0, 2, 3)) * read.square().sum(dim=(0, 2, 3))
    count = len(worth)
    left = GROUP * math.ceil((count - int(count * share)) / GROUP)
    order: Tensor = worth.argsort(stable=True)
    return order[: max(0, count - left)]
