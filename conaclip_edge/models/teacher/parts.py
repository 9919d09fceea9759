"""The parts of a teacher that transformers opens, read from a folder: model, tokenizer, image processor.

Weights come from safetensors alone: nothing is unpickled, and code that a checkpoint brings along is never run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from conaclip_edge.errors import UserError
from conaclip_edge.models.teacher.hub import fetch
from conaclip_edge.models.teacher.loading import use
from conaclip_edge.models.transformers_folder import (
    FILES,
    WEIGHTS,
    check_image_processor,
    check_tokenizer,
    present,
    to_safetensors,
)
from conaclip_edge.system.files import read_json, sha256_file, sha256_text

KNOWN_FAMILIES = "CLIP, MetaCLIP 2, SigLIP, SigLIP 2, Chinese-CLIP, AltCLIP, VisionTextDualEncoder"

# Trained on lower-cased texts, padded to the full context without a mask, so that padding is part of the text.
SIGLIP = ("siglip", "siglip2")
_FROM_FOLDER = {"trust_remote_code": False, "local_files_only": True}


@dataclass(frozen=True)
class Parts:
    """A dual encoder of transformers, and what it makes of texts and pictures.

    Attributes:
        name: what to call it in reports.
        folder: where it was read.
        model_type: of its config.
        model: in float32, all weights loaded.
        tokenizer: of transformers.
        image_processor: of transformers, on Pillow.
        fingerprint: hash of all that decides an embedding.
    """

    name: str
    folder: Path
    model_type: str
    model: Any
    tokenizer: Any
    image_processor: Any
    fingerprint: str


def read_parts(source: str, fetched: Path | None = None) -> Parts:
    """Read a folder of transformers.

    Args:
        source: the folder, or a hub name, which is fetched once and then read from the hub's cache.
        fetched: folder of a hub name's files, where they were fetched already.

    Raises:
        UserError: the hub is out of reach, or the folder lacks safetensors weights, tokenizer or image processor, or
            holds something other than a dual encoder.
    """
    from transformers import AutoImageProcessor, AutoTokenizer

    folder = fetched or (Path(source) if Path(source).is_dir() else fetch(source))
    model_type = _check_folder(folder, source)
    model = _load_model(folder, source)
    tokenizer = use("tokenizer", source, lambda: AutoTokenizer.from_pretrained(str(folder), **_FROM_FOLDER))
    # The Pillow backend gives the same pixels whether torchvision is installed or not.
    image_processor = use(
        "image processor",
        source,
        lambda: AutoImageProcessor.from_pretrained(str(folder), backend="pil", **_FROM_FOLDER),
    )
    fingerprint = _fingerprint(folder, model_type)
    return Parts(name_of(source), folder, model_type, model, tokenizer, image_processor, fingerprint)


def name_of(source: str) -> str:
    """Return what reports call a teacher: its hub name, or the name of its folder."""
    return Path(source).resolve().name if Path(source).is_dir() else source


def _check_folder(folder: Path, source: str) -> str:
    """Refuse a folder that lacks a part, before anything is loaded; returns the model type."""
    from transformers import CONFIG_MAPPING, MODEL_MAPPING

    config = read_json(folder / "config.json", "teacher config")
    model_type = config.get("model_type") if isinstance(config, dict) else None
    known = isinstance(model_type, str) and model_type in CONFIG_MAPPING
    model = use("config", source, lambda: MODEL_MAPPING.get(CONFIG_MAPPING[model_type], None)) if known else None
    if not (hasattr(model, "get_image_features") and hasattr(model, "get_text_features")):
        raise no_dual_encoder(source, f"its config.json says model_type '{model_type}'")
    if not present(folder, WEIGHTS):
        raise UserError(
            f"teacher {source} has no weights in model.safetensors; pickled ones (pytorch_model.bin) are not loaded, "
            f"since they can run code. Convert them once, reading their numbers alone: "
            f"{to_safetensors(source, 'teacher')}"
        )
    check_tokenizer(folder, f"teacher {source}")
    check_image_processor(folder, f"teacher {source}")
    return str(model_type)


def no_dual_encoder(source: str, reason: str) -> UserError:
    """Make the error for a model that embeds no pictures or no texts; `reason` says what shows it."""
    return UserError(f"teacher {source} is no dual encoder that transformers knows: {reason}. Known: {KNOWN_FAMILIES}.")


def _load_model(folder: Path, source: str) -> Any:
    """Load a dual encoder in float32, every weight of it."""
    from transformers import AutoModel
    from transformers.utils import logging

    bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model, report = use(
            "weights",
            source,
            lambda: AutoModel.from_pretrained(
                str(folder),
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are named below
                **_FROM_FOLDER,
            ),
        )
    finally:
        if bar:
            logging.enable_progress_bar()
    _check_fit(report, source)
    _add_projection_biases(model, folder, set(report["unexpected_keys"]))
    if not hasattr(model, "text_model"):
        raise no_dual_encoder(source, f"{type(model).__name__} has no text tower of its own")
    return model


def _check_fit(report: dict[str, Any], source: str) -> None:
    """Refuse weights of another model than config.json describes: transformers fills and drops what does not fit."""
    missing = sorted(report["missing_keys"])
    if missing:
        raise UserError(
            f"teacher {source}: {len(missing)} weights are missing from its safetensors, such as {missing[0]}. "
            "Fetch the checkpoint again."
        )
    for name, held, wanted in sorted(report["mismatched_keys"], key=str):
        raise UserError(
            f"teacher {source}: its weights do not fit its config.json: {name} is {list(held)}, config.json asks for "
            f"{list(wanted)}. Take both from the same model."
        )
    layers = sorted(name for name in report["unexpected_keys"] if re.search(r"\blayers?\.\d+\.", name))
    if layers:
        raise UserError(
            f"teacher {source}: its weights do not fit its config.json, which has no {layers[0]}. Take both from the "
            "same model."
        )


def _add_projection_biases(model: Any, folder: Path, unexpected: set[str]) -> None:
    """Give the projections the biases that `convert` writes beside weights whose transformers class has none."""
    from safetensors import safe_open

    for path in sorted(folder.glob("model*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in ("text_projection", "visual_projection"):
                projection, key = getattr(model, name, None), f"{name}.bias"
                if isinstance(projection, nn.Linear) and key in unexpected.intersection(file.keys()):
                    projection.bias = nn.Parameter(file.get_tensor(key).float())


def _fingerprint(folder: Path, model_type: str) -> str:
    """Hash all that decides an embedding: config, weights, image processor, tokenizer and what is done to texts."""
    parts = [part for path in present(folder, FILES) for part in (path.name, sha256_file(path))]
    return sha256_text("transformers/1", *parts, *(("lower case",) if model_type in SIGLIP else ()))
