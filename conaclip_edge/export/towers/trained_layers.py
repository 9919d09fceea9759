"""From a trained layer to the one of an export-ready tower: copied, folded, with its scale inside."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from conaclip_edge.export.towers.layers import Block, Conv


def frozen(tower: nn.Module) -> nn.Module:
    """Put a tower into eval mode, without gradients."""
    return tower.eval().requires_grad_(False)


def copied(layer: Any) -> Any:
    """Return a layer's copy, which may be changed."""
    return copy.deepcopy(layer)


def copied_block(layer: Any, heads: int, eps: float, act: str) -> Block:
    """Copy an encoder layer of transformers' CLIP or SigLIP into a block; the attention scale goes into the queries."""
    attention, mlp = layer.self_attn, layer.mlp
    width = attention.q_proj.in_features
    made = Block(width, heads, mlp.fc1.out_features, eps, act)
    named = {
        "norm1": layer.layer_norm1,
        "q": attention.q_proj,
        "k": attention.k_proj,
        "v": attention.v_proj,
        "o": attention.out_proj,
        "norm2": layer.layer_norm2,
        "fc1": mlp.fc1,
        "fc2": mlp.fc2,
    }
    for name, source in named.items():
        made.get_submodule(name).load_state_dict(source.state_dict())
    scale = (width // heads) ** -0.5
    made.q.weight.mul_(scale)
    made.q.bias.mul_(scale)
    return made


def folded(source: Any) -> Conv:
    """Fold a batch norm into the convolution before it."""
    conv, (weight, bias) = source.conv, source.folded()
    return Conv(convolution(weight, bias, conv.stride[0], conv.padding[0], conv.groups), source.pad, source.active)


def convolution(weight: Tensor, bias: Tensor, stride: int, padding: int = 0, groups: int = 1) -> nn.Conv2d:
    """Make a convolution [outputs, inputs / groups, k, k] of its weights."""
    outputs, inputs, kernel, _ = weight.shape
    conv = nn.Conv2d(inputs * groups, outputs, kernel, stride, padding, groups=groups)
    conv.load_state_dict({"weight": weight, "bias": bias})
    return conv
