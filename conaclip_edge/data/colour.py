"""Embedded colour profiles: what a picture's numbers mean, brought to sRGB, which towers and screens take."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

_STEPS = 9  # of each channel, in the lattice that tells whether a profile changes anything
_SAME = 1.0  # levels of 255


def to_srgb(picture: Image.Image) -> Image.Image:
    """Convert a picture of 8 bits per channel by its embedded profile; one without a usable profile stays as it is.

    Transparency is kept. A profile that fits no channel layout of the picture, or is damaged, is passed over: most
    viewers do the same.
    """
    profile = picture.info.get("icc_profile")
    if not isinstance(profile, bytes) or not profile:
        return picture
    alpha = picture.getchannel("A") if picture.mode in ("RGBA", "LA") else None
    if alpha is not None:
        colours = picture.convert("RGB" if picture.mode == "RGBA" else "L")
    elif picture.mode in ("RGB", "L", "CMYK"):
        colours = picture
    else:
        return picture
    transform = _transform(profile, colours.mode)
    if transform is None:
        return picture
    converted = ImageCms.applyTransform(colours, transform)
    assert converted is not None
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


@lru_cache(maxsize=16)  # phones embed the same few profiles in every picture
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the way from a profile to sRGB; None where there is none, or where it changes next to nothing."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        transform = ImageCms.buildTransform(
            source, target, mode, "RGB", renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC
        )
        if mode == "CMYK":  # Pillow's own conversion knows nothing of inks
            return transform
        lattice = _lattice(mode)
        found = ImageCms.applyTransform(lattice, transform)
        assert found is not None
        plain = np.asarray(lattice.convert("RGB"), np.float32)
        return transform if np.abs(np.asarray(found, np.float32) - plain).max() > _SAME else None
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _lattice(mode: str) -> Image.Image:
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    levels = np.linspace(0, 255, _STEPS).astype(np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1)
    return Image.fromarray(colours.reshape(1, -1, 3))
