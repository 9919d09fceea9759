"""Export-ready towers: a trained student's weights in a form that every converter takes and every runtime runs fast.

The rewrite is exact: mean and standard deviation, batch norm and the attention scale are folded into weights, the last
block works on the pooled row alone, and the embedding is normalised in the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from conaclip_edge.errors import UserError
from conaclip_edge.export.towers.batch_norms import fold_batch_norms
from conaclip_edge.export.towers.layers import MASKED, InvertedResidual, TokenTable, Unit
from conaclip_edge.export.towers.siglip import SiglipTextTower, SiglipTower
from conaclip_edge.export.towers.trained_layers import convolution, copied, copied_block, folded, frozen
from conaclip_edge.export.towers.unread_channels import without_unread_channels
from conaclip_edge.models.image_towers.layers import ConvNorm
from conaclip_edge.models.quantization.record import ActivationGrid, Quantization
from conaclip_edge.models.student.dual_encoder import DualEncoder


@dataclass(frozen=True)
class Towers:
    """Both towers of a student, with what an exporter has to know of them.

    Attributes:
        image: pixel_values float32 [B, 3, H, W] in [0, 1] to unit vectors [B, embed_dim].
        text: input_ids int32 [B, L], 2 <= L <= context, each row with an EOS, to unit vectors [B, embed_dim].
            With `fixed_length`, L is the context.
        image_size: H and W.
        context: largest L.
        embed_dim: width of the common space.
        vocab_size: ids are below it.
        eos_id: the id that ends a text; the tower reads its first position.
        name: what to call the student in files and reports.
        fixed_length: a text always has `context` ids, padded as the tokenizer does.
        float_layers: layers that int8 leaves in float, by tower and path in it ("image.blocks.3.fc1").
        image_grids: activation site -> grid of an image tower that was trained to compute in int8; None of any other.
    """

    image: nn.Module
    text: nn.Module
    image_size: int
    context: int
    embed_dim: int
    vocab_size: int
    eos_id: int
    name: str
    fixed_length: bool = False
    float_layers: frozenset[str] = frozenset()
    image_grids: Mapping[str, ActivationGrid] | None = None

    def __getitem__(self, tower: str) -> nn.Module:
        """Return the tower named "image" or "text"."""
        return {"image": self.image, "text": self.text}[tower]


def build_towers(model: DualEncoder, name: str, quantization: Quantization | None = None) -> Towers:
    """Build both export-ready towers of a trained student.

    Args:
        model: of the student.
        name: what to call it.
        quantization: its grids, if it was trained to compute in int8.
    """
    image, text = model.config.image, model.config.text
    return Towers(
        image_tower(model),
        text_tower(model),
        image.size,
        text.context,
        model.config.embed_dim,
        text.vocab_size,
        text.eos_id,
        name,
        fixed_length=text.kind == "siglip",
        image_grids=quantization.image.activations if quantization else None,
    )


@torch.no_grad()
def image_tower(model: DualEncoder) -> nn.Module:
    """Build the image tower: pixel_values float32 [B, 3, H, W] in [0, 1] to unit vectors [B, d].

    Raises:
        UserError: it has an activation, or a projection of its own, that cannot be exported.
    """
    kind = model.config.image.kind
    if kind not in EXPORT_READY and not model.image.backbone.features:
        raise UserError(f"image tower '{kind}' projects to the embedding itself, and has no form of its own to export.")
    return frozen(EXPORT_READY.get(kind, OtherImageTower)(model))


@torch.no_grad()
def text_tower(model: DualEncoder) -> nn.Module:
    """Build the text tower: input_ids int32 [B, L], 2 <= L <= context, to unit vectors [B, d].

    Raises:
        UserError: it has an activation that cannot be exported.
    """
    return frozen(_TEXT_TOWERS[model.config.text.kind](model))


class VitTower(nn.Module):
    """A CLIP vision transformer; mean and standard deviation are folded into the patch convolution."""

    class_row: Tensor
    position: Tensor

    def __init__(self, model: DualEncoder):
        super().__init__()
        config = model.config.image
        pixels: Any = model.image
        source, vision = pixels.vit, pixels.vit.vision_model
        weight: Tensor = vision.embeddings.patch_embedding.weight / pixels.std
        self.patch = convolution(weight, -(weight * pixels.mean).sum(dim=(1, 2, 3)), stride=config.patch)
        self.norm = copied(vision.pre_layrnorm)
        position = vision.embeddings.position_embedding.weight
        # the class row meets no pixel before the first block: it is a constant up to there
        first = self.norm(vision.embeddings.class_embedding + position[0])
        self.register_buffer("class_row", first.detach().clone().view(1, 1, -1))
        self.register_buffer("position", position[1:].detach().clone().unsqueeze(0))
        self.blocks = nn.ModuleList(
            copied_block(layer, config.heads, config.layer_norm_eps, config.activation)
            for layer in vision.encoder.layers
        )
        self.last_norm = copied(vision.post_layernorm)
        self.projection = copied(source.visual_projection)
        self.unit = Unit()

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Map pixels [B, 3, H, W] in [0, 1] to unit vectors [B, d]."""
        patches = self.patch(pixel_values).flatten(2).transpose(1, 2)
        rows = self.norm(patches + self.position)
        x = torch.cat([self.class_row.expand(rows.shape[0], -1, -1), rows], dim=1)
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x)
        x = last(x, pool=lambda rows: rows[:, :1])
        embedding: Tensor = self.unit(self.projection(self.last_norm(x).flatten(1)))
        return embedding


