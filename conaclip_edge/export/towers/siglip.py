"""Export-ready towers of a SigLIP: the attention pooling of its pictures, and its texts of one length."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from conaclip_edge.export.towers.layers import AttentionPool, TokenTable, Unit
from conaclip_edge.export.towers.trained_layers import convolution, copied, copied_block
from conaclip_edge.models.student.dual_encoder import DualEncoder


class SiglipTower(nn.Module):
    """A SigLIP vision transformer; mean and standard deviation are folded into the patch convolution."""

    position: Tensor

    def __init__(self, model: DualEncoder):
        super().__init__()
        config = model.config.image
        pixels: Any = model.image
        vision = pixels.siglip.vision_model
        patch = vision.embeddings.patch_embedding
        weight: Tensor = patch.weight / pixels.std
        self.patch = convolution(weight, patch.bias - (weight * pixels.mean).sum(dim=(1, 2, 3)), stride=config.patch)
        self.register_buffer("position", vision.embeddings.position_embedding.weight.detach().clone().unsqueeze(0))
        self.blocks = nn.ModuleList(
            copied_block(layer, config.heads, config.layer_norm_eps, config.activation)
            for layer in vision.encoder.layers
        )
        self.head = _pool(vision, config.heads, config.layer_norm_eps, config.activation)
        self.unit = Unit()

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Map pixels [B, 3, H, W] in [0, 1] to unit vectors [B, d]."""
        x = self.patch(pixel_values).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            x = block(x)
        embedding: Tensor = self.unit(self.head(x))
        return embedding


class SiglipTextTower(nn.Module):
    """A SigLIP text transformer: ids padded to the context, no mask, and the row of the last position."""

    position: Tensor

    def __init__(self, model: DualEncoder):
        super().__init__()
        config = model.config.text
        source: Any = model.text.siglip
        self.table = TokenTable(source.embeddings.token_embedding.weight.detach().clone())
        self.register_buffer("position", source.embeddings.position_embedding.weight.detach().clone())
        self.blocks = nn.ModuleList(
            copied_block(layer, config.heads, config.layer_norm_eps, config.activation)
            for layer in source.encoder.layers
        )
        self.last_norm = copied(source.final_layer_norm)
        self.projection = copied(source.head)
        self.unit = Unit()

    def forward(self, input_ids: Tensor) -> Tensor:
        """Map ids int32 [B, context] to unit vectors [B, d]."""
        x = self.table(input_ids) + self.position
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x)
        x = last(x, pool=lambda rows: rows[:, -1:])
        embedding: Tensor = self.unit(self.projection(self.last_norm(x).flatten(1)))
        return embedding


def _pool(vision: Any, heads: int, eps: float, act: str) -> AttentionPool:
    """Copy the pooling head of a SigLIP vision tower, and the norm before it.

    The bias of the keys adds the same to the scores of all rows, which a softmax does not see.
    """
    source = vision.head
    attention, width = source.attention, source.probe.shape[-1]
    made = AttentionPool(width, heads, source.mlp.fc1.out_features, eps, act)
    query_weight, key_weight, value_weight = attention.in_proj_weight.chunk(3)
    query_bias, _, value_bias = attention.in_proj_bias.chunk(3)
    query = (source.probe.view(width) @ query_weight.T + query_bias) * (width // heads) ** -0.5
    made.score.weight.copy_((query.view(heads, 1, -1) @ key_weight.view(heads, -1, width)).squeeze(1))
    made.v.load_state_dict({"weight": value_weight, "bias": value_bias})
    named = {
        "norm1": vision.post_layernorm,
        "o": attention.out_proj,
        "norm2": source.layernorm,
        "fc1": source.mlp.fc1,
        "fc2": source.mlp.fc2,
    }
    for name, layer in named.items():
        made.get_submodule(name).load_state_dict(layer.state_dict())
    return made
