"""Golden pictures that are made here, one for each way in which decoding, turning, scaling and cropping go wrong."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

_TURNED = 6  # EXIF orientation: the camera was held upright, the stored rows run downwards


def made_pictures() -> list[tuple[str, bytes]]:
    """Return names and encoded bytes; the same on every call.

    Edges, fine stripes and text-like detail lie off the centre, so that squashing, nearest-neighbour scaling, a missing
    antialias and a shifted crop each change the pixels.
    """
    wide, tall = _scene(320, 200), _scene(180, 300)
    clear = wide.convert("RGBA")
    clear.putalpha(Image.fromarray(np.linspace(0, 255, 320, dtype=np.uint8)[None].repeat(200, axis=0)))
    exif = Image.Exif()
    exif[0x0112] = _TURNED
    return [
        ("wide.png", _encoded(wide, "PNG")),
        ("tall.jpg", _encoded(tall, "JPEG", quality=92)),
        ("turned.jpg", _encoded(wide, "JPEG", quality=92, exif=exif)),
        ("transparent.png", _encoded(clear, "PNG")),
        ("grey.png", _encoded(tall.convert("L"), "PNG")),
        ("small.png", _encoded(_scene(23, 17), "PNG")),
    ]


def _scene(width: int, height: int) -> Image.Image:
    """A sky with a disc, stripes that get finer to the right, and a dark corner: nothing symmetric."""
    y, x = np.mgrid[0:height, 0:width] / min(width, height)
    sky = np.stack([0.35 + 0.3 * y, 0.55 + 0.2 * y, 0.95 - 0.4 * y], axis=-1)
    disc = (x - 0.4) ** 2 + (y - 0.35) ** 2 < 0.04
    stripes = (y > 0.6) & (np.sin(40 * x * (1 + x)) > 0)
    corner = (x < 0.25) & (y > 0.75)
    for mask, colour in ((disc, (1.0, 0.8, 0.1)), (stripes, (0.15, 0.5, 0.2)), (corner, (0.4, 0.05, 0.1))):
        sky[mask] = colour
    return Image.fromarray(np.rint(sky.clip(0, 1) * 255).astype(np.uint8))


def _encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()
