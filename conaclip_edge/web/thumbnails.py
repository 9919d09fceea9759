"""Small copies of pictures for a page."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from conaclip_edge.data.preprocess import MAX_PIXELS, decode

SIDE = 320
_LARGE = 2048  # of a picture that a browser cannot show as it is
_QUALITY = 80
_IN_BROWSERS = frozenset((".apng", ".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".webp"))


def thumbnail(data: bytes, max_pixels: int = MAX_PIXELS, side: int = SIDE) -> bytes:
    """Turn an encoded picture into a WebP of at most `side` pixels a side, upright and without its metadata.

    Args:
        data: of any format that is indexed; RAW developed.
        max_pixels: a larger picture is refused.
        side: of the WebP.

    Raises:
        BadPicture: the bytes cannot be decoded.
    """
    picture = decode(data, max_pixels, side, rounded=True)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=_QUALITY, method=4)
    return file.getvalue()


def shown_as_it_is(path: Path) -> bool:
    """Say whether browsers show a file themselves."""
    return path.suffix.lower() in _IN_BROWSERS


def large(data: bytes, max_pixels: int = MAX_PIXELS) -> bytes:
    """Turn a picture that browsers do not show into a WebP that they do.

    Raises:
        BadPicture: the bytes cannot be decoded.
    """
    return thumbnail(data, max_pixels, _LARGE)
