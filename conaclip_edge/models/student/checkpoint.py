"""A student as a folder: config, weights, tokenizer, preprocessing, how it was trained. Loading never unpickles."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conaclip_edge.config.model import ImageTowerConfig, ModelConfig
from conaclip_edge.config.parse import parse
from conaclip_edge.data.preprocess import Preprocess, describe
from conaclip_edge.errors import UserError
from conaclip_edge.models.image_towers.vit import vision_config
from conaclip_edge.models.quantization.record import Quantization, read_quantization
from conaclip_edge.models.student.adopted.read import read_shape
from conaclip_edge.models.student.adopted.weights import read_weights, weight_files
from conaclip_edge.models.student.clip_names import loaded_name, saved_name
from conaclip_edge.models.student.dual_encoder import DualEncoder, text_config
from conaclip_edge.models.student.folder import OWN, RECORD, check_checkpoint, read_training
from conaclip_edge.models.tokenizer import TextTokenizer, for_context
from conaclip_edge.system.files import atomic_folder
from conaclip_edge.system.products import STUDENT


@dataclass(frozen=True)
class Student:
    """A loaded checkpoint: the model in eval mode, its tokenizer, and what `training.json` says.

    A model that was not distilled here has `adopted` in `training`, with its family. `quantization` holds the grids of
    one that was trained to be int8.
    """

    model: DualEncoder
    tokenizer: TextTokenizer
    training: dict[str, Any]
    folder: Path
    quantization: Quantization | None = None


def save_student(model: DualEncoder, tokenizer_json: dict[str, Any], training: dict[str, Any], folder: Path) -> None:
    """Write a checkpoint folder, whole or not at all; with a ViT image tower it is a transformers CLIPModel folder."""
    with atomic_folder(folder, STUDENT) as target:
        write_student(model, tokenizer_json, training, target)


def write_student(model: DualEncoder, tokenizer_json: dict[str, Any], training: dict[str, Any], target: Path) -> None:
    """Write a checkpoint's files into an existing folder."""
    from safetensors.torch import save_file

    config = model.config
    weights = {saved_name(name): value.contiguous() for name, value in model.state_dict().items()}
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
    padded = config.text.kind == "siglip"
    _write_json(
        target / "tokenizer.json", tokenizer_json if padded else for_context(tokenizer_json, config.text.context)
    )
    _write_json(target / "preprocess.json", describe(Preprocess.of(config.image)))
    _write_json(target / RECORD, training)


def load_student(folder: Path) -> Student:
    """Load a checkpoint folder, or the folder of a family of `adopted/families.py`, which is not changed.

    Raises:
        UserError: nothing there, another model, or a damaged one.
    """
    from safetensors import SafetensorError

    content = check_checkpoint(folder)
    files = weight_files(folder)
    adopted = None if OWN in content else read_shape(folder, content)
    config = adopted.config if adopted else parse(ModelConfig, content[OWN], str(folder / "config.json"))
    student_name = adopted.student_name if adopted else loaded_name
    try:
        weights = {name: value for key, value in read_weights(files).items() if (name := student_name(key))}
        model = _filled(config, weights)
    except (SafetensorError, RuntimeError, OSError) as error:
        place = files[0] if len(files) == 1 else folder
        reason = " ".join(str(error).split())[:300].removesuffix(".")
        raise UserError(f"weights {place} do not fit config.json: {reason}. Take both from the same model.") from error
    tokenizer = adopted.tokenizer if adopted else TextTokenizer(folder / "tokenizer.json", config.text.context)
    training = read_training(folder)
    if adopted:
        training |= {"adopted": {"family": adopted.family}, "parameters": parameter_counts(model)}
    quantization = None if adopted else read_quantization(folder, config.image)
    return Student(model.eval(), tokenizer, training, folder, quantization)


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
    for name, value in shape.state_dict().items():
        if name in weights and value.is_floating_point() and not weights[name].is_floating_point():
            raise RuntimeError(f"{name} holds {weights[name].dtype}, no floats")
        if name in weights and not weights[name].isfinite().all():
            raise RuntimeError(f"{name} holds values that are no finite numbers")
    shape.load_state_dict(weights, assign=True)
    model = DualEncoder(config)
    model.load_state_dict(weights)
    return model


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
