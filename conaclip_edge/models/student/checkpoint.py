"""A student as a folder: config, weights, tokenizer, preprocessing, how it was trained. Loading never unpickles."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conaclip_edge.config.model import ImageTowerConfig, ModelConfig, TextTowerConfig
from conaclip_edge.config.parse import parse
from conaclip_edge.data.preprocess import Preprocess, describe
from conaclip_edge.errors import ConaclipError, UserError
from conaclip_edge.models.image_towers.vit import vision_config
from conaclip_edge.models.student.dual_encoder import DualEncoder, text_config
from conaclip_edge.models.tokenizer import TextTokenizer, for_context
from conaclip_edge.system.files import atomic_folder, read_json, sha256_file
from conaclip_edge.system.products import STUDENT

# our module names -> transformers' CLIPModel names
_CLIP_NAMES = {"image.vit.": ("vision_model.", "visual_projection."), "text.clip.": ("text_model.", "text_projection.")}


@dataclass(frozen=True)
class Student:
    """A loaded checkpoint: the model in eval mode, its tokenizer, and what `training.json` says."""

    model: DualEncoder
    tokenizer: TextTokenizer
    training: dict[str, Any]
    folder: Path
    fingerprint: str


def save_student(model: DualEncoder, tokenizer_json: dict[str, Any], training: dict[str, Any], folder: Path) -> None:
    """Write a checkpoint folder, whole or not at all; with a ViT image tower it is a transformers CLIPModel folder."""
    with atomic_folder(folder, STUDENT) as target:
        write_student(model, tokenizer_json, training, target)


def write_student(model: DualEncoder, tokenizer_json: dict[str, Any], training: dict[str, Any], target: Path) -> None:
    """Write a checkpoint's files into an existing folder."""
    from safetensors.torch import save_file

    config = model.config
    weights = {_saved_name(name): value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    content: dict[str, Any] = {"model_type": "conaclip-edge"}
    if config.image.kind == "vit" and config.text.kind == "clip":
        from transformers import CLIPConfig

        clip = CLIPConfig(
            vision_config=vision_config(config.image, config.embed_dim),
            text_config=text_config(config.text, config.embed_dim),
            projection_dim=config.embed_dim,
        )
        content = clip.to_dict() | {"architectures": ["CLIPModel"]}
        _write_json(target / "preprocessor_config.json", _clip_processor(config.image))
    _write_json(target / "config.json", content | {"conaclip_edge": config.model_dump(mode="json")})
    _write_json(target / "tokenizer.json", for_context(tokenizer_json, config.text.context))
    _write_json(target / "preprocess.json", describe(Preprocess.of(config.image)))
    _write_json(target / "training.json", training)


def load_student(folder: Path) -> Student:
    """Load a checkpoint folder, or any transformers CLIP folder with safetensors weights."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not folder.is_dir():
        raise UserError(f"no checkpoint at {folder}. Make one: conaclip-edge distill --out {folder}")
    file = folder / "model.safetensors"
    if not file.is_file():
        pickled = [path.name for path in folder.glob("*") if path.suffix in (".bin", ".pt", ".pth", ".pkl")]
        known = f" It has {', '.join(sorted(pickled))}, which is refused: unpickling can run code." if pickled else ""
        raise UserError(f"checkpoint {folder} has no model.safetensors.{known} Save it with safetensors.")
    config = model_config(folder)
    try:
        # checkpoints of old transformers releases list the positions, which are no weights
        found = {name: value for name, value in load_file(file).items() if not name.endswith(".position_ids")}
        weights = {_loaded_name(name): value for name, value in found.items()}
        model = _filled(config, weights)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise UserError(f"weights {file} do not fit config.json: {' '.join(str(error).split())[:300]}") from error
    training = folder / "training.json"
    return Student(
        model.eval(),
        TextTokenizer(folder / "tokenizer.json", config.text.context),
        read_json(training, "training record") if training.exists() else {},
        folder,
        sha256_file(file),
    )


def _filled(config: ModelConfig, weights: dict[str, Any]) -> DualEncoder:
    """Build a model with weights; RuntimeError if they do not fit it.

    The shape is built without memory first: a config may claim any size, weights are as large as their file.
    """
    import torch

    image = config.image
    layers = config.text.layers + max(image.layers, sum(stage[2] for stage in image.stages))
    if layers > len(weights):
        raise RuntimeError(f"it has {len(weights)} tensors for {layers} layers")
    try:
        with torch.device("meta"):
            shape = DualEncoder(config)
    except Exception as error:  # torch and transformers raise almost anything
        raise RuntimeError(f"no model can be built by it: {error}") from error
    shape.load_state_dict(weights, assign=True)
    model = DualEncoder(config)
    model.load_state_dict(weights)
    return model


def model_config(folder: Path) -> ModelConfig:
    """Read the shape of a checkpoint; a plain CLIPModel folder's is translated."""
    content = read_json(folder / "config.json", "checkpoint config")
    if not isinstance(content, dict):
        raise UserError(f"{folder / 'config.json'} must hold keys and values, not {type(content).__name__}.")
    if "conaclip_edge" in content:
        return parse(ModelConfig, content["conaclip_edge"], str(folder / "config.json"))
    if content.get("model_type") != "clip":
        raise UserError(
            f"{folder} is a '{content.get('model_type')}' model; a checkpoint of distill or a CLIP is needed."
        )
    try:
        return _clip_shape(content, folder / "preprocessor_config.json")
    except ConaclipError:
        raise
    except Exception as error:  # transformers' configs raise almost anything, and keep values of any kind
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"cannot read the CLIP's shape in {folder / 'config.json'}: {reason}.") from error


