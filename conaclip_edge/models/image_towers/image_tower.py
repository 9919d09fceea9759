"""A student's image tower: the backbone that its kind decides, and what stands before and behind it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from conaclip_edge.config.model import ImageTowerConfig
from conaclip_edge.models.image_towers.backbone import Backbone
from conaclip_edge.models.image_towers.kinds import build_backbone


class ImageTower(nn.Module):
    """Pixels in [0, 1] to a projected embedding; mean and standard deviation are part of the tower."""

    def __init__(self, config: ImageTowerConfig, embed_dim: int):
        super().__init__()
        self.config = config
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(1, 3, 1, 1), persistent=False)
        backbone = build_backbone(config, embed_dim)
        self.add_module(config.kind, backbone)  # so its weights are saved under the name of its kind
        if backbone.features:
            self.projection = nn.Linear(backbone.features, embed_dim, bias=False)

    @property
    def backbone(self) -> Backbone:
        """The part that the tower's kind decides."""
        found = self.get_submodule(self.config.kind)
        assert isinstance(found, Backbone)
        return found

    @property
    def frozen(self) -> bool:
        """Whether the first blocks keep their weights, so that what they give can be kept between steps."""
        return self.backbone.frozen_blocks > 0

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Map float32 pixels [B, 3, H, W] in [0, 1] to embeddings [B, d], not yet normalised."""
        return self.rest(self.first(pixel_values))

    def normalise(self, pixel_values: Tensor) -> Tensor:
        """Apply mean and standard deviation to pixels in [0, 1]."""
        return (pixel_values - self.mean) / self.std

    def first(self, pixel_values: Tensor) -> Tensor:
        """Run the frozen part, if any, on pixels in [0, 1]."""
        return self.backbone.first(self._laid_out(self.normalise(pixel_values)))

    def rest(self, features: Tensor) -> Tensor:
        """Run what follows the frozen part; gives embeddings [B, d], not yet normalised."""
        backbone = self.backbone
        given = backbone.rest(self._laid_out(features))
        return self.projection(given) if backbone.features else given

    def _laid_out(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last) if self.backbone.channels_last else x
