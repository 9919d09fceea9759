"""What the configs of CLIP and SigLIP say in the same words: the sizes of a transformer, and what fits a tower."""

from __future__ import annotations

from typing import Any

from conaclip_edge.errors import UserError
from conaclip_edge.models.student.adopted.picture_input import PictureInput

_ACTIVATIONS = ("gelu", "gelu_pytorch_tanh", "quick_gelu")


def check_towers(vision: Any, text: Any, picture: PictureInput) -> None:
    """Refuse towers that have no form for export.

    Args:
        vision: transformers' config of the image tower.
        text: of the text tower.
        picture: how the model's pictures are made.

    Raises:
        UserError: names the part.
    """
    if vision.num_channels != 3:
        raise UserError(f"its pictures have {vision.num_channels} channels; red, green and blue are needed")
    if picture.size != vision.image_size:
        raise UserError(f"its pictures are made {picture.size} pixels wide, but its tower takes {vision.image_size}")
    for name in (vision.hidden_act, text.hidden_act):
        if name not in _ACTIVATIONS:
            raise UserError(f"its activation '{name}' has no form for export; known: {', '.join(_ACTIVATIONS)}")


def image_keys(vision: Any, picture: PictureInput) -> dict[str, Any]:
    """Return the keys of ImageTowerConfig but for `kind`."""
    return _transformer(vision) | {
        "size": vision.image_size,
        "patch": vision.patch_size,
        "resize": picture.resize,
        "resample": picture.resample,
        "mean": picture.mean,
        "std": picture.std,
    }


def text_keys(text: Any) -> dict[str, Any]:
    """Return the keys of TextTowerConfig but for `kind` and the ids."""
    return _transformer(text) | {"context": text.max_position_embeddings, "vocab_size": text.vocab_size}


def _transformer(part: Any) -> dict[str, Any]:
    return {
        "width": part.hidden_size,
        "layers": part.num_hidden_layers,
        "heads": part.num_attention_heads,
        "mlp": part.intermediate_size,
        "activation": part.hidden_act,
        "layer_norm_eps": part.layer_norm_eps,
    }