def _clip_shape(content: dict[str, Any], processor: Path) -> ModelConfig:
    """Translate the config of a plain CLIPModel."""
    from transformers import CLIPConfig

    clip = CLIPConfig(**content)
    vision, text = clip.vision_config, clip.text_config
    norm = read_json(processor, "image processor") if processor.exists() else {}
    normal = {key: tuple(norm[f"image_{key}"]) for key in ("mean", "std") if f"image_{key}" in norm}
    # the legacy id 2 means: pool at the largest id, which is CLIP's end of text
    eos = text.vocab_size - 1 if text.eos_token_id == 2 else text.eos_token_id
    return ModelConfig(
        image=ImageTowerConfig(
            kind="vit",
            size=vision.image_size,
            width=vision.hidden_size,
            layers=vision.num_hidden_layers,
            heads=vision.num_attention_heads,
            mlp=vision.intermediate_size,
            patch=vision.patch_size,
            activation=vision.hidden_act,
            layer_norm_eps=vision.layer_norm_eps,
            **normal,
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
            eos_id=eos,
            pad_id=eos if text.pad_token_id in (None, 1) else text.pad_token_id,
        ),
        embed_dim=clip.projection_dim,
    )


def _saved_name(name: str) -> str:
    for ours in _CLIP_NAMES:
        name = name.removeprefix(ours)
    return name


def _loaded_name(name: str) -> str:
    for ours, theirs in _CLIP_NAMES.items():
        if name.startswith(theirs):
            return ours + name
    return name


def _clip_processor(image: ImageTowerConfig) -> dict[str, Any]:
    square = {"height": image.size, "width": image.size}
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": square if image.resize == "squash" else {"shortest_edge": image.size},
        "resample": 2 if image.resample == "bilinear" else 3,
        "do_center_crop": image.resize == "crop",
        "crop_size": square,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(image.mean),
        "image_std": list(image.std),
        "do_convert_rgb": True,
    }


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def parameter_counts(model: DualEncoder) -> dict[str, int]:
    """Count a student's parameters: image tower, text tower, of which the token table, and all."""
    image = sum(parameter.numel() for parameter in model.image.parameters())
    text = sum(parameter.numel() for parameter in model.text.parameters())
    table = model.text.token_table.numel()
    return {"image": image, "text": text, "token_table": table, "all": image + text + 1}
