"""Folders of weights: teachers and students, recognised by config.json; of the weights the header alone is read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from conaclip_edge.config.model import ModelConfig
from conaclip_edge.config.parse import parse
from conaclip_edge.errors import UserError
from conaclip_edge.models.certainty import Certainty, recall_text
from conaclip_edge.models.student.adopted.families import family_of
from conaclip_edge.models.student.folder import check_checkpoint, read_training
from conaclip_edge.models.teacher.openclip.layout import read_checkpoint
from conaclip_edge.models.transformers_folder import is_open_clip, pickled_files
from conaclip_edge.setup.info.description import Description, Fact, megabytes, quoted
from conaclip_edge.system.files import read_json, require_file

JOINED = "conaclip-edge-teacher"  # model_type of what train-teacher writes


def describe_model(folder: Path) -> Description:
    """Describe a student's or a teacher's folder.

    Raises:
        UserError: config.json is damaged, or the weights' header cannot be read.
    """
    if is_open_clip([path.name for path in folder.iterdir()]):
        return _open_clip(folder)
    content = read_json(folder / "config.json", "config")
    if not isinstance(content, dict):
        raise UserError(f"{folder / 'config.json'} must hold keys and values, not {type(content).__name__}.")
    return _student(folder, content) if "conaclip_edge" in content else _teacher(folder, content)


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return tensor -> shape of all safetensors files of a model; {} if it has none.

    Raises:
        UserError: a file is damaged.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for file in sorted(folder.glob("model*.safetensors")):
        try:
            require_file(file)  # a pipe would be waited for
            with safe_open(file, framework="numpy") as tensors:
                for name in tensors.keys():  # noqa: SIM118 - the library's handle is no mapping
                    shapes[name] = tuple(tensors.get_slice(name).get_shape())
        except (SafetensorError, OSError) as error:
            raise UserError(f"cannot read {file}: {' '.join(str(error).split())[:200]}. Fetch it again.") from error
    return shapes


def _student(folder: Path, content: dict[str, Any]) -> Description:
    shape = parse(ModelConfig, content["conaclip_edge"], str(folder / "config.json"))
    record = read_training(folder)
    facts: dict[str, Fact] = {
        "parameters": numbers(folder),
        "weights": megabytes(_bytes(folder)),
        "image tower": f"{shape.image.kind}, {shape.image.size} pixels",
        "text tower": f"{shape.text.layers} layers of width {shape.text.width}, {shape.text.context} ids",
        "vocabulary": shape.text.vocab_size,
        "embedding": shape.embed_dim,
    }
    facts |= {
        "trained on": _in(record, "data", "name"),
        "train pictures": _in(record, "data", "train_pictures"),
        "teacher": _in(record, "teacher", "name"),
        "mean recall on val": _in(record, "val", "mean_recall"),
        "that is": _val(record),
        "steps": _in(record, "recipe", "train", "steps"),
        "int8 steps": _in(record, "recipe", "train", "qat", "steps"),
        "mean recall on val, image tower int8": _in(record, "val_int8", "mean_recall"),
    }
    return Description(
        path=str(folder),
        kind="student",
        facts=facts,
        next_command=f"conaclip-edge export {quoted(folder)} --target all",
    )


def _teacher(folder: Path, content: dict[str, Any]) -> Description:
    shapes = tensor_shapes(folder)
    text = content.get("text_config") or {}
    facts: dict[str, Fact] = {
        "type": "joined by train-teacher" if content.get("model_type") == JOINED else str(content.get("model_type")),
        "parameters": numbers(folder),
        "weights": megabytes(_bytes(folder)),
        "embedding": content.get("embed_dim") or _rows(shapes, "text_projection.weight", "text_model.head.weight"),
        "context": _rows(shapes, "text_model.embeddings.position_embedding.weight")
        or (text.get("max_position_embeddings") if isinstance(text, dict) else None),
        "vocabulary": _rows(
            shapes,
            "text_model.embeddings.token_embedding.weight",
            "text_model.embeddings.word_embeddings.weight",
            "text.encoder.embeddings.word_embeddings.weight",
        ),
    }
    pickled = pickled_files(folder)
    if not shapes:
        facts["not usable"] = "no safetensors weights" + (
            f", only {pickled[0]}, which is not opened" if pickled else ""
        )
    distil = f"conaclip-edge init PICTURES --teacher {quoted(folder)}"
    as_it_is = _exported_as_it_is(folder)
    if as_it_is:
        facts["without distilling"] = f"a {as_it_is}, which export takes as it is"
    export = f"conaclip-edge export {quoted(folder)} --target all --data PICTURES"
    return Description(
        path=str(folder),
        kind="teacher",
        facts=facts,
        next_command=f"{distil}, or as it is: {export}" if as_it_is else distil,
    )


def _open_clip(folder: Path) -> Description:
    """Describe a checkpoint of OpenCLIP by its config."""
    checkpoint = read_checkpoint(folder, str(folder))
    other = checkpoint.not_plain()
    vision, text = checkpoint.vision, checkpoint.text
    facts: dict[str, Fact] = {
        "type": "open_clip",
        "image tower": str(vision.get("timm_model_name") or f"ViT, {vision.get('layers')} layers"),
        "text tower": str(text.get("hf_model_name") or f"{text.get('layers', 12)} layers"),
        "embedding": int(checkpoint.model["embed_dim"]) if "embed_dim" in checkpoint.model else None,
        "weights": megabytes(checkpoint.weights.stat().st_size),
        "opened by": f"OpenCLIP (extra open-clip), for its {other}" if other else "transformers, as a CLIP",
    }
    distil = f"conaclip-edge init PICTURES --teacher {quoted(folder)}"
    convert = f"conaclip-edge convert {quoted(folder)} --out {quoted(Path(f'{folder}-converted'))}"
    next_command = distil if other else f"{distil}, or to export it as it is: {convert}"
    return Description(path=str(folder), kind="teacher", facts=facts, next_command=next_command)


def _exported_as_it_is(folder: Path) -> str | None:
    """Return the family of a model that needs no distillation; None for one that needs it, or cannot be read."""
    try:
        return family_of(folder, check_checkpoint(folder)).name
    except UserError:
        return None


def numbers(folder: Path) -> int:
    """Return the number of parameters in the safetensors files of a model; 0 if it has none."""
    return sum(math.prod(shape) for name, shape in tensor_shapes(folder).items() if not name.endswith("position_ids"))


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("model*.safetensors"))


def _rows(shapes: dict[str, tuple[int, ...]], *names: str) -> int | None:
    return next((shapes[name][0] for name in names if name in shapes), None)


def _val(record: Any) -> Fact:
    """Return the mean recall on val with all that stands beside it, as far as a record has it."""
    mean = _in(record, "val", "mean_recall")
    if not isinstance(mean, float):
        return None
    beside = record["val"].get("certainty")
    return recall_text(mean, parse(Certainty, beside, "training.json (val.certainty)") if beside else None)


def _in(record: Any, *keys: str) -> Fact:
    """Return a value deep in a record, None where it lacks a key."""
    for key in keys:
        record = record.get(key) if isinstance(record, dict) else None
    return record if isinstance(record, str | int | float) else None
