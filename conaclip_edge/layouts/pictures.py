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
