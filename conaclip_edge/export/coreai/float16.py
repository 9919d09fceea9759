"""Towers that compute in float16, as Core AI's accelerators do, with float or int8 weights."""

from __future__ import annotations

import copy
from collections.abc import Collection

import coreai_torch._compression.custom_layers  # noqa: F401  # registers the ops of torch.ops.coreai
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conaclip_edge.export.towers.layers import TokenTable
from conaclip_edge.models.quantization.int8_weights import int8_values


class Int8Weight(nn.Module):
    """An int8 weight [outputs, ...] with a scale for each output, which stays compressed in the file.

    Args:
        weight: float; its rounding is the nearest value of its grid.
        dtype: of the scales, and of the weight that a call gives.
    """

    values: Tensor
    scale: Tensor

    def __init__(self, weight: Tensor, dtype: torch.dtype = torch.float16):
        super().__init__()
        values, scale = int8_values(weight)
        self.register_buffer("values", values)
        self.register_buffer("scale", scale.to(dtype))

    @property
    def dtype(self) -> torch.dtype:
        """Of the floats that it gives, which some towers turn their input to."""
        return self.scale.dtype

    def forward(self) -> Tensor:
        """Return the weight as floats."""
        weight: Tensor = torch.ops.coreai.constexpr_blockwise_shift_scale(self.values, self.scale)
        return weight


class Float16Tower(nn.Module):
    """A tower in float16 between the float32 of its inputs and of its embedding, which is scaled in float32.

    Args:
        tower: export-ready.
        int8: names of the layers whose weights are int8.
    """

    def __init__(self, tower: nn.Module, int8: Collection[str] = ()):
        super().__init__()
        layers = {name: _int8_layer(tower.get_submodule(name)) for name in int8}  # rounded before they are halved
        self.tower = copy.deepcopy(tower).half()
        for name, layer in layers.items():
            parent, _, own = name.rpartition(".")
            setattr(self.tower.get_submodule(parent), own, layer)
        self.tower.unit = _Float32(self.tower.get_submodule("unit"))
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels float32 [B, 3, H, W] or ids int32 [B, L] to unit vectors float32 [B, d]."""
        embedding: Tensor = self.tower(x.half() if x.is_floating_point() else x)
        return embedding


class _Float32(nn.Module):
    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Map values of any precision to float32 ones."""
        y: Tensor = self.inner(x.float())
        return y


def _int8_layer(layer: nn.Module) -> nn.Module:
    if isinstance(layer, TokenTable):
        return _Int8Table(layer)
    if isinstance(layer, nn.Conv2d):
        return _Int8Conv(layer)
    assert isinstance(layer, nn.Linear)
    return _Int8Linear(layer)


def _half(bias: Tensor | None) -> nn.Parameter | None:
    return None if bias is None else nn.Parameter(bias.detach().half())


class _Int8Table(nn.Module):
    """Looks up int8 rows, and turns these alone into floats."""

    def __init__(self, table: TokenTable):
        super().__init__()
        self.rows = Int8Weight(table.weight)

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids int32 [B, L] to rows float16 [B, L, width]."""
        return F.embedding(ids, self.rows.values).half() * F.embedding(ids, self.rows.scale)


class _Int8Linear(nn.Module):
    def __init__(self, layer: nn.Linear):
        super().__init__()
        self.weight, self.bias = Int8Weight(layer.weight), _half(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map float16 [..., inputs] to [..., outputs]."""
        return F.linear(x, self.weight(), self.bias)


class _Int8Conv(nn.Module):
    def __init__(self, layer: nn.Conv2d):
        super().__init__()
        self.weight, self.bias = Int8Weight(layer.weight), _half(layer.bias)
        self.kernel_size, self.stride, self.padding = layer.kernel_size, layer.stride, layer.padding
        self.dilation, self.groups = layer.dilation, layer.groups

    def forward(self, x: Tensor) -> Tensor:
        """Map float16 [B, inputs, H, W] to [B, outputs, H', W']."""
        return F.conv2d(x, self.weight(), self.bias, self.stride, self.padding, self.dilation, self.groups)
