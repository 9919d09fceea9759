"""The files of a folder of a transformers or OpenCLIP model, by their names: nothing is loaded, so it takes no time."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from conaclip_edge.errors import UserError

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "model-*.safetensors")
IMAGE_PROCESSOR = ("preprocessor_config.json", "processor_config.json")
VOCABULARY = ("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt", "*.model")
TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
FILES = ("config.json", *WEIGHTS, *IMAGE_PROCESSOR, *VOCABULARY, *TOKENIZER_SETTINGS)
OPEN_CLIP_CONFIG = "open_clip_config.json"
OPEN_CLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")  # the first is read
PICKLED = (".bin", ".pt", ".pth", ".pkl")


def present(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    """Return the files of a folder whose names fit one of the patterns, in order."""
    return sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})


def pickled_files(folder: Path) -> list[str]:
    """Return the names of the files that hold pickled weights, which are never opened."""
    return sorted(path.name for path in folder.glob("*") if path.suffix in PICKLED)


def is_open_clip(names: Collection[str]) -> bool:
    """Tell a checkpoint that only OpenCLIP's files make whole from one of transformers that brings them along.

    Args:
        names: of the files beside each other.
    """
    whole = "config.json" in names and any(name in names for name in IMAGE_PROCESSOR)
    weights = any(fnmatch(name, pattern) for name in names for pattern in WEIGHTS)
    return OPEN_CLIP_CONFIG in names and not (whole and weights)


def open_clip_to_safetensors(pickled: Path) -> str:
    """Write the command that converts pickled weights of OpenCLIP, reading their numbers alone."""
    out = pickled.with_name(OPEN_CLIP_WEIGHTS[0])
    return (
        'python -c "import torch, safetensors.torch as s; '
        f"w = torch.load('{pickled}', map_location='cpu', weights_only=True); w = w.get('state_dict', w); "
        f"s.save_file({{k.removeprefix('module.'): v.clone().contiguous() for k, v in w.items()}}, '{out}')\""
    )


def to_safetensors(source: str, out: str) -> str:
    """Write the command that converts pickled weights, reading their numbers alone.

    Args:
        source: the folder, or hub name, of the model.
        out: the folder that is made.
    """
    return (
        'python -c "from transformers import AutoModel as M, AutoTokenizer as T, AutoImageProcessor as P; '
        f"[kind.from_pretrained('{source}').save_pretrained('{out}') for kind in (M, T, P)]\""
    )


def check_tokenizer(folder: Path, who: str) -> None:
    """Check that a tokenizer lies beside the weights.

    Args:
        folder: of the model.
        who: what an error calls it, e.g. "teacher clip".

    Raises:
        UserError: there is none.
    """
    names = {path.name for path in present(folder, VOCABULARY)}
    if names <= {"vocab.json"} or names == {"merges.txt"}:
        raise UserError(
            f"{who} has no tokenizer: one of tokenizer.json, vocab.txt, vocab.json with merges.txt, or *.model is "
            "needed beside its weights."
        )


def check_image_processor(folder: Path, who: str) -> None:
    """Check that what a model's pictures go through lies beside the weights; arguments and errors as of the tokenizer.

    Raises:
        UserError: it does not.
    """
    if not present(folder, IMAGE_PROCESSOR):
        raise UserError(f"{who} has no image processor: preprocessor_config.json is needed beside its weights.")


def is_easynlp(config: dict[str, Any]) -> bool:
    """Tell the config.json of an EasyNLP checkpoint from one of transformers, which shares two of the types' names."""
    text = config.get("text_config")
    roberta = config.get("model_type") == "clip" and isinstance(text, dict) and "type_vocab_size" in text
    return roberta or (config.get("model_type") in ("open_clip", "chinese_clip", "clip") and "vision_layers" in config)
