"""What a model's preprocessor_config.json does to a picture, as far as a bundle's preprocessing can say it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

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
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
_RESAMPLES: dict[int, Resample] = {2: "bilinear", 3: "bicubic"}


@dataclass(frozen=True)
class PictureInput:
    """How a picture becomes the input of an image tower.

    Attributes:
        size: side of the input in pixels.
        mean: taken from pixels in [0, 1], by channel.
        std: what they are divided by then.
        resize: whether the middle is cut out, or the whole picture squashed.
        resample: the filter of it.
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
    siglip = kind.startswith("SiglipImageProcessor")
    steps = (_SIGLIP if siglip else _CLIP) | {key: value for key, value in content.items() if value is not None}
    known = siglip or kind.startswith(("CLIP", "ChineseCLIP"))
    if not known and (lacking := sorted(_CLIP.keys() - content.keys())):
        _refuse(path, f"it is a {kind}, and leaves out {', '.join(lacking)}")
    if not steps["do_resize"]:
        _refuse(path, "do_resize is false: pictures of any size cannot go in")
    resize: Resize = "crop" if steps["do_center_crop"] else "squash"
    size = _crop_size(steps, path) if resize == "crop" else _squashed_size(steps, path)
    resample = steps["resample"]
    if not isinstance(resample, int) or resample not in _RESAMPLES:
        _refuse(path, f"resample is {resample}, not 2 (bilinear) or 3 (bicubic)")
    scale = 255 * _number(steps["rescale_factor"], path, "rescale_factor") if steps["do_rescale"] else 255.0
    mean, std = (0.0,) * 3, (1.0,) * 3
    if steps["do_normalize"]:
        mean, std = (_channels(steps[key], path, key) for key in ("image_mean", "image_std"))
    if min(std) * scale <= 0:
        _refuse(path, f"image_std is {list(std)}, rescale_factor {steps['rescale_factor']}")
    if not math.isclose(scale, 1.0, rel_tol=1e-6):
        mean, std = _divided(mean, scale), _divided(std, scale)
    return PictureInput(size, mean, std, resize, _RESAMPLES[resample])


def _crop_size(steps: dict[str, Any], path: Path) -> int:
    """Return the side of the square that is cut out of the middle."""
    size, crop = steps["size"], steps["crop_size"]
    side = _side(size.get("shortest_edge") if isinstance(size, dict) else size)
    sides = (crop.get("height"), crop.get("width")) if isinstance(crop, dict) else (crop, crop)
    if side is None or sides != (side, side):
        _refuse(path, f"pictures are resized to {size}, and cropped to {crop}")
    return side


def _squashed_size(steps: dict[str, Any], path: Path) -> int:
    """Return the side of the square that the whole picture is squashed to."""
    size = steps["size"]
    height, width = (size.get("height"), size.get("width")) if isinstance(size, dict) else (None, None)
    side = _side(height)
    if side is None or side != width:
        _refuse(path, f"pictures are resized to {size}, and not cropped to a square")
    return side


def _side(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


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
        f"{path} asks for a preprocessing that a bundle does not have: {reason}. A bundle cuts a square out of the "
        "middle or squashes the picture, by bicubic or bilinear. Distil a student instead: "
        f"conaclip-edge init PICTURES --teacher {path.parent}"
    )
