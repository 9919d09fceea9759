"""A mobile image tower: inverted residual blocks with batch norm and ReLU6, without squeeze-excite.

Batch norm folds into the convolutions and ReLU6 bounds the activations, so the tower quantises to int8 without any
float op in between. The full-size stage list is EfficientNet-Lite0's (Tan & Le, arXiv 1905.11946), whose ImageNet
weights a package carries; a student may take the first stages alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conaclip_edge.config.model import ImageTowerConfig

LITE0_STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)


class ConvNorm(nn.Module):
    """Convolution and batch norm, ReLU6 if `active`; stride 2 pads as TensorFlow's SAME does on even sizes."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, active: bool = True):
        super().__init__()
        self.pad = ((kernel - 2) // 2, (kernel - 1) // 2) * 2 if stride == 2 else ()
        padding = 0 if stride == 2 else kernel // 2
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        if self.pad:
            x = F.pad(x, self.pad)
        y: Tensor = self.norm(self.conv(x))
        return F.relu6(y) if self.active else y


class InvertedResidual(nn.Module):
    """Expand by a 1x1, filter each channel, project by a 1x1; a residual where the shape allows."""

    def __init__(self, inputs: int, outputs: int, expand: int, kernel: int, stride: int):
        super().__init__()
        hidden = inputs * expand
        self.expand = ConvNorm(inputs, hidden, 1) if expand > 1 else None
        self.depthwise = ConvNorm(hidden, hidden, kernel, stride, groups=hidden)
        self.project = ConvNorm(hidden, outputs, 1, active=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        y: Tensor = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return x + y if self.residual else y


class MobileTower(nn.Module):
    """Stem, stages, an optional 1x1 head and the mean over all positions."""

    def __init__(self, config: ImageTowerConfig):
        super().__init__()
        self.stem = ConvNorm(3, config.width, 3, stride=2)
        blocks: list[nn.Module] = []
        channels = config.width
        for expand, outputs, repeats, kernel, stride in config.stages:
            for index in range(repeats):
                blocks.append(InvertedResidual(channels, outputs, expand, kernel, stride if index == 0 else 1))
                channels = outputs
        self.blocks = nn.ModuleList(blocks)
        self.head = ConvNorm(channels, config.head_width, 1) if config.head_width else None
        self.features = config.head_width or channels
        self.frozen_blocks = 0

    def freeze(self, blocks: int) -> None:
        """Keep the stem and the first blocks as they are, batch statistics included."""
        self.frozen_blocks = blocks
        for module in (self.stem, *self.blocks[:blocks]):
            module.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> MobileTower:
        """Set the mode of all but the frozen part, which stays in eval mode."""
        super().train(mode)
        if self.frozen_blocks:
            for module in (self.stem, *self.blocks[: self.frozen_blocks]):
                module.eval()
        return self

    def first(self, pixels: Tensor) -> Tensor:
        """Map normalised pixels [B, 3, H, W] through the stem and the frozen blocks."""
        x: Tensor = self.stem(pixels)
        for block in self.blocks[: self.frozen_blocks]:
            x = block(x)
        return x

    def rest(self, x: Tensor) -> Tensor:
        """Map what `first` gives to pooled features [B, features]."""
        for block in self.blocks[self.frozen_blocks :]:
            x = block(x)
        if self.head is not None:
            x = self.head(x)
        return x.mean(dim=(2, 3))

    def forward(self, pixels: Tensor) -> Tensor:
        """Map normalised pixels [B, 3, H, W] to pooled features [B, features]."""
        return self.rest(self.first(pixels))


def from_lite0(weights: dict[str, Tensor], tower: MobileTower) -> None:
    """Copy EfficientNet-Lite0 weights (the package's names) into a tower of the same or fewer blocks."""
    renamed: dict[str, Tensor] = {}

    def take(source: str, norm: str, target: str) -> None:
        renamed[f"{target}.conv.weight"] = weights[f"{source}.weight"]
        for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            renamed[f"{target}.norm.{part}"] = weights.get(f"{norm}.{part}", torch.tensor(0))

    take("_conv_stem", "_bn0", "stem")
    for index, block in enumerate(tower.blocks):
        prefix = f"_blocks.{index}"
        if isinstance(block, InvertedResidual) and block.expand is not None:
            take(f"{prefix}._expand_conv", f"{prefix}._bn0", f"blocks.{index}.expand")
        take(f"{prefix}._depthwise_conv", f"{prefix}._bn1", f"blocks.{index}.depthwise")
        take(f"{prefix}._project_conv", f"{prefix}._bn2", f"blocks.{index}.project")
    if tower.head is not None:
        take("_conv_head", "_bn1", "head")
    tower.load_state_dict(renamed)
