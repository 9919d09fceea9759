"""Towers in the form that XNNPACK runs whole: one delegate, int8 activations where they do no harm."""

from __future__ import annotations

import copy

from torch import nn

from conaclip_edge.export.executorch.static_block import StaticBlock
from conaclip_edge.export.executorch.xnnpack_modules import (
    Int8Conv,
    Int8Linear,
    Int8Patches,
    Int8Pointwise,
    Int8Table,
    ProductNorm,
    ProductNormOverMaps,
    ProductUnit,
)
from conaclip_edge.export.quantize.activation_budget import Activation
from conaclip_edge.export.quantize.static_blocks import Ranges, blocks_of
from conaclip_edge.export.towers.layers import Block, Conv, TokenTable
from conaclip_edge.export.towers.siglip import SiglipTower


def fit_xnnpack(tower: nn.Module, int8: dict[str, Activation], ranges: Ranges | None = None) -> nn.Module:
    """Return a copy of a tower for XNNPACK.

    Args:
        tower: an export-ready tower.
        int8: layer -> how its input is computed with, for each layer whose weights are int8; others stay float.
        ranges: of the activations of the blocks that are static, whatever `int8` says of their layers.
    """
    tower = copy.deepcopy(tower)
    # the layer that gives the embedding; a SigLIP image tower has no projection
    last = tower.get_submodule("head.fc2" if isinstance(tower, SiglipTower) else "projection")
    assert isinstance(last, nn.Linear)
    tower.unit = ProductUnit(last.out_features)
    for name in blocks_of(ranges or {}):
        block = tower.get_submodule(name)
        assert isinstance(block, Block)
        tower.set_submodule(name, StaticBlock(block, name, ranges or {}))
    for name, module in list(tower.named_modules()):
        replaced = _replacement(module, name, int8)
        if replaced is not None:
            tower.set_submodule(name, replaced)
    return tower.eval().requires_grad_(False)


def _replacement(module: nn.Module, name: str, int8: dict[str, Activation]) -> nn.Module | None:
    if isinstance(module, nn.LayerNorm | nn.RMSNorm):
        over_maps = getattr(module, "data_format", "") == "channels_first"
        return ProductNormOverMaps(module) if over_maps else ProductNorm(module)
    if isinstance(module, Conv) and f"{name}.conv" in int8:
        return _conv(module.conv, module.pad, module.active, int8[f"{name}.conv"])
    if name not in int8:
        return None
    if isinstance(module, TokenTable):
        return Int8Table(module.weight)
    if isinstance(module, nn.Conv2d):
        return _conv(module, (), False, int8[name]) if set(module.dilation) == {1} else None
    # a layer of a static block is none any more
    return Int8Linear(module.weight, module.bias, int8[name]) if isinstance(module, nn.Linear) else None


def _conv(conv: nn.Conv2d, pad: tuple[int, ...], active: bool, activation: Activation) -> nn.Module:
    if activation.kind == "float":
        return Int8Pointwise(conv, active)
    if conv.kernel_size == conv.stride != (1, 1):
        return Int8Patches(conv, activation)
    return Int8Conv(conv, pad, active, activation)
