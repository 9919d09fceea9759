"""OpenCLIP's plain ViTs as transformers' CLIP: the same towers under other names, so that no other library is needed.

OpenAI's, LAION's, DataComp's, MetaCLIP's and DFN's ViTs and TinyCLIP's of one width are laid out so.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from conaclip_edge.models.openai_weights import fill, openai_part
from conaclip_edge.models.teacher.loading import use
from conaclip_edge.models.teacher.openclip.layout import OpenClipCheckpoint
from conaclip_edge.models.teacher.openclip.tokenizer import clip_tokenizer
from conaclip_edge.models.teacher.parts import Parts, name_of
from conaclip_edge.models.transformers_folder import OPEN_CLIP_CONFIG

_HEAD = 64  # width of a picture tower's attention heads where the config says none
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_FILTERS = {"bilinear": 2, "bicubic": 3}  # Pillow's numbers; "random" is for training, and bicubic else
_UNUSED = ("logit_bias", "attn_mask")


def plain_vit_parts(checkpoint: OpenClipCheckpoint, source: str) -> Parts:
    """Read a checkpoint of plain towers as a CLIPModel with tokenizer and image processor.

    Args:
        checkpoint: one whose `not_plain` is "".
        source: of the teacher, for errors.

    Raises:
        UserError: config, weights or tokenizer are damaged, or do not fit each other.
    """
    from transformers import CLIPModel

    config = use("config", source, lambda: _config(checkpoint))
    with torch.device("meta"):
        model: Any = use("config", source, lambda: CLIPModel(config))
    weights = use("weights", source, lambda: _read(checkpoint))
    parts = {target: openai_part(target) for target in model.state_dict()}
    fill(model, parts, weights, checkpoint.weights, lambda name: name in _UNUSED, OPEN_CLIP_CONFIG)
    _give_positions(model)
    tokenizer = clip_tokenizer(checkpoint, source)
    processor = use("config", source, lambda: _image_processor(checkpoint, config.vision_config.image_size))
    name, fingerprint = name_of(source), checkpoint.fingerprint
    return Parts(name, checkpoint.folder, "clip", model.eval(), tokenizer, processor, fingerprint)


def _config(checkpoint: OpenClipCheckpoint) -> Any:
    """Translate the shape of both towers to transformers' CLIPConfig."""
    from transformers import CLIPConfig

    vision, text = checkpoint.vision, checkpoint.text
    activation = "quick_gelu" if checkpoint.model.get("quick_gelu") else "gelu"
    width, text_width = int(vision.get("width", 768)), int(text.get("width", 512))
    vocabulary = int(text.get("vocab_size", 49408))
    size = vision.get("image_size", 224)
    if isinstance(size, list):
        (size,) = set(size)
    return CLIPConfig(
        projection_dim=int(checkpoint.model["embed_dim"]),
        vision_config={
            "hidden_size": width,
            "intermediate_size": int(width * vision.get("mlp_ratio", 4.0)),
            "num_hidden_layers": int(vision.get("layers", 12)),
            "num_attention_heads": width // int(vision.get("head_width", _HEAD)),
            "image_size": int(size),
            "patch_size": int(vision.get("patch_size", 16)),
            "hidden_act": activation,
        },
        text_config={
            "vocab_size": vocabulary,
            "hidden_size": text_width,
            "intermediate_size": int(text_width * text.get("mlp_ratio", 4.0)),
            "num_hidden_layers": int(text.get("layers", 12)),
            "num_attention_heads": int(text.get("heads", 8)),
            "max_position_embeddings": int(text.get("context_length", 77)),
            "hidden_act": activation,
            "bos_token_id": vocabulary - 2,
            "eos_token_id": vocabulary - 1,
            "pad_token_id": vocabulary - 1,
        },
    )


def _read(checkpoint: OpenClipCheckpoint) -> dict[str, Tensor]:
    """Read the weights; where the text tower stands under `text.`, without that."""
    from safetensors.torch import load_file

    held = load_file(checkpoint.weights)
    weights = {name.removeprefix("module.").removeprefix("text."): value for name, value in held.items()}
    if "logit_scale" in weights:
        weights["logit_scale"] = weights["logit_scale"].reshape(())
    return weights


def _give_positions(model: Any) -> None:
    """Number the positions, which are no weights and have no values on the device meta."""
    for embeddings in (model.text_model.embeddings, model.vision_model.embeddings):
        embeddings.position_ids = torch.arange(embeddings.position_embedding.num_embeddings)[None]


def _image_processor(checkpoint: OpenClipCheckpoint, size: int) -> Any:
    from transformers import CLIPImageProcessorPil

    steps = checkpoint.preprocess
    squash = steps.get("resize_mode") == "squash"
    square = {"height": size, "width": size}
    mean, std = (steps.get(key) or value for key, value in (("mean", _MEAN), ("std", _STD)))
    return CLIPImageProcessorPil(
        size=square if squash else {"shortest_edge": size},
        do_center_crop=not squash,
        crop_size=square,
        resample=_FILTERS.get(steps.get("interpolation") or "bicubic", 3),
        image_mean=list(mean) if isinstance(mean, list | tuple) else [mean] * 3,
        image_std=list(std) if isinstance(std, list | tuple) else [std] * 3,
    )
