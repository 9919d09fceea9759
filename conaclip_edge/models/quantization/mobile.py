"""A mobile image tower as int8 kernels compute it, in float32: for training, and for comparing exported files with.

Batch norm is folded into the convolutions, and ReLU6 is the end of a grid's range. Activations go from layer to layer
as whole steps of their grids, so every sum is the one that integer kernels find.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conaclip_edge.models.image_towers.image_tower import ImageTower
from conaclip_edge.models.image_towers.layers import ConvNorm, InvertedResidual
from conaclip_edge.models.image_towers.mobile import MobileBackbone
from conaclip_edge.models.quantization.fake_quantize import FakeQuantize, whole, whole_weight
from conaclip_edge.models.quantization.gptq import to_half
from conaclip_edge.models.quantization.int8_weights import round_weight, weight_scale
from conaclip_edge.models.quantization.record import TowerQuantization
from conaclip_edge.models.quantization.sites import image_sites

MOST_BIAS = 2**30  # steps of an int32 bias; the sum of products needs room beside it
LEAST_FACTOR = 2**-31  # of a sum's steps in an output's, which kernels hold as a shift of 32 bits at most


class Int8Conv(nn.Module):
    """A convolution with its batch norm folded in, whose output stands on a grid."""

    def __init__(self, source: ConvNorm):
        super().__init__()
        weight, bias = source.folded()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        conv = source.conv
        self.stride, self.padding, self.groups = conv.stride[0], int(conv.padding[0]), conv.groups
        self.pad, self.active = source.pad, source.active
        self.output = FakeQuantize()

    def padded(self, x: Tensor) -> Tensor:
        """Pad the input where the convolution itself does not."""
        return F.pad(x, self.pad) if self.pad else x

    def sums(self, x: Tensor, given: FakeQuantize) -> tuple[Tensor, Tensor]:
        """Return the whole sums [B, outputs, H', W'] of x [B, inputs, H, W], and what one of them is in each output.

        Args:
            x: in steps of `given`.
            given: where the input was rounded.
        """
        weight, scale = whole_weight(self.weight)
        step = given.scale * scale
        bias = whole(to_half(self.bias), step)  # in half as many bytes
        return F.conv2d(self.padded(x), weight, bias, self.stride, self.padding, groups=self.groups), step

    def forward(self, x: Tensor, given: FakeQuantize) -> Tensor:
        """Map steps [B, inputs, H, W] of the input's grid to steps [B, outputs, H', W'] of the output's."""
        sums, step = self.sums(x, given)
        y: Tensor = self.output(sums, (step / self.output.scale).view(-1, 1, 1))
        return y


class Int8Block(nn.Module):
    """An inverted residual block; the residual sum has a grid of its own."""

    def __init__(self, source: InvertedResidual):
        super().__init__()
        self.expand = None if source.expand is None else Int8Conv(source.expand)
        self.depthwise = Int8Conv(source.depthwise)
        self.project = Int8Conv(source.project)
        self.sum = FakeQuantize() if source.residual else None

    @property
    def layers(self) -> list[Int8Conv]:
        """The convolutions in the order of execution."""
        return [layer for layer in (self.expand, self.depthwise, self.project) if layer is not None]

    @property
    def output(self) -> FakeQuantize:
        """Where the block's output is rounded."""
        return self.sum or self.project.output

    def forward(self, x: Tensor, given: FakeQuantize) -> Tensor:
        """Map steps [B, inputs, H, W] of the input's grid to steps [B, outputs, H', W'] of the output's."""
        y, at = x, given
        for layer in self.layers:
            y, at = layer(y, at), layer.output
        return y if self.sum is None else self.add(x, given, y)

    def add(self, x: Tensor, given: FakeQuantize, y: Tensor) -> Tensor:
        """Add the block's input and what its projection gives, both in steps of their grids."""
        assert self.sum is not None
        total = (x * given.scale + y * self.project.output.scale) / self.sum.scale
        steps: Tensor = self.sum(total, torch.ones_like(self.sum.scale))
        return steps


