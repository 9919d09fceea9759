"""CLIPModel folders as they are published: in halves, in shards, with towers of two widths, with a slow tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.helpers.models.tiny_teachers import clip, clip_image_processor, clip_model, clip_old, clip_tokenizer, save


def towers_of_two_widths(folder: Path) -> None:
    """As TinyCLIP's: the text tower is wider than the image tower, and deeper."""
    text = {"hidden_size": 48, "intermediate_size": 96, "num_attention_heads": 3, "num_hidden_layers": 3}
    save(folder, clip_model(None, text), clip_tokenizer(), clip_image_processor())


def two_activations(folder: Path) -> None:
    """As MetaCLIP's and LAION's: GELU in one tower, CLIP's own form of it in the other."""
    model = clip_model(None, {"hidden_act": "gelu"}, {"hidden_act": "quick_gelu"})
    save(folder, model, clip_tokenizer(), clip_image_processor())


def half(folder: Path, dtype: torch.dtype = torch.float16) -> None:
    """With weights of 16 bits, and the positions that old releases of transformers list."""
    clip(folder)
    file = folder / "model.safetensors"
    weights = {name: value.to(dtype) for name, value in load_file(file).items()}
    positions = {"text_model.embeddings.position_ids": torch.arange(16)[None]}
    save_file(weights | positions, file, metadata={"format": "pt"})


def bfloat16(folder: Path) -> None:
    half(folder, torch.bfloat16)


def shards(folder: Path) -> None:
    """With the weights in two files and the index that names them."""
    clip(folder)
    file = folder / "model.safetensors"
    weights = sorted(load_file(file).items())
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    file.unlink()
    for number, name in enumerate(names):
        save_file(dict(weights[number::2]), folder / name, metadata={"format": "pt"})
    places = {key: names[place % 2] for place, (key, _) in enumerate(weights)}
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")


PUBLISHED: dict[str, Callable[[Path], None]] = {
    "float32": clip,
    "float16": half,
    "bfloat16": bfloat16,
    "shards": shards,
    "slow tokenizer, end of text 2": clip_old,
    "towers of two widths": towers_of_two_widths,
    "two activations": two_activations,
}


def change_json(file: Path, **values: Any) -> None:
    """Change keys of a JSON file; None leaves a key out."""
    content = json.loads(file.read_text("utf-8")) | values
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}), "utf-8")
