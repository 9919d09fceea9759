"""Resizes of clients, as their code does them: sizes that are cut or rounded, and where the crop begins."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def squashed(picture: Image.Image, size: int, resample: Image.Resampling, gap: float | None = None) -> np.ndarray:
    """Resize both sides to `size`; returns uint8 [3, size, size]. `gap` is as in `cropped`."""
    return planes(picture.resize((size, size), resample, reducing_gap=gap))


def cropped(
    picture: Image.Image,
    size: int,
    resample: Image.Resampling,
    side: Callable[[float], int],
    start: Callable[[float], int],
    gap: float | None = None,
) -> np.ndarray:
    """Resize the shorter side to `size`, then cut out the centre; returns uint8 [3, size, size].

    Args:
        picture: upright, RGB.
        size: of both sides of the result.
        resample: filter of the resize.
        side: length of the longer side in parts of a pixel to whole pixels.
        start: margin left or above in parts of a pixel to whole pixels.
        gap: take the mean of whole blocks of pixels first, as long as the filter shrinks by so much afterwards.
    """
    width, height = picture.size
    scale = size / min(width, height)
    target = (size, side(height * scale)) if width < height else (side(width * scale), size)
    made = picture.resize(target, resample, reducing_gap=gap) if target != picture.size else picture
    left, top = start((target[0] - size) / 2), start((target[1] - size) / 2)
    return planes(made.crop((left, top, left + size, top + size)))


def planes(picture: Image.Image) -> np.ndarray:
    """Turn an RGB picture into uint8 [3, height, width]."""
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))


def centre_then_nearest(picture: Image.Image, size: int) -> np.ndarray:
    """Cut out the centre square, then take the nearest pixels, as Android's `createScaledBitmap` unfiltered does."""
    width, height = picture.size
    left, top = (width // 2 - height // 2, 0) if width >= height else (0, height // 2 - width // 2)
    return planes(_square(picture, left, top).resize((size, size), Image.Resampling.NEAREST))


def centre_then_bilinear(picture: Image.Image, size: int) -> np.ndarray:
    """Cut out the centre square, then look at four neighbours, as Core Image's affine transform does."""
    width, height = picture.size
    side = min(width, height)
    # Swift rounds halves up, away from zero
    left, top = ((rest + 1) // 2 for rest in (width - side, height - side))
    return squashed_plainly(_square(picture, left, top), size)


def squashed_plainly(picture: Image.Image, size: int) -> np.ndarray:
    """Squash by four neighbours without antialiasing, as OpenCV and Android's `createScaledBitmap` do."""
    width, height = picture.size
    # Pillow's transform looks at four neighbours, whatever the scale; beyond an edge there has to be something
    framed = Image.fromarray(np.pad(np.asarray(picture), ((1, 1), (1, 1), (0, 0)), mode="edge"))
    where = (width / size, 0, 1, 0, height / size, 1)
    return planes(framed.transform((size, size), Image.Transform.AFFINE, where, Image.Resampling.BILINEAR))


def _square(picture: Image.Image, left: int, top: int) -> Image.Image:
    side = min(picture.size)
    return picture.crop((left, top, left + side, top + side))
