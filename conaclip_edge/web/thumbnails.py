"""Small copies of pictures for a page."""

from __future__ import annotations

import io

from PIL import Image

from conaclip_edge.data.preprocess import decode

SIDE = 320
_QUALITY = 80


def thumbnail(data: bytes) -> bytes:
    """Turn an encoded picture into a WebP of at most `SIDE` pixels a side, upright and without its metadata.

    Raises:
        BadPicture: the bytes cannot be decoded.
    """
    picture = decode(data)
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=_QUALITY, method=4)
    return file.getvalue()
