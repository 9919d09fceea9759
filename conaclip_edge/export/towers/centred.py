"""Transformer towers whose rows have mean 0, exactly and for free: a layer norm then has no mean to take.

A layer norm does not see what is the same in all channels of a row. So whatever is added to the rows is written without
its mean, and the norm divides by the root of the mean square alone (as in SliceGPT, Ashkboos et al., arXiv 2401.15024).
What the norm adds goes into the layers that read it. Keys lose their bias, which a softmax does not see, and that of
the values goes into the layer behind them, for the shares of a row add up to 1.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from conaclip_edge.export.towers.layers import AttentionPool, Block, CentredNorm
from conaclip_edge.export.towers.siglip import SiglipTextTower, SiglipTower
from conaclip_edge.export.towers.towers import TextTower, VitTower


@torch.no_grad()
def centred(tower: nn.Module) -> nn.Module:
    """Return a tower of the same function with RMS norms; one that is no transformer is returned as it is."""
    if not isinstance(tower, VitTower | SiglipTower | TextTower | SiglipTextTower):
        return tower
    tower = copy.deepcopy(tower)
    if isinstance(tower, VitTower):
        tower.norm = CentredNorm(tower.norm)
        tower.class_row = _less_mean(tower.class_row)
    else:
        tower.position = _less_mean(tower.position)
        if isinstance(tower, SiglipTower):
            _write_centred(tower.patch)
        else:
            tower.table.weight = _less_mean(tower.table.weight)
    for block in tower.blocks:
        assert isinstance(block, Block)
        block.add_module("norm1", _rms(block.norm1, [block.q, block.k, block.v]))
        block.add_module("norm2", _rms(block.norm2, [block.fc1]))
        _without_shift(block)
        block.k.register_parameter("bias", None)
        _write_centred(block.o)
        _write_centred(block.fc2)
    if isinstance(tower, SiglipTower):
        # what all scores of a head have in common is nothing to its softmax
        tower.head.add_module("norm1", _rms(tower.head.norm1, [tower.head.v]))
        _without_shift(tower.head)
    else:
        tower.last_norm = _rms(tower.last_norm, [tower.projection])
    return tower.eval().requires_grad_(False)


def _rms(norm: nn.LayerNorm, readers: Sequence[nn.Linear]) -> nn.RMSNorm:
    """Return the norm without what it adds, which goes into the layers that read it."""
    for reader in readers:
        added = reader.weight @ norm.bias
        reader.bias = nn.Parameter(added if reader.bias is None else reader.bias + added)
    made = nn.RMSNorm(norm.normalized_shape, norm.eps)
    made.weight.copy_(norm.weight)
    return made


def _without_shift(block: Block | AttentionPool) -> None:
    block.o.bias.add_(block.o.weight @ block.v.bias)
    block.v.register_parameter("bias", None)


def _write_centred(layer: nn.Linear | nn.Conv2d) -> None:
    layer.weight.sub_(layer.weight.mean(dim=0, keepdim=True))
    if layer.bias is not None:
        layer.bias.sub_(layer.bias.mean())


def _less_mean(rows: Tensor) -> Tensor:
    return rows - rows.mean(dim=-1, keepdim=True)
