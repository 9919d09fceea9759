"""How OpenCLIP lays out a checkpoint: `open_clip_config.json` beside weights, and what of it transformers has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conaclip_edge.errors import UserError
from conaclip_edge.models.transformers_folder import (
    OPEN_CLIP_CONFIG,
    OPEN_CLIP_WEIGHTS,
    TOKENIZER_SETTINGS,
    VOCABULARY,
    open_clip_to_safetensors,
    pickled_files,
    present,
)
from conaclip_edge.system.files import read_json, sha256_file, sha256_text

KNOWN = "its own ViT, a tower of timm (timm_model_name), its own text tower, one of transformers (hf_model_name)"

# what a plain tower may say of its shape; whatever else it says has to be what a plain tower does anyway
_SHAPE = {
    "vision_cfg": {"image_size", "layers", "width", "head_width", "mlp_ratio", "patch_size", "patch_dropout"},
    "text_cfg": {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"},
}
_PLAIN = ({"pool_type": "tok", "pos_embed_type": "learnable"}, {"pool_type": "argmax", "proj_type": "linear"})
# read only where a tower of timm or transformers is named, or by training
_WITHOUT_EFFECT = ("timm_", "hf_model_pretrained", "hf_proj", "hf_pooler", "output_tokens", "pad_id", "eos_id")


@dataclass(frozen=True)
class OpenClipCheckpoint:
    """A folder of OpenCLIP, whose weights are not read yet.

    Attributes:
        folder: of the files.
        weights: its safetensors.
        model: model_cfg of the config file.
        preprocess: preprocess_cfg of the config file.
    """

    folder: Path
    weights: Path
    model: dict[str, Any]
    preprocess: dict[str, Any]

    @property
    def vision(self) -> dict[str, Any]:
        """What the config says of the image tower."""
        return dict(self.model["vision_cfg"])

    @property
    def text(self) -> dict[str, Any]:
        """What the config says of the text tower."""
        return dict(self.model["text_cfg"])

    @property
    def fingerprint(self) -> str:
        """Hash of config, weights and tokenizer files."""
        tokenizer = present(self.folder, (*VOCABULARY, *TOKENIZER_SETTINGS))
        files = [self.folder / OPEN_CLIP_CONFIG, self.weights, *tokenizer]
        return sha256_text("open_clip/1", *(part for file in files for part in (file.name, sha256_file(file))))

    def not_plain(self) -> str:
        """Say what in it transformers' CLIP does not have, e.g. "vision_cfg.timm_model_name"; "" if nothing."""
        if isinstance(self.vision.get("layers"), list):
            return "vision_cfg.layers"  # of a ResNet
        for name, section, plain in zip(_SHAPE, (self.vision, self.text), _PLAIN, strict=True):
            for key, value in section.items():
                if key == "timm_model_name" and value:
                    return f"{name}.{key}"
                shapes = key in _SHAPE[name] or key.startswith(_WITHOUT_EFFECT)
                if not shapes and value and value != plain.get(key):
                    return f"{name}.{key}"
        if self.preprocess.get("resize_mode") == "longest":
            return "preprocess_cfg.resize_mode"
        known = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text", "nonscalar_logit_scale"}
        other = sorted(key for key in self.model.keys() - known if self.model[key] and not key.startswith("init_logit"))
        return other[0] if other else ""


def read_checkpoint(folder: Path, source: str) -> OpenClipCheckpoint:
    """Read a folder's config and find its weights.

    Args:
        folder: has open_clip_config.json.
        source: of the teacher, for errors.

    Raises:
        UserError: the config describes no two towers, or there are no safetensors.
    """
    content = read_json(folder / OPEN_CLIP_CONFIG, "config of OpenCLIP")
    model = content.get("model_cfg") if isinstance(content, dict) else None
    towers = [model.get(key) for key in _SHAPE] if isinstance(model, dict) else []
    if not isinstance(model, dict) or not all(isinstance(tower, dict) for tower in towers) or len(towers) != 2:
        found = ", ".join(sorted(map(str, content))[:5]) if isinstance(content, dict) else type(content).__name__
        raise UserError(
            f"teacher {source}: its {OPEN_CLIP_CONFIG} has {found or 'nothing'}; a model_cfg with vision_cfg and "
            f"text_cfg is needed. Known towers: {KNOWN}."
        )
    preprocess = content.get("preprocess_cfg") or {}
    if not isinstance(preprocess, dict):
        raise UserError(f"teacher {source}: preprocess_cfg in its {OPEN_CLIP_CONFIG} must hold keys and values.")
    return OpenClipCheckpoint(folder, _weights(folder, source), model, preprocess)


def _weights(folder: Path, source: str) -> Path:
    """Return the safetensors of a folder; pickled weights are refused with the command that converts them."""
    for name in (*OPEN_CLIP_WEIGHTS, "model.safetensors"):
        if (folder / name).is_file():
            return folder / name
    pickled = pickled_files(folder)
    if not pickled:
        raise UserError(f"teacher {source} has no {OPEN_CLIP_WEIGHTS[0]} beside its {OPEN_CLIP_CONFIG}.")
    raise UserError(
        f"teacher {source} has its weights in {pickled[0]} alone, which is not opened, since a pickle can run code. "
        f"Convert it once, reading its numbers alone: {open_clip_to_safetensors(folder / pickled[0])}"
    )
