"""The kind `mobile`: inverted residual blocks with batch norm and ReLU6, without squeeze-excite.

Batch norm folds into the convolutions and ReLU6 bounds the activations, so the tower quantises to int8 without any
float op in between. The full-size stage list is EfficientNet-Lite0's (Tan & Le, arXiv 1905.11946), whose ImageNet
weights a package carries; a student may take the first stages alone, and the first blocks of each.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from conaclip_edge.config.model import ImageTowerConfig
from conaclip_edge.errors import UserError
from conaclip_edge.models.image_towers.backbone import Backbone
from conaclip_edge.models.image_towers.layers import ConvNorm, InvertedResidual
from conaclip_edge.models.image_towers.lite0 import LITE0_STAGES, lite0_weights


class MobileBackbone(Backbone):
    """Stem, stages, an optional 1x1 head and the mean over all positions."""

    pretrained = True

    def __init__(self, config: ImageTowerConfig):
        super().__init__()
        self.stages = config.stages
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

    def freeze(self, blocks: int) -> None:
        """Let the stem and the first blocks keep their weights, batch statistics included."""
        self.frozen_blocks = blocks
        for module in (self.stem, *self.blocks[:blocks]):
            module.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> MobileBackbone:
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

    def start_pretrained(self) -> int:
        """Load EfficientNet-Lite0's weights; returns how many."""
        try:
            from_lite0(lite0_weights(), self)
        except (KeyError, RuntimeError) as error:
            raise UserError(
                "student.init_image: EfficientNet-Lite0's weights do not fit the changed image tower. Take its stages "
                f"from the first on, or set init_image: none. ({' '.join(str(error).split())[:200]})"
            ) from error
        return sum(value.numel() for value in self.parameters())


def build(config: ImageTowerConfig, embed_dim: int) -> MobileBackbone:
    """Build a mobile backbone with random weights; the projection to `embed_dim` follows it."""
    return MobileBackbone(config)


def _lite0_blocks(backbone: MobileBackbone) -> list[int]:
    """Return which block of EfficientNet-Lite0 each block starts from: with fewer to a stage, its first ones.

    What the others of a stage do is added to their input, and can be left out.
    """
    found, before = list[int](), 0
    for number, (_, _, repeats, _, _) in enumerate(backbone.stages):
        found += range(before, before + repeats)
        before += LITE0_STAGES[number][2] if number < len(LITE0_STAGES) else repeats
    return found


def from_lite0(weights: dict[str, Tensor], backbone: MobileBackbone) -> None:
    """Copy EfficientNet-Lite0 weights (the package's names) into a backbone of its first stages, or parts of them."""
    renamed: dict[str, Tensor] = {}

    def take(source: str, norm: str, target: str) -> None:
        renamed[f"{target}.conv.weight"] = weights[f"{source}.weight"]
        for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            renamed[f"{target}.norm.{part}"] = weights.get(f"{norm}.{part}", torch.tensor(0))

    take("_conv_stem", "_bn0", "stem")
    for index, (block, source) in enumerate(zip(backbone.blocks, _lite0_blocks(backbone), strict=True)):
        prefix = f"_blocks.{source}"
        if isinstance(block, InvertedResidual) and block.expand is not None:
            take(f"{prefix}._expand_conv", f"{prefix}._bn0", f"blocks.{index}.expand")
        take(f"{prefix}._depthwise_conv", f"{prefix}._bn1", f"blocks.{index}.depthwise")
        take(f"{prefix}._project_conv", f"{prefix}._bn2", f"blocks.{index}.project")
    if backbone.head is not None:
        take("_conv_head", "_bn1", "head")
    backbone.load_state_dict(renamed)
