"""A mobile image tower as int8 kernels compute it, in float32: for training, and for comparing exported files with.

Batch norm is folded into the convolutions. Weights and activations take only the values that int8 has for them, so
every product and every sum is what integer kernels find; ReLU6 is the end of a grid's range.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conaclip_edge.models.image_towers.image_tower import ImageTower
from conaclip_edge.models.image_towers.layers import ConvNorm, InvertedResidual
from conaclip_edge.models.image_towers.mobile import MobileBackbone
from conaclip_edge.models.quantization.fake_quantize import FakeQuantize, fake_quantized_weight
from conaclip_edge.models.quantization.int8_weights import weight_scale
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

    def before_grid(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride], before ReLU6 and rounding."""
        weight = fake_quantized_weight(self.weight)
        return F.conv2d(self.padded(x), weight, self.bias, self.stride, self.padding, groups=self.groups)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride] on the output's grid."""
        y: Tensor = self.output(self.before_grid(x))
        return y


class Int8Block(nn.Module):
    """An inverted residual block; the residual sum has a grid of its own."""

    def __init__(self, source: InvertedResidual):
        super().__init__()
        self.expand = None if source.expand is None else Int8Conv(source.expand)
        self.depthwise = Int8Conv(source.depthwise)
        self.project = Int8Conv(source.project)
        self.sum = FakeQuantize() if source.residual else None

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        y: Tensor = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return y if self.sum is None else self.sum(x + y)


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

    def first(self, pixel_values: Tensor) -> Tensor:
        """Run the frozen part, if any, on float32 pixels [B, 3, H, W] in [0, 1]."""
        x: Tensor = self.pixels((pixel_values - self.mean).contiguous(memory_format=torch.channels_last))
        if self.frozen:
            for layer in (self.stem, *self.blocks[: self.frozen_blocks]):
                x = layer(x)
        return x

    def rest(self, x: Tensor) -> Tensor:
        """Run what follows the frozen part; gives embeddings [B, d], not yet normalised."""
        x = x.contiguous(memory_format=torch.channels_last)
        for layer in self.blocks[self.frozen_blocks :] if self.frozen else (self.stem, *self.blocks):
            x = layer(x)
        if self.head is not None:
            x = self.head(x)
        embedding: Tensor = self.output(F.linear(self.pooled(x.mean(dim=(2, 3))), self.rounded_projection()))
        return embedding

    def rounded_projection(self) -> Tensor:
        """Return the projection's int8 weights [d, features]."""
        return fake_quantized_weight(self.projection)

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
        yield self.stem, given
        given = self.stem.output
        for block in self.blocks:
            assert isinstance(block, Int8Block)
            for layer in (block.expand, block.depthwise, block.project):
                if layer is not None:
                    yield layer, given
                    given = layer.output
            given = block.sum or given
        if self.head is not None:
            yield self.head, given

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
                weight = fake_quantized_weight(layer.weight)
                fitting = backbone.get_submodule(name)
                assert isinstance(fitting, ConvNorm)
                fitting.unfold(weight * self.std if name == "stem" else weight, layer.bias)
        target.projection.weight.copy_(self.rounded_projection())