class MobileTower(nn.Module):
    """A chain of inverted residual blocks; batch norm and the pixels' standard deviation are folded away.

    The mean stays a subtraction: padding is zero after it, so it cannot move into the stem's bias.
    """

    mean: Tensor

    def __init__(self, model: DualEncoder):
        super().__init__()
        pixels: Any = model.image
        source = pixels.mobile
        self.register_buffer("mean", pixels.mean.detach().clone())
        self.stem = folded(source.stem)
        self.stem.conv.weight.div_(pixels.std)
        self.blocks = nn.ModuleList(
            without_unread_channels(
                InvertedResidual(
                    None if block.expand is None else folded(block.expand),
                    folded(block.depthwise),
                    folded(block.project),
                    block.residual,
                )
            )
            for block in source.blocks
        )
        self.head = None if source.head is None else folded(source.head)
        self.projection = copied(pixels.projection)
        self.unit = Unit()

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Map pixels [B, 3, H, W] in [0, 1] to unit vectors [B, d]."""
        x = self.stem(pixel_values - self.mean)
        for block in self.blocks:
            x = block(x)
        if self.head is not None:
            x = self.head(x)
        embedding: Tensor = self.unit(self.projection(x.mean(dim=(2, 3), keepdim=True).flatten(1)))
        return embedding


class TextTower(nn.Module):
    """A causal CLIP text transformer that reads the row of the first EOS; what follows it cannot matter."""

    position: Tensor
    mask: Tensor

    def __init__(self, model: DualEncoder):
        super().__init__()
        source, config = model.text.clip, model.config.text
        text = source.text_model
        # transformers pools at the largest id, not at EOS, where the config says 2 (its legacy value)
        self.eos_id = None if text.eos_token_id == 2 else config.eos_id
        self.heads = config.heads
        self.table = TokenTable(text.embeddings.token_embedding.weight.detach().clone())
        # one row more than the context: torch.export forbids the full length when a slice could be the whole
        rows = config.context + 1
        position = text.embeddings.position_embedding.weight.detach()
        self.register_buffer("position", nn.functional.pad(position, (0, 0, 0, 1)))
        self.register_buffer("mask", torch.full((rows, rows), MASKED).triu(1))
        self.blocks = nn.ModuleList(
            copied_block(layer, config.heads, config.layer_norm_eps, config.activation) for layer in text.encoder.layers
        )
        self.last_norm = copied(text.final_layer_norm)
        self.projection = copied(source.text_projection)
        self.unit = Unit()

    def forward(self, input_ids: Tensor) -> Tensor:
        """Map ids int32 [B, L] to unit vectors [B, d]."""
        length = input_ids.shape[1]
        first, hidden = self._first_eos(input_ids)
        x = self.table(input_ids) + self.position[:length]
        mask = self.mask[:length, :length].unsqueeze(0)
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x, mask)
        x = last(x, hidden, pool=lambda rows: torch.bmm(first, rows))
        embedding: Tensor = self.unit(self.projection(self.last_norm(x).flatten(1)))
        return embedding

    def _first_eos(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first EOS as one-hot rows [B, 1, L], and its mask for the last block [B * heads, 1, L]."""
        end = ids.amax(dim=1, keepdim=True) if self.eos_id is None else self.eos_id
        is_end = (ids == end).to(self.position.dtype)
        earlier = torch.cumsum(is_end, dim=1) - is_end
        first = torch.relu(is_end - earlier).unsqueeze(1)
        mask = (earlier.clamp(max=1.0) * MASKED).view(ids.shape[0], 1, 1, -1)
        return first, mask.expand(-1, self.heads, -1, -1).reshape(ids.shape[0] * self.heads, 1, -1)


class OtherImageTower(nn.Module):
    """The image tower of a kind without a form of its own: its backbone as trained, batch norms folded away."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: DualEncoder):
        super().__init__()
        self.register_buffer("mean", model.image.mean.detach().clone())
        self.register_buffer("std", model.image.std.detach().clone())
        self.backbone = copied(model.image.backbone)
        for name, module in list(self.backbone.named_modules()):
            if isinstance(module, ConvNorm):
                parent, _, own = name.rpartition(".")
                setattr(self.backbone.get_submodule(parent), own, folded(module))
        size = model.config.image.size
        fold_batch_norms(self.backbone.eval(), torch.zeros(1, 3, size, size, device=model.image.mean.device))
        self.projection = copied(model.image.projection)
        self.unit = Unit()

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Map pixels [B, 3, H, W] in [0, 1] to unit vectors [B, d]."""
        features = self.backbone((pixel_values - self.mean) / self.std)
        embedding: Tensor = self.unit(self.projection(features))
        return embedding


# kinds with a form of their own, which exporters may treat by layer
EXPORT_READY: dict[str, Callable[[DualEncoder], nn.Module]] = {
    "vit": VitTower,
    "mobile": MobileTower,
    "siglip": SiglipTower,
}
_TEXT_TOWERS: dict[str, Callable[[DualEncoder], nn.Module]] = {"clip": TextTower, "siglip": SiglipTextTower}
# towers made of transformer blocks
TRANSFORMERS = (VitTower, TextTower, SiglipTower, SiglipTextTower)
