"""What a model's preprocessor_config.json does to a picture, as far as a bundle's preprocessing can say it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

from conaclip_edge.config.model import Resample, Resize
from conaclip_edge.errors import UserError
from conaclip_edge.models.transformers_folder import IMAGE_PROCESSOR, check_image_processor
from conaclip_edge.system.files import read_json

Channels = tuple[float, float, float]

# what a key means that the file leaves out, of the processors that CLIP's files name
_CLIP = {
    "do_resize": True,
    "size": {"shortest_edge": 224},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
_SIGLIP = _CLIP | {
    "size": {"height": 224, "width": 224},
    "do_center_crop": False,
    "crop_size": None,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
_RESAMPLES: dict[object, Resample] = {2: "bilinear", 3: "bicubic"}
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}


@dataclass(frozen=True)
class PictureInput:
    """How a picture becomes the input of an image tower.

    Attributes:
        size: side of the input in pixels.
        mean: taken from pixels in [0, 1], by channel.
        std: what they are divided by then.
        resize: to a square by cutting out the middle, or by squashing.
        resample: the filter.
    """

    size: int
    mean: Channels
    std: Channels
    resize: Resize = "crop"
    resample: Resample = "bicubic"


def picture_input(folder: Path) -> PictureInput:
    """Read how a model's pictures are made.

    Args:
        folder: of a transformers model.

    Raises:
        UserError: no such file, a damaged one, or steps that a bundle's preprocessing does not have.
    """
    check_image_processor(folder, str(folder))
    path = next(folder / name for name in IMAGE_PROCESSOR if (folder / name).is_file())
    content = read_json(path, "image processor")
    if isinstance(content, dict) and isinstance(content.get("image_processor"), dict):
        content = content["image_processor"]  # as processor_config.json has it
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold keys and values, not {type(content).__name__}.")
    kind = str(content.get("image_processor_type") or content.get("feature_extractor_type") or "CLIP")
    defaults = _SIGLIP if kind.startswith("SiglipImageProcessor") else _CLIP
    steps = defaults | {key: value for key, value in content.items() if value is not None}
    known = kind.startswith(("CLIP", "ChineseCLIP", "SiglipImageProcessor"))
    if not known and (lacking := sorted(_CLIP.keys() - content.keys())):
        _refuse(path, f"it is a {kind}, and leaves out {', '.join(lacking)}")
    if not steps["do_resize"]:
        _refuse(path, "do_resize is false: pictures of any size cannot go in")
    size, resize = _square(steps, path)
    if steps["resample"] not in _RESAMPLES:
        name = _FILTERS.get(steps["resample"], "unknown")
        _refuse(path, f"resample is {steps['resample']} ({name}), not 3 (bicubic) or 2 (bilinear)")
    how: tuple[Resize, Resample] = (resize, _RESAMPLES[steps["resample"]])
    scale = 255 * _number(steps["rescale_factor"], path, "rescale_factor") if steps["do_rescale"] else 255.0
    if not steps["do_normalize"]:
        return PictureInput(size, (0.0,) * 3, (1 / scale,) * 3, *how)
    mean, std = (_channels(steps[key], path, key) for key in ("image_mean", "image_std"))
    if min(std) <= 0:
        _refuse(path, f"image_std is {list(std)}")
    if math.isclose(scale, 1.0, rel_tol=1e-6):
        return PictureInput(size, mean, std, *how)
    return PictureInput(size, _divided(mean, scale), _divided(std, scale), *how)


def _square(steps: dict[str, Any], path: Path) -> tuple[int, Resize]:
    """Return the side of the square that a picture becomes, and how."""
    size, crop = steps["size"], steps["crop_size"]
    side = size.get("height") if isinstance(size, dict) else None
    if isinstance(size, dict) and _is_side(side) and size.get("width") == side:
        cut = {crop.get("height"), crop.get("width")} if isinstance(crop, dict) else {crop}
        if not steps["do_center_crop"] or cut == {side}:
            return side, "squash"
    shorter = size.get("shortest_edge") if isinstance(size, dict) else size
    if shorter is None or not steps["do_center_crop"]:
        _refuse(path, f"pictures are not cut to a square (size {size}, do_center_crop {steps['do_center_crop']})")
    sides = {crop.get("height"), crop.get("width")} if isinstance(crop, dict) else {crop}
    if sides != {shorter} or not _is_side(shorter):
        _refuse(path, f"the shorter side becomes {shorter}, and the crop is {crop}")
    return shorter, "crop"


def _is_side(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _divided(channels: Channels, scale: float) -> Channels:
    red, green, blue = channels
    return red / scale, green / scale, blue / scale


def _channels(value: Any, path: Path, key: str) -> Channels:
    values = value if isinstance(value, list) else [value] * 3
    if len(values) != 3:
        _refuse(path, f"{key} is {value}, not three numbers")
    red, green, blue = (_number(one, path, key) for one in values)
    return red, green, blue


def _number(value: Any, path: Path, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        _refuse(path, f"{key} is {value}")
    return float(value)


def _refuse(path: Path, reason: str) -> NoReturn:
    raise UserError(
        f"{path} asks for a preprocessing that a bundle does not have: {reason}. A bundle resizes by bicubic or "
        "bilinear, and cuts out the middle or squashes to a square. Distil a student instead: "
        f"conaclip-edge init PICTURES --teacher {path.parent}"
    )
