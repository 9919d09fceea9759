"""EasyNLP's Chinese CLIP, brought into the layout of transformers' ChineseCLIP, which any teacher may have.

Its folder has config.json (model_type "chinese_clip"), pytorch_model.bin and vocab.txt. The picture tower has the names
that OpenAI's CLIP was published with, the text tower those of BERT.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field
from torch import Tensor

from conaclip_edge.config import Config
from conaclip_edge.config_values import parse
from conaclip_edge.errors import UserError
from conaclip_edge.files import atomic_folder, read_json

CONTEXT = 52  # tokens of a text, as the model was trained
_HEAD = 64  # width of an attention head of the picture tower
_VISION = {
    "class_embedding": "embeddings.class_embedding",
    "conv1.weight": "embeddings.patch_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_pre.": "pre_layrnorm.",  # sic
    "ln_post.": "post_layernorm.",
}
_BLOCK = {
    "ln_1.": "layer_norm1.",
    "ln_2.": "layer_norm2.",
    "mlp.c_fc.": "mlp.fc1.",
    "mlp.c_proj.": "mlp.fc2.",
    "attn.out_proj.": "self_attn.out_proj.",
}


class EasyNlpConfig(Config):
    """What its config.json says, under its own names; keys that no tensor depends on are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model_type: Literal["chinese_clip"]
    embed_dim: int = Field(gt=0)
    image_resolution: int = Field(gt=0)
    vision_layers: int = Field(gt=0, lt=1000)
    vision_width: int = Field(gt=0, multiple_of=_HEAD)
    vision_patch_size: int = Field(gt=0)
    vocab_size: int = Field(gt=0)
    text_hidden_act: str
    text_hidden_size: int = Field(gt=0)
    text_intermediate_size: int = Field(gt=0)
    text_max_position_embeddings: int = Field(gt=0)
    text_num_attention_heads: int = Field(gt=0)
    text_num_hidden_layers: int = Field(gt=0, lt=1000)
    text_type_vocab_size: int = Field(gt=0)


def convert_easynlp(folder: Path, out: Path) -> dict[str, Any]:
    """Write a folder that `load_teacher` opens, with the same weights.

    Args:
        folder: config.json, pytorch_model.bin and vocab.txt of EasyNLP.
        out: the new folder.

    Returns:
        {"teacher": out, "parameters", "embed_dim"}.

    Raises:
        UserError: a file is missing, holds more than tensors, or a tensor is missing, unknown or of another shape.
    """
    import transformers
    from transformers import ChineseCLIPConfig, ChineseCLIPImageProcessorPil, ChineseCLIPModel

    content = read_json(folder / "config.json", "EasyNLP config")
    kind = content.get("model_type") if isinstance(content, dict) else None
    if kind != "chinese_clip":
        raise UserError(
            f"{folder} has model_type '{kind}'; 'chinese_clip' is converted. A CLIP of transformers needs no "
            "conversion: give its folder as the teacher."
        )
    config = parse(EasyNlpConfig, content, str(folder / "config.json"))
    vocabulary = folder / "vocab.txt"
    if not vocabulary.is_file():
        raise UserError(f"no vocabulary at {vocabulary}. Copy the vocab.txt that belongs to the weights.")
    vision = {
        "hidden_size": config.vision_width,
        "intermediate_size": 4 * config.vision_width,
        "num_hidden_layers": config.vision_layers,
        "num_attention_heads": config.vision_width // _HEAD,
        "image_size": config.image_resolution,
        "patch_size": config.vision_patch_size,
        "hidden_act": "quick_gelu",
    }
    text = {name: content[f"text_{name}"] for name in _text_keys()} | {"vocab_size": config.vocab_size}
    size = config.image_resolution
    target: Any = ChineseCLIPModel(
        ChineseCLIPConfig(text_config=text, vision_config=vision, projection_dim=config.embed_dim)
    ).eval()
    _fill(target, _weights(folder / "pytorch_model.bin"), folder)
    tokenizer = transformers.BertTokenizer(str(vocabulary), model_max_length=CONTEXT)
    square = {"height": size, "width": size}
    processor = ChineseCLIPImageProcessorPil(size=square, do_center_crop=False)
    with atomic_folder(out) as place:
        for part in (target, tokenizer, processor):
            part.save_pretrained(place)
    return {
        "teacher": str(out),
        "parameters": sum(parameter.numel() for parameter in target.parameters()),
        "embed_dim": config.embed_dim,
    }


def renamed(name: str, value: Tensor) -> dict[str, Tensor]:
    """Return the tensors of transformers' ChineseCLIP that a tensor of EasyNLP's becomes; none for what it lacks."""
    name = name.removeprefix("chinese_clip.")
    if name == "logit_scale":
        return {name: value}
    if name == "text_projection":
        return {"text_projection.weight": value.T}
    if name == "visual.proj":
        return {"visual_projection.weight": value.T}
    if name.startswith("bert."):
        unused = name.startswith("bert.pooler.") or name.endswith(".position_ids")
        return {} if unused else {"text_model." + name.removeprefix("bert."): value}
    if not name.startswith("visual."):
        return {name: value}
    inner = name.removeprefix("visual.")
    if inner.startswith("transformer.resblocks."):
        number, _, rest = inner.removeprefix("transformer.resblocks.").partition(".")
        block = f"vision_model.encoder.layers.{number}."
        if rest.startswith("attn.in_proj_"):
            kind = rest.removeprefix("attn.in_proj_")
            return {
                f"{block}self_attn.{part}_proj.{kind}": piece for part, piece in zip("qkv", value.chunk(3), strict=True)
            }
        return {block + _replaced(rest, _BLOCK): value}
    return {"vision_model." + _replaced(inner, _VISION): value}


def _text_keys() -> tuple[str, ...]:
    prefix = "text_"
    return tuple(name.removeprefix(prefix) for name in EasyNlpConfig.model_fields if name.startswith(prefix))


def _replaced(name: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _weights(file: Path) -> dict[str, Tensor]:
    """Read a file of tensors and nothing else."""
    import torch

    if not file.is_file():
        raise UserError(f"no weights at {file}. EasyNLP writes them as pytorch_model.bin.")
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler's own errors, and those of what is no such file
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"weights {file} hold more than tensors, or are damaged, and are refused: {reason}") from None
    if not (isinstance(found, dict) and all(isinstance(value, torch.Tensor) for value in found.values())):
        raise UserError(f"weights {file} are no dictionary of tensors.")
    return {str(name): value for name, value in found.items()}


def _fill(model: Any, weights: dict[str, Tensor], folder: Path) -> None:
    wanted = model.state_dict()
    made: dict[str, Tensor] = {}
    for name, value in weights.items():
        made |= renamed(name, value.float())
    unknown = sorted(set(made) - set(wanted))
    missing = sorted(
        name for name in set(wanted) - set(made) if not name.endswith((".position_ids", ".token_type_ids"))
    )
    shapes = [name for name in made if name in wanted and made[name].shape != wanted[name].shape]
    for what, names in (("unknown", unknown), ("missing", missing), ("of another shape than config.json says", shapes)):
        if names:
            raise UserError(f"weights of {folder}: {len(names)} tensors are {what}: {', '.join(names[:4])}.")
    model.load_state_dict(made, strict=False)
