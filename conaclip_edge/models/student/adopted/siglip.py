"""SigLIP, and SigLIP 2 of a fixed resolution: pictures pooled by attention, texts padded to the context."""

from __future__ import annotations

from typing import Any

from conaclip_edge.config.model import ImageTowerConfig, ModelConfig, TextTowerConfig
from conaclip_edge.errors import UserError
from conaclip_edge.models.student.adopted.picture_input import PictureInput
from conaclip_edge.models.student.adopted.transformer_keys import check_towers, image_keys, text_keys
from conaclip_edge.models.tokenizer import TextTokenizer

# transformers' names in SiglipModel -> the student's
_NAMES = {"vision_model.": "image.siglip.vision_model.", "text_model.": "text.siglip.", "logit_scale": "logit_scale"}


def shape(content: dict[str, Any], picture: PictureInput) -> ModelConfig:
    """Translate the content of a config.json.

    Args:
        content: of the file.
        picture: how its pictures are made.

    Raises:
        UserError: a part that no exported tower has.
        Exception: transformers raises almost anything for damaged values.
    """
    from transformers import SiglipConfig

    siglip = SiglipConfig(**content)
    vision, text = siglip.vision_config, siglip.text_config
    check_towers(vision, text, picture)
    if not vision.vision_use_head:
        raise UserError("its image tower has no pooling head (vision_use_head is false), so it gives no embedding")
    if vision.hidden_size != text.projection_size:
        raise UserError(
            f"its pictures become {vision.hidden_size} numbers, its texts {text.projection_size}: they do not compare"
        )
    return ModelConfig(
        image=ImageTowerConfig(kind="siglip", **image_keys(vision, picture)),
        text=TextTowerConfig(kind="siglip", **text_keys(text), eos_id=0, pad_id=0),
        embed_dim=vision.hidden_size,
    )


def with_tokenizer(config: ModelConfig, content: dict[str, Any], tokenizer: TextTokenizer) -> ModelConfig:
    """Return the shape with the ids that end and fill up a text: the tokenizer's, as config.json often has others.

    Args:
        config: of `shape`.
        content: of config.json.
        tokenizer: of the same folder.
    """
    ids = {"eos_id": tokenizer.eos_id, "pad_id": tokenizer.pad_id}
    return config.model_copy(update={"text": config.text.model_copy(update=ids)})


def student_name(name: str) -> str | None:
    """Return the name in a student of a tensor in a file; None for one that no embedding depends on."""
    if name.endswith(".position_ids"):  # which checkpoints of old transformers releases list
        return None
    for theirs, ours in _NAMES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return None
