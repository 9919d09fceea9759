"""Picture formats that Pillow reads only with another package: found by their first bytes, asked for by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import NamedTuple


class Decoder(NamedTuple):
    """A package that teaches Pillow a format.

    Attributes:
        name: of the format, for messages.
        module: that registers it.
        function: of the module to call; None where importing it is enough.
        install: what to give to pip.
    """

    name: str
    module: str
    function: str | None
    install: str


HEIC = Decoder("HEIC", "pillow_heif", "register_heif_opener", "'conaclip-edge[heic]'")
JPEG_XL = Decoder("JPEG XL", "pillow_jxl", None, "pillow-jxl-plugin")

_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_JPEG_XL_BOX = b"\x00\x00\x00\x0cJXL \r\n\x87\n"


def decoder_of(data: bytes) -> Decoder | None:
    """Return what has to be installed for a picture beside Pillow, by its first bytes; None for its own formats."""
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS and b"avif" not in data[8:40]:
        return HEIC
    if data[:2] == b"\xff\x0a" or data[:12] == _JPEG_XL_BOX:
        return JPEG_XL
    return None


@cache
def available(decoder: Decoder) -> bool:
    """Register a format with Pillow; False where its package is not installed."""
    try:
        module = import_module(decoder.module)
    except ImportError:
        return False
    if decoder.function:
        register: Callable[[], None] = getattr(module, decoder.function)
        register()
    return True


def installed() -> dict[str, bool]:
    """Return for each such format whether it can be read here."""
    return {decoder.name: available(decoder) for decoder in (HEIC, JPEG_XL)}
