"""The student's form: two towers into one space, built from a `ModelConfig`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conaclip_edge.config.model import ModelConfig, TextTowerConfig
from conaclip_edge.models.image_towers.image_tower import ImageTower

MAX_LOGIT_SCALE = math.log(100.0)


class TextTower(nn.Module):
    """Token ids to a projected embedding; causal, pooled at the first EOS."""

    def __init__(self, config: TextTowerConfig, embed_dim: int):
        super().__init__()
        from transformers import CLIPTextConfig, CLIPTextModelWithProjection

        self.config = config
        self.clip = CLIPTextModelWithProjection(CLIPTextConfig(**text_config(config, embed_dim)))

    def forward(self, input_ids: Tensor) -> Tensor:
        """Map ids [B, L] to embeddings [B, d], not yet normalised."""
        embedding: Tensor = self.clip(input_ids=input_ids.long()).text_embeds
        return embedding

    @property
    def token_table(self) -> Tensor:
        """Token embeddings [vocabulary, width]."""
        table: Tensor = self.clip.text_model.embeddings.token_embedding.weight
        return table


class SiglipTextTower(nn.Module):
    """Token ids to an embedding; every position sees every other, pooled at the last one, which may be padding."""

    def __init__(self, config: TextTowerConfig, embed_dim: int):
        super().__init__()
        from transformers import SiglipTextConfig, SiglipTextModel

        self.config = config
        self.siglip = SiglipTextModel(
            SiglipTextConfig(
                vocab_size=config.vocab_size,
                hidden_size=config.width,
                intermediate_size=config.mlp,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                max_position_embeddings=config.context,
                hidden_act=config.activation,
                layer_norm_eps=config.layer_norm_eps,
                eos_token_id=config.eos_id,
                pad_token_id=config.pad_id,
                bos_token_id=None,
                projection_size=embed_dim,
            )
        )

    def forward(self, input_ids: Tensor) -> Tensor:
        """Map ids [B, context] to embeddings [B, d], not yet normalised."""
        embedding: Tensor = self.siglip(input_ids=input_ids.long()).pooler_output
        return embedding

    @property
    def token_table(self) -> Tensor:
        """Token embeddings [vocabulary, width]."""
        table: Tensor = self.siglip.embeddings.token_embedding.weight
        return table


TEXT_TOWERS = {"clip": TextTower, "siglip": SiglipTextTower}


class DualEncoder(nn.Module):
    """A picture tower and a text tower into one space, with the learnable logit scale of their cosines."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.image = ImageTower(config.image, config.embed_dim)
        kind: Callable[[TextTowerConfig, int], Any] = TEXT_TOWERS[config.text.kind]
        self.text = kind(config.text, config.embed_dim)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def encode_image(self, pixel_values: Tensor) -> Tensor:
        """Map float32 pixels [B, 3, H, W] in [0, 1] to unit vectors [B, d]."""
        return F.normalize(self.image(pixel_values), dim=-1)

    def encode_text(self, input_ids: Tensor) -> Tensor:
        """Map ids [B, L], 2 <= L <= context, each row with an EOS, to unit vectors [B, d]; SigLIP: L = context."""
        return F.normalize(self.text(input_ids), dim=-1)

    def forward(self, pictures: Tensor, input_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode both sides for training.

        Args:
            pictures: pixels [B, 3, H, W] in [0, 1]; with a frozen first part, what that part gave for them.
            input_ids: [C, L].

        Returns:
            Unit vectors of the pictures [B, d] and texts [C, d], and exp(logit scale).
        """
        image = self.image.rest(pictures) if self.image.frozen else self.image(pictures)
        return F.normalize(image, dim=-1), self.encode_text(input_ids), self.logit_scale.exp()

    def clamp_logit_scale(self) -> None:
        """Keep the scale at 100 at most, as CLIP does."""
        with torch.no_grad():
            self.logit_scale.clamp_(max=MAX_LOGIT_SCALE)


def text_config(config: TextTowerConfig, embed_dim: int) -> dict[str, object]:
    """Keys of transformers' CLIPTextConfig for a text tower."""
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "intermediate_size": config.mlp,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "max_position_embeddings": config.context,
        "hidden_act": config.activation,
        "layer_norm_eps": config.layer_norm_eps,
        "eos_token_id": config.eos_id,
        "pad_token_id": config.pad_id,
        "bos_token_id": None,
        "projection_dim": embed_dim,
    }
