"""How EasyNLP lays out its CLIP checkpoints, and which tensors of one make which tensor of a transformers model.

There are three kinds. `open_clip` is OpenAI's CLIP and `chinese_clip` a ViT and a BERT: their config.json is flat, and
their image towers and OpenAI's text tower keep OpenAI's names. `clip` is a ViT and a RoBERTa with transformers' names:
a VisionTextDualEncoder, but for its projections, which have biases (our teacher adds them).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from conaclip_edge.config.base import Config
from conaclip_edge.errors import UserError
from conaclip_edge.models.openai_weights import OPENAI_IMAGE, OPENAI_LAYER, OPENAI_TEXT, Part, openai_part, renamed

HEAD_WIDTH = 64  # of the attention of a flat config's image tower

Layers = Annotated[int, Field(gt=0, le=1000)]
Count = Annotated[int, Field(gt=0)]
Activation = Literal["gelu", "gelu_new", "relu", "quick_gelu"]


class Flat(Config):
    """Keys that the config.json of `open_clip` and `chinese_clip` has."""

    embed_dim: Count
    image_resolution: Count
    vision_layers: Layers | list[int] = Field(description="a list means a ResNet")
    vision_width: Count
    vision_patch_size: Count | None
    vocab_size: Count


class OpenClip(Flat):
    """config.json of kind `open_clip`."""

    model_type: Literal["open_clip"]
    context_length: Count
    transformer_width: Count
    transformer_heads: Count
    transformer_layers: Layers


class ChineseClip(Flat):
    """config.json of kind `chinese_clip`."""

    model_type: Literal["chinese_clip"]
    text_attention_probs_dropout_prob: float
    text_hidden_act: Activation
    text_hidden_dropout_prob: float
    text_hidden_size: Count
    text_initializer_range: float
    text_intermediate_size: Count
    text_max_position_embeddings: Count
    text_num_attention_heads: Count
    text_num_hidden_layers: Layers
    text_type_vocab_size: Count


class Loose(Config):
    """A config whose file has many keys more, which say nothing about the model; the defaults are EasyNLP's."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class TextSection(Loose):
    """Section text_config of kind `clip`."""

    vocab_size: Count = 21128
    hidden_size: Count = 1024
    intermediate_size: Count = 4096
    num_hidden_layers: Layers = 24
    num_attention_heads: Count = 16
    max_position_embeddings: Count = 512
    type_vocab_size: Count = 2
    hidden_act: Activation = "gelu"
    layer_norm_eps: float = 1e-12


class ImageSection(Loose):
    """Section vision_config of kind `clip`."""

    hidden_size: Count = 768
    intermediate_size: Count = 3072
    num_hidden_layers: Layers = 12
    num_attention_heads: Count = 12
    image_size: Count = 224
    patch_size: Count = 32
    hidden_act: Activation = "quick_gelu"
    layer_norm_eps: float = 1e-5


class RobertaClip(Loose):
    """config.json of kind `clip`; the width of the common space is that of the projections, whatever else it says."""

    model_type: Literal["clip"]
    text_config: TextSection
    vision_config: ImageSection


KINDS: dict[str, type[Config]] = {"open_clip": OpenClip, "chinese_clip": ChineseClip, "clip": RobertaClip}


_NAMES = {
    "open_clip": (*OPENAI_IMAGE, *OPENAI_TEXT, *OPENAI_LAYER),
    "chinese_clip": (*OPENAI_IMAGE, ("text_model.", "bert."), *OPENAI_LAYER),
    "clip": (
        ("text_model.", "text_encoder."),
        ("vision_model.", "vision_encoder.vision_model."),
        ("visual_projection.", "vision_projection."),
    ),
}
_UNUSED = {
    "open_clip": r"$^",
    "chinese_clip": r"bert\.(pooler\.dense\.(weight|bias)|embeddings\.position_ids)",
    "clip": r"(text_encoder|vision_encoder\.vision_model)\.embeddings\.position_ids",
}


def part_of(target: str, kind: str) -> Part:
    """Say where the checkpoint keeps a tensor of the transformers model.

    Args:
        target: name of the model's tensor.
        kind: one of `KINDS`.
    """
    if kind == "clip":
        return Part(renamed(target, _NAMES[kind]), None, False)
    return openai_part(target, _NAMES[kind])


def is_unused(name: str, kind: str) -> bool:
    """Tell a tensor that checkpoints hold and no embedding depends on."""
    return re.fullmatch(_UNUSED[kind], name) is not None


def transformers_config(config: Config, width: int, where: str) -> Any:
    """Make the transformers config of a checkpoint.

    Args:
        config: one of `KINDS`.
        width: of the common space by the projections; a flat config says it itself.
        where: names the file in errors.
    """
    import transformers

    if isinstance(config, RobertaClip):
        text, vision = config.text_config.model_dump(), config.vision_config.model_dump()
    else:
        assert isinstance(config, OpenClip | ChineseClip)
        width, vision = config.embed_dim, _flat_vision(config, where)
        text = _openai_text(config) if isinstance(config, OpenClip) else _bert_text(config)
    for tower, section in (("text", text), ("image", vision)):
        if section["hidden_size"] % section["num_attention_heads"]:
            raise UserError(
                f"{where}: the {tower} tower's width {section['hidden_size']} is no multiple of its "
                f"{section['num_attention_heads']} attention heads."
            )
    if isinstance(config, RobertaClip):
        return transformers.VisionTextDualEncoderConfig.from_vision_text_configs(
            transformers.CLIPVisionConfig(**vision),
            transformers.RobertaConfig(**text, pad_token_id=0),
            projection_dim=width,
        )
    kind = transformers.CLIPConfig if isinstance(config, OpenClip) else transformers.ChineseCLIPConfig
    return kind(text_config=text, vision_config=vision, projection_dim=width)


def _flat_vision(config: Flat, where: str) -> dict[str, Any]:
    if isinstance(config.vision_layers, list) or config.vision_patch_size is None:
        raise UserError(f"{where}: its image tower is a ResNet, which transformers' CLIP has not. Take one with a ViT.")
    if config.vision_width % HEAD_WIDTH:
        raise UserError(f"{where}: vision_width {config.vision_width} is no multiple of {HEAD_WIDTH}, a head's width.")
    return {
        "hidden_size": config.vision_width,
        "intermediate_size": 4 * config.vision_width,
        "num_hidden_layers": config.vision_layers,
        "num_attention_heads": config.vision_width // HEAD_WIDTH,
        "image_size": config.image_resolution,
        "patch_size": config.vision_patch_size,
        "hidden_act": "quick_gelu",
    }


def _openai_text(config: OpenClip) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.transformer_width,
        "intermediate_size": 4 * config.transformer_width,
        "num_hidden_layers": config.transformer_layers,
        "num_attention_heads": config.transformer_heads,
        "max_position_embeddings": config.context_length,
        "hidden_act": "quick_gelu",
        "bos_token_id": config.vocab_size - 2,
        "eos_token_id": config.vocab_size - 1,
        "pad_token_id": config.vocab_size - 1,
    }


def _bert_text(config: ChineseClip) -> dict[str, Any]:
    values = config.model_dump().items()
    own = {key.removeprefix("text_"): value for key, value in values if key.startswith("text_")}
    return own | {"vocab_size": config.vocab_size, "layer_norm_eps": 1e-12}