class Int8MobileTower(nn.Module):
    """An image tower of kind mobile on int8 grids; it starts with the float tower's weights and grids of scale 1.

    Args:
        source: the float tower; its weights are copied, and its frozen blocks stay frozen.

    Raises:
        UserError: it is of another kind.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, source: ImageTower):
        super().__init__()
        self.config = source.config
        self._sites = image_sites(source.config)
        backbone = source.backbone
        assert isinstance(backbone, MobileBackbone)
        self.register_buffer("mean", source.mean.clone(), persistent=False)
        self.register_buffer("std", source.std.clone(), persistent=False)
        self.pixels = FakeQuantize()
        self.stem = Int8Conv(backbone.stem)
        self.stem.weight.data.div_(self.std)
        self.blocks = nn.ModuleList(
            Int8Block(block) for block in backbone.blocks if isinstance(block, InvertedResidual)
        )
        self.head = None if backbone.head is None else Int8Conv(backbone.head)
        self.pooled = FakeQuantize()
        self.projection = nn.Parameter(source.projection.weight.detach().clone())
        self.output = FakeQuantize()
        self.frozen_blocks = backbone.frozen_blocks
        if self.frozen_blocks:
            for module in (self.stem, *self.blocks[: self.frozen_blocks]):
                module.requires_grad_(False)

    @property
    def frozen(self) -> bool:
        """Whether the first blocks keep their weights, so that what they give can be kept between steps."""
        return self.frozen_blocks > 0

    @property
    def _layers(self) -> list[Int8Conv | Int8Block]:
        blocks = [block for block in self.blocks if isinstance(block, Int8Block)]
        return [self.stem, *blocks, *([] if self.head is None else [self.head])]

    def first(self, pixel_values: Tensor) -> Tensor:
        """Run the frozen part, if any, on float32 pixels [B, 3, H, W] in [0, 1]; gives steps of a grid."""
        x = self.first_steps(pixel_values)
        return self._through(self._layers[: self._frozen_layers], x, self.pixels)[0]

    def first_steps(self, pixel_values: Tensor) -> Tensor:
        """Map float32 pixels [B, 3, H, W] in [0, 1] to steps of their grid."""
        centred = (pixel_values - self.mean).contiguous(memory_format=torch.channels_last)
        steps: Tensor = self.pixels(centred / self.pixels.scale, torch.ones_like(self.pixels.scale))
        return steps

    def rest(self, x: Tensor) -> Tensor:
        """Run what follows the frozen part; gives embeddings [B, d], not yet normalised."""
        frozen, layers = self._frozen_layers, self._layers
        given = layers[frozen - 1].output if frozen else self.pixels
        x, given = self._through(layers[frozen:], x.contiguous(memory_format=torch.channels_last), given)
        return self.project(self.pool(x, given))

    @property
    def _frozen_layers(self) -> int:
        return self.frozen_blocks + 1 if self.frozen else 0  # the stem is frozen with the first blocks

    @staticmethod
    def _through(layers: Sequence[Int8Conv | Int8Block], x: Tensor, given: FakeQuantize) -> tuple[Tensor, FakeQuantize]:
        for layer in layers:
            x, given = layer(x, given), layer.output
        return x, given

    def pool(self, x: Tensor, given: FakeQuantize) -> Tensor:
        """Map steps [B, features, H, W] to steps [B, features] of their mean."""
        places = x.shape[2] * x.shape[3]
        steps: Tensor = self.pooled(x.sum(dim=(2, 3)), given.scale / (self.pooled.scale * places))
        return steps

    def project(self, features: Tensor) -> Tensor:
        """Map steps [B, features] of the pooled features to embeddings [B, d], not yet normalised."""
        weight, scale = whole_weight(self.projection)
        steps: Tensor = self.output(F.linear(features, weight), self.pooled.scale * scale / self.output.scale)
        return steps * self.output.scale

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Map float32 pixels [B, 3, H, W] in [0, 1] to embeddings [B, d], not yet normalised."""
        return self.rest(self.first(pixel_values))

    def site(self, name: str) -> FakeQuantize:
        """Return where activations are rounded by the name of a site; see `sites`."""
        found = self.output if name == "projection" else self.get_submodule(name)
        if isinstance(found, Int8Conv):
            found = found.output
        assert isinstance(found, FakeQuantize)
        return found

    @property
    def grids(self) -> TowerQuantization:
        """The grids of all sites."""
        return TowerQuantization(activations={name: self.site(name).grid for name in self._sites})

    @grids.setter
    def grids(self, grids: TowerQuantization) -> None:
        for name, grid in grids.activations.items():
            self.site(name).grid = grid

    def convolutions(self) -> Iterator[tuple[Int8Conv, FakeQuantize]]:
        """Yield each convolution with the site of its input, in the order of execution."""
        given = self.pixels
        for layer in self._layers:
            for convolution in layer.layers if isinstance(layer, Int8Block) else [layer]:
                yield convolution, given
                given = convolution.output
            given = layer.output

    @torch.no_grad()
    def drop_dead_channels(self) -> None:
        """Set the weights of output channels to zero that are nothing beside their bias.

        An int8 kernel adds the bias as an int32 in steps of input scale * weight scale, and multiplies the sum by such
        a step over the output's: both have to fit. Pretrained towers have channels with 1e-10 of others' weights.
        """
        for layer, given in self.convolutions():
            step = given.scale * weight_scale(layer.weight).flatten()
            dead = (layer.bias.abs() >= MOST_BIAS * step) | (step < LEAST_FACTOR * layer.output.scale)
            layer.weight[dead] = 0

    @torch.no_grad()
    def write_to(self, target: ImageTower) -> None:
        """Give a float tower these weights, rounded to int8, with batch norms that do nothing but add the biases."""
        self.drop_dead_channels()
        backbone = target.backbone
        assert isinstance(backbone, MobileBackbone)
        for name, layer in self.named_modules():
            if isinstance(layer, Int8Conv):
                weight = round_weight(layer.weight)
                fitting = backbone.get_submodule(name)
                assert isinstance(fitting, ConvNorm)
                fitting.unfold(weight * self.std if name == "stem" else weight, to_half(layer.bias))
        target.projection.weight.copy_(round_weight(self.projection))
