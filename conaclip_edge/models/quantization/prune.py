"""Which inner channels of blocks the embedding needs least: they are left out before a tower is fitted to int8.

A channel is worth how far the embedding moves where the channel gives its mean alone, to first order: gradient times
deviation, added up over positions and squared (as Molchanov et al., arXiv 1906.10771, do for the loss). That compares
channels of different blocks. A variance alone does not: chosen by it, as many channels cost half as much cosine again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conaclip_edge.models.image_towers.image_tower import ImageTower
from conaclip_edge.models.image_towers.layers import InvertedResidual
from conaclip_edge.models.image_towers.mobile import MobileBackbone

GROUP = 16  # kernels take channels by 8 or 16, so that a part of a group costs as much as a whole one, or more
PICTURES, BATCH = 64, 16  # that channels are weighed on, and of them at once: memory grows with those
DIRECTIONS = 8  # random ones, along which the embedding's moves are measured
_SEED = 19


def least_needed(tower: ImageTower, pixels: Tensor, share: float) -> list[Tensor]:
    """Return for each block which inner channels to leave out [n]: those of the whole tower that are worth least.

    What is left of a block that loses any are whole groups of `GROUP`, one at least. Only blocks that expand lose any.

    Args:
        tower: a mobile one, float, in eval mode.
        pixels: float32 [B, 3, H, W] in [0, 1].
        share: of the weights inside of blocks, at most.
    """
    backbone = tower.backbone
    assert isinstance(backbone, MobileBackbone)
    blocks = [block for block in backbone.blocks if isinstance(block, InvertedResidual)]
    gone = [0] * len(blocks)
    orders = [torch.arange(0)] * len(blocks)
    if not share:
        return orders
    groups, weights = list[tuple[float, int, int]](), [_weights_per_channel(block) for block in blocks]
    for number, (block, worth) in enumerate(zip(blocks, channel_worth(tower, blocks, pixels), strict=True)):
        if block.expand is None:
            continue
        sizes, orders[number] = worth.sort(stable=True)
        ends = range(len(worth) % GROUP or GROUP, len(worth) - GROUP + 1, GROUP)
        for begin, end in zip([0, *ends], ends, strict=False):
            groups.append((float(sizes[begin:end].sum()) / weights[number] / (end - begin), number, end))
    left = share * sum(each * len(order) for each, order in zip(weights, orders, strict=True))
    for _, number, end in sorted(groups):
        left -= weights[number] * (end - gone[number])
        if left < 0:
            break
        gone[number] = end
    return [order[:count] for order, count in zip(orders, gone, strict=True)]


def channel_worth(tower: ImageTower, blocks: list[InvertedResidual], pixels: Tensor) -> list[Tensor]:
    """Return the worth of each block's inner channels [channels] to the embedding of pictures.

    Args:
        tower: in eval mode.
        blocks: of the tower, in the order of execution.
        pixels: float32 [B, 3, H, W] in [0, 1].
    """
    worth = [torch.zeros(block.depthwise.conv.out_channels) for block in blocks]
    directions = torch.randn(DIRECTIONS, tower.projection.out_features, generator=torch.Generator().manual_seed(_SEED))
    for some in pixels[:PICTURES].split(BATCH):
        with torch.enable_grad(), _outputs([block.depthwise for block in blocks]) as inner:
            # weights may be frozen, so the gradient starts at the pixels
            embedding = F.normalize(tower(some.clone().requires_grad_()), dim=-1)
            for direction in directions:
                gradients = torch.autograd.grad((embedding @ direction).sum(), inner, retain_graph=True)
                for total, x, gradient in zip(worth, inner, gradients, strict=True):
                    deviation = x.detach() - x.detach().mean(dim=(0, 2, 3), keepdim=True)
                    total += (gradient * deviation).sum(dim=(2, 3)).square().sum(dim=0)
    return worth


@contextmanager
def _outputs(modules: list[nn.Module]) -> Iterator[list[Tensor]]:
    """Give a list that gets what each module gives."""
    given = list[Tensor]()
    handles = [
        module.register_forward_hook(lambda _module, _inputs, output: given.append(output)) for module in modules
    ]
    try:
        yield given
    finally:
        for handle in handles:
            handle.remove()


def _weights_per_channel(block: InvertedResidual) -> int:
    layers = [layer for layer in (block.expand, block.depthwise, block.project) if layer is not None]
    return sum(layer.conv.weight.numel() for layer in layers) // block.depthwise.conv.out_channels
