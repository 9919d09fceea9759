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
from conaclip_edge.export.towers.layers import Conv
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
        self.register_buffer("mean", tower.mean)
        self.pixels = _OnGrid(grids["pixels"])
        self.stem = _StaticConv(tower.stem, grids["pixels"], grids["stem"])
        last = grids["stem"]
        blocks: list[_StaticBlock] = []
        for number, source in enumerate(tower.blocks):
            layers: list[_StaticConv] = []
            given = last
            for part in ("expand", "depthwise", "project"):
                layer = getattr(source, part)
                if layer is not None:
                    layers.append(_StaticConv(layer, given, grids[f"blocks.{number}.{part}"]))
                    given = grids[f"blocks.{number}.{part}"]
            last = grids[f"blocks.{number}.sum"] if source.residual else given
            blocks.append(_StaticBlock(layers, last if source.residual else None))
        self.blocks = nn.ModuleList(blocks)
        self.head = None if tower.head is None else _StaticConv(tower.head, last, grids["head"])
        self.pooled, self.projected = _OnGrid(grids["pooled"]), _OnGrid(grids["projection"])
        self.projection = Int8Weight(tower.projection.weight, torch.float32)
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

    def __init__(self, grid: ActivationGrid):
        super().__init__()
        self.register_buffer("scale", torch.tensor(grid.scale))
        self.register_buffer("zero_point", torch.tensor(grid.zero_point, dtype=torch.uint8))

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to itself."""
        whole = torch.ops.coreai.quantize(x, self.scale, torch.uint8, zero_point=self.zero_point)
        real: Tensor = torch.ops.coreai.dequantize(whole, self.scale, zero_point=self.zero_point)
        return real


class _StaticConv(nn.Module):
    """A convolution between two grids; ReLU6 is the end of the outputs' grid."""

    def __init__(self, layer: Conv, inputs: ActivationGrid, outputs: ActivationGrid):
        super().__init__()
        conv = layer.conv
        assert conv.bias is not None
        self.weight, self.outputs = Int8Weight(conv.weight, torch.float32), _OnGrid(outputs)
        # a whole number of steps, as kernels that add in whole numbers have it
        step = torch.tensor(inputs.scale) * self.weight.scale.flatten()
        self.bias = nn.Parameter(torch.round(conv.bias.detach() / step) * step)
        self.stride, self.padding, self.groups, self.pad = conv.stride, conv.padding, conv.groups, layer.pad

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        x = F.pad(x, self.pad) if self.pad else x
        y: Tensor = self.outputs(F.conv2d(x, self.weight(), self.bias, self.stride, self.padding, groups=self.groups))
        return y


class _StaticBlock(nn.Module):
    """Convolutions one after the other; their sum with the input where it is a residual block."""

    def __init__(self, layers: list[_StaticConv], total: ActivationGrid | None):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.total = None if total is None else _OnGrid(total)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        y = x
        for layer in self.layers:
            y = layer(y)
        return y if self.total is None else self.total(x + y)
