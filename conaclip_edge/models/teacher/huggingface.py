"""Teachers that are transformers dual encoders: CLIP, SigLIP, SigLIP 2, Chinese-CLIP, AltCLIP, VisionTextDualEncoder.

Weights come from safetensors alone: nothing is unpickled, and code that a checkpoint brings along is never run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from conaclip_edge.errors import UserError
from conaclip_edge.models.teacher.base import Teacher, check_finite
from conaclip_edge.models.teacher.tokenizer_json import lower_case, student_tokenizer_file
from conaclip_edge.models.tokenizer import whole_text
from conaclip_edge.models.transformers_folder import (
    FILES,
    WEIGHTS,
    check_image_processor,
    check_tokenizer,
    present,
    to_safetensors,
)
from conaclip_edge.system.files import read_json, sha256_file, sha256_text

T = TypeVar("T")

KNOWN_FAMILIES = "CLIP, SigLIP, SigLIP 2, Chinese-CLIP, AltCLIP, VisionTextDualEncoder"
HUB_TIMEOUT = 10.0  # seconds until the hub counts as out of reach

# Trained on lower-cased texts, padded to the full context without a mask, so that padding is part of the text.
_SIGLIP = ("siglip", "siglip2")
# part -> the files that are damaged, or of another model, where it cannot be used
_FILES_OF = {
    "config": "config.json",
    "weights": "config.json and the safetensors",
    "tokenizer": "the tokenizer's files",
    "image processor": "preprocessor_config.json",
    "text tower": "config.json and the tokenizer's files",
    "image tower": "config.json and preprocessor_config.json",
}
_FROM_FOLDER = {"trust_remote_code": False, "local_files_only": True}


class TransformersTeacher(Teacher):
    """A transformers dual encoder with its own tokenizer, image processor and pooling.

    Args:
        source: a folder, or the hub name of a model (which is fetched once and then read from the hub's cache).

    Raises:
        UserError: the hub is out of reach, or the folder lacks safetensors weights, tokenizer or image processor, or
            holds something other than a dual encoder.
    """

    def __init__(self, source: str):
        super().__init__()
        from transformers import AutoImageProcessor, AutoTokenizer

        folder = Path(source) if Path(source).is_dir() else _fetch(source)
        self.name = folder.resolve().name if Path(source).is_dir() else source
        model_type = _check_folder(folder, source)
        self.model: Any = _load_model(folder, source)
        self.tokenizer: Any = _load(
            "tokenizer", source, lambda: AutoTokenizer.from_pretrained(str(folder), **_FROM_FOLDER)
        )
        if model_type in _SIGLIP:
            lower_case(self.tokenizer)
        # The Pillow backend gives the same pixels whether torchvision is installed or not.
        self.image_processor: Any = _load(
            "image processor",
            source,
            lambda: AutoImageProcessor.from_pretrained(str(folder), backend="pil", **_FROM_FOLDER),
        )
        self.is_clip = model_type == "clip"
        self.context = _context(self.model, self.tokenizer)
        self.padding = _padding(model_type, self.context)
        self.tokenizer.padding_side = "right"  # on the left, padding would move a text's positions
        self.freeze()
        if len(self.tokenizer) > len(self.token_table()):
            raise UserError(
                f"teacher {source}: its tokenizer has {len(self.tokenizer)} tokens, its token table only "
                f"{len(self.token_table())} rows. Use the tokenizer files that belong to these weights."
            )
        self.embed_dim = self._try_out(source)
        self.tokenizer_file = student_tokenizer_file(self.tokenizer, folder, f"teacher {source}")
        self.fingerprint = _fingerprint(folder, model_type)

    def pixels(self, pictures: list[Image.Image]) -> Any:
        """Turn upright RGB pictures into the image tower's keywords."""
        return self.image_processor(images=pictures, return_tensors="pt").to(self.model.device)

    def tokens(self, texts: list[str], full: bool = False) -> Any:
        """Turn texts into the text tower's keywords, padded to the longest or the context."""
        padding = self.padding | ({"padding": "max_length"} if full else {})
        words = [whole_text(text) for text in texts]
        return self.tokenizer(words, return_tensors="pt", **padding).to(self.model.device)

    def encode_pixels(self, pixels: Any) -> Tensor:
        """Map the image tower's keywords to unit vectors [n, embed_dim]."""
        return F.normalize(self.model.get_image_features(**pixels).pooler_output, dim=-1)

    def encode_tokens(self, tokens: Any) -> Tensor:
        """Map the text tower's keywords to unit vectors [n, embed_dim]."""
        return F.normalize(self.model.get_text_features(**tokens).pooler_output, dim=-1)

    def token_table(self) -> Tensor:
        """Return the text tower's token embeddings [vocabulary, width]."""
        table: Tensor = self.model.text_model.get_input_embeddings().weight
        return table

    def text_layers(self) -> dict[str, Tensor]:
        """Return a CLIP text tower's weights and projection by CLIPTextModelWithProjection's names, else nothing."""
        weights: dict[str, Tensor] = self.model.state_dict() if self.is_clip else {}
        return {name: value for name, value in weights.items() if name.startswith(("text_model.", "text_projection."))}

    def _try_out(self, source: str) -> int:
        """Run both towers once; returns the width of their common space."""
        text = _load("text tower", source, lambda: self.embed_texts(["a"]))
        picture = _load("image tower", source, lambda: self.embed_pictures([Image.new("RGB", (48, 32))]))
        if text.shape != picture.shape:
            widths = f"its texts become {text.shape[-1]} numbers, its pictures {picture.shape[-1]}"
            raise _no_dual_encoder(source, widths)
        check_finite(text, picture, source)
        return int(text.shape[-1])


def _fetch(name: str) -> Path:
    """Bring a hub model's files into the hub's cache, where later calls find them without the hub."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    offline: Exception | None = None
    try:
        HfApi().model_info(name, timeout=HUB_TIMEOUT)
    except RepositoryNotFoundError:
        raise UserError(
            f"no teacher '{name}': it is no folder here, and the hub has no such model (or only for those who log in: "
            "hf auth login)."
        ) from None
    except Exception as error:  # the errors of the hub's HTTP library differ between its releases
        offline = error
    try:
        # Patterns match across '/', so that subfolders have to be left out by their own.
        return Path(
            snapshot_download(
                name,
                allow_patterns=list(FILES),
                ignore_patterns=["*/*"],
                etag_timeout=HUB_TIMEOUT,
                local_files_only=offline is not None,
            )
        )
    except Exception as error:  # as above
        raise UserError(
            f"cannot fetch teacher '{name}': {_one_line(offline or error)}. Without the hub, use a local folder: run "
            f"'hf download {name} --local-dir teacher' where there is network, copy that folder here and name it."
        ) from error


def _check_folder(folder: Path, source: str) -> str:
    """Refuse a folder that lacks a part, before anything is loaded; returns the model type."""
    from transformers import CONFIG_MAPPING, MODEL_MAPPING

    config = read_json(folder / "config.json", "teacher config")
    model_type = config.get("model_type") if isinstance(config, dict) else None
    known = isinstance(model_type, str) and model_type in CONFIG_MAPPING
    model = _load("config", source, lambda: MODEL_MAPPING.get(CONFIG_MAPPING[model_type], None)) if known else None
    if not (hasattr(model, "get_image_features") and hasattr(model, "get_text_features")):
        raise _no_dual_encoder(source, f"its config.json says model_type '{model_type}'")
    if not present(folder, WEIGHTS):
        raise UserError(
            f"teacher {source} has no weights in model.safetensors; pickled ones (pytorch_model.bin) are not loaded, "
            f"since they can run code. Convert them once, reading their numbers alone: "
            f"{to_safetensors(source, 'teacher')}"
        )
    check_tokenizer(folder, f"teacher {source}")
    check_image_processor(folder, f"teacher {source}")
    return str(model_type)


def _no_dual_encoder(source: str, reason: str) -> UserError:
    return UserError(f"teacher {source} is no dual encoder that transformers knows: {reason}. Known: {KNOWN_FAMILIES}.")


def _load_model(folder: Path, source: str) -> Any:
    """Load a dual encoder in float32, every weight of it."""
    from transformers import AutoModel
    from transformers.utils import logging

    bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model, report = _load(
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
        raise _no_dual_encoder(source, f"{type(model).__name__} has no text tower of its own")
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


def _load(part: str, source: str, load: Callable[[], T]) -> T:
    try:
        return load()
    except Exception as error:  # what a broken file raises differs with the part and the family
        raise UserError(
            f"teacher {source}: cannot use its {part}: {_one_line(error)}. Fetch {_FILES_OF[part]} of this model again."
        ) from error


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()).removesuffix(".")
    return f"{type(error).__name__}: {text if len(text) <= 200 else text[:200] + ' ...'}"


def _context(model: Any, tokenizer: Any) -> int:
    """The largest number of ids that both the tokenizer and the position table allow."""
    positions = getattr(model.config.text_config, "max_position_embeddings", None)
    for name, module in model.text_model.named_modules():
        # RoBERTa and its kin count positions from behind the padding id.
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            positions = module.num_embeddings - module.padding_idx - 1
    return int(min(tokenizer.model_max_length, positions or tokenizer.model_max_length))


def _padding(model_type: str, context: int) -> dict[str, Any]:
    """Arguments for the tokenizer: how texts of a batch are brought to one length."""
    if model_type in _SIGLIP:
        return {"padding": "max_length", "max_length": context, "truncation": True, "return_attention_mask": False}
    return {"padding": True, "max_length": context, "truncation": True, "return_attention_mask": True}


def _fingerprint(folder: Path, model_type: str) -> str:
    """Hash all that decides an embedding: config, weights, image processor, tokenizer and what is done to texts."""
    parts = [part for path in present(folder, FILES) for part in (path.name, sha256_file(path))]
    return sha256_text("transformers/1", *parts, *(("lower case",) if model_type in _SIGLIP else ()))
