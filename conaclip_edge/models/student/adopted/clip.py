"""CLIP: a pre-norm vision transformer, and a causal text transformer that is pooled at the end of the text."""

from __future__ import annotations

from typing import Any

from conaclip_edge.config.model import ImageTowerConfig, ModelConfig, TextTowerConfig
from conaclip_edge.errors import UserError
from conaclip_edge.models.student.adopted.picture_input import PictureInput
from conaclip_edge.models.student.adopted.transformer_keys import check_towers, image_keys, text_keys
from conaclip_edge.models.student.clip_names import loaded_name
from conaclip_edge.models.tokenizer import TextTokenizer

student_name = loaded_name
_LARGEST_ID = 2  # an eos_token_id of old configs, which means: pool at the largest id of the text


def shape(content: dict[str, Any], picture: PictureInput) -> ModelConfig:
    """Translate the content of a config.json.

    Args:
        content: of the file.
        picture: how its pictures are made.

    Raises:
        UserError: a part that no exported tower has.
        Exception: transformers raises almost anything for damaged values.
    """
    from transformers import CLIPConfig

    clip = CLIPConfig(**content)
    vision, text = clip.vision_config, clip.text_config
    check_towers(vision, text, picture)
    end = text.vocab_size - 1 if text.eos_token_id == _LARGEST_ID else text.eos_token_id
    return ModelConfig(
        image=ImageTowerConfig(kind="vit", **image_keys(vision, picture)),
        text=TextTowerConfig(
            **text_keys(text), eos_id=end, pad_id=end if text.pad_token_id in (None, 1) else text.pad_token_id
        ),
        embed_dim=clip.projection_dim,
    )


def with_tokenizer(config: ModelConfig, content: dict[str, Any], tokenizer: TextTokenizer) -> ModelConfig:
    """Return the shape with the id at which the text tower is pooled, once the tokenizer is known.

    Args:
        config: of `shape`.
        content: of config.json.
        tokenizer: of the same folder.

    Raises:
        UserError: the tokenizer ends its texts with another id than the tower is pooled at.
    """
    text = config.text
    given = (content.get("text_config") or {}).get("eos_token_id", text.eos_id)
    if given == _LARGEST_ID and tokenizer.eos_id == tokenizer.vocab_size - 1:
        return config.model_copy(update={"text": text.model_copy(update={"eos_id": tokenizer.eos_id})})
    if tokenizer.eos_id != text.eos_id:
        raise UserError(
            f"its tokenizer ends a text with id {tokenizer.eos_id}, its text tower is pooled at {text.eos_id}. Use the "
            "tokenizer files that belong to these weights"
        )
    return config
