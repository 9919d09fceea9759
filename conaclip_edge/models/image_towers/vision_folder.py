"""What a folder of a vision model of transformers says of its shape and its pictures; its weights are not looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conaclip_edge.config.model import ImageTowerConfig
from conaclip_edge.config.parse import parse
from conaclip_edge.errors import UserError
from conaclip_edge.system.files import read_json

KIND = "transformers"
TRIED = "ViT, DeiT, DINOv2, DINOv3, ConvNeXt V2, MobileViT, MobileNetV2, ResNet"
_PROCESSOR = "preprocessor_config.json"
_RESAMPLES = {2: "bilinear", 3: "bicubic"}


def checked_config(folder: Path) -> dict[str, Any]:
    """Return the content of a vision model's config.json.

    Raises:
        UserError: there is none, or it is of something else.
    """
    if not (folder / "config.json").is_file():
        raise UserError(
            f"student.image.backbone: no config.json in {folder}. A folder of a vision model of transformers is needed "
            f"({TRIED})."
        )
    content = read_json(folder / "config.json", "config of a vision model")
    kind = content.get("model_type") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(kind, str) or "vision_config" in content or _text(content):
        raise UserError(
            f"student.image.backbone: {folder} is no vision model: its config.json says model_type '{str(kind)[:50]}'. "
            f"Tried: {TRIED}."
        )
    return content


def _text(content: dict[str, Any]) -> bool:
    return "vocab_size" in content or "text_config" in content or str(content["model_type"]).startswith("timm")


def with_backbone(image: dict[str, Any], folder: Path) -> ImageTowerConfig:
    """Make the config of an image tower that is a folder's vision model.

    Args:
        image: what a recipe says of the tower, which goes before what the folder says.
        folder: of the model.

    Raises:
        UserError: no vision model.
    """
    content, steps = checked_config(folder), _steps(folder)
    size = steps.get("crop_size") or steps.get("size") or content.get("image_size")
    found = {
        "size": _side(size) or 224,
        "mean": steps.get("image_mean") or (0.485, 0.456, 0.406),
        "std": steps.get("image_std") or (0.229, 0.224, 0.225),
        "resample": _RESAMPLES.get(steps.get("resample", 3), "bicubic"),
    }
    if steps.get("do_normalize") is False or is_blue_first(folder):
        found |= {"mean": (0, 0, 0), "std": (1, 1, 1)}
    own = {key: value for key, value in image.items() if key != "backbone"}
    fixed = {"kind": KIND, "layers": 0, "backbone_config": content}
    return parse(ImageTowerConfig, found | own | fixed, "student.image")


def is_blue_first(folder: Path) -> bool:
    """Say whether a model was trained on pictures whose first channel is blue, as MobileViT's were."""
    return bool(_steps(folder).get("do_flip_channel_order"))


def _steps(folder: Path) -> dict[str, Any]:
    file = folder / _PROCESSOR
    content = read_json(file, "image processor") if file.is_file() else {}
    return content if isinstance(content, dict) else {}


def _side(size: Any) -> int | None:
    if isinstance(size, dict):
        size = next((size[key] for key in ("height", "shortest_edge") if isinstance(size.get(key), int)), None)
    if isinstance(size, list):
        size = size[0] if size else None
    return size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else None
