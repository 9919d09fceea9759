"""CLIP: a pre-norm vision transformer, and a causal text transformer that is pooled at the end of the text."""

from __future__ import annotations

from typing import Any

from conaclip_edge.config.model import ImageTowerConfig, ModelConfig, TextTowerConfig
from conaclip_edge.errors import UserError
from conaclip_edge.models.student.adopted.picture_input import PictureInput
from conaclip_edge.models.student.clip_names import loaded_name
from conaclip_edge.models.tokenizer import TextTokenizer

student_name = loaded_name
_ACTIVATIONS = ("gelu", "quick_gelu", "gelu_pytorch_tanh")
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
    if vision.num_channels != 3:
        raise UserError(f"its pictures have {vision.num_channels} channels; red, green and blue are needed")
    if picture.size != vision.image_size:
        raise UserError(f"its pictures are cut to {picture.size} pixels, but its tower takes {vision.image_size}")
    for name in (vision.hidden_act, text.hidden_act):
        if name not in _ACTIVATIONS:
            raise UserError(f"its activation '{name}' has no form for export; known: {', '.join(_ACTIVATIONS)}")
    end = text.vocab_size - 1 if text.eos_token_id == _LARGEST_ID else text.eos_token_id
    return ModelConfig(
        image=ImageTowerConfig(
            kind="vit",
            size=vision.image_size,
            resize=picture.resize,
            resample=picture.resample,
            mean=picture.mean,
            std=picture.std,
            width=vision.hidden_size,
            layers=vision.num_hidden_layers,
            heads=vision.num_attention_heads,
            mlp=vision.intermediate_size,
            patch=vision.patch_size,
            activation=vision.hidden_act,
            layer_norm_eps=vision.layer_norm_eps,
        ),
        text=TextTowerConfig(
            width=text.hidden_size,
            layers=text.num_hidden_layers,
            heads=text.num_attention_heads,
            mlp=text.intermediate_size,
            context=text.max_position_embeddings,
            activation=text.hidden_act,
            layer_norm_eps=text.layer_norm_eps,
            vocab_size=text.vocab_size,
            eos_id=end,
            pad_id=end if text.pad_token_id in (None, 1) else text.pad_token_id,
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
