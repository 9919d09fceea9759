"""The kind `vit`: transformers' CLIP vision tower, so that a student with it is a CLIPModel folder."""

from __future__ import annotations

from torch import Tensor

from conaclip_edge.config.model import ImageTowerConfig
from conaclip_edge.models.image_towers.backbone import Backbone


class VitBackbone(Backbone):
    """CLIP's vision transformer with its own projection, under transformers' names of both."""

    channels_last = False

    def __init__(self, config: ImageTowerConfig, embed_dim: int):
        super().__init__()
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        clip = CLIPVisionModelWithProjection(CLIPVisionConfig(**vision_config(config, embed_dim)))
        self.vision_model = clip.vision_model
        self.visual_projection = clip.visual_projection

    def forward(self, pixels: Tensor) -> Tensor:
        """Map normalised pixels [B, 3, H, W] to embeddings [B, d], not yet normalised."""
        embedding: Tensor = self.visual_projection(self.vision_model(pixel_values=pixels).pooler_output)
        return embedding


def build(config: ImageTowerConfig, embed_dim: int) -> VitBackbone:
    """Build a vision transformer with random weights."""
    return VitBackbone(config, embed_dim)


def vision_config(config: ImageTowerConfig, embed_dim: int) -> dict[str, object]:
    """Keys of transformers' CLIPVisionConfig for an image tower."""
    return {
        "hidden_size": config.width,
        "intermediate_size": config.mlp,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "image_size": config.size,
        "patch_size": config.patch,
        "hidden_act": config.activation,
        "layer_norm_eps": config.layer_norm_eps,
        "projection_dim": embed_dim,
    }
