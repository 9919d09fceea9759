"""A convolutional image tower on fixed 8-bit grids (W8A8): int8 weights and activations between float32 operations.

What computes in whole numbers is the runtime's choice; in float32 their sums are the same, in float16 they are not.
"""

from __future__ import annotations

from collections.abc import Mapping

import coreai_torch._compression.custom_layers  # noqa: F401  # registers the ops of torch.ops.coreai
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conaclip_edge.export.coreai.float16 import Int8Weight
from conaclip_edge.export.towers.on_grids import BlockOnGrids, ConvOnGrids, Site, on_grids
from conaclip_edge.export.towers.towers import MobileTower
from conaclip_edge.models.quantization.record import ActivationGrid


class StaticImageTower(nn.Module):
    """An image tower on its grids.

    Args:
        tower: its weights are int8 values times the scale of their channel.
        grids: activation site -> grid, see `conaclip_edge.models.quantization.sites`.
    """

    mean: Tensor

    def __init__(self, tower: MobileTower, grids: Mapping[str, ActivationGrid]):
        super().__init__()
        plan = on_grids(tower, grids)
        self.register_buffer("mean", plan.mean)
        self.pixels = _OnGrid(plan.pixels)
        self.stem = _StaticConv(plan.stem)
        self.blocks = nn.ModuleList(_StaticBlock(block) for block in plan.blocks)
        self.head = _StaticConv(plan.head) if plan.head else None
        self.pooled, self.projected = _OnGrid(plan.pooled), _OnGrid(plan.projection)
        self.projection = Int8Weight(plan.weight, torch.float32)
        self.unit = tower.unit
        self.eval().requires_grad_(False)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Map pixels [B, 3, H, W] in [0, 1] to unit vectors [B, d]."""
        x: Tensor = self.stem(self.pixels(pixel_values - self.mean))
        for block in self.blocks:
            x = block(x)
        if self.head is not None:
            x = self.head(x)
        x = self.pooled(x.mean(dim=(2, 3), keepdim=True)).flatten(1)
        embedding: Tensor = self.unit(self.projected(F.linear(x, self.projection())))
        return embedding


class _OnGrid(nn.Module):
    """Rounds to a grid: to uint8 and back."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, site: Site):
        super().__init__()
        self.register_buffer("scale", torch.tensor(site.grid.scale))
        self.register_buffer("zero_point", torch.tensor(site.grid.zero_point, dtype=torch.uint8))

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to itself."""
        whole = torch.ops.coreai.quantize(x, self.scale, torch.uint8, zero_point=self.zero_point)
        real: Tensor = torch.ops.coreai.dequantize(whole, self.scale, zero_point=self.zero_point)
        return real


class _StaticConv(nn.Module):
    """A convolution between two grids; ReLU6 is the end of the outputs' grid."""

    def __init__(self, source: ConvOnGrids):
        super().__init__()
        conv, self.pad = source.layer.conv, source.layer.pad
        self.weight, self.outputs = Int8Weight(source.weight, torch.float32), _OnGrid(source.outputs)
        self.bias = nn.Parameter(source.whole_bias)
        self.stride, self.padding, self.groups = conv.stride, conv.padding, conv.groups

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        x = F.pad(x, self.pad) if self.pad else x
        y: Tensor = self.outputs(F.conv2d(x, self.weight(), self.bias, self.stride, self.padding, groups=self.groups))
        return y


class _StaticBlock(nn.Module):
    """Convolutions one after the other; their sum with the input where it is a residual block."""

    def __init__(self, source: BlockOnGrids):
        super().__init__()
        self.layers = nn.ModuleList(_StaticConv(layer) for layer in source.layers)
        self.total = _OnGrid(source.sum) if source.sum else None

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        y = x
        for layer in self.layers:
            y = layer(y)
        return y if self.total is None else self.total(x + y)
