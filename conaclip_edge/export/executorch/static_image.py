"""A convolutional image tower on fixed 8-bit grids, as XNNPACK takes it: one delegate, int8 from pixels to embedding.

A bias is stored with a scale for each channel, that of the weights times that of the inputs; where inputs have scale 1,
the two are the same bytes and stored once. So what convolutions alone read, the widest tensors, counts in whole steps.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from conaclip_edge.export.executorch.grids import Grid
from conaclip_edge.export.executorch.xnnpack_modules import Int8Weight, ProductUnit
from conaclip_edge.export.towers.on_grids import ConvOnGrids, Site, on_grids
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
        inside = {layer.name for block in plan.blocks for layer in block.layers[:-1]}  # what convolutions alone read
        made: dict[str, Grid] = {}

        def grid(site: Site) -> Grid:
            return made.setdefault(site.name, Grid(site.grid, in_steps=site.name in inside))

        def convolution(layer: ConvOnGrids) -> _StaticConv:
            return _StaticConv(layer, grid(layer.inputs), grid(layer.outputs))

        self.register_buffer("mean", plan.mean)
        self.pixels = grid(plan.pixels)
        self.stem = convolution(plan.stem)
        self.blocks = nn.ModuleList(
            _StaticBlock([convolution(layer) for layer in block.layers], grid(block.sum) if block.sum else None)
            for block in plan.blocks
        )
        self.head = convolution(plan.head) if plan.head else None
        self.last, self.pooled, self.projected = grid(plan.last), grid(plan.pooled), grid(plan.projection)
        self.projection = Int8Weight(plan.weight)
        self.unit = ProductUnit(len(plan.weight))

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Map pixels [B, 3, H, W] in [0, 1] to unit vectors [B, d]."""
        x: Tensor = self.stem(self.pixels.whole(pixel_values - self.mean))
        for block in self.blocks:
            x = block(x)
        if self.head is not None:
            x = self.head(x)
        x = self.pooled.whole(self.last.real(x).mean(dim=(2, 3), keepdim=True))
        x = self.pooled.whole(self.pooled.real(x).flatten(1))
        x = self.projected.whole(F.linear(self.pooled.real(x), self.projection()))
        embedding: Tensor = self.unit(self.projected.real(x))
        return embedding


class _StaticConv(nn.Module):
    """A convolution between two grids; ReLU6 is the end of the outputs' grid."""

    def __init__(self, source: ConvOnGrids, inputs: Grid, outputs: Grid):
        super().__init__()
        conv, self.pad = source.layer.conv, source.layer.pad
        self.weight = Int8Weight(source.weight * (inputs.unit / outputs.unit))
        self.bias = nn.Parameter(source.bias / outputs.unit)
        self.stride, self.padding, self.groups = conv.stride, conv.padding, conv.groups
        self.inputs, self.outputs = inputs, outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map int8 [B, inputs, H, W] to int8 [B, outputs, H / stride, W / stride]."""
        y = self.inputs.real(x)
        y = F.pad(y, self.pad) if self.pad else y
        return self.outputs.whole(F.conv2d(y, self.weight(), self.bias, self.stride, self.padding, groups=self.groups))


class _StaticBlock(nn.Module):
    """Convolutions one after the other; their sum with the input where it is a residual block."""

    def __init__(self, layers: list[_StaticConv], total: Grid | None):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.inputs, self.projected = layers[0].inputs, layers[-1].outputs
        self.total = total
        self.outputs = self.total or self.projected

    def forward(self, x: Tensor) -> Tensor:
        """Map int8 [B, inputs, H, W] to int8 [B, outputs, H / stride, W / stride]."""
        y = x
        for layer in self.layers:
            y = layer(y)
        return y if self.total is None else self.total.whole(self.inputs.real(x) + self.projected.real(y))
