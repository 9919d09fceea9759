"""Pictures as cameras take them (RAW): known by the suffix, developed by rawpy where it is installed."""

from __future__ import annotations

import io
from importlib import import_module
from importlib.util import find_spec
from pathlib import PurePath
from typing import Any

from PIL import Image

from conaclip_edge.data.preprocess import BadPicture

_NAMES = "3fr arw cr2 cr3 crw dcr dng erf fff iiq kdc mef mos mrw nef nrw orf pef raf raw rw2 rwl sr2 srf srw x3f"
RAW_SUFFIXES = frozenset(f".{name}" for name in _NAMES.split())


def is_raw(name: str) -> bool:
    """Say whether a file is named like a camera's RAW picture."""
    return PurePath(name).suffix.lower() in RAW_SUFFIXES


def check_raw(name: str) -> None:
    """Refuse a RAW picture where nothing can develop it, before its many bytes are read.

    Raises:
        BadPicture: rawpy is not installed.
    """
    if is_raw(name) and find_spec("rawpy") is None:
        suffix = PurePath(name).suffix
        raise BadPicture(f"is a camera's RAW picture ({suffix}), which is not read without rawpy: pip install rawpy")


def developed(data: bytes, name: str) -> bytes:
    """Return bytes that `decode` reads: those of a RAW picture are developed at half its sides, others stay.

    Args:
        data: content of a file.
        name: of the file; RAW pictures of most cameras begin like a TIFF.

    Raises:
        BadPicture: rawpy is not installed, or it cannot read the file.
    """
    if not is_raw(name):
        return data
    check_raw(name)
    try:
        rawpy: Any = import_module("rawpy")
        with rawpy.imread(io.BytesIO(data)) as raw:
            pixels = raw.postprocess(half_size=True, use_camera_wb=True)
    except Exception as error:  # rawpy's own errors and what LibRaw makes of a damaged file
        raise BadPicture(f"cannot be developed by rawpy ({type(error).__name__}: {error})") from error
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PPM")
    return file.getvalue()
