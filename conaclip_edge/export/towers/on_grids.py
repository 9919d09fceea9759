"""A convolutional image tower with the 8-bit grids its tensors stand on, layer by layer, as every target writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from conaclip_edge.export.towers.layers import Conv
from conaclip_edge.export.towers.towers import MobileTower
from conaclip_edge.models.quantization.int8_weights import int8_values
from conaclip_edge.models.quantization.record import ActivationGrid


@dataclass(frozen=True)
class Site:
    """A tensor's place in the tower, as quantization.json names it, and its grid."""

    name: str
    grid: ActivationGrid


@dataclass(frozen=True)
class ConvOnGrids:
    """A convolution, what it reads and what it gives; ReLU6 is the end of the outputs' grid."""

    layer: Conv
    inputs: Site
    outputs: Site

    @property
    def name(self) -> str:
        """The name of the layer, which is its outputs' too."""
        return self.outputs.name

    @property
    def weight(self) -> Tensor:
        """The weight [outputs, inputs / groups, H, W]: int8 values times the scale of their channel."""
        return self.layer.conv.weight.detach()

    @property
    def bias(self) -> Tensor:
        """The bias [outputs]."""
        bias = self.layer.conv.bias
        assert bias is not None  # of the batch norm that was folded in
        return bias.detach()

    @property
    def whole_bias(self) -> Tensor:
        """The bias, rounded to whole steps of the sums, as kernels that add in whole numbers have it."""
        step = int8_values(self.weight)[1].flatten() * self.inputs.grid.scale
        return (self.bias / step).round() * step


@dataclass(frozen=True)
class BlockOnGrids:
    """Convolutions one after the other; `sum` is where their result and the block's input are added, if they are."""

    layers: tuple[ConvOnGrids, ...]
    sum: Site | None

    @property
    def inputs(self) -> Site:
        """What the block reads."""
        return self.layers[0].inputs

    @property
    def outputs(self) -> Site:
        """What the block gives."""
        return self.sum or self.layers[-1].outputs


@dataclass(frozen=True)
class TowerOnGrids:
    """A whole image tower.

    Attributes:
        mean: [3, 1, 1], to subtract from pixels.
        pixels: the difference.
        stem: the first convolution.
        blocks: what follows.
        head: the last convolution, if there is one.
        pooled: the mean over all places of what the last layer gives.
        weight: of the projection [d, features].
        projection: the embedding before it gets length 1.
    """

    mean: Tensor
    pixels: Site
    stem: ConvOnGrids
    blocks: tuple[BlockOnGrids, ...]
    head: ConvOnGrids | None
    pooled: Site
    weight: Tensor
    projection: Site

    @property
    def last(self) -> Site:
        """What is pooled."""
        return self.head.outputs if self.head else self.blocks[-1].outputs if self.blocks else self.stem.outputs

    @property
    def reads_pixels(self) -> bool:
        """Whether the grid of `pixels` is a grid of the pixels themselves, so that nothing has to be subtracted."""
        grid = self.pixels.grid
        return bool(((self.mean / grid.scale - grid.zero_point).abs() < 1e-3).all())


def on_grids(tower: MobileTower, grids: Mapping[str, ActivationGrid]) -> TowerOnGrids:
    """Join a tower's layers with their grids.

    Args:
        tower: its weights are int8 values times the scale of their channel.
        grids: activation site -> grid, see `conaclip_edge.models.quantization.sites`.
    """

    def site(name: str) -> Site:
        return Site(name, grids[name])

    def convolution(layer: Conv, inputs: Site, name: str) -> ConvOnGrids:
        return ConvOnGrids(layer, inputs, site(name))

    pixels = site("pixels")
    stem = convolution(tower.stem, pixels, "stem")
    last, blocks = stem.outputs, []
    for number, block in enumerate(tower.blocks):
        given, layers = last, []
        for part in ("expand", "depthwise", "project"):
            layer = getattr(block, part)
            if layer is not None:
                layers.append(convolution(layer, given, f"blocks.{number}.{part}"))
                given = layers[-1].outputs
        blocks.append(BlockOnGrids(tuple(layers), site(f"blocks.{number}.sum") if block.residual else None))
        last = blocks[-1].outputs
    head = None if tower.head is None else convolution(tower.head, last, "head")
    weight = tower.projection.weight.detach()
    return TowerOnGrids(tower.mean, pixels, stem, tuple(blocks), head, site("pooled"), weight, site("projection"))
