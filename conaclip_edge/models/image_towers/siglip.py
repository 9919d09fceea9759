"""The kind `siglip`: transformers' SigLIP vision tower, which pools its patches by attention to a learned query."""

from __future__ import annotations

from torch import Tensor

from conaclip_edge.config.model import ImageTowerConfig
from conaclip_edge.errors import UserError
from conaclip_edge.models.image_towers.backbone import Backbone


class SiglipBackbone(Backbone):
    """SigLIP's vision transformer, under transformers' names; its features are the embedding."""

    channels_last = False

    def __init__(self, config: ImageTowerConfig):
        super().__init__()
        from transformers import SiglipVisionConfig, SiglipVisionModel

        self.vision_model = SiglipVisionModel(SiglipVisionConfig(**vision_config(config)))

    def forward(self, pixels: Tensor) -> Tensor:
        """Map normalised pixels [B, 3, H, W] to embeddings [B, width], not yet normalised."""
        embedding: Tensor = self.vision_model(pixel_values=pixels).pooler_output
        return embedding


def build(config: ImageTowerConfig, embed_dim: int) -> SiglipBackbone:
    """Build a SigLIP vision transformer with random weights.

    Raises:
        UserError: its width is not that of the embedding, to which it has no projection.
    """
    if config.width != embed_dim:
        raise UserError(
            f"an image tower of kind 'siglip' gives embeddings of its own width: student.image.width has to be "
            f"{embed_dim}, and is {config.width}."
        )
    return SiglipBackbone(config)


def vision_config(config: ImageTowerConfig) -> dict[str, object]:
    """Keys of transformers' SiglipVisionConfig for an image tower."""
    return {
        "hidden_size": config.width,
        "intermediate_size": config.mlp,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "image_size": config.size,
        "patch_size": config.patch,
        "hidden_act": config.activation,
        "layer_norm_eps": config.layer_norm_eps,
    }
